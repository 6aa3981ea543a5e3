//! What a command may use of the world.

use std::{ffi::OsString, sync::Arc};

use proplet_settings::environment::Environment;
use proplet_types::{Clock, SystemClock};

/// What a command may use of the world besides the files that it is told of.
pub struct Context {
    /// Decides about the validity of certificates.
    pub clock: Arc<dyn Clock>,
    /// The variables of the process, for settings.
    pub environment: Environment,
    /// Where programs are looked for (`PATH`): credential helpers, of commands that people type.
    pub program_path: Option<OsString>,
}

impl Context {
    /// This process and this machine's clock.
    #[must_use]
    pub fn of_process() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            environment: Environment::of_process(),
            program_path: std::env::var_os("PATH"),
        }
    }
}
