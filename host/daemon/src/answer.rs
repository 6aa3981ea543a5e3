//! What an entry that an earlier process left is answered with.

use proplet_executor::Refusal;
use proplet_outbox::{Answer, Entry, Recovered};
use proplet_types::Code;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::{
    message::ResultMessage,
    mqtt::outbox::{About, Letter},
    places::Owner,
};

/// The answer to a task of an earlier process. The same entry gives the same bytes in every process, so
/// whoever receives them twice has lost nothing.
pub(super) fn recovered(found: Recovered, entity: &str, not_before: Instant) -> Letter {
    let Recovered {
        number,
        entry: Entry { task, answer },
    } = found;
    let refused = |refusal: &Refusal| ResultMessage::refused(&task, entity, refusal).to_payload();
    let (payload, on_disk) = match answer {
        Some(Answer::Kept(payload)) => {
            info!("The result of task {task} from before the restart is sent again");
            (payload.clone(), Answer::Kept(payload))
        }
        Some(Answer::Unkept(code)) => {
            let refusal = in_memory(code);
            warn!("Task {task} ended before the restart; its answer was in memory only");
            (refused(&refusal), Answer::Unkept(code))
        }
        Some(Answer::Handed) => {
            warn!(
                "Task {task} ended before the restart, and whether the broker has its result is not known"
            );
            (refused(&unconfirmed()), Answer::Handed)
        }
        None => {
            warn!("Task {task} was interrupted by the restart; it is not run again");
            let code = Code::Interrupted;
            (refused(&interrupted()), Answer::Unkept(Some(code)))
        }
    };
    Letter {
        task,
        about: About::Task,
        // Nothing on the disk says whose it was.
        owner: Owner::Unknown,
        payload,
        not_before,
        number: Some(number),
        on_disk,
    }
}

fn interrupted() -> Refusal {
    Refusal::new(
        Code::Interrupted,
        "the proplet restarted while the task waited or ran, and does not run it again by itself; start it \
         again if what it may have done outside of the proplet allows that",
    )
}

/// Whether the broker has the result cannot be known. Saying nothing would leave a task without an answer where it has
/// not, so this is said in words of its own, and a Manager can tell it from a result that surely is lost.
fn unconfirmed() -> Refusal {
    Refusal::new(
        Code::ResultUnconfirmed,
        "the task ended well and its result was on its way to the broker, which had not acknowledged it when the \
         proplet restarted, and the proplet no longer has it; where a result of this task was received, it holds, \
         otherwise start the task again, or set [outbox] plain_results",
    )
}

fn in_memory(code: Option<Code>) -> Refusal {
    match code {
        Some(code) => Refusal::new(
            code,
            "the proplet restarted before the broker had this answer, and its words were in memory only; start \
             the task again to have them",
        ),
        None => Refusal::new(
            Code::ResultLost,
            "the task ended well, and the proplet restarted before the broker had its result, which was in memory \
             only; start the task again, or set [outbox] plain_results",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proplet_outbox::{Journal, Options, Rerun, Sealing};

    use super::*;

    /// Entries come from a store only, so one is left in a store here.
    async fn left(answer: Option<Answer>) -> Recovered {
        let folder = tempfile::tempdir().unwrap();
        let options = || Options {
            path: folder.path().join("outbox"),
            max_bytes: 1 << 20,
            rerun: Rerun::Allowed,
            sealing: Sealing::Clear,
            patience: Duration::from_secs(30),
        };
        let (journal, opening) = Journal::open(options()).unwrap();
        opening.done().await.unwrap();
        let number = journal.accept("a").await.unwrap();
        if let Some(answer) = answer {
            journal.answer(Some(number), "a", answer).await.1.unwrap();
        }
        drop(journal);
        let (_journal, opening) = Journal::open(options()).unwrap();
        let mut recovered = opening.done().await.unwrap();
        recovered.recv().await.unwrap()
    }

    #[tokio::test]
    async fn what_is_left_is_answered_by_its_kind() {
        let kept = Answer::Kept("a message".into());
        for (answer, wanted) in [
            (Some(kept), "a message"),
            (
                Some(Answer::Unkept(Some(Code::GuestTrapped))),
                "\"guest-trapped: ",
            ),
            (Some(Answer::Unkept(None)), "\"result-lost: "),
            (Some(Answer::Handed), "\"result-unconfirmed: "),
            (None, "\"interrupted: "),
        ] {
            let found = left(answer).await;
            let number = found.number;
            let now = Instant::now();
            let letter = recovered(found.clone(), "us", now);
            let text = String::from_utf8(letter.payload.to_vec()).unwrap();
            assert!(text.contains(wanted), "{text}");
            assert_eq!((letter.task.as_str(), letter.number), ("a", Some(number)));
            assert_eq!(recovered(found, "us", now).payload, letter.payload);
        }
    }
}
