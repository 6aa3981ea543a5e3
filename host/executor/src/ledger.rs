//! Where what happens is put on record: in a task's chain of the audit log, or in the boot's.
//!
//! What somebody else is asked for is on record however that ends. A task that is stopped or out of time goes away
//! while the key broker's answer is on its way, and the key may be released all the same: so a question that nobody
//! waits for any more has its entry when it is dropped ([`Ledger::asked`]).

use proplet_audit::{Audit, Event, Refused, TaskLog};
use proplet_kbs::{KbsError, Witness, protocol::Requester};
use proplet_runtime::TaskRecord;
use proplet_types::Code;

/// The code of what was asked for, where nobody waited for the answer.
const INTERRUPTED: &str = "interrupted";

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

    /// Waits for the answer of somebody who was asked for something, and has on record how that ended: with the word of
    /// its error where it was refused, and as `interrupted` where this is dropped before there is an answer.
    pub(crate) async fn asked<T, E>(
        &self,
        event: impl Fn(Refused) -> Event,
        word: impl FnOnce(&E) -> &'static str,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let mut asked = Asked {
            ledger: self,
            event,
            ended: Some(INTERRUPTED),
        };
        let answer = answer.await;
        asked.ended = answer.as_ref().err().map(word);
        answer
    }
}

/// A question that was asked. It is put on record when this is dropped.
struct Asked<'a, F: Fn(Refused) -> Event> {
    ledger: &'a Ledger,
    event: F,
    ended: Refused,
}

impl<F: Fn(Refused) -> Event> Drop for Asked<'_, F> {
    fn drop(&mut self) {
        self.ledger.record((self.event)(self.ended));
    }
}

/// One word for the record.
pub(crate) fn word(error: &KbsError) -> &'static str {
    error.code().as_str()
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

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        sync::Arc,
    };

    use proplet_audit::Boot;
    use proplet_types::{Digest, SystemClock};
    use tokio::task::yield_now;

    use super::*;

    fn ledger() -> (TaskLog, Ledger) {
        let boot = Boot {
            version: "1".to_owned(),
            settings: Digest::of(b"settings"),
        };
        let audit = Audit::in_memory(Arc::new(SystemClock), boot).unwrap();
        let task = audit.begin("task");
        (task.clone(), Ledger::Task(task))
    }

    fn secret(refused: Refused) -> Event {
        Event::Secret {
            uri: "kbs:///alice/data/a".parse().unwrap(),
            refused,
        }
    }

    #[tokio::test]
    async fn an_answer_is_on_record_once() {
        let (task, ledger) = ledger();
        let word = |_: &()| "kbs-denied";
        assert_eq!(ledger.asked(secret, word, ready(Ok(7))).await, Ok(7));
        let denied = ledger.asked(secret, word, ready(Err::<(), ()>(()))).await;
        assert_eq!(denied, Err(()));
        let (lines, _) = task.entries();
        assert_eq!(lines.len(), 2);
        assert!(!lines[0].contains("\"code\""), "{}", lines[0]);
        assert!(lines[1].contains("\"code\":\"kbs-denied\""), "{}", lines[1]);
    }

    #[tokio::test]
    async fn what_nobody_waited_for_is_on_record_too() {
        let (task, ledger) = ledger();
        let word = |_: &()| "kbs-denied";
        tokio::select! {
            biased;
            _ = ledger.asked(secret, word, pending::<Result<(), ()>>()) => panic!("it was answered"),
            () = yield_now() => {}
        }
        let (lines, _) = task.entries();
        assert_eq!(lines.len(), 1);
        let expected = "\"code\":\"interrupted\",\"kind\":\"secret\"";
        assert!(lines[0].contains(expected), "{}", lines[0]);
        // What was never begun was asked of nobody.
        drop(ledger.asked(secret, word, pending::<Result<(), ()>>()));
        assert_eq!(task.count(), 1);
    }
}
