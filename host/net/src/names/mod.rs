//! Names of hosts to addresses, by a bounded number of threads.
//!
//! The machine's resolver (`getaddrinfo`) takes a thread and cannot be called off: whoever gives up waiting leaves
//! the thread to it until the name server was silent for as long as the resolver bears it, which is half a minute on
//! some machines. Guests and Managers choose names whose servers never answer, and how long they wait themselves. All
//! else that blocks has its threads in the same pool, compilations, layers and guests that compute, so without a bound
//! of its own a flood of abandoned lookups would stop every task of the host. Hence:
//!
//! - A lookup holds its place until it has ended, whoever still waits for it: the place goes with the thread.
//! - A name is looked up once at a time. Who asks for it meanwhile gets that answer, and judges it by its own rules.
//! - Each [`Asker`] has few places, and all together have a bound. Who has one of its own places waits in line for one
//!   of all, so nobody stands there more than [`OF_ONE`] times, and one asker's silent names do not hold up another's.
//! - To wait for a place is to wait for the connection: it counts against the same time, and it keeps no thread.
//! - Askers that are not told apart ([`Asker::Unknown`], [`Asker::Anybody`]) have their places together, and one of them
//!   could take all with silent names. So a name that was found before does not wait among them: it is looked up in one of
//!   [`OF_ONE`] places for such names, and has its earlier addresses where none of those is free either.
//!
//! **What the places for names that were found before are worth.** A name comes there only by being found, for which it
//! needs a place like any other: names that were never answered take nothing. But whoever has a zone can have its server
//! answer once and then be silent, for as many names as he likes. So a name has to be found again each time: it loses its
//! standing when a lookup of it begins, and has it back when that one finds it. One that falls silent has lost it by
//! then, and is as any stranger's, as is one that is not found any more. That bounds what one name takes, and not what
//! many names do: a lookup cannot be called off, so eight of them, each found once, hold these places until the resolver
//! gives them up, and the next eight may stand ready. To take a place away after some time is no help, for the thread
//! would go on, and with it one of all places. Therefore nobody relies on these places: they serve to have new addresses,
//! and who finds none free has the earlier ones, for which no thread is needed and nothing is to be held.
//! Who has a name whose server never answered waits as before.
//!
//! Named askers have no such answer. Their places are their own, so no stranger's names fill them, and a guest that filled
//! them himself could otherwise find out which hosts other owners' guests had asked. For the same reason plain guests
//! ([`Asker::Anybody`]) have none that was found for a named one.
//!
//! Guests and registries have [`Names`] of their own, and so has every key broker. The MQTT connection's names do not
//! come by here, so nothing waits there.
//!
//! A resolver that can be called off would have to read `resolv.conf`, `hosts`, search domains and whatever else the
//! machine's name service is set up with, and could come to other addresses than everything else on it.

mod answers;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use self::answers::Answers;

/// Lookups that go on at once, of all askers.
pub const OF_ALL: usize = 64;
/// Lookups that go on at once, of one asker; and of names that were found before, beside those.
pub const OF_ONE: usize = 8;
/// A lookup that has gone on for longer is not waited for by newcomers: they have a new one, since the network may have
/// changed under the old one. Its place it keeps.
const STALE: Duration = Duration::from_secs(30);

/// On whose behalf a name is looked up. What one of them asks for takes nothing from the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Asker {
    /// Whose components are encrypted under keys of this repository.
    Named(Arc<str>),
    /// Whoever's an encrypted image is that was never opened here so far.
    Unknown,
    /// Whoever sends what is in clear, and who is not told apart.
    #[default]
    Anybody,
}

tokio::task_local! {
    static ASKER: Asker;
}

/// Does this work, and has the names that its clients ([`reach::Client`](crate::reach::Client)) need looked up on
/// behalf of `asker`.
pub async fn on_behalf_of<T>(asker: Asker, work: impl Future<Output = T>) -> T {
    ASKER.scope(asker, work).await
}

impl Asker {
    /// On whose behalf the current task works.
    pub(crate) fn current() -> Self {
        ASKER.try_with(Clone::clone).unwrap_or_default()
    }

    /// Whether these are several, who are not told apart.
    fn is_shared(&self) -> bool {
        match self {
            Self::Named(_) => false,
            Self::Unknown | Self::Anybody => true,
        }
    }
}

/// Who knows addresses: the machine, or a test.
#[derive(Clone)]
pub struct Resolver(Arc<Addresses>);

/// The addresses of a name, when they are known.
type Addresses = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

impl Resolver {
    /// One that says this. It may block.
    pub fn new(
        addresses: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(addresses))
    }
}

impl Default for Resolver {
    /// The machine's.
    fn default() -> Self {
        Self::new(|name| {
            let found = (name, 0).to_socket_addrs()?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

/// Why a name has no addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unresolved(Arc<str>);

/// The addresses of a name, or why there are none.
pub type Found = Result<Arc<[IpAddr]>, Unresolved>;

/// Names that are looked up under one bound. Clones share it.
#[derive(Clone)]
pub struct Names(Arc<Shared>);

struct Shared {
    resolver: Resolver,
    /// Of all askers.
    places: Arc<Semaphore>,
    /// For names that were found before, where a shared asker has no place.
    found_before: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    under_way: HashMap<String, UnderWay>,
    /// The places of everybody who has one or waits for one.
    askers: HashMap<Asker, Weak<Semaphore>>,
    answers: Answers,
}

struct UnderWay {
    began: Instant,
    answer: Answer,
}

type Answer = watch::Receiver<Option<Found>>;

/// One of an asker's own places or of those for names that were found before, and one of all.
type Places = (OwnedSemaphorePermit, OwnedSemaphorePermit);

/// What there is for a name without waiting for a place.
enum AtOnce {
    Places(Places),
    /// What it had before.
    Addresses(Arc<[IpAddr]>),
}

impl Names {
    /// With this resolver.
    #[must_use]
    pub fn new(resolver: Resolver) -> Self {
        Self(Arc::new(Shared {
            resolver,
            places: Arc::new(Semaphore::new(OF_ALL)),
            found_before: Arc::new(Semaphore::new(OF_ONE)),
            state: Mutex::default(),
        }))
    }

    /// The addresses of a name. Whoever gives up leaves the lookup to end by itself, in its place.
    ///
    /// # Errors
    /// [`Unresolved`], with the resolver's words.
    pub async fn lookup(&self, name: &str, asker: Asker) -> Found {
        let under_way = self.lock().answer(name);
        let mut answer = match under_way {
            Some(answer) => answer,
            None => match self.at_once(name, &asker) {
                Some(AtOnce::Places(places)) => self.begin(name, asker, places),
                Some(AtOnce::Addresses(addresses)) => return Ok(addresses),
                None => {
                    let places = self.places(asker.clone()).await;
                    self.begin(name, asker, places.ok_or_else(broken_off)?)
                }
            },
        };
        let found = answer.wait_for(Option::is_some).await;
        let found = found.ok().and_then(|found| found.clone());
        found.unwrap_or_else(|| Err(broken_off()))
    }

    fn at_once(&self, name: &str, asker: &Asker) -> Option<AtOnce> {
        let mut state = self.lock();
        let own = state.places_of(asker.clone());
        if let Some(places) = self.free_places(own) {
            return Some(AtOnce::Places(places));
        }
        if !asker.is_shared() {
            return None;
        }
        let addresses = state.answers.find_for(name, asker)?;
        let found_before = Arc::clone(&self.0.found_before);
        Some(match self.free_places(found_before) {
            Some(places) => AtOnce::Places(places),
            None => AtOnce::Addresses(addresses),
        })
    }

    /// Whoever waits for a place has it before one is free here.
    fn free_places(&self, own: Arc<Semaphore>) -> Option<Places> {
        let own = own.try_acquire_owned().ok()?;
        let one_of_all = Arc::clone(&self.0.places).try_acquire_owned().ok()?;
        Some((own, one_of_all))
    }

    async fn places(&self, asker: Asker) -> Option<Places> {
        let own = self.lock().places_of(asker);
        let own = own.acquire_owned().await.ok()?;
        let one_of_all = Arc::clone(&self.0.places).acquire_owned().await.ok()?;
        Some((own, one_of_all))
    }

    fn begin(&self, name: &str, asker: Asker, places: Places) -> Answer {
        let mut state = self.lock();
        // Somebody may have begun it while places were waited for.
        if let Some(answer) = state.answer(name) {
            return answer;
        }
        let (sender, answer) = watch::channel(None);
        let began = Instant::now();
        let under_way = UnderWay {
            began,
            answer: answer.clone(),
        };
        state.under_way.insert(name.to_owned(), under_way);
        let was_of = state.answers.forget(name);
        drop(state);
        let lookup = Lookup {
            names: self.clone(),
            name: name.to_owned(),
            asker,
            was_of,
            began,
            sender,
            _places: places,
        };
        tokio::task::spawn_blocking(move || lookup.run());
        answer
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Names {
    /// With the machine's resolver.
    fn default() -> Self {
        Self::new(Resolver::default())
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names")
    }
}

impl State {
    /// The answer that somebody waits for already.
    fn answer(&self, name: &str) -> Option<Answer> {
        let under_way = self.under_way.get(name)?;
        (under_way.began.elapsed() < STALE).then(|| under_way.answer.clone())
    }

    fn places_of(&mut self, asker: Asker) -> Arc<Semaphore> {
        if let Some(places) = self.askers.get(&asker).and_then(Weak::upgrade) {
            return places;
        }
        self.askers.retain(|_, places| places.strong_count() > 0);
        let places = Arc::new(Semaphore::new(OF_ONE));
        self.askers.insert(asker, Arc::downgrade(&places));
        places
    }
}

/// A lookup on its thread. Its places are free when it has ended, and not before.
struct Lookup {
    names: Names,
    name: String,
    asker: Asker,
    /// Whose name it was, if it was found before.
    was_of: Option<Asker>,
    began: Instant,
    sender: watch::Sender<Option<Found>>,
    _places: Places,
}

impl Lookup {
    fn run(self) {
        let found = (self.names.0.resolver.0)(&self.name);
        let found = found.map(Arc::<[IpAddr]>::from);
        if let Ok(addresses) = &found {
            let whose = (&self.asker, self.was_of.as_ref());
            let mut state = self.names.lock();
            let answers = &mut state.answers;
            answers.keep(&self.name, whose, self.began, addresses);
        }
        self.is_over();
        let found = found.map_err(|error| Unresolved(error.to_string().into()));
        self.sender.send_replace(Some(found));
    }

    /// Nobody joins it any more: who asks once it is answered has a lookup of his own.
    fn is_over(&self) {
        let own = self.sender.subscribe();
        let mut state = self.names.lock();
        let is_own = |under_way: &UnderWay| under_way.answer.same_channel(&own);
        if state.under_way.get(&self.name).is_some_and(is_own) {
            state.under_way.remove(&self.name);
        }
    }
}

impl Drop for Lookup {
    /// Also when the resolver panicked, or the lookup never ran.
    fn drop(&mut self) {
        self.is_over();
    }
}

fn broken_off() -> Unresolved {
    Unresolved("the lookup broke off".into())
}

#[cfg(test)]
mod tests;
