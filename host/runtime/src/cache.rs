//! Compilation: each component once, few at a time, kept by digest.
//!
//! A compilation cannot be interrupted, so what is bounded is how many there are. One holds its place until it
//! has really ended, whether or not its tasks still wait for it, and a further one waits. One that nobody waits
//! for any more is not begun, and when it had begun, its code is dropped: it is the task that takes the code
//! which keeps it. Tasks with the same component share one compilation, also one that an earlier task gave up:
//! asking again joins it. A failed one is not kept.
//!
//! What is kept is bounded in number and in bytes of code; what was used longest ago goes first, and
//! compilations under way count for nothing. The cache is in memory only: compiled code of an encrypted
//! component is as confidential as the component. Whoever released the key decides how long the code may stay,
//! by [`Runtime::forget`](crate::Runtime::forget).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proplet_types::Digest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::error::RuntimeError;

/// Something that can be kept.
pub(crate) trait Code: Clone + Send + Sync + 'static {
    /// Bytes that it takes.
    fn bytes(&self) -> u64;
}

type Answer<T> = Option<Ended<T>>;

/// What a compilation came to.
struct Ended<T> {
    code: Result<T, RuntimeError>,
    /// Whether whoever takes the code keeps it.
    is_kept: bool,
}

/// Compiled code by digest, and the compilations under way.
pub(crate) struct Cache<T>(Arc<Inner<T>>);

struct Inner<T> {
    max_entries: usize,
    max_bytes: u64,
    places: Arc<Semaphore>,
    entries: Mutex<Entries<T>>,
}

struct Entries<T> {
    kept: HashMap<Digest, Kept<T>>,
    running: HashMap<Digest, Running<T>>,
    bytes: u64,
    clock: u64,
}

struct Kept<T> {
    code: T,
    bytes: u64,
    used: u64,
}

struct Running<T> {
    answer: watch::Sender<Answer<T>>,
    /// It was forgotten while it ran, and nobody has asked since.
    forgotten: bool,
}

impl<T: Code> Cache<T> {
    /// Keeps at most so many entries and bytes, and compiles so many at once.
    pub(crate) fn new(max_entries: usize, max_bytes: u64, places: usize) -> Self {
        Self(Arc::new(Inner {
            max_entries,
            max_bytes,
            places: Arc::new(Semaphore::new(places)),
            entries: Mutex::new(Entries {
                kept: HashMap::new(),
                running: HashMap::new(),
                bytes: 0,
                clock: 0,
            }),
        }))
    }

    /// The code with this digest, compiled by `compile` on a blocking thread if it is not here and nobody else is
    /// at it. To give it up is to drop the future.
    pub(crate) async fn get_or_compile(
        &self,
        digest: Digest,
        compile: impl FnOnce() -> Result<T, RuntimeError> + Send + 'static,
    ) -> Result<T, RuntimeError> {
        let mut answer = {
            let mut entries = self.0.entries();
            if let Some(code) = entries.find(&digest) {
                return Ok(code);
            }
            match entries.running.get_mut(&digest) {
                Some(running) => {
                    running.forgotten = false;
                    running.answer.subscribe()
                }
                None => {
                    let (sender, receiver) = watch::channel(None);
                    let running = Running {
                        answer: sender.clone(),
                        forgotten: false,
                    };
                    entries.running.insert(digest, running);
                    let inner = Arc::clone(&self.0);
                    tokio::spawn(inner.compile(digest, sender, compile));
                    receiver
                }
            }
        };
        let answer = answer.wait_for(Option::is_some).await;
        let Ok(Some(ended)) = answer.as_deref() else {
            return Err(RuntimeError::Host(
                "the runtime is shutting down".to_owned(),
            ));
        };
        if let (Ok(code), true) = (&ended.code, ended.is_kept) {
            self.0.keep(&digest, code);
        }
        ended.code.clone()
    }

    /// Drops what is kept under this digest, and does not keep what is being compiled.
    pub(crate) fn forget(&self, digest: &Digest) -> bool {
        let mut entries = self.0.entries();
        if let Some(running) = entries.running.get_mut(digest) {
            running.forgotten = true;
        }
        entries.remove(digest)
    }
}

impl<T: Code> Inner<T> {
    async fn compile(
        self: Arc<Self>,
        digest: Digest,
        answer: watch::Sender<Answer<T>>,
        compile: impl FnOnce() -> Result<T, RuntimeError> + Send + 'static,
    ) {
        let Some(place) = self.place(digest, &answer).await else {
            return;
        };
        let compiled = tokio::task::spawn_blocking(compile).await;
        drop(place);
        let compiled = compiled
            .unwrap_or_else(|_| Err(RuntimeError::Host("the compiler panicked".to_owned())));
        let running = self.entries().running.remove(&digest);
        answer.send_replace(Some(Ended {
            code: compiled,
            is_kept: running.is_some_and(|running| !running.forgotten),
        }));
    }

    /// Keeps code for the task that took it, and that answers for its being here. One that was given up before
    /// it could take its code keeps nothing.
    fn keep(&self, digest: &Digest, code: &T) {
        let mut entries = self.entries();
        if entries.find(digest).is_none() {
            entries.insert(*digest, code.clone());
            entries.shrink(self.max_entries, self.max_bytes);
        }
    }

    /// A place to compile; none when nobody waits for it any more.
    async fn place(
        &self,
        digest: Digest,
        answer: &watch::Sender<Answer<T>>,
    ) -> Option<OwnedSemaphorePermit> {
        let mut place = std::pin::pin!(Arc::clone(&self.places).acquire_owned());
        loop {
            tokio::select! {
                biased;
                () = answer.closed() => {
                    // Whoever asks does so with the lock held.
                    let mut entries = self.entries();
                    if answer.receiver_count() == 0 {
                        entries.running.remove(&digest);
                        return None;
                    }
                }
                // The semaphore is never closed.
                place = &mut place => return place.ok(),
            }
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries<T>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Code> Entries<T> {
    fn find(&mut self, digest: &Digest) -> Option<T> {
        self.clock += 1;
        let kept = self.kept.get_mut(digest)?;
        kept.used = self.clock;
        Some(kept.code.clone())
    }

    fn remove(&mut self, digest: &Digest) -> bool {
        let Some(kept) = self.kept.remove(digest) else {
            return false;
        };
        self.bytes = self.bytes.saturating_sub(kept.bytes);
        true
    }

    fn insert(&mut self, digest: Digest, code: T) {
        let kept = Kept {
            bytes: code.bytes(),
            code,
            used: self.clock,
        };
        self.bytes = self.bytes.saturating_add(kept.bytes);
        self.kept.insert(digest, kept);
    }

    fn shrink(&mut self, max_entries: usize, max_bytes: u64) {
        while self.kept.len() > max_entries || self.bytes > max_bytes {
            let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.used);
            let Some((digest, _)) = oldest else { return };
            let digest = *digest;
            self.remove(&digest);
        }
    }
}

impl<T> std::fmt::Debug for Cache<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache")
            .field("places", &self.0.places.available_permits())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    /// Code of so many bytes.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Fake(u64);

    impl Code for Fake {
        fn bytes(&self) -> u64 {
            self.0
        }
    }

    /// A compilation that ends when it is told to, and how many have begun.
    struct Slow {
        end: mpsc::Sender<()>,
        compile: Box<dyn FnOnce() -> Result<Fake, RuntimeError> + Send>,
    }

    fn slow(begun: &Arc<AtomicUsize>, bytes: u64) -> Slow {
        let (end, ended) = mpsc::channel();
        let begun = Arc::clone(begun);
        let compile = Box::new(move || {
            begun.fetch_add(1, Ordering::SeqCst);
            let _ = ended.recv();
            Ok(Fake(bytes))
        });
        Slow { end, compile }
    }

    /// Polls once.
    async fn begin<F: Future>(future: &mut std::pin::Pin<Box<F>>) {
        let polled = std::future::poll_fn(|context| {
            std::task::Poll::Ready(future.as_mut().poll(context).is_ready())
        });
        assert!(!polled.await);
    }

    async fn until(condition: impl Fn() -> bool) {
        while !condition() {
            tokio::task::yield_now().await;
        }
    }

    fn at_once(bytes: u64) -> impl FnOnce() -> Result<Fake, RuntimeError> + Send + 'static {
        move || Ok(Fake(bytes))
    }

    fn named(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    fn is_kept(cache: &Cache<Fake>, name: &str) -> bool {
        cache.0.entries().kept.contains_key(&named(name))
    }

    fn running(cache: &Cache<Fake>) -> usize {
        cache.0.entries().running.len()
    }

    #[tokio::test]
    async fn a_place_is_held_until_the_compilation_has_ended() {
        let cache = Cache::new(10, 1000, 1);
        let begun = Arc::default();
        let first = slow(&begun, 1);
        let mut waits = Box::pin(cache.get_or_compile(named("first"), first.compile));
        begin(&mut waits).await;
        until(|| begun.load(Ordering::SeqCst) == 1).await;
        // Its task is stopped; the compilation goes on.
        drop(waits);
        let second = slow(&begun, 2);
        let mut waits = Box::pin(cache.get_or_compile(named("second"), second.compile));
        begin(&mut waits).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(
            begun.load(Ordering::SeqCst),
            1,
            "the place was freed too early"
        );
        first.end.send(()).unwrap();
        until(|| begun.load(Ordering::SeqCst) == 2).await;
        second.end.send(()).unwrap();
        assert_eq!(waits.await, Ok(Fake(2)));
        assert!(!is_kept(&cache, "first"), "nobody answers for it");
        assert!(is_kept(&cache, "second"));
        assert_eq!(running(&cache), 0);
    }

    #[tokio::test]
    async fn one_that_nobody_waits_for_is_not_begun() {
        let cache = Cache::new(10, 1000, 1);
        let begun = Arc::default();
        let first = slow(&begun, 1);
        let mut waits = Box::pin(cache.get_or_compile(named("first"), first.compile));
        begin(&mut waits).await;
        until(|| begun.load(Ordering::SeqCst) == 1).await;
        for number in 0..100 {
            let given_up = slow(&begun, 1);
            let digest = number.to_string();
            let mut waits = Box::pin(cache.get_or_compile(named(&digest), given_up.compile));
            begin(&mut waits).await;
        }
        until(|| running(&cache) == 1).await;
        first.end.send(()).unwrap();
        waits.await.unwrap();
        assert_eq!(begun.load(Ordering::SeqCst), 1);
        assert_eq!(running(&cache), 0);
    }

    #[tokio::test]
    async fn one_that_was_given_up_can_be_joined() {
        let cache = Cache::new(10, 1000, 1);
        let begun = Arc::default();
        let first = slow(&begun, 7);
        let mut waits = Box::pin(cache.get_or_compile(named("it"), first.compile));
        begin(&mut waits).await;
        until(|| begun.load(Ordering::SeqCst) == 1).await;
        drop(waits);
        let mut again = Box::pin(cache.get_or_compile(named("it"), at_once(8)));
        begin(&mut again).await;
        first.end.send(()).unwrap();
        assert_eq!(again.await, Ok(Fake(7)));
        assert!(is_kept(&cache, "it"));
    }

    #[tokio::test]
    async fn code_that_nobody_took_is_not_kept() {
        let cache = Cache::new(10, 1000, 1);
        let begun = Arc::default();
        let slow = slow(&begun, 7);
        let mut waits = Box::pin(cache.get_or_compile(named("it"), slow.compile));
        begin(&mut waits).await;
        slow.end.send(()).unwrap();
        until(|| running(&cache) == 0).await;
        // It is there, and its task is stopped before it looks.
        drop(waits);
        assert!(!is_kept(&cache, "it"), "nobody answers for it");
    }

    #[tokio::test]
    async fn what_is_forgotten_while_it_is_compiled_is_not_kept() {
        let cache = Cache::new(10, 1000, 1);
        let begun = Arc::default();
        let first = slow(&begun, 7);
        let mut waits = Box::pin(cache.get_or_compile(named("it"), first.compile));
        begin(&mut waits).await;
        cache.forget(&named("it"));
        first.end.send(()).unwrap();
        assert_eq!(waits.await, Ok(Fake(7)));
        assert!(!is_kept(&cache, "it"));
    }

    #[tokio::test]
    async fn the_one_used_longest_ago_goes_first() {
        let cache = Cache::new(2, 1000, 1);
        for digest in ["a", "b", "a", "c"] {
            cache
                .get_or_compile(named(digest), at_once(1))
                .await
                .unwrap();
        }
        let kept = ["a", "b", "c"].map(|digest| is_kept(&cache, digest));
        assert_eq!(kept, [true, false, true]);
    }

    #[tokio::test]
    async fn bytes_are_bounded_and_counted() {
        let cache = Cache::new(10, 100, 1);
        for (digest, bytes) in [("a", 40), ("b", 40), ("c", 40)] {
            cache
                .get_or_compile(named(digest), at_once(bytes))
                .await
                .unwrap();
        }
        let kept = ["a", "b", "c"].map(|digest| is_kept(&cache, digest));
        assert_eq!(kept, [false, true, true]);
        assert!(cache.forget(&named("b")) && !cache.forget(&named("b")));
        assert_eq!(cache.0.entries().bytes, 40);
        // What is larger than all of it is given, and not kept.
        let large = cache.get_or_compile(named("d"), at_once(101)).await;
        assert_eq!(large, Ok(Fake(101)));
        assert!(!is_kept(&cache, "d"));
    }

    #[tokio::test]
    async fn compilations_under_way_push_nothing_out() {
        let cache = Cache::new(2, 1000, 10);
        for digest in ["a", "b"] {
            cache
                .get_or_compile(named(digest), at_once(1))
                .await
                .unwrap();
        }
        let begun = Arc::default();
        let mut ends = Vec::new();
        for number in 0..10 {
            let slow = slow(&begun, 1);
            let digest = format!("slow-{number}");
            let mut waits = Box::pin(cache.get_or_compile(named(&digest), slow.compile));
            begin(&mut waits).await;
            ends.push(slow.end);
            until(|| begun.load(Ordering::SeqCst) == number + 1).await;
        }
        drop(ends);
        until(|| running(&cache) == 0).await;
        assert!(is_kept(&cache, "a") && is_kept(&cache, "b"));
    }

    #[tokio::test]
    async fn failures_and_panics_are_answers_and_not_kept() {
        let cache = Cache::<Fake>::new(10, 1000, 1);
        let failed = cache
            .get_or_compile(named("it"), || Err(RuntimeError::Stopped))
            .await;
        assert_eq!(failed, Err(RuntimeError::Stopped));
        let panicked = cache
            .get_or_compile(named("it"), || std::panic::resume_unwind(Box::new(())))
            .await;
        assert_eq!(panicked.unwrap_err().code(), "host-failed");
        assert_eq!(
            cache.get_or_compile(named("it"), at_once(1)).await,
            Ok(Fake(1))
        );
    }
}
