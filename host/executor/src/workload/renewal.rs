//! The release of a component that runs for longer than a session of the key broker.

use std::{sync::Arc, time::Duration};

use proplet_audit::Event;
use proplet_kbs::{KbsError, SessionId};
use proplet_types::{Code, Digest, ImageKeyTypes};
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{info, warn};

use super::ready::Release;
use crate::{
    ledger::{Ledger, word},
    process::{Given, OutOfReach, Reach},
    refusal::Refusal,
};

/// How long a session is believed to be there without a look: the key broker may end it early.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Release {
    /// Ends when the release does, with the reason. Until then it is renewed: this host attests again before the session
    /// ends, or asks in the session that has taken its place, and the same key is released.
    ///
    /// A renewal has until the end of the session that is held, whoever is slow about it. That time is remembered: where
    /// another component of the owner renewed the session that they share, it is not there to be looked up any more.
    ///
    /// What the component was `given`, and what its recipients came from, is asked for again in each new session.
    pub(crate) async fn ended(&self, key_types: &ImageKeyTypes, given: &Given) -> Refusal {
        let reach = self.reach(key_types);
        let mut session = self.session;
        let mut ends_at = Instant::now() + LOOK_EVERY;
        loop {
            let now = Instant::now();
            let live = self.host.vault.session_times(&self.image);
            if let Some(live) = live.filter(|live| live.id == session) {
                ends_at = live.ends_at;
                if now < live.renew_at {
                    sleep_until(live.renew_at.min(now + LOOK_EVERY)).await;
                    continue;
                }
            }
            match timeout_at(ends_at, self.renewed(session, &reach, given)).await {
                Ok(Ok(again)) => {
                    if again != session {
                        info!("The release of {} is renewed", self.kid);
                        session = again;
                        ends_at = Instant::now() + LOOK_EVERY;
                        continue;
                    }
                }
                Ok(Err(Renewal::Refused(refusal))) => return refusal,
                Ok(Err(Renewal::Failed(code, error))) => {
                    warn!(%code, "The release of {} cannot be renewed: {error}", self.kid);
                }
                Err(_) => {
                    warn!(
                        "The release of {} was not renewed in time: the key broker or the TEE says nothing",
                        self.kid
                    );
                }
            }
            // As long as the old session would live there are further tries.
            let now = Instant::now();
            if now >= ends_at {
                return not_renewed();
            }
            sleep_until(ends_at.min(now + LOOK_EVERY)).await;
        }
    }

    /// The component's reach, for what it has been given already.
    fn reach(&self, key_types: &ImageKeyTypes) -> Reach {
        Reach {
            vault: Arc::clone(&self.host.vault),
            repository: self.kid.repository().to_owned(),
            component: self.component.clone(),
            key_types: key_types.clone(),
            ledger: Ledger::Boot(self.host.audit.clone()),
            given: Given::default(),
        }
    }

    /// The session in which the same is released now.
    async fn renewed(
        &self,
        session: SessionId,
        reach: &Reach,
        given: &Given,
    ) -> Result<SessionId, Renewal> {
        let again = self.key_again().await?;
        if again != session {
            for (uri, digest) in self.recipients_from.all().into_iter().chain(given.all()) {
                same(reach.resource_again(&uri).await, digest)?;
            }
        }
        Ok(again)
    }

    /// The session in which the same key is released now.
    async fn key_again(&self) -> Result<SessionId, Renewal> {
        // It is a daemon's, whose chain has the key that it began with; what is released again is the host's affair.
        let ledger = Ledger::Boot(self.host.audit.clone());
        let event = |refused| Event::Key {
            image: self.image.image_digest,
            uri: self.kid.clone(),
            refused,
        };
        let again = self.host.vault.image_key_again(&self.kid, &self.image);
        match ledger.asked(event, word, again).await {
            Ok((session, key)) if key == self.key_digest => Ok(session),
            Ok(_) => Err(Renewal::Refused(Refusal::new(
                Code::ImageKeyMismatch,
                "the key broker has another key now than the one that opened the component; start the task again",
            ))),
            Err(error) if may_pass(&error) => Err(Renewal::Failed(error.code(), error.to_string())),
            Err(error) => {
                warn!(code = %error.code(), "The key broker does not release {} again: {error}", self.kid);
                Err(Renewal::Refused(Refusal::new(
                    error.code(),
                    "the key broker does not release the component's key any more; its owner knows why",
                )))
            }
        }
    }
}

fn may_pass(error: &KbsError) -> bool {
    matches!(
        error,
        KbsError::Unavailable { .. } | KbsError::Limited { .. } | KbsError::Evidence(_)
    )
}

/// Passes where the key broker released the same once more. No address is in the words: it is the owner's policy's.
fn same(again: Result<Digest, OutOfReach>, digest: Digest) -> Result<(), Renewal> {
    let refused = |code, words: &'static str| Err(Renewal::Refused(Refusal::new(code, words)));
    match again {
        Ok(again) if again == digest => Ok(()),
        Ok(_) => refused(
            Code::SessionEnded,
            "the session has ended in which the key broker released a resource to this component, and it has another one \
             there now; start the task again, and it is given that",
        ),
        Err(OutOfReach::KeyBroker(error)) if may_pass(&error) => {
            Err(Renewal::Failed(error.code(), error.to_string()))
        }
        // The VM's own session and the component's are to be of a kind, and one of them may be about to be.
        Err(OutOfReach::OtherReason) => Err(Renewal::Failed(
            Code::KbsDenied,
            "a resource of another repository may have been denied to this VM for another reason than the component"
                .to_owned(),
        )),
        Err(OutOfReach::KeyBroker(error)) => refused(
            error.code(),
            "the key broker does not release a resource any more that this component was given; its owner knows why",
        ),
        Err(_) => refused(
            Code::SessionEnded,
            "the session has ended in which the key broker released a resource to this component, and it is out of the \
             component's reach now; its owner knows why",
        ),
    }
}

/// Why a release was not renewed.
enum Renewal {
    /// That is the key broker's word.
    Refused(Refusal),
    /// It may pass.
    Failed(Code, String),
}

fn not_renewed() -> Refusal {
    Refusal::new(
        Code::SessionEnded,
        "the key broker session that released this component has ended and could not be renewed; the host's log says \
         why; start the task again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(again: Result<Digest, OutOfReach>) -> Option<Refusal> {
        match same(again, Digest::of(b"given")) {
            Err(Renewal::Refused(refusal)) => Some(refusal),
            _ => None,
        }
    }

    #[test]
    fn what_was_given_must_be_released_again_as_it_was() {
        assert!(same(Ok(Digest::of(b"given")), Digest::of(b"given")).is_ok());
        let changed = refused(Ok(Digest::of(b"another"))).unwrap();
        assert_eq!(changed.code(), "session-ended");
        let elsewhere = refused(Err(OutOfReach::NotItsOwn)).unwrap();
        assert_eq!(elsewhere.code(), "session-ended");
        // This may pass, and there are further tries until the session is over.
        assert!(refused(Err(OutOfReach::OtherReason)).is_none());
        assert!(same(Err(OutOfReach::OtherReason), Digest::of(b"given")).is_err());
    }
}
