//! A machine that looks like a confidential VM, and the world around it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use proplet_hal::hardware::HardwareKind;
use proplet_image::ImageReference;
use proplet_jose::jwk::PrivateKey;
use proplet_lab::owner::{fake_boot_chain, open_result};
use proplet_lab::workload::with_recipients;
use proplet_lab::{API_KEY, Addresses, KEY_ID, PROPLET, Services};
use proplet_results::Opened;
use proplet_results::verify::Expectations;
use proplet_testkit::broker::{Outcome, Task};
use proplet_testkit::kbs::{DevKeyBroker, Policy};
use proplet_testkit::tee::{
    FakeSnp, FakeTdx, TDX_TEST_ROOT_PEM, TEST_REFERENCE_VALUES, TEST_ROOTS_PEM, TdxCollateral,
    TsmDevice, TsmMount, TsmTree, test_reference_values,
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::program::proplet;

/// Runs a program in the machine. The arguments are the emulated tree, an empty folder, the name of a device
/// file, and the program with its own arguments. Nobody answers behind the device: its number is nobody's.
const ENTER: &str = r#"
set -eu
tree=$1 dev=$2 device=$3
shift 3
mount -t tmpfs -o mode=755 none /sys/kernel
mkdir -p /sys/kernel/config/tsm/report
mount --bind "$tree" /sys/kernel/config/tsm/report
mount -t tmpfs -o mode=755 none "$dev"
for node in null zero full random urandom; do cp -a "/dev/$node" "$dev/$node"; done
mknod "$dev/$device" c 511 1
mount --move "$dev" /dev
exec "$@"
"#;

const ADD: &str = r#"(module (func (export "add") (param i32 i32) (result i32)
    (i32.add (local.get 0) (local.get 1))))"#;

/// A machine, and the services that it is set up for.
pub struct Machine {
    pub tree: Arc<TsmTree>,
    pub services: Services,
    kind: HardwareKind,
    reader: PrivateKey,
    image: ImageReference,
    tasks: AtomicU32,
    _mount: TsmMount,
    folder: TempDir,
}

impl Machine {
    /// A machine that was started with its settings as init-data, and an encrypted workload for it.
    pub async fn new(kind: HardwareKind) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["tsm", "dev", "home"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        // The key is released to a VM that is among the reference values, and relying parties take the same file.
        let key_broker = DevKeyBroker::builder()
            .reference_values(&test_reference_values())
            .policy(Policy::predicate(|request| request.is_affirming()));
        let key_broker = key_broker.start().await.unwrap();
        let services = Services::with(key_broker).await.unwrap();
        let addresses = Addresses {
            key_broker_timeout: Duration::from_secs(60),
            ..services.addresses()
        };
        let settings = addresses.measured("").unwrap();
        let init_data = settings.init_data.as_ref().unwrap();
        fs::write(folder.path().join("init-data.toml"), init_data.text()).unwrap();
        let credentials = format!("[proplet]\napi_key = \"{API_KEY}\"\n");
        fs::write(folder.path().join("credentials.toml"), credentials).unwrap();
        let device = match kind {
            HardwareKind::Snp => {
                let fake = FakeSnp::builder().host_data(init_data.host_data());
                TsmDevice::snp(fake.build())
            }
            HardwareKind::Tdx => {
                let fake = FakeTdx::builder().mr_config_id(init_data.mrconfigid());
                TsmDevice::tdx(fake.build())
            }
        };
        let tree = Arc::new(TsmTree::new(device));
        let mount = TsmMount::new(tree.clone(), &folder.path().join("tsm")).unwrap();

        let reader = PrivateKey::generate_p256().unwrap();
        let policy = "version = 1\nexports = [\"add\"]\n";
        let policy = with_recipients(policy, std::slice::from_ref(reader.public()));
        let component = wat::parse_str(ADD).unwrap();
        let key_id = KEY_ID.parse().unwrap();
        let published = services.publish("add", &component, Some(&policy), key_id);
        let (_, image) = published.await.unwrap();
        Self {
            tree,
            services,
            kind,
            reader,
            image,
            tasks: AtomicU32::new(0),
            _mount: mount,
            folder,
        }
    }

    /// `proplet` in the machine.
    fn command(&self, arguments: &[&str]) -> Command {
        let device = match self.kind {
            HardwareKind::Snp => "sev-guest",
            HardwareKind::Tdx => "tdx_guest",
        };
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private"])
            .args(["sh", "-c", ENTER, "sh"])
            .args([self.path("tsm"), self.path("dev")])
            .arg(device)
            .arg(proplet())
            .args(arguments);
        self.dress(&mut command);
        command
    }

    fn dress(&self, command: &mut Command) {
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.path("home"))
            .current_dir(self.path("home"))
            .stdin(Stdio::null());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file and gives its path as text.
    pub fn write(&self, name: &str, content: &str) -> String {
        fs::write(self.path(name), content).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    /// The settings that this machine was started with.
    pub fn settings(&self) -> String {
        self.path("init-data.toml").to_str().unwrap().to_owned()
    }

    /// The test roots, in a file.
    pub fn roots(&self) -> String {
        self.write(
            "roots.pem",
            match self.kind {
                HardwareKind::Snp => TEST_ROOTS_PEM,
                HardwareKind::Tdx => TDX_TEST_ROOT_PEM,
            },
        )
    }

    /// The test PKI's collateral, in a file.
    pub fn collateral(&self) -> String {
        let collateral = TdxCollateral::committed().to_json().to_string();
        self.write("collateral.json", &collateral)
    }

    /// Runs a command of `proplet` in the machine to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Starts the daemon in the machine, and waits until it announces itself: a heartbeat may still be on its way from
    /// one that has ended.
    pub async fn daemon(&self) -> Daemon {
        let announced = "control/proplet/create";
        let so_far = self.services.manager.on(announced).len();
        let documents = ["init-data.toml", "credentials.toml"].map(|name| self.path(name));
        let [settings, credentials] = documents.each_ref().map(|path| path.to_str().unwrap());
        let mut command = self.command(&["--config", settings, "--credentials", credentials]);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (stderr, written) = (child.stderr.take().unwrap(), log.clone());
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = written.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        let daemon = Daemon { child, log };
        let messages = self.services.manager.messages(announced, so_far + 1).await;
        assert!(messages.is_ok(), "{}", daemon.log());
        daemon
    }

    /// Starts the encrypted task, under an id of its own, and waits for what comes of it.
    pub async fn task(&self) -> Outcome {
        let number = self.tasks.fetch_add(1, Ordering::Relaxed);
        let id = format!("00000000-0000-4000-8000-{number:012}");
        let task = Task {
            cli_args: Some(vec!["--invoke".to_owned(), "add".to_owned()]),
            inputs: vec!["40".to_owned(), "2".to_owned()],
            proplet_id: PROPLET.to_owned(),
            ..Task::encrypted(&id, "add", &self.image.to_string())
        };
        self.services.manager.start(&task).await.unwrap();
        self.services.manager.result(&id).await.unwrap()
    }

    /// Opens a result, verified down to the test root.
    pub fn open(&self, outcome: &Outcome) -> Opened {
        let expected = Expectations {
            tdx: fake_boot_chain(),
            ..Expectations::of_measurements([self.measurement()])
        };
        open_result(&self.reader, &outcome.results, &expected).unwrap()
    }

    /// `proplet verify` as a relying party types it, elsewhere; with the test root or with the built-in ones.
    pub fn verify(&self, outcome: &Outcome, with_test_root: bool) -> Output {
        let mut command = Command::new(proplet());
        command
            .args(["--json", "verify"])
            .arg(self.write("result.json", &outcome.results))
            .arg("--reference-values")
            .arg(self.write("reference-values.toml", TEST_REFERENCE_VALUES));
        if self.kind == HardwareKind::Tdx {
            command.arg("--collateral").arg(self.collateral());
        }
        if with_test_root {
            command.arg("--roots").arg(self.roots());
        }
        self.dress(&mut command);
        command.output().unwrap()
    }

    fn measurement(&self) -> Vec<u8> {
        match self.kind {
            HardwareKind::Snp => FakeSnp::MEASUREMENT.to_vec(),
            HardwareKind::Tdx => FakeTdx::MEASUREMENT.to_vec(),
        }
    }
}

/// A daemon that runs in the machine. It is ended when dropped.
pub struct Daemon {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Daemon {
    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until the log holds these words: a thread of its own writes it, so they may come after an answer.
    pub async fn logs(&self, words: &str) {
        let said = async {
            while !self.log().contains(words) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), said).await;
        assert!(in_time.is_ok(), "there is no {words:?}: {}", self.log());
    }

    /// Ends it as a service manager does.
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        let ended = self.child.wait().unwrap();
        assert!(ended.success(), "{ended:?}: {}", self.log());
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        let _ = kill_process(pid, signal);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
    }
}
