//! The release of a component that runs for longer than a session of the key broker.

use std::time::Duration;

use proplet_audit::Event;
use proplet_kbs::{KbsError, SessionId};
use proplet_types::Code;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::ready::Release;
use crate::refusal::Refusal;

/// How long a session is believed to be there without a look: the key broker may end it early.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Release {
    /// Ends when the release does, with the reason. Until then it is renewed: this host attests again before the session
    /// ends, or asks in the session that has taken its place, and the same key is released.
    pub(crate) async fn ended(&self) -> Refusal {
        let mut session = self.session;
        loop {
            let now = Instant::now();
            let live = self.host.vault.session_times(&self.image);
            let live = live.filter(|live| live.id == session);
            if let Some(live) = live
                && now < live.renew_at
            {
                sleep_until(live.renew_at.min(now + LOOK_EVERY)).await;
                continue;
            }
            match self.renewed().await {
                Ok(again) => {
                    if again != session {
                        info!("The release of {} is renewed", self.kid);
                        session = again;
                        continue;
                    }
                }
                Err(Renewal::Refused(refusal)) => return refusal,
                Err(Renewal::Failed(error)) => {
                    warn!(code = %error.code(), "The release of {} cannot be renewed: {error}", self.kid);
                }
            }
            // As long as the old session lives there are further tries.
            let Some(live) = live.filter(|live| Instant::now() < live.ends_at) else {
                return not_renewed();
            };
            sleep_until(live.ends_at.min(Instant::now() + LOOK_EVERY)).await;
        }
    }

    /// The session in which the same key is released now.
    async fn renewed(&self) -> Result<SessionId, Renewal> {
        let again = self.host.vault.image_key_again(&self.kid, &self.image);
        let again = again.await;
        // It is a daemon's, whose chain has the key that it began with; what is released again is the host's affair.
        self.host.audit.record(Event::Key {
            image: self.image.image_digest,
            uri: self.kid.clone(),
            refused: again.as_ref().err().map(|error| error.code().as_str()),
        });
        match again {
            Ok((session, key)) if key == self.key_digest => Ok(session),
            Ok(_) => Err(Renewal::Refused(Refusal::new(
                Code::ImageKeyMismatch,
                "the key broker has another key now than the one that opened the component; start the task again",
            ))),
            Err(
                error @ (KbsError::Unavailable { .. }
                | KbsError::Limited { .. }
                | KbsError::Evidence(_)),
            ) => Err(Renewal::Failed(error)),
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

/// Why a release was not renewed.
enum Renewal {
    /// That is the key broker's word.
    Refused(Refusal),
    /// It may pass.
    Failed(KbsError),
}

fn not_renewed() -> Refusal {
    Refusal::new(
        Code::SessionEnded,
        "the key broker session that released this component has ended and could not be renewed; the host's log says \
         why; start the task again",
    )
}
