//! In which manner a component runs.

/// How a run came about, which its limits and its receipt depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Manner {
    /// A task of its own.
    Task,
    /// One invocation of a latent task, with its id.
    Invocation(String),
}

impl Manner {
    /// The id of the invocation, for receipts.
    pub(crate) fn invocation(&self) -> Option<&str> {
        match self {
            Self::Task => None,
            Self::Invocation(id) => Some(id),
        }
    }
}
