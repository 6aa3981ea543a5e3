//! Why a guest was not built.

use std::io;
use std::path::PathBuf;

use super::name::GuestName;
use super::target::TARGET;

/// Why a guest was not built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuestError {
    /// A program that the build needs did not start.
    #[error(
        "{program} did not start: {source}; guests are built from source, so install Rust with rustup"
    )]
    NoTool {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// Rust's standard library for WebAssembly is missing and could not be installed.
    #[error(
        "Rust cannot build for {target} here: {why}; run `rustup target add {target}` in the \
         workspace, once and with a network",
        target = TARGET
    )]
    NoTarget {
        /// Why it could not be installed.
        why: String,
    },
    /// The compiler refused a guest.
    #[error("building {guests} failed:\n{output}")]
    Build {
        /// The guests, by name.
        guests: String,
        /// The last lines of cargo's output.
        output: String,
    },
    /// A core module in text form is not valid.
    #[error("{name} is not valid WebAssembly text: {why}")]
    Text {
        /// Which one.
        name: GuestName,
        /// Why.
        why: String,
    },
    /// A file could not be used.
    #[error("{}: {source}; is the workspace that these tests were built from still there?", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}
