//! What `hal/ubuntu/qemu.sh` asks for: whatever of a VM's start is better not done by a shell.

mod documents;
mod qmp;

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use proplet_measure::Measurements;
use proplet_measure::snp::CpuType;
use thiserror::Error;

use crate::{BuildError, disk, firmware};
use documents::{Request, documents};

/// Largest file that goes into a document.
const MAX_FILE: u64 = 1024 * 1024;
/// How long QEMU may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why a VM cannot be started, or not be spoken to.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum VmError {
    /// A variable is not text.
    #[error("{0} is not set, or not UTF-8: give it as text")]
    Variable(String),
    /// Something that the daemon cannot do without is nowhere.
    #[error(
        "{what} is neither in the settings nor in {variables}: the proplet could not join its broker"
    )]
    Missing {
        /// The setting.
        what: &'static str,
        /// The variables that may give it.
        variables: &'static str,
    },
    /// The settings are none.
    #[error("{path}: {reason}")]
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The settings name another key broker than the variable.
    #[error(
        "KBS_URL is {variable:?}, and the settings {settings}: only the settings decide about the key broker, so \
         make them the same or unset KBS_URL"
    )]
    KeyBroker {
        /// What the variable says.
        variable: String,
        /// What the settings say, in words.
        settings: String,
    },
    /// A credential stands where everybody reads it.
    #[error(
        "the settings have [proplet] {0}, and everybody who verifies or starts the VM reads them: take it out, and set \
         PROPLET_API_KEY or [proplet] api_key_resource"
    )]
    Credential(&'static str),
    /// The settings do not name the disk that the VM gets.
    #[error(
        "DISK_SIZE attaches a disk for the outbox, and the settings do not name it: unset DISK_SIZE, or write into them\n\
         [outbox]\npath = \"{0}\""
    )]
    Disk(&'static str),
    /// The broker's address leads to the VM.
    #[error(
        "the broker's address {0:?} is the VM itself; the machine that runs the VM is at 10.0.2.2 from inside"
    )]
    Loopback(String),
    /// QEMU does not answer as it should.
    #[error("{socket}: {reason}; `qemu.sh status` says whether the VM runs")]
    Qmp {
        /// Its socket.
        socket: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The CPU has no memory encryption.
    #[error("the CPU does not say which bit of an address means encrypted: it has no SEV")]
    NoSev,
}

/// What the script around QEMU asks for
#[derive(Debug, Args)]
pub(crate) struct Vm {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write both disks of a VM and say their digest
    Documents(Documents),
    /// Say what an image measures with one type and number of CPUs
    Measure(Measure),
    /// Give QEMU one command by its socket
    Qmp(Qmp),
    /// Say which bit of an address means encrypted, as the CPU has it
    Cbitpos,
}

#[derive(Debug, Args)]
struct Documents {
    /// The settings that are measured; none has a key broker's address only
    #[arg(long, value_name = "FILE", conflicts_with = "init_data")]
    settings: Option<PathBuf>,
    /// An init-data document with the settings in it, taken as it is
    #[arg(long, value_name = "FILE")]
    init_data: Option<PathBuf>,
    /// The key broker's address, when there are no settings; otherwise what they must say
    #[arg(long, value_name = "URL")]
    kbs_url: Option<String>,
    /// A variable of this process that the operator's document gets; its value is in no command line
    #[arg(long, value_name = "NAME")]
    variable: Vec<String>,
    /// A file that the operator's document gets, and the variable that says where it is in the VM, as NAME=VARIABLE=PATH;
    /// the variable may be empty
    #[arg(long, value_name = "NAME=VARIABLE=PATH", value_parser = triple)]
    file: Vec<(String, String, PathBuf)>,
    /// The VM gets a disk for the outbox: made settings name it, and given ones must
    #[arg(long)]
    outbox_disk: bool,
    /// Where the disks are written
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct Measure {
    /// The image; both firmwares are beside it
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// Type of the CPUs
    #[arg(long, value_name = "TYPE")]
    cpu: CpuType,
    /// Number of CPUs
    #[arg(long, value_name = "N")]
    vcpus: u32,
}

#[derive(Debug, Args)]
struct Qmp {
    /// The socket
    #[arg(value_name = "SOCKET")]
    socket: PathBuf,
    /// The command, which takes no arguments
    #[arg(value_name = "COMMAND")]
    command: String,
}

fn triple(text: &str) -> Result<(String, String, PathBuf), String> {
    let mut parts = text.splitn(3, '=');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(name), Some(variable), Some(path)) if !name.is_empty() && !path.is_empty() => {
            Ok((name.to_owned(), variable.to_owned(), path.into()))
        }
        _ => Err("write NAME=VARIABLE=PATH".to_owned()),
    }
}

impl Vm {
    /// Does what was asked; the text is the answer.
    pub(crate) fn run(&self) -> Result<String, BuildError> {
        match &self.command {
            Command::Documents(arguments) => arguments.run(),
            Command::Measure(arguments) => arguments.run(),
            Command::Qmp(arguments) => Ok(qmp::execute(
                &arguments.socket,
                &arguments.command,
                PATIENCE,
            )?),
            Command::Cbitpos => Ok(cbitpos()?.to_string()),
        }
    }
}

impl Documents {
    fn run(&self) -> Result<String, BuildError> {
        let mut variables = Vec::new();
        for name in &self.variable {
            let value = std::env::var(name).map_err(|_| VmError::Variable(name.clone()))?;
            variables.push((name.clone(), value));
        }
        let mut files = Vec::new();
        for (name, variable, path) in &self.file {
            files.push((name.clone(), variable.clone(), read_text(path)?));
        }
        let given = match (&self.settings, &self.init_data) {
            (Some(path), _) => Some((path.clone(), read_text(path)?, false)),
            (None, Some(path)) => Some((path.clone(), read_text(path)?, true)),
            (None, None) => None,
        };
        let made = documents(&Request {
            given,
            kbs_url: self.kbs_url.as_deref(),
            variables,
            files,
            has_disk: self.outbox_disk,
        })?;
        let text = made.init_data.text();
        for (name, word, document) in [
            ("initdata.img", b"initdata", text),
            ("operator.img", b"operator", &made.operator),
        ] {
            let path = self.out.join(name);
            let bytes = disk::write(word, document).map_err(BuildError::file(&path))?;
            write_own(&path, &bytes)?;
        }
        write_own(&self.out.join("init-data.toml"), text.as_bytes())?;
        let yes_or_no = |is_so| if is_so { "yes" } else { "no" };
        Ok(format!(
            "digest={}\nhost_data={}\nmrconfigid={}\nkey_broker={}\noutbox_disk={}\nevidence_port={}",
            hex::encode(made.init_data.digest()),
            STANDARD.encode(made.init_data.host_data()),
            STANDARD.encode(made.init_data.mrconfigid()),
            yes_or_no(made.has_key_broker),
            yes_or_no(made.names_disk),
            made.evidence_port
                .map_or_else(String::new, |port| port.to_string()),
        ))
    }
}

impl Measure {
    fn run(&self) -> Result<String, BuildError> {
        let read = |path: &Path| fs::read(path).map_err(BuildError::file(path));
        let measured = Measurements::of(
            &read(&self.image)?,
            &read(&self.image.with_file_name(firmware::SNP))?,
            &read(&self.image.with_file_name(firmware::TDX))?,
            std::slice::from_ref(&self.cpu),
            &[self.vcpus],
        )?;
        let snp = measured.snp.first().map(|entry| entry.measurement.as_str());
        let tdx = &measured.tdx;
        Ok(format!(
            "image={}\nsnp={}\nmrtd={}\nrtmr1={}\nrtmr2={}",
            measured.uki_sha256,
            snp.unwrap_or_default(),
            tdx.mrtd,
            tdx.rtmr1,
            tdx.rtmr2
        ))
    }
}

/// Writes a file that nobody else on this machine may read: the operator's document has credentials in it. A VM that
/// runs keeps the file that it was started with.
fn write_own(path: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    let new = path.with_extension("new");
    let written = || {
        match fs::remove_file(&new) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => (),
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(bytes)?;
        fs::rename(&new, path)
    };
    written().map_err(BuildError::file(path))
}

fn read_text(path: &Path) -> Result<String, BuildError> {
    let mut text = String::new();
    let read = fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text))
        .map_err(BuildError::file(path))?;
    if read as u64 > MAX_FILE {
        return Err(BuildError::file(path)(std::io::Error::other(format!(
            "it has more than {MAX_FILE} bytes"
        ))));
    }
    Ok(text)
}

/// CPUID 8000_001F, of which EBX has the number of the bit.
#[cfg(target_arch = "x86_64")]
fn cbitpos() -> Result<u32, VmError> {
    use std::arch::x86_64::__cpuid;
    const LAST: u32 = 0x8000_0000;
    const ENCRYPTION: u32 = 0x8000_001f;
    if __cpuid(LAST).eax < ENCRYPTION {
        return Err(VmError::NoSev);
    }
    let found = __cpuid(ENCRYPTION);
    of_leaf(found.eax, found.ebx).ok_or(VmError::NoSev)
}

#[cfg(not(target_arch = "x86_64"))]
fn cbitpos() -> Result<u32, VmError> {
    Err(VmError::NoSev)
}

/// Bit 1 of EAX is SEV; without it the rest means nothing.
fn of_leaf(eax: u32, ebx: u32) -> Option<u32> {
    let bit = ebx & 0x3f;
    (eax & 2 != 0 && bit != 0).then_some(bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_says_which_bit_it_is() {
        // As an EPYC 7003 has it.
        assert_eq!(of_leaf(0x0101_fd3f, 0x0000_4173), Some(51));
        assert_eq!(of_leaf(0x1, 51), None, "SME alone is no SEV");
        assert_eq!(of_leaf(0, 0), None);
    }

    #[test]
    fn files_of_documents_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        fs::write(&path, vec![b'a'; usize::try_from(MAX_FILE).unwrap() + 1]).unwrap();
        let error = read_text(&path).unwrap_err().to_string();
        assert!(error.contains("more than"), "{error}");
        fs::write(&path, [0xff]).unwrap();
        assert!(read_text(&path).is_err(), "not text");
    }

    #[test]
    fn documents_are_their_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operator.img");
        fs::write(&path, "old").unwrap();
        for text in ["one", "two"] {
            write_own(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(
                fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
        assert!(write_own(&folder.path().join("no/x"), b"").is_err());
    }

    #[test]
    fn files_are_named_with_their_variable() {
        assert_eq!(
            triple("ca.pem=A=/x=y"),
            Ok(("ca.pem".to_owned(), "A".to_owned(), "/x=y".into()))
        );
        assert!(triple("keys==/x").is_ok());
        for bad in ["ca.pem", "ca.pem=/x", "=A=/x", "ca.pem=A="] {
            assert!(triple(bad).is_err(), "{bad}");
        }
    }
}
