//! What a load needs beside its client: mosquitto, registry, key broker, and the daemon.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use proplet_jose::jwk::PrivateKey;
use proplet_lab::{API_KEY, Addresses, KEY_ID, Sources, workload::with_recipients};
use proplet_testkit::{
    guests::{self, GuestName},
    ports::free_address,
};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::{
    Arguments,
    machine::{self, Held, Usage},
    tasks::Orders,
};

/// Attempts to connect to mosquitto before it counts as not starting; with the pauses, 10 s.
const ATTEMPTS: usize = 500;
const PAUSE: Duration = Duration::from_millis(20);

/// What the component may do: nothing but run, and not for long.
const POLICY: &str = "version = 1\n[limits]\nwall_clock_ms = 2000\n";

/// All but the client.
pub struct World {
    /// What there is to run.
    pub orders: Orders,
    daemon: Process,
    mosquitto: Process,
    port: u16,
    store: Option<PathBuf>,
    _sources: Sources,
    folder: TempDir,
}

impl World {
    /// Starts everything.
    pub async fn start(arguments: &Arguments, more: &str) -> Result<Self, Box<dyn Error>> {
        let folder = match &arguments.folder {
            Some(folder) => tempfile::tempdir_in(folder)?,
            None => tempfile::tempdir()?,
        };
        let (mosquitto, port) = start_mosquitto(&arguments.mosquitto, folder.path()).await?;
        let (sources, orders) = publish().await?;
        let store = arguments.outbox.then(|| folder.path().join("outbox"));
        let addresses = Addresses {
            broker: format!("mqtt://127.0.0.1:{port}"),
            broker_ca: None,
            registry: sources.registry.host(),
            registry_auth: None,
            key_broker: sources.key_broker.url(),
            key_broker_timeout: Addresses::KEY_BROKER_TIMEOUT,
        };
        let on_disk = match &store {
            Some(store) => format!("[outbox]\npath = {:?}\n", store.display().to_string()),
            None => String::new(),
        };
        // All that may be on their way are to be answered with what they are for, unless a queue is asked for.
        let limits = match more.contains("[limits]") {
            true => String::new(),
            false => format!("[limits]\nqueue = {}\n", arguments.in_flight.get().max(64)),
        };
        let document = addresses
            .init_data(&format!("{on_disk}{limits}{more}"))?
            .text()
            .replace("[mqtt]\n", &format!("[mqtt]\nqos = {}\n", arguments.qos));
        let config = folder.path().join("init-data.toml");
        fs::write(&config, document)?;
        let credentials = folder.path().join("credentials.toml");
        fs::write(
            &credentials,
            format!("[proplet]\napi_key = \"{API_KEY}\"\n"),
        )?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("daemon")
            .arg("--config")
            .arg(&config)
            .arg("--credentials")
            .arg(&credentials);
        let daemon = Process::start(command, &folder.path().join("daemon.log"))?;
        Ok(Self {
            orders,
            daemon,
            mosquitto,
            port,
            store,
            _sources: sources,
            folder,
        })
    }

    /// Where mosquitto listens.
    pub fn broker_port(&self) -> u16 {
        self.port
    }

    /// Processor time of all so far.
    pub fn usage(&self) -> Result<Usage, Box<dyn Error>> {
        Ok(Usage {
            daemon: machine::processor_time(self.daemon.id())?,
            broker: machine::processor_time(self.mosquitto.id())?,
            manager: machine::processor_time(std::process::id())?,
        })
    }

    /// What the daemon holds now.
    pub fn sample(&self) -> Result<Held, Box<dyn Error>> {
        Ok(machine::held(self.daemon.id(), self.store.as_deref())?)
    }

    /// Stops the daemon as an operator does, and then everything else. Its log and outbox are kept when something
    /// was wrong; then this says where.
    pub async fn stop(self, is_kept: bool) -> Result<Option<PathBuf>, Box<dyn Error>> {
        let Self { daemon, folder, .. } = self;
        tokio::task::spawn_blocking(move || daemon.terminate()).await??;
        Ok(is_kept.then(|| folder.keep()))
    }
}

/// The component, pushed and with its key at the key broker.
async fn publish() -> Result<(Sources, Orders), Box<dyn Error>> {
    let guest = tokio::task::spawn_blocking(|| guests::build(GuestName::Hostile)).await??;
    let adder = tokio::task::spawn_blocking(|| guests::build(GuestName::AddCore)).await??;
    let sources = Sources::start().await?;
    // Nobody opens these results.
    let recipient = PrivateKey::generate_p256()?;
    let policy = with_recipients(POLICY, &[recipient.public().clone()]);
    let published = sources.publish("load", &guest.bytes, Some(&policy), KEY_ID.parse()?);
    let (_, pinned) = published.await?;
    let orders = Orders {
        by_digest: pinned.to_string(),
        by_tag: format!("{}/load:encrypted", sources.registry.host()),
        adder: adder.bytes.clone(),
    };
    Ok((sources, orders))
}

async fn start_mosquitto(program: &Path, folder: &Path) -> Result<(Process, u16), Box<dyn Error>> {
    let port = free_address()?.port();
    let config = folder.join("mosquitto.conf");
    let text = format!(
        "persistence false\nallow_anonymous true\nmax_queued_messages 0\nset_tcp_nodelay true\n\
         listener {port} 127.0.0.1\n"
    );
    fs::write(&config, text)?;
    let mut command = Command::new(program);
    command.arg("-c").arg(&config);
    let mut mosquitto = Process::start(command, &folder.join("mosquitto.log"))?;
    for _ in 0..ATTEMPTS {
        if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return Ok((mosquitto, port));
        }
        mosquitto.is_running()?;
        tokio::time::sleep(PAUSE).await;
    }
    Err(format!("{} does not listen on port {port}", program.display()).into())
}

/// A child process. Dropping it kills it.
struct Process {
    child: Child,
    program: String,
    log: PathBuf,
}

impl Process {
    fn start(mut command: Command, log: &Path) -> Result<Self, Box<dyn Error>> {
        let file = fs::File::create(log)?;
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .map_err(|error| format!("{program} cannot be started: {error}; is it installed?"))?;
        Ok(Self {
            child,
            program,
            log: log.to_owned(),
        })
    }

    fn id(&self) -> u32 {
        self.child.id()
    }

    fn is_running(&mut self) -> Result<(), Box<dyn Error>> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                let said = fs::read_to_string(&self.log).unwrap_or_default();
                Err(format!("{} ended, {status}:\n{said}", self.program).into())
            }
        }
    }

    fn terminate(mut self) -> Result<(), std::io::Error> {
        use rustix::process::{Pid, Signal, kill_process};
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
