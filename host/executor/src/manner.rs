//! In which manner a component runs.

use proplet_runtime::TaskLimits;

use crate::{
    process::Given,
    workload::{Road, Workload},
};

/// The wall clock of a run that has none.
pub(crate) const UNLIMITED_MS: u64 = u64::MAX;

/// How a run came about, which its limits and its receipt depend on.
#[derive(Debug, Clone)]
pub(crate) enum Manner {
    /// A task of its own.
    Task,
    /// One invocation of a latent task, with its id.
    Invocation(String),
    /// A daemon, which runs until it is stopped, with what it is given meanwhile.
    Daemon(Given),
}

impl Manner {
    /// The limits of the run. A daemon has no wall clock of the host's; that of its policy holds, because whether a task
    /// is a daemon is the Manager's word.
    pub(crate) fn limits(&self, workload: &Workload) -> TaskLimits {
        let limits = workload.limits.clone();
        if !self.is_daemon() {
            return limits;
        }
        let policy = match &workload.road {
            Road::Plain => None,
            Road::Encrypted(release) => release.policy.as_ref(),
        };
        let own = policy.and_then(|embedded| embedded.policy.limits.wall_clock_ms);
        TaskLimits {
            wall_clock_ms: own.unwrap_or(UNLIMITED_MS),
            ..limits
        }
    }

    /// The id of the invocation, for receipts.
    pub(crate) fn invocation(&self) -> Option<&str> {
        match self {
            Self::Task | Self::Daemon(_) => None,
            Self::Invocation(id) => Some(id),
        }
    }

    pub(crate) fn is_daemon(&self) -> bool {
        matches!(self, Self::Daemon(_))
    }

    /// Where it is noted what the component is given. Only a daemon outlives the session in which it was, and what
    /// others are given is forgotten with them.
    pub(crate) fn given(&self) -> Given {
        match self {
            Self::Task | Self::Invocation(_) => Given::default(),
            Self::Daemon(given) => given.clone(),
        }
    }
}
