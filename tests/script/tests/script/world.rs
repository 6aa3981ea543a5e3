//! A user with a machine, an image and the script.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use proplet_script_tests::Start;
use tempfile::TempDir;

use super::starting;

/// The kinds of machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// An EPYC with SEV-SNP on.
    Snp,
    /// An EPYC whose kernel has SEV and not SEV-SNP.
    PlainSev,
    /// A Xeon with TDX on.
    Tdx,
    /// A machine with virtualization and neither.
    Kvm,
    /// One with `/dev/kvm` and a CPU that cannot.
    KvmDeviceAlone,
    /// One with nothing.
    Nothing,
}

pub const QEMU: &str = env!("CARGO_BIN_EXE_stub-qemu");
pub const BUILDER: &str = env!("CARGO_BIN_EXE_script-image-builder");
/// Held by the machine that chooses ports.
static PORTS: Mutex<()> = Mutex::new(());

/// What QEMU answers about SEV on an EPYC 7003.
const SEV: &str = r#"{"return": {"reduced-phys-bits": 1, "cbitpos": 51, "cpu0-id": "x", "pdh": "x", "cert-chain": "x"}}"#;

pub fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

pub struct World {
    pub folder: TempDir,
    pub script: PathBuf,
    variables: BTreeMap<String, String>,
    ports: Option<MutexGuard<'static, ()>>,
}

/// What became of a call.
#[derive(Debug)]
pub struct Said {
    pub ok: bool,
    pub out: String,
    pub err: String,
}

impl Said {
    #[track_caller]
    pub fn fine(self) -> Self {
        assert!(self.ok, "{}{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub fn refused(self, words: &[&str]) -> Self {
        assert!(!self.ok, "not refused: {}{}", self.out, self.err);
        self.says(words)
    }

    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.err.contains(word), "{word:?} is not in\n{}", self.err);
        }
        self
    }
}

impl World {
    pub fn new(machine: Machine) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let vectors = sources().join("hal/image/measure/tests/vectors");
        let image = folder.path().join("an image, with a comma");
        fs::create_dir(&image).unwrap();
        for (from, to) in [
            ("image.efi", "proplet.efi"),
            ("firmware.fd", "OVMF.amdsev.fd"),
            ("firmware.fd", "OVMF.inteltdx.fd"),
        ] {
            fs::copy(vectors.join(from), image.join(to)).unwrap();
        }
        fs::write(image.join("measurements.json"), "{\"snp\": []}\n").unwrap();
        for name in ["starts", "root", "home"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let variables = [
            ("PATH", std::env::var("PATH").unwrap()),
            ("HOME", path("home")),
            ("QEMU", QEMU.to_owned()),
            ("QEMU_SH_ROOT", path("root")),
            ("PROPLET_IMAGE", path("an image, with a comma")),
            ("PROPLET_IMAGE_BUILDER", BUILDER.to_owned()),
            ("STUB_FOLDER", path("starts")),
            ("PROPLET_TENANT_ID", "tenant".to_owned()),
            ("PROPLET_CHANNEL_ID", "channel".to_owned()),
            ("PROPLET_ENTITY_ID", "entity".to_owned()),
            ("PROPLET_API_KEY", "hunter2".to_owned()),
            ("PROPLET_MQTT_ADDRESS", "tcp://10.0.2.2:1883".to_owned()),
        ];
        let variables = variables
            .map(|(name, value)| (name.to_owned(), value))
            .into();
        let mut world = Self {
            folder,
            script: sources().join("hal/ubuntu/qemu.sh"),
            variables,
            ports: None,
        };
        world.becomes(machine);
        world
    }

    fn becomes(&mut self, machine: Machine) {
        let (flags, files): (&str, &[(&str, &str)]) = match machine {
            Machine::Snp => (
                "fpu svm sme sev sev_es sev_snp",
                &[
                    ("dev/kvm", ""),
                    ("dev/sev", ""),
                    ("sys/module/kvm_amd/parameters/sev", "Y\n"),
                    ("sys/module/kvm_amd/parameters/sev_snp", "Y\n"),
                ],
            ),
            Machine::PlainSev => (
                "fpu svm sme sev sev_es",
                &[
                    ("dev/kvm", ""),
                    ("dev/sev", ""),
                    ("sys/module/kvm_amd/parameters/sev", "Y\n"),
                    ("sys/module/kvm_amd/parameters/sev_snp", "N\n"),
                ],
            ),
            Machine::Tdx => (
                "fpu vmx tdx_host_platform",
                &[
                    ("dev/kvm", ""),
                    ("dev/vhost-vsock", ""),
                    ("sys/module/kvm_intel/parameters/tdx", "Y\n"),
                ],
            ),
            Machine::Kvm => (
                "fpu vmx",
                &[
                    ("dev/kvm", ""),
                    ("sys/module/kvm_intel/parameters/tdx", "N\n"),
                ],
            ),
            Machine::KvmDeviceAlone => ("fpu hypervisor", &[("dev/kvm", "")]),
            Machine::Nothing => ("fpu", &[]),
        };
        self.write(
            "root/proc/cpuinfo",
            &format!("processor\t: 0\nflags\t\t: {flags}\nbugs\t\t: svm vmx sev_snp\n"),
        );
        for (path, text) in files {
            self.write(&format!("root/{path}"), text);
        }
        if machine == Machine::Snp {
            self.set("STUB_SEV", SEV);
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        starting::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    pub fn unset(&mut self, name: &str) {
        self.variables.remove(name);
    }

    pub fn becomes_debug(&mut self) {
        self.takes_ports();
        self.set("FLAVOUR", "debug");
        let image = self.path("an image, with a comma");
        fs::copy(image.join("proplet.efi"), image.join("proplet-debug.efi")).unwrap();
        fs::write(
            image.join("measurements.json"),
            "{\"flavour\": \"debug\"}\n",
        )
        .unwrap();
    }

    /// From now on until its end, no other machine chooses ports: two users' scripts, which know nothing of each other,
    /// may find the same one free.
    pub fn takes_ports(&mut self) {
        self.ports
            .get_or_insert_with(|| PORTS.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.script);
        command
            .args(arguments)
            .env_clear()
            .envs(&self.variables)
            .current_dir(self.folder.path());
        command
    }

    pub fn call(&self, arguments: &[&str]) -> Said {
        Self::told(starting::output(&mut self.command(arguments)))
    }

    pub fn told(output: Output) -> Said {
        Said {
            ok: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts a QEMU that ends at once, in the foreground.
    pub fn tries(&self) -> Said {
        let mut command = self.command(&["run", "--foreground"]);
        Self::told(starting::output(command.env("STUB_ENDS", "0")))
    }

    pub fn starts(&self) -> Vec<Start> {
        let mut starts: Vec<_> = fs::read_dir(self.path("starts"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        starts.sort();
        starts
            .iter()
            .map(|path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap())
            .collect()
    }

    /// The only start that there was.
    #[track_caller]
    pub fn start(&self) -> Start {
        let mut starts = self.starts();
        assert_eq!(starts.len(), 1, "QEMU was started {} times", starts.len());
        starts.remove(0)
    }

    pub fn vm(&self, name: &str) -> PathBuf {
        self.path("home/.local/state/proplet/vms").join(name)
    }

    /// The document on a disk.
    pub fn disk(&self, name: &str, disk: &str) -> String {
        let bytes = fs::read(self.vm(name).join(disk)).unwrap();
        let len = usize::try_from(u64::from_le_bytes(bytes[8..16].try_into().unwrap())).unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(&bytes[16..16 + len])
            .read_to_string(&mut text)
            .unwrap();
        text
    }

    /// Nothing is left of a refused call: no VM, no QEMU.
    #[track_caller]
    pub fn is_untouched(&self) {
        assert!(self.starts().is_empty(), "QEMU was started");
        let vms = self.path("home/.local/state/proplet/vms");
        let left = fs::read_dir(&vms).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{} is not empty", vms.display());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Whatever a test left running.
        self.set("STOP_SECONDS", "0");
        let _ = self.call(&["stop", "--all"]);
    }
}

/// The value after an option.
#[track_caller]
pub fn after<'a>(start: &'a Start, option: &str) -> Vec<&'a str> {
    start
        .arguments
        .windows(2)
        .filter(|pair| pair[0] == option)
        .map(|pair| pair[1].as_str())
        .collect()
}
