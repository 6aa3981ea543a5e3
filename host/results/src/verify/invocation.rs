//! Which run of its task a receipt is of.
//!
//! A latent task is invoked any number of times, often with equal inputs, and each run has a receipt of its own. Those
//! differ in the invocation that they name, and nothing else in them says which run was asked for. Whoever carries them
//! could hand the answer to one invocation over as the answer to another. So whoever invoked a task expects the id of
//! that invocation, and whoever started a task that runs by itself expects none: a receipt that names one is refused
//! then, and one that names none where one is expected. Where nobody said either, the report says that this was not
//! verified.

use proplet_types::Check;

use super::error::VerifyError;
use super::report::Report;

/// Which run of its task a receipt has to be of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpectedInvocation {
    /// The invocation of a latent task that has this id.
    Id(String),
    /// No invocation: the run of a task, or of a daemon, that was not invoked.
    Absent,
}

impl ExpectedInvocation {
    /// The id; none where no invocation is expected.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Id(id) => Some(id),
            Self::Absent => None,
        }
    }
}

/// Compares what a receipt names with what is expected. An id that reads like a word of ours is an id all the same.
pub(super) fn check(
    report: &mut Report,
    expected: Option<&ExpectedInvocation>,
    found: Option<&str>,
) -> Result<(), VerifyError> {
    let check = Check::InvocationId;
    let Some(expected) = expected else {
        let why = match found {
            Some(_) => "no expected invocation-id was given",
            None => "nobody said that no invocation is expected",
        };
        report.not_verified(check, why);
        return Ok(());
    };
    let expected = expected.id();
    if expected != found {
        return Err(VerifyError::Unexpected {
            check,
            found: shown(found),
            expected: shown(expected),
        });
    }
    report.verified(check);
    Ok(())
}

fn shown(id: Option<&str>) -> String {
    id.map_or_else(|| "absent".to_owned(), |id| format!("{id:?}"))
}
