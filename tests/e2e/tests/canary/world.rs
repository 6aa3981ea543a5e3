//! A daemon as a process of its own, and everything around it with a tap on every wire.

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};

use proplet_image::ImageReference;
use proplet_jose::jwk::PrivateKey;
use proplet_lab::workload::with_recipients;
use proplet_lab::{KEY_ID, Services};
use proplet_testkit::broker::{Outcome, Task};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::tap::Tap;
use crate::watch::files_under;

/// The services, and taps between them and the daemon.
pub struct World {
    pub services: Services,
    pub mqtt: Tap,
    pub registry: Tap,
    pub kbs: Tap,
    pub reader: PrivateKey,
    pub home: Home,
}

/// Everything that a process may take for a place of its own.
pub struct Home {
    folder: TempDir,
    /// The settings document.
    pub settings: PathBuf,
}

impl World {
    pub async fn new(log_level: &str) -> Self {
        let services = Services::start().await.unwrap();
        let port = services.broker.port();
        let mqtt = Tap::before(&format!("127.0.0.1:{port}")).await;
        let registry = Tap::before(&services.registry.host()).await;
        let kbs = Tap::before(&services.key_broker.address().to_string()).await;
        let reader = PrivateKey::generate_p256().unwrap();
        let recipients = with_recipients("", &[reader.public().clone()]);
        // A component that does not compile has no policy, so the settings name a reader too.
        let settings = services
            .settings(&format!("[confidential]\n{recipients}"))
            .replace("[mqtt]", &format!("log_level = \"{log_level}\"\n\n[mqtt]"))
            .replace(&format!("127.0.0.1:{port}"), &mqtt.address())
            .replace(&services.registry.host(), &registry.address())
            .replace(&services.key_broker.address().to_string(), &kbs.address());
        let home = Home::new(&settings);
        Self {
            services,
            mqtt,
            registry,
            kbs,
            reader,
            home,
        }
    }

    /// The same with an audit log, whose addresses are sealed to these public keys. Gives its folder too.
    pub fn audited(self, recipients: &[&str]) -> (Self, PathBuf) {
        let folder = self.home.path().join("state/audit");
        let settings = fs::read_to_string(&self.home.settings).unwrap();
        let recipients: Vec<_> = recipients
            .iter()
            .map(|x| format!("{{ kty = \"OKP\", crv = \"X25519\", x = {x:?} }}"))
            .collect();
        let recipients = recipients.join(", ");
        let audit = format!("[audit]\npath = {folder:?}\nrecipients = [{recipients}]\n");
        fs::write(&self.home.settings, format!("{settings}\n{audit}")).unwrap();
        (self, folder)
    }

    /// Encrypts and pushes a component. The reference leads through the tap.
    pub async fn publish(&self, name: &str, component: &[u8], policy: Option<&str>) -> String {
        let policy = policy.map(|policy| with_recipients(policy, &[self.reader.public().clone()]));
        let key_id = KEY_ID.replace("propeller-wasm", name).parse().unwrap();
        let (_, pinned): (_, ImageReference) = self
            .services
            .publish(name, component, policy.as_deref(), key_id)
            .await
            .unwrap();
        let direct = self.services.registry.host();
        pinned
            .to_string()
            .replace(&direct, &self.registry.address())
    }

    /// Waits for the daemon's first sign of life.
    pub async fn ready(&self) {
        let alive = "control/proplet/alive";
        self.services.manager.messages(alive, 1).await.unwrap();
    }

    /// Starts a task and waits for what the proplet says about it.
    pub async fn run(&self, task: &Task) -> Outcome {
        self.services.manager.start(task).await.unwrap();
        self.services.manager.result(&task.id).await.unwrap()
    }
}

impl Home {
    pub fn new(settings: &str) -> Self {
        let folder = TempDir::new().unwrap();
        for name in [
            "cwd", "home", "tmp", "config", "cache", "data", "state", "runtime",
        ] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let path = folder.path().join("config/proplet.toml");
        fs::write(&path, settings).unwrap();
        Self {
            folder,
            settings: path,
        }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Files that are not the settings document.
    pub fn foreign_files(&self) -> Vec<PathBuf> {
        let files = files_under(self.path()).into_iter().map(|(path, _)| path);
        files.filter(|path| *path != self.settings).collect()
    }

    /// Gives a program this home, a search path, and nothing else of this process.
    fn dress(&self, command: &mut Command) {
        command.env_clear().current_dir(self.path().join("cwd"));
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
        for (variable, folder) in [
            ("HOME", "home"),
            ("TMPDIR", "tmp"),
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_CACHE_HOME", "cache"),
            ("XDG_DATA_HOME", "data"),
            ("XDG_STATE_HOME", "state"),
            ("XDG_RUNTIME_DIR", "runtime"),
        ] {
            command.env(variable, self.path().join(folder));
        }
    }
}

/// A program that runs, and what it prints.
pub struct Process {
    child: Group,
    stdout: JoinHandle<Vec<u8>>,
    stderr: JoinHandle<Vec<u8>>,
}

/// What is left of a program.
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Process {
    /// Starts a program in a process group of its own.
    pub fn start(home: &Home, mut command: Command) -> Self {
        home.dress(&mut command);
        command.process_group(0).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = collect(child.stdout.take().unwrap());
        let stderr = collect(child.stderr.take().unwrap());
        let child = Group(child);
        Self {
            child,
            stdout,
            stderr,
        }
    }

    /// Starts the daemon; `before` are a program and its arguments that run it, such as a tracer.
    pub fn daemon(home: &Home, before: &[&str]) -> Self {
        let daemon = env!("CARGO_BIN_EXE_lab-daemon");
        let words: Vec<_> = before.iter().copied().chain([daemon]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(&home.settings);
        Self::start(home, command)
    }

    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// Sends a signal, also to what runs under a tracer, and waits for the end.
    pub fn end(self, signal: Signal) -> Ended {
        self.child.kill(signal);
        self.wait()
    }

    /// Waits for the end.
    pub fn wait(mut self) -> Ended {
        let status = self.child.0.wait().unwrap();
        Ended {
            status,
            stdout: self.stdout.join().unwrap(),
            stderr: self.stderr.join().unwrap(),
        }
    }
}

/// A child that is the first of its process group. Nothing of the group outlives a test that fails.
struct Group(Child);

impl Group {
    fn kill(&self, signal: Signal) {
        let pid = Pid::from_raw(self.0.id().cast_signed()).unwrap();
        kill_process_group(pid, signal).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            self.kill(Signal::KILL);
            self.0.wait().unwrap();
        }
    }
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        from.read_to_end(&mut all).unwrap();
        all
    })
}
