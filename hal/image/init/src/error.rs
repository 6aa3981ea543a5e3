//! Why the machine is switched off.

use std::io;
use std::path::PathBuf;

use proplet_hal::init_data::InitDataError;
use proplet_types::Code;
use thiserror::Error;

use crate::{DiskError, OperatorError};

/// Why the machine is switched off.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InitError {
    /// There are no threads.
    #[error("no threads: {0}; give the VM more memory")]
    Runtime(io::Error),
    /// A file system cannot be mounted.
    #[error("{place} cannot be mounted: {error}; the image and its kernel do not belong together")]
    Mount {
        /// Where it belongs.
        place: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
    /// A file of the image, or one that the kernel makes, cannot be used.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// A module cannot be loaded.
    #[error("the module {name} cannot be loaded: {error}; build the image again")]
    Module {
        /// Its name in the image.
        name: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// The kernel could not be closed for further code.
    #[error("{path} cannot be set: {error}; the image and its kernel do not belong together")]
    Closing {
        /// The setting.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// The kernel was started with another command line.
    #[error(
        "the kernel's command line is not the image's: something was appended from outside; start the VM \
         without -append"
    )]
    CommandLine,
    /// There is no init-data disk.
    #[error(
        "there is no disk with the serial number `initdata`; make one with `proplet-image-builder init-data` and \
         attach it as a read-only virtio-blk device"
    )]
    NoInitData,
    /// A disk cannot be read.
    #[error("the disk {serial}: {error}")]
    Disk {
        /// Its serial number.
        serial: &'static str,
        /// What is wrong.
        error: DiskError,
    },
    /// The init-data is no such document.
    #[error("the init-data disk: {0}")]
    InitData(#[from] InitDataError),
    /// The init-data document has no settings.
    #[error(
        "the init-data document has no file proplet.toml; make it with `proplet init-data make`"
    )]
    NoSettings,
    /// The operator's disk holds no such document.
    #[error("the operator disk: {0}")]
    Operator(#[from] OperatorError),
    /// A file of a document has a name that cannot be one here.
    #[error(
        "the file name {0:?} of a document cannot be used; use letters, digits, `.`, `-` and `_`"
    )]
    FileName(String),
    /// The VM was started with another digest.
    #[error(
        "the init-data is not what the VM was started with: its digest is {digest}, and {field} holds \
         {found}; start the VM with this digest, or with the right disk"
    )]
    NotBound {
        /// `HOST_DATA` or `MRCONFIGID`.
        field: &'static str,
        /// What the VM was started with.
        found: String,
        /// What the document has.
        digest: String,
    },
    /// The CPU says that this is a confidential guest, and there is nothing to attest with.
    #[error(
        "this is a confidential guest ({sign}), and it has no device to attest with; start the VM as SEV-SNP or \
         TDX with the arguments that the image's documentation gives"
    )]
    NoDevice {
        /// What the kernel or the CPU says.
        sign: String,
    },
    /// The TEE does not say what the VM was started with.
    #[error("the TEE does not say what the VM was started with: {0}")]
    Tee(String),
    /// The network cannot be brought up.
    #[error("the network: {0}")]
    Network(String),
    /// The daemon cannot be started.
    #[error("the daemon cannot be started: {0}")]
    Start(io::Error),
    /// The daemon ended by itself.
    #[error("the daemon ended ({0}); its last lines above say why")]
    Ended(String),
}

impl InitError {
    /// The stable code of this kind of failure.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::CommandLine => Code::VmCommandLine,
            Self::NoInitData
            | Self::Disk { .. }
            | Self::InitData(_)
            | Self::NoSettings
            | Self::FileName(_)
            | Self::Operator(_) => Code::VmDocuments,
            Self::NotBound { .. } => Code::VmInitDataMismatch,
            Self::NoDevice { .. } | Self::Tee(_) => Code::VmNoDevice,
            Self::Network(_) => Code::VmNetwork,
            Self::Start(_) | Self::Ended(_) => Code::VmDaemonEnded,
            Self::Runtime(_)
            | Self::Mount { .. }
            | Self::File { .. }
            | Self::Module { .. }
            | Self::Closing { .. } => Code::VmSetup,
        }
    }

    /// A failure about a file.
    pub(crate) fn file(path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::File {
            path: path.to_owned(),
            error,
        }
    }
}
