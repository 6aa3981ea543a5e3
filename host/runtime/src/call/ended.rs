//! Why a call ended early.

use crate::args::NoArguments;
use crate::error::RuntimeError;
use crate::limits::Passed;

/// What ends a call early.
pub(crate) enum Ended {
    /// The engine says so: a trap, an exit, a limit.
    Engine(wasmtime::Error),
    /// The runtime says so.
    Runtime(RuntimeError),
}

impl From<wasmtime::Error> for Ended {
    fn from(error: wasmtime::Error) -> Self {
        Self::Engine(error)
    }
}

impl From<Passed> for Ended {
    fn from(passed: Passed) -> Self {
        Self::Engine(wasmtime::Error::new(passed))
    }
}

impl From<NoArguments> for Ended {
    fn from(error: NoArguments) -> Self {
        match error {
            NoArguments::Invalid(error) => Self::Runtime(error),
            NoArguments::Passed(passed) => passed.into(),
        }
    }
}

impl From<RuntimeError> for Ended {
    fn from(error: RuntimeError) -> Self {
        Self::Runtime(error)
    }
}
