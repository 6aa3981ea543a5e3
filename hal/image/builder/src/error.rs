//! Why an image cannot be built.

use std::io;
use std::path::{Path, PathBuf};

use proplet_hal::init_data::InitDataError;
use proplet_measure::MeasureError;
use thiserror::Error;

use crate::vm::VmError;

/// Why an image cannot be built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A file cannot be read or written.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The lock file is none.
    #[error("{path}: {reason}; `git checkout` it, or make it anew with `lock --update`")]
    Lock {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The lock file lacks a part.
    #[error("the lock file has no part `{0}`; make it anew with `lock --update`")]
    NoPart(&'static str),
    /// No address of a part answered.
    #[error(
        "{name} {version} cannot be fetched:{attempts}\n\
         See to the network, name its proxy (`--proxy`, or BUILD_PROXY for the script; HTTPS_PROXY and its like are not \
         read), or put a file with this SHA-256 to {cache}"
    )]
    Unreachable {
        /// The part.
        name: String,
        /// Its version.
        version: String,
        /// What became of each address, a line each.
        attempts: String,
        /// Where a file may be put by hand.
        cache: PathBuf,
    },
    /// A part is not to be had from any address, and one said so.
    #[error(
        "{name} {version} is not to be had any more:{attempts}\n\
         The lock file is stale: its publisher has replaced this version. Run `proplet-image-builder lock --update`, \
         which changes what the image measures, or put a file with this SHA-256 to {cache}"
    )]
    Unavailable {
        /// The part.
        name: String,
        /// Its version.
        version: String,
        /// What each address answered, a line each.
        attempts: String,
        /// Where a file may be put by hand.
        cache: PathBuf,
    },
    /// Nothing may be downloaded.
    #[error("{name} {version} is not in the cache ({cache}), and --offline forbids to fetch it")]
    Offline {
        /// The part.
        name: String,
        /// Its version.
        version: String,
        /// Where it would be.
        cache: PathBuf,
    },
    /// The HTTP client cannot be made.
    #[error("no HTTP client: {0}")]
    Client(String),
    /// A package is none.
    #[error("{what}: {reason}; delete it from the cache and fetch it again")]
    Package {
        /// The package or the member.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// A module is not in the kernel's package.
    #[error(
        "the kernel's package has no module {0}; the lock file names a kernel that this builder does not know"
    )]
    NoModule(String),
    /// The stub takes no more sections.
    #[error(
        "the stub cannot take the sections of an image: {0}; the lock file names a stub that this builder does not know"
    )]
    Stub(&'static str),
    /// Something cannot be measured.
    #[error(transparent)]
    Measure(#[from] MeasureError),
    /// A document cannot be init-data.
    #[error(transparent)]
    InitData(#[from] InitDataError),
    /// A VM cannot be started or spoken to.
    #[error(transparent)]
    Vm(#[from] VmError),
    /// The program is not of the kind that the image takes.
    #[error(
        "{path} is no static program ({reason}): build it with `proplet-image-builder program`"
    )]
    Program {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// Another program is missing or failed.
    #[error("{program}: {reason}")]
    Tool {
        /// Its name.
        program: String,
        /// What is wrong, and what brings it.
        reason: String,
    },
}

impl BuildError {
    /// A failure about a file.
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::File {
            path: path.to_owned(),
            error,
        }
    }

    /// A failure about a package.
    pub(crate) fn package(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Package {
            what: what.into(),
            reason: reason.to_string(),
        }
    }
}
