//! What goes wrong with plugins.

use std::{io, path::PathBuf};

use proplet_types::Digest;
use thiserror::Error;

/// A plugin cannot be used, so the proplet does not start.
#[derive(Debug, Error)]
pub enum PluginError {
    /// Its file.
    #[error(
        "the plugin {path} cannot be read: {source}; correct [[plugins]] path in the settings document"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Its size.
    #[error(
        "the plugin {path} is larger than {limit} bytes; make it smaller, or correct [[plugins]] path in the settings \
         document"
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound.
        limit: u64,
    },
    /// Its digest.
    #[error(
        "the plugin {path} has the digest {found}, and the settings document says {expected}: put the right file \
         there, or write its digest into [[plugins]]"
    )]
    Digest {
        /// The file.
        path: PathBuf,
        /// What it should have.
        expected: Digest,
        /// What it has.
        found: Digest,
    },
    /// It is no plugin.
    #[error(
        "{path} is no plugin of propeller:proplet-plugin@0.1.0: {why}; build it for that world, or leave it out of \
         [[plugins]]"
    )]
    NotAPlugin {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The engine.
    #[error("plugins cannot be run: {0}")]
    Engine(String),
}

/// Why a task may not run.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotAuthorized {
    /// A plugin says no.
    #[error("the plugin {plugin} does not allow it: {reason}")]
    Denied {
        /// Which one.
        plugin: String,
        /// What it says; empty when it says nothing.
        reason: String,
    },
    /// A plugin fails, which counts as no.
    #[error("the plugin {plugin} failed: {why}")]
    Failed {
        /// Which one.
        plugin: String,
        /// What went wrong.
        why: String,
    },
}
