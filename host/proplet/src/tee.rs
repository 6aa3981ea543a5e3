//! The one place where evidence providers are chosen.
//!
//! Production code takes what the hardware offers or nothing. Fakes live in the test crates and are
//! handed to [`proplet_daemon::Daemon`] by programs that are named as such; there is no setting, variable
//! or feature that puts one in here.

use std::{path::Path, sync::Arc};

use proplet_hal::{TeeProvider, detection::Detection};

/// What this machine is: the report, and the provider if this version has one for it.
pub struct Found {
    /// What was looked for and what was there.
    pub detection: Detection,
    /// The provider. This version has none for any hardware: it says so and refuses encrypted tasks,
    /// rather than attest with something that only looks like a TEE.
    pub provider: Option<Arc<dyn TeeProvider>>,
}

/// Looks for a TEE on this machine.
#[must_use]
pub fn find() -> Found {
    Found {
        detection: Detection::probe(Path::new("/")),
        provider: None,
    }
}
