//! A daemon as a process of its own, in namespaces of its own where a test needs them, and mosquitto.

use std::{
    io::{BufRead as _, BufReader},
    net::IpAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, channel},
    },
    time::Duration,
};

use proplet_testkit::{
    broker::{Manager, Task},
    ports::free_address,
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{net::TcpStream, time::timeout};

pub(crate) const ENTITY: &str = "proplet-1";
/// How long anything may take before it counts as never.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Mosquitto {
    child: Child,
    pub(crate) port: u16,
}

impl Mosquitto {
    /// A broker on the loopback, and at further addresses.
    pub(crate) async fn start(folder: &Path, more: &[IpAddr]) -> Self {
        let port = free_address().unwrap().port();
        let config = folder.join("mosquitto.conf");
        let mut text =
            "user root\npersistence false\nallow_anonymous true\nmax_queued_messages 0\nset_tcp_nodelay true\n"
                .to_owned();
        text += &format!("listener {port} 127.0.0.1\n");
        for address in more {
            text += &format!("listener {port} {address}\n");
        }
        std::fs::write(&config, text).unwrap();
        let child = Command::new("mosquitto")
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto did not start; is it installed?");
        let up = async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, up).await.unwrap();
        Self { child, port }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A daemon, and what it says.
pub(crate) struct Daemon {
    child: Child,
    lines: Mutex<Receiver<String>>,
    said: Arc<Mutex<String>>,
}

impl Daemon {
    /// Starts the daemon by these words, which end in what starts programs: `unshare … --`, or nothing.
    pub(crate) fn start(before: &[&str], folder: &Path, settings: &str) -> Self {
        let path = folder.join("proplet.toml");
        std::fs::write(&path, settings).unwrap();
        let program = env!("CARGO_BIN_EXE_lab-daemon");
        let mut words: Vec<&str> = before.to_vec();
        words.push(program);
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .arg(&path)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let said = Arc::new(Mutex::new(String::new()));
        let (stderr, log) = (BufReader::new(child.stderr.take().unwrap()), said.clone());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                *log.lock().unwrap() += &format!("{line}\n");
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            lines: Mutex::new(lines),
            said,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it said.
    pub(crate) fn log(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits until it says this.
    pub(crate) fn says(&self, words: &str) {
        let lines = self.lines.lock().unwrap();
        loop {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(words) => return,
                Ok(_) => {}
                Err(_) => panic!("never said {words:?}: {}", self.log()),
            }
        }
    }

    pub(crate) fn terminate(&self) {
        let id = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        kill_process(id, Signal::TERM).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) {
        assert!(self.child.wait().unwrap().success(), "{}", self.log());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn settings(broker: &str, more: &str) -> String {
    format!(
        "[proplet]\ntenant_id = \"t\"\nchannel_id = \"c\"\nentity_id = \"{ENTITY}\"\napi_key = \"k\"\n\
         heartbeat_seconds = 1\n[mqtt]\naddress = \"{broker}\"\nqos = 1\n{more}"
    )
}

/// Runs a program of the system.
pub(crate) fn system(words: &[&str]) {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {said}");
}

pub(crate) fn add(id: &str) -> Task {
    let adder = wat::parse_str(
        "(module (func (export \"add\") (param i32 i32) (result i32)
           (i32.add (local.get 0) (local.get 1))))",
    )
    .unwrap();
    Task {
        inputs: vec!["10".into(), "20".into()],
        proplet_id: ENTITY.into(),
        ..Task::plain(id, "add", adder)
    }
}

pub(crate) fn spin(id: &str) -> Task {
    let spinner = wat::parse_str("(module (func (export \"spin\") (loop $again (br $again))))");
    Task {
        proplet_id: ENTITY.into(),
        ..Task::plain(id, "spin", spinner.unwrap())
    }
}

/// Waits until one has announced itself, after so many announcements: a beat may still be on its way from one that ended.
pub(crate) async fn present(manager: &Manager, times: usize) {
    timeout(PATIENCE, async {
        while manager
            .messages("control/proplet/create", times + 1)
            .await
            .is_err()
        {}
    })
    .await
    .expect("the daemon did not come back");
}
