//! The first process of the confidential VM image.
//!
//! The image is one measured file: a kernel, and an archive with this program, the kernel's modules and a few
//! lines of configuration. There is no distribution around it, so `proplet` itself does what an init does, and
//! nothing else: it mounts the kernel's file systems, loads the modules that the image lists, brings up the network,
//! then starts the daemon as its child, reaps what dies and powers the machine off when the daemon ends.
//!
//! It also is what makes the measurement mean something. Before the daemon starts
//!
//! - the kernel's command line must be the one that stands in the image: systemd's stub takes another one
//!   from whoever starts the VM, and a verifier of TDX that pins only RTMR1 would not see it;
//! - the settings come from the *init-data* disk, and where the VM is in a TEE the digest of that document must
//!   be what HOST_DATA or MRCONFIGID holds;
//! - no TEE is believed to be absent because a device is: a kernel that found its memory encrypted and has no device
//!   to attest with stops. *Plain mode*, which runs plain tasks only, exists only where the CPU says itself that
//!   this is no confidential guest;
//! - after the last module nothing can be added to the kernel any more.
//!
//! What does not hold ends in power-off with a code on the console (`docs/codes.md`), never in a shell, another
//! kernel or a reboot. The daemon is not started a second time: what a crashed process of a confidential VM leaves
//! behind is for its owner to look at, and whoever runs the VM can start it again.
//!
//! The image has a *debug* flavour too, with a measurement of its own: there a shell is on the console and ssh on port
//! 2222, and the machine stays on when the daemon ends. What makes it one is in its archive and on its command line;
//! no document does.
//!
//! A disk *outbox* is the only one that is written to, and no file system is mounted from it.
//!
//! A second disk, *operator*, is not measured. It gives the daemon variables of its environment and files; what
//! these may say is the settings' to decide, and they decide about no secret.
#![deny(missing_docs)]

mod console;
mod debug;
mod disk;
mod documents;
mod error;
mod guest;
mod kernel;
mod modules;
mod mounts;
mod network;
mod outbox;
mod power;
mod supervise;
mod tee;

use std::path::Path;

use proplet_hal::Flavour;

pub use disk::{Container, DiskError};
pub use documents::{OperatorDocument, OperatorError};
pub use error::InitError;
pub use outbox::OUTBOX_DEVICE;

use console::say;

/// How the kernel calls the program that it starts first.
const NAME: &str = "/init";
/// Where the image keeps what belongs to it.
const IMAGE: &str = "/etc/proplet";
/// Where documents and files of this boot are.
const RUN: &str = "/run/proplet";

/// Whether this process was started by the kernel as the first one of an image. In a container it is the first
/// process too, but under another name.
#[must_use]
pub fn is_first_process() -> bool {
    let name = std::env::args_os().next().unwrap_or_default();
    std::process::id() == 1 && name == NAME
}

/// Runs the machine until it is switched off. Comes back only when not even that is possible.
pub fn run() -> std::process::ExitCode {
    let ended = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(InitError::Runtime)
        .and_then(|runtime| runtime.block_on(boot()));
    match ended {
        Ok(()) => say("powering off"),
        Err(error) => say(&format!("POWER OFF: {}: {error}", error.code())),
    }
    power::off()
}

async fn boot() -> Result<(), InitError> {
    mounts::kernel()?;
    kernel::name();
    let flavour = Flavour::of_machine(Path::new("/"));
    say(&format!(
        "proplet {} starts, {flavour} flavour",
        env!("CARGO_PKG_VERSION")
    ));
    debug::announce(flavour);
    kernel::check_command_line(
        Path::new("/proc/cmdline"),
        &Path::new(IMAGE).join("cmdline"),
    )?;
    modules::load(Path::new("/lib/modules"))?;
    mounts::of_modules()?;
    kernel::close(flavour)?;
    if let Some(line) = kernel::floor_clock(&Path::new(IMAGE).join("date"))? {
        say(&line);
    }
    let documents = documents::read()?;
    tee::check(&documents.settings).await?;
    documents.write(Path::new(RUN))?;
    outbox::link(&documents.settings)?;
    debug::shell(flavour);
    match serve(flavour, &documents).await {
        Err(error) if flavour.is_debug() => {
            say(&format!(
                "{}: {error}. The sealed flavour would power off; this one stays on for whoever looks into it \
                 (`poweroff -f`)",
                error.code()
            ));
            supervise::stay().await
        }
        ended => ended,
    }
}

/// What comes after everything that the measurement rests on.
async fn serve(flavour: Flavour, documents: &documents::Documents) -> Result<(), InitError> {
    let run = Path::new(RUN);
    network::up().await?;
    debug::ssh(flavour, &run.join("operator"));
    debug::announce(flavour);
    supervise::daemon(documents, run).await
}
