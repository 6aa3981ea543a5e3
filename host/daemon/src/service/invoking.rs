//! Invocations of latent tasks.
//!
//! Each is answered once, whatever becomes of it, and in time: the Manager waits for half a minute. What cannot be
//! taken is refused as a start is, with an answer that has its room in the outbox among the refusals.

use proplet_executor::Refusal;
use proplet_outbox::Answer;
use tokio::sync::oneshot;
use tracing::info;

use super::Service;
use crate::{
    message::{DecodedInvoke, InvocationId, InvokeResultMessage},
    mqtt::{
        Received,
        outbox::{About, Kind, Letter},
    },
    sparing::warn_sparingly,
    tasks::{self, MANAGER_WAITS},
};

impl Service {
    /// Does what an invoke message says. As [`Service::obey`].
    pub(super) async fn invoke(
        &mut self,
        message: &Received,
        stopping: bool,
        may_wait: bool,
    ) -> Option<oneshot::Receiver<()>> {
        let invoke = match DecodedInvoke::from_bytes(&message.payload, &self.entity) {
            DecodedInvoke::NotForUs => return None,
            DecodedInvoke::Bad(None, refusal) => {
                warn_sparingly!(
                    self.sparing,
                    "An invoke command without readable ids cannot be answered: {refusal}"
                );
                return None;
            }
            DecodedInvoke::Bad(Some(id), refusal) => {
                if self.is_pending(&id.key()).await {
                    self.ignore(&id);
                    return None;
                }
                return self.refuse_invocation(&id, &refusal, message, may_wait);
            }
            DecodedInvoke::Invoke(invoke) => *invoke,
        };
        let id = invoke.id.clone();
        let key = id.key();
        if self.invocations.is_repeated(message, &key) {
            info!("The broker delivered the invocation {id} twice");
            return None;
        }
        if self.is_pending(&key).await {
            self.ignore(&id);
            return None;
        }
        // Not before that: one that still runs is answered by itself.
        if stopping {
            return self.refuse_invocation(&id, &tasks::stopping(), message, may_wait);
        }
        self.invocations.remember(&key);
        match self.tasks.invoke(invoke, message.at) {
            Ok(()) => None,
            Err(refusal) => {
                self.invocations.forget(&key);
                self.refuse_invocation(&id, &refusal, message, may_wait)
            }
        }
    }

    fn ignore(&self, id: &InvocationId) {
        warn_sparingly!(
            self.sparing,
            "The invocation {id} runs already or its answer is on its way; the repeated one is ignored"
        );
    }

    /// Answers an invocation that is not done. As [`Service::refuse`].
    fn refuse_invocation(
        &self,
        id: &InvocationId,
        refusal: &Refusal,
        message: &Received,
        may_wait: bool,
    ) -> Option<oneshot::Receiver<()>> {
        warn_sparingly!(self.sparing, "Invocation {id} refused: {refusal}");
        self.record.refused(&id.task, refusal.code());
        let letter = Letter {
            task: id.task.clone(),
            about: About::Invocation {
                id: id.clone(),
                until: message.at + MANAGER_WAITS,
            },
            owner: self.tasks.owner_of_latent(&id.task),
            payload: InvokeResultMessage::refused(id, &self.entity, refusal).to_payload(),
            not_before: message.at,
            number: None,
            on_disk: Answer::Unkept(Some(refusal.code())),
        };
        self.put(letter, Kind::Refusal, may_wait)
    }
}
