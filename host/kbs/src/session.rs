//! Sessions: what one attestation is worth, for how long, and who shares it.
//!
//! A handshake costs a quote and a verification, so all callers share one session, and callers that
//! need one at the same time share one handshake. It runs in a task of its own: a caller that gives
//! up takes nothing away from the others. How it ends, well or badly, is told to each of them.
//!
//! Lifetimes are durations on the monotonic clock, which the hypervisor cannot set back: `exp - iat`
//! of the token and `Expires - Date` of the cookie, counted from before the evidence was sent. The
//! wall clock is not read. Where the monotonic clock stood still (a suspended VM), the KBS refuses
//! the token, and the client attests anew.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proplet_jose::jwk::PrivateKey;
use tokio::sync::watch;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::KbsError;

/// The lifetime of a session that does not tell its own: Trustee's default.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(5 * 60);

/// The longest lifetime that is believed.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// How long before its end a session is renewed, unless a fifth of its lifetime is less.
const RENEWAL_MARGIN: Duration = Duration::from_secs(30);

/// The number of an attested session.
///
/// It changes whenever the host attested anew, so whatever was released under a session (keys, code,
/// instances) is dropped when [`crate::KbsClient::live_session`] no longer gives the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A session that is alive, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveSession {
    /// Its number.
    pub id: SessionId,
    /// From then on, whoever asks for something has the host attest anew.
    pub renew_at: Instant,
    /// Then it is over.
    pub ends_at: Instant,
}

/// What a successful handshake gives. No Debug: everything but the times is secret.
pub(crate) struct Grant {
    /// The value of the session cookie, where the KBS made the token.
    pub(crate) cookie: Option<Zeroizing<String>>,
    pub(crate) token: Zeroizing<String>,
    /// The key that the token names, so that both are always replaced together.
    pub(crate) key: PrivateKey,
    /// Before the evidence was sent.
    pub(crate) obtained: Instant,
    pub(crate) lifetime: Duration,
}

/// An attested session.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) grant: Grant,
    /// The KBS did not know the cookie: it runs in several instances, or was restarted.
    cookie_lost: AtomicBool,
    renew_at: Instant,
    ends_at: Instant,
}

impl Session {
    fn new(id: SessionId, grant: Grant) -> Self {
        let lifetime = grant.lifetime.min(MAX_LIFETIME);
        let margin = RENEWAL_MARGIN.min(lifetime / 5);
        let ends_at = grant.obtained + lifetime;
        Self {
            id,
            cookie_lost: AtomicBool::new(false),
            renew_at: ends_at - margin,
            // The server counts from its own reading of the time; its whole seconds must not make
            // ours longer.
            ends_at: ends_at - margin / 10,
            grant,
        }
    }

    /// The cookie, when the KBS knows it.
    pub(crate) fn cookie(&self) -> Option<&str> {
        let cookie = self.grant.cookie.as_ref()?;
        (!self.cookie_lost.load(Ordering::Relaxed)).then(|| cookie.as_str())
    }

    pub(crate) fn lose_cookie(&self) {
        self.cookie_lost.store(true, Ordering::Relaxed);
    }

    /// As others see it.
    pub(crate) fn as_live(&self) -> LiveSession {
        LiveSession {
            id: self.id,
            renew_at: self.renew_at,
            ends_at: self.ends_at,
        }
    }

    fn is_live(&self) -> bool {
        Instant::now() < self.ends_at
    }

    fn is_fresh(&self) -> bool {
        Instant::now() < self.renew_at
    }
}

type Outcome = Option<Result<Arc<Session>, KbsError>>;

/// The one session of a client, or of a component, and the one handshake that may be making the next.
#[derive(Default)]
pub(crate) struct Sessions {
    /// The number of the last session made, of all that share it.
    generation: Arc<AtomicU64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Of the last handshake begun.
    flights: u64,
    current: Option<Arc<Session>>,
    flight: Option<Flight>,
}

struct Flight {
    number: u64,
    outcome: watch::Receiver<Outcome>,
}

impl Sessions {
    /// No session yet. Those that share `generation` never give two sessions the same number.
    pub(crate) fn new(generation: Arc<AtomicU64>) -> Self {
        Self {
            generation,
            state: Mutex::default(),
        }
    }

    /// Whether there is neither a live session nor a handshake.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.lock();
        let lives = state
            .current
            .as_ref()
            .is_some_and(|session| session.is_live());
        !lives && state.flight.is_none()
    }

    /// The live session, if any.
    pub(crate) fn live(&self) -> Option<Arc<Session>> {
        self.lock()
            .current
            .as_ref()
            .filter(|session| session.is_live())
            .cloned()
    }

    /// Forgets a session that the KBS no longer accepts. A newer one stays.
    pub(crate) fn forget(&self, id: SessionId) {
        let mut state = self.lock();
        if state
            .current
            .as_ref()
            .is_some_and(|session| session.id == id)
        {
            state.current = None;
        }
    }

    /// The live session, or the one that a handshake makes. When a session is to be renewed and the
    /// KBS is unavailable, the old one serves until its end.
    ///
    /// A handshake that was under way when the caller came may have waited most of its time by then:
    /// when that one finds the KBS unavailable, the caller has one more try, with whoever else came late.
    pub(crate) async fn acquire<F>(
        self: &Arc<Self>,
        handshake: impl Fn() -> F,
    ) -> Result<Arc<Session>, KbsError>
    where
        F: Future<Output = Result<Grant, KbsError>> + Send + 'static,
    {
        let (result, joined) = self.board(&handshake).await;
        match result {
            Err(KbsError::Unavailable { .. }) if joined => self.board(&handshake).await.0,
            result => result,
        }
    }

    /// The live session, or how one handshake ends, and whether that one was begun by others.
    async fn board<F>(
        self: &Arc<Self>,
        handshake: &impl Fn() -> F,
    ) -> (Result<Arc<Session>, KbsError>, bool)
    where
        F: Future<Output = Result<Grant, KbsError>> + Send + 'static,
    {
        let (mut outcome, joined) = {
            let mut state = self.lock();
            if let Some(session) = state.current.as_ref().filter(|session| session.is_fresh()) {
                return (Ok(session.clone()), false);
            }
            match &state.flight {
                Some(flight) => (flight.outcome.clone(), true),
                None => (self.take_off(&mut state, handshake()), false),
            }
        };
        let result = match outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            Err(_) => None,
        };
        let result = match result {
            Some(Err(error @ KbsError::Unavailable { .. })) => self.live().ok_or(error),
            Some(result) => result,
            // The task was dropped with its runtime, or panicked in the TEE provider.
            None => Err(KbsError::Evidence(
                "the handshake was aborted inside this process; see its log, and try again".into(),
            )),
        };
        (result, joined)
    }

    fn take_off<F>(self: &Arc<Self>, state: &mut State, handshake: F) -> watch::Receiver<Outcome>
    where
        F: Future<Output = Result<Grant, KbsError>> + Send + 'static,
    {
        state.flights += 1;
        let number = state.flights;
        let (sender, receiver) = watch::channel(None);
        state.flight = Some(Flight {
            number,
            outcome: receiver.clone(),
        });
        let landing = Landing {
            sessions: self.clone(),
            number,
        };
        tokio::spawn(async move {
            let result = handshake.await;
            let result = landing.sessions.land(number, result);
            sender.send_replace(Some(result));
        });
        receiver
    }

    /// Ends a handshake. The flight is gone before its outcome is told, so that a caller that tries
    /// again does not join the one that failed.
    fn land(&self, number: u64, result: Result<Grant, KbsError>) -> Result<Arc<Session>, KbsError> {
        let mut state = self.lock();
        state.flight.take_if(|flight| flight.number == number);
        let grant = result?;
        let number = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        let session = Arc::new(Session::new(SessionId(number), grant));
        state.current = Some(session.clone());
        Ok(session)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Clears the flight when its task ends in whatever way.
struct Landing {
    sessions: Arc<Sessions>,
    number: u64,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.sessions
            .lock()
            .flight
            .take_if(|flight| flight.number == self.number);
    }
}

/// The lifetime of what a handshake gave: the shorter of the token's and the session's. `None` when it
/// is over as it begins.
pub(crate) fn lifetime(token: Option<Duration>, session: Option<Duration>) -> Option<Duration> {
    let known = [token, session].into_iter().flatten().min();
    let lifetime = known.unwrap_or(DEFAULT_LIFETIME).min(MAX_LIFETIME);
    (!lifetime.is_zero()).then_some(lifetime)
}
