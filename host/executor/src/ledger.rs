//! Where what happens is put on record: in a task's chain of the audit log, or in the boot's.

use proplet_audit::{Audit, Event, TaskLog};
use proplet_kbs::{Witness, protocol::Requester};
use proplet_runtime::TaskRecord;
use proplet_types::Code;

/// Whose doing something is.
#[derive(Clone)]
pub(crate) enum Ledger {
    /// This host's, for no task or for several.
    Boot(Audit),
    /// A task's.
    Task(TaskLog),
}

impl Ledger {
    /// Puts an event on record.
    pub(crate) fn record(&self, event: Event) {
        match self {
            Self::Boot(audit) => audit.record(event),
            Self::Task(task) => drop(task.record(event)),
        }
    }
}

/// Has attestations to the key broker put on record. One serves many tasks, so they are the host's.
pub(crate) struct Attestations(pub Audit);

impl Witness for Attestations {
    fn attested(&self, requester: Option<&Requester>, outcome: Result<(), Code>) {
        self.0.record(Event::Attestation {
            image: requester.and_then(|requester| requester.image_digest),
            component: requester.and_then(|requester| requester.component_digest),
            refused: outcome.err().map(Code::as_str),
        });
    }
}

/// A task's chain, as its component reads it.
pub(crate) struct OwnRecord(pub TaskLog);

impl TaskRecord for OwnRecord {
    fn count(&self) -> u32 {
        u32::try_from(self.0.count()).unwrap_or(u32::MAX)
    }

    fn entry(&self, index: u32) -> Option<String> {
        self.0.entry(usize::try_from(index).ok()?)
    }

    fn head(&self) -> String {
        self.0.head().to_string()
    }
}
