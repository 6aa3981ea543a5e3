//! Why there is no executor.

use std::path::PathBuf;

use proplet_image::ImageError;
use proplet_kbs::KbsError;
use proplet_runtime::RuntimeError;
use thiserror::Error;

/// The executor could not be set up.
#[derive(Debug, Error)]
pub enum ExecutorError {
    /// A file that the settings name cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The key broker client.
    #[error(transparent)]
    Kbs(#[from] KbsError),
    /// The registry client.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The engine.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// Something that this process makes for itself.
    #[error("the executor cannot be set up: {0}")]
    Setup(String),
}
