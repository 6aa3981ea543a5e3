//! The first process of the *test image*: a VM image in which an emulated TEE lies below the unchanged `proplet`.
//!
//! The image builder puts it into an image only when a test names it (`build --test-program init=…`), so such an image
//! measures something else than a sealed one. It does what the hardware and its driver would have done before the
//! first process starts, and then becomes that process:
//!
//! - a device file `/dev/sev-guest`, behind which nobody answers;
//! - the kernel's TSM reports, emulated ([`TsmMount`]) where the kernel has its own. A process of this program serves
//!   them; their HOST_DATA is what QEMU was given as `-fw_cfg name=opt/org.proplet/host-data,string=HEX`.
//!
//! Their signatures are the test PKI's, which nobody trusts but tests.
//!
//! With `-fw_cfg name=opt/org.proplet/event-log,string=1` it writes the event log of a TPM to the console, in lines
//! `EL:HEX`, and switches the machine off.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::{env, io, thread};

use proplet_testkit::tee::{FakeSnp, TsmDevice, TsmMount, TsmTree};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::io::Errno;
use rustix::system::{RebootCommand, finit_module, reboot};
use sys_mount::{Mount, MountFlags};

/// How the kernel calls the program that it starts first, which `proplet` goes by.
const NAME: &str = "/init";
/// Where the builder puts `proplet` when something else is started first.
const PROPLET: &str = "/proplet";
/// The argument with which this program serves the reports.
const SERVE: &str = "serve-tsm-reports";
/// What it says when they are there.
const READY: &str = "ready";
/// Where QEMU's items are.
const ITEMS: &str = "/sys/firmware/qemu_fw_cfg/by_name/opt/org.proplet";
/// Where the kernel has its reports.
const REPORTS: &str = "/sys/kernel/config/tsm/report";
/// The log of the first TPM.
const EVENT_LOG: &str = "/sys/kernel/security/tpm0/binary_bios_measurements";
/// Bytes of it in a line.
const LINE: usize = 512;
/// A number of a device that is nobody's.
const NOBODY: (u32, u32) = (511, 1);

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let ended = match (arguments.next().as_deref(), arguments.next()) {
        (Some(SERVE), Some(host_data)) => serve(&host_data),
        _ if std::process::id() == 1 => start(),
        _ => Err("this is the first process of a test image, and of nothing else".into()),
    };
    if let Err(error) = ended {
        say(&format!("TEST IMAGE: {error}"));
    }
    // The first process does not end: the kernel would take that for a crash.
    if std::process::id() == 1 {
        let _ = reboot(RebootCommand::PowerOff);
    }
    ExitCode::FAILURE
}

/// Becomes `proplet`, with the emulated TEE below it. Comes back when it cannot, or when only the log was wanted.
fn start() -> Outcome {
    mount("proc", "/proc")?;
    mount("sysfs", "/sys")?;
    mount("devtmpfs", "/dev")?;
    load("qemu_fw_cfg")?;
    if Path::new(ITEMS).join("event-log").exists() {
        mount("securityfs", "/sys/kernel/security")?;
        return write_event_log();
    }
    say("TEST IMAGE: its TEE is emulated; nothing in it is confidential");
    let host_data = fs::read_to_string(Path::new(ITEMS).join("host-data/raw"))
        .map_err(|error| format!("no -fw_cfg name=opt/org.proplet/host-data: {error}"))?;
    load("configfs")?;
    mount("tmpfs", "/sys/kernel/config")?;
    fs::create_dir_all(REPORTS)?;
    let (major, minor) = NOBODY;
    let device = makedev(major, minor);
    mknodat(
        CWD,
        "/dev/sev-guest",
        FileType::CharacterDevice,
        Mode::RUSR | Mode::WUSR,
        device,
    )?;
    let mut server = Command::new("/proc/self/exe")
        .args([SERVE, host_data.trim()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = String::new();
    let from = server.stdout.take().ok_or("no pipe")?;
    BufReader::new(from).read_line(&mut said)?;
    if said.trim() != READY {
        return Err("the emulated TSM reports did not come up".into());
    }
    Err(Command::new(PROPLET).arg0(NAME).exec().into())
}

/// Serves the reports until the machine ends.
fn serve(host_data: &str) -> Outcome {
    let mut field = [0; 32];
    hex::decode_to_slice(host_data, &mut field)
        .map_err(|error| format!("host-data is not 32 bytes in hexadecimal: {error}"))?;
    let fake = FakeSnp::builder().host_data(field).build();
    let tree = Arc::new(TsmTree::new(TsmDevice::snp(fake)));
    let _mount = TsmMount::new(tree, Path::new(REPORTS))?;
    let mut out = io::stdout().lock();
    writeln!(out, "{READY}")?;
    out.flush()?;
    loop {
        thread::park();
    }
}

fn write_event_log() -> Outcome {
    let log = fs::read(EVENT_LOG).map_err(|error| format!("{EVENT_LOG}: {error}"))?;
    for line in log.chunks(LINE) {
        say(&format!("EL:{}", hex::encode(line)));
    }
    Ok(())
}

fn mount(kind: &str, place: &str) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    Mount::builder()
        .fstype(kind)
        .flags(flags)
        .mount(kind, place)
        .map(drop)
        .map_err(|error| io::Error::other(format!("{place} cannot be mounted: {error}")))
}

fn load(module: &str) -> Result<(), String> {
    let path = format!("/lib/modules/{module}.ko");
    let file = File::open(&path).map_err(|error| format!("{path}: {error}"))?;
    match finit_module(&file, c"", 0) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(format!("{path}: {error}")),
    }
}

/// Writes a line to the console.
fn say(line: &str) {
    let mut console = io::stderr().lock();
    let _ = writeln!(console, "{line}");
}
