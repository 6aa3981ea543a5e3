//! What the service manager is told: that the daemon is ready, what it is about, and that it lives.
//!
//! The protocol is `sd_notify(3)`: datagrams with lines `NAME=value` to the socket that `NOTIFY_SOCKET` names. Where
//! the variable is not set nothing is told, and where nobody hears it the daemon runs all the same. The daemon starts
//! no other programs and gives guests no variable of its own, so the variable reaches nobody else.
//!
//! *Ready* means that tasks can arrive: the broker has granted the subscriptions. A broker that is away is no failure
//! of the daemon, which is why a unit should not limit how long it starts.

use std::{
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram as Socket},
    },
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use proplet_settings::environment::Environment;
use proplet_types::Code;
use tokio::{
    net::UnixDatagram,
    sync::{mpsc, oneshot, watch},
    time::{Instant, MissedTickBehavior, sleep_until, timeout},
};
use tracing::warn;

use crate::mqtt::Connection;

/// How long a datagram may wait for a service manager that does not read.
const PATIENCE: Duration = Duration::from_secs(1);
/// The number of tasks is told no more often than this.
const BETWEEN_COUNTS: Duration = Duration::from_secs(1);

/// Who started the daemon, if that is somebody who wants to know how it is.
#[derive(Debug, Default)]
pub struct Supervisor {
    socket: Option<Socket>,
    watchdog: Option<Duration>,
}

/// What is told about.
pub(crate) struct Facts {
    /// The broker's address, for people.
    pub broker: String,
    /// The code that encrypted tasks were refused with at the start.
    pub refusal: Option<Code>,
    pub connection: watch::Receiver<Connection>,
    /// Why there is nothing that the broker could be shown.
    pub trouble: watch::Receiver<Option<Code>>,
    pub subscribed: watch::Receiver<bool>,
    /// How many tasks run or wait.
    pub tasks: watch::Receiver<usize>,
}

/// Somebody who asks whether the service obeys messages; it answers by dropping the sender.
pub(crate) type Probe = oneshot::Sender<()>;

impl Supervisor {
    /// The one that the environment names, or nobody.
    #[must_use]
    pub fn of(environment: &Environment) -> Self {
        let told = |name| environment.of_service_manager(name);
        let Some(address) = told("NOTIFY_SOCKET") else {
            return Self::default();
        };
        let watchdog = told("WATCHDOG_USEC")
            .and_then(|text| text.parse().ok())
            .filter(|microseconds| *microseconds > 0)
            .map(Duration::from_micros);
        let is_ours = told("WATCHDOG_PID").is_none_or(|text| {
            text.parse::<u32>()
                .is_ok_and(|pid| pid == std::process::id())
        });
        match connect(address) {
            Ok(socket) => Self {
                socket: Some(socket),
                watchdog: watchdog.filter(|_| is_ours),
            },
            Err(error) => {
                warn!("The service manager cannot be told anything: {address:?}: {error}");
                Self::default()
            }
        }
    }

    /// The line to it, on this runtime.
    pub(crate) fn line(self) -> Option<Arc<Line>> {
        let socket = UnixDatagram::from_std(self.socket?);
        let socket =
            socket.inspect_err(|error| warn!("The service manager is told nothing: {error}"));
        Some(Arc::new(Line {
            socket: socket.ok()?,
            watchdog: self.watchdog,
            complained: AtomicBool::new(false),
        }))
    }
}

fn connect(address: &str) -> std::io::Result<Socket> {
    let address = match address.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(address)?,
        _ => {
            return Err(std::io::Error::other(
                "neither a path nor an abstract socket",
            ));
        }
    };
    let socket = Socket::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

/// The line to the service manager.
pub(crate) struct Line {
    socket: UnixDatagram,
    watchdog: Option<Duration>,
    complained: AtomicBool,
}

impl Line {
    async fn send(&self, message: &str) {
        let sent = match timeout(PATIENCE, self.socket.send(message.as_bytes())).await {
            Ok(sent) => sent.map(drop),
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        };
        if let Err(error) = sent
            && !self.complained.swap(true, Ordering::Relaxed)
        {
            warn!("The service manager does not take messages: {error}");
        }
    }

    /// Tells what changes, without end.
    pub(crate) async fn tell(self: Arc<Self>, mut facts: Facts) {
        let mut ready = false;
        let mut status = String::new();
        loop {
            let mut message = String::new();
            if *facts.subscribed.borrow_and_update() && !std::mem::replace(&mut ready, true) {
                message.push_str("READY=1\n");
            }
            let now = facts.status();
            if now != status {
                message.push_str(&format!("STATUS={now}\n"));
                status = now;
            }
            if !message.is_empty() {
                self.send(&message).await;
            }
            let told = Instant::now();
            tokio::select! {
                () = change(&mut facts.connection) => {}
                () = change(&mut facts.subscribed) => {}
                () = change(&mut facts.trouble) => {}
                () = async {
                    change(&mut facts.tasks).await;
                    sleep_until(told + BETWEEN_COUNTS).await;
                } => {}
            }
        }
    }

    /// Tells that the daemon is about to end. What [`Line::tell`] tells later would be wrong.
    pub(crate) async fn tell_end(&self) {
        self.send("STOPPING=1\nSTATUS=Stopping: tasks that run or wait are ended and answered\n")
            .await;
    }

    /// Tells that the daemon lives, for as long as it answers, without end: a process whose threads all hang tells
    /// nothing, and neither does one that has stopped obeying messages.
    pub(crate) async fn beat(self: Arc<Self>, probes: mpsc::Sender<Probe>) {
        let Some(watchdog) = self.watchdog else {
            return;
        };
        let mut ticks = tokio::time::interval(watchdog / 2);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let (probe, answered) = oneshot::channel();
            // Once nobody takes probes any more the daemon is on its way out, which has limits of its own.
            if probes.send(probe).await.is_ok() {
                let _ = answered.await;
            }
            self.send("WATCHDOG=1\n").await;
        }
    }
}

/// Answers whoever asks whether the daemon lives, without end: before there are messages to obey.
pub(crate) async fn answer(probes: &mut mpsc::Receiver<Probe>) {
    while let Some(probe) = probes.recv().await {
        drop(probe);
    }
    std::future::pending().await
}

/// Ends with the next change. Where there will be none any more it does not end.
async fn change<T>(watched: &mut watch::Receiver<T>) {
    if watched.changed().await.is_err() {
        std::future::pending().await
    }
}

impl Facts {
    /// How the daemon is, in one line.
    fn status(&mut self) -> String {
        let broker = &self.broker;
        let count = *self.tasks.borrow_and_update();
        let tasks = match count {
            1 => "1 task runs or waits".to_owned(),
            count => format!("{count} tasks run or wait"),
        };
        let is_connected = self.connection.borrow_and_update().is_some();
        let trouble = *self.trouble.borrow_and_update();
        let words = if !is_connected {
            let code = trouble.map(|code| format!(" ({code})")).unwrap_or_default();
            format!("No connection to {broker}{code}, the log says why; {tasks}")
        } else if !*self.subscribed.borrow() {
            format!("Connected to {broker}, and not subscribed: no task can arrive; {tasks}")
        } else {
            let encrypted = match self.refusal {
                None => String::new(),
                Some(code) => format!("; at the start encrypted tasks were refused ({code})"),
            };
            format!("Takes tasks from {broker}; {tasks}{encrypted}")
        };
        words.replace(char::is_control, " ")
    }
}

#[cfg(test)]
mod tests;
