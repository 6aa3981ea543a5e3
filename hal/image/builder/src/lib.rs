//! Builds the image of the confidential VM: one measured file that boots into `proplet`.
//!
//! What comes from elsewhere is pinned by version and SHA-256 in `hal/image/image.lock` ([`lock`]): the kernel's
//! package, systemd's stub, the sources of the firmware and the certificates of public authorities. Nothing is taken
//! over that is not what the lock file says, from whichever address it comes.
//!
//! What is made of it depends on these bytes and the program alone, not on the machine, the folder or the time: the
//! archive ([`cpio`]) has no times, owners or numbers of the machine in it, its members are sorted, and one version
//! of one compressor packs it. So whoever does not trust a build repeats it and compares.
//!
//! Parsers here read strangers' bytes before or after their digest was compared; all of them are bounded.
#![deny(missing_docs)]

pub mod apt;
pub mod assemble;
pub mod cli;
pub mod cpio;
pub mod deb;
pub mod debug;
pub mod disk;
pub mod elf;
mod error;
pub mod fetch;
pub mod firmware;
pub mod lock;
pub mod modules;
pub mod program;
pub mod sbom;
pub mod uki;
pub mod vm;

pub use error::BuildError;
