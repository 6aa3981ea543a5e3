use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use super::*;

/// Code of so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fake(u64);

impl Cacheable for Fake {
    fn bytes(&self) -> u64 {
        self.0
    }
}

const BOUNDS: Bounds = Bounds {
    entries: 10,
    bytes: 1000,
    places: 1,
    waiting: 200,
    wait: Duration::from_secs(600),
    time: Duration::from_secs(60),
};

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Fake, RuntimeError>> + 'a>>;

/// A cache, and how many compilations have begun in it.
struct Scene {
    cache: Cache<Fake>,
    begun: Arc<AtomicUsize>,
}

impl Scene {
    fn new(bounds: Bounds) -> Self {
        Self {
            cache: Cache::new(bounds),
            begun: Arc::default(),
        }
    }

    /// Asks for code whose compilation ends when it is told to; the owner is the first letter of its name.
    async fn slow(&self, name: &str, bytes: u64) -> (Answer<'_>, mpsc::Sender<()>) {
        let (end, ended) = mpsc::channel();
        let begun = Arc::clone(&self.begun);
        let compile = move || {
            begun.fetch_add(1, Ordering::SeqCst);
            let _ = ended.recv();
            Ok(Fake(bytes))
        };
        let owner = Owner::Named(name[..1].into());
        let digest = named(name);
        let mut answer: Answer<'_> =
            Box::pin(async move { self.cache.get_or_compile(digest, &owner, compile).await });
        assert!(poll(&mut answer).await.is_none());
        (answer, end)
    }

    /// The same, when its turn comes at once.
    async fn running(&self, name: &str, bytes: u64) -> (Answer<'_>, mpsc::Sender<()>) {
        let before = self.begun();
        let asked = self.slow(name, bytes).await;
        until(|| self.begun() == before + 1).await;
        asked
    }

    async fn at_once(&self, name: &str, bytes: u64) -> Result<Fake, RuntimeError> {
        let compile = move || Ok(Fake(bytes));
        let owner = Owner::Named(name[..1].into());
        self.cache
            .get_or_compile(named(name), &owner, compile)
            .await
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    fn jobs(&self) -> usize {
        self.cache.0.state().jobs.len()
    }

    fn keeps(&self, name: &str) -> bool {
        self.cache.0.state().kept.holds(&named(name))
    }

    fn forget(&self, name: &str) -> bool {
        self.cache.forget(&named(name))
    }
}

fn named(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

/// Polls once.
async fn poll(answer: &mut Answer<'_>) -> Option<Result<Fake, RuntimeError>> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match answer.as_mut().poll(context) {
            std::task::Poll::Ready(answer) => Some(answer),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

/// Gives everything that could happen the time to happen.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_place_is_held_until_the_compilation_has_ended() {
    let scene = Scene::new(BOUNDS);
    let (first, end_first) = scene.running("first", 1).await;
    // Its task is stopped; the compilation goes on.
    drop(first);
    let (second, end_second) = scene.slow("second", 2).await;
    settle().await;
    assert_eq!(scene.begun(), 1, "the place was freed too early");
    end_first.send(()).unwrap();
    until(|| scene.begun() == 2).await;
    end_second.send(()).unwrap();
    assert_eq!(second.await, Ok(Fake(2)));
    assert!(!scene.keeps("first"), "nobody answers for it");
    assert!(scene.keeps("second"));
    assert_eq!(scene.jobs(), 0);
}

#[tokio::test]
async fn one_that_nobody_waits_for_is_not_begun() {
    let scene = Scene::new(BOUNDS);
    let (first, end) = scene.running("first", 1).await;
    for number in 0..100 {
        drop(scene.slow(&number.to_string(), 1).await);
    }
    assert_eq!(scene.jobs(), 1);
    end.send(()).unwrap();
    first.await.unwrap();
    settle().await;
    assert_eq!((scene.begun(), scene.jobs()), (1, 0));
}

#[tokio::test]
async fn one_that_was_given_up_can_be_joined() {
    let scene = Scene::new(BOUNDS);
    let (first, end) = scene.running("it", 7).await;
    drop(first);
    let (again, _) = scene.slow("it", 8).await;
    end.send(()).unwrap();
    assert_eq!(again.await, Ok(Fake(7)));
    assert!(scene.keeps("it"));
}

#[tokio::test]
async fn one_that_waits_is_kept_waiting_for_whoever_is_left() {
    let scene = Scene::new(BOUNDS);
    let (first, end_first) = scene.running("first", 1).await;
    let (gives_up, end) = scene.slow("it", 7).await;
    let (stays, _) = scene.slow("it", 8).await;
    drop(gives_up);
    end_first.send(()).unwrap();
    first.await.unwrap();
    end.send(()).unwrap();
    assert_eq!(stays.await, Ok(Fake(7)));
}

#[tokio::test]
async fn code_that_nobody_took_is_not_kept() {
    let scene = Scene::new(BOUNDS);
    let (answer, end) = scene.running("it", 7).await;
    end.send(()).unwrap();
    until(|| scene.jobs() == 0).await;
    // It is there, and its task is stopped before it looks.
    drop(answer);
    assert!(!scene.keeps("it"), "nobody answers for it");
}

#[tokio::test]
async fn what_is_forgotten_while_it_is_compiled_is_not_kept() {
    let scene = Scene::new(BOUNDS);
    let (answer, end) = scene.running("it", 7).await;
    scene.forget("it");
    end.send(()).unwrap();
    assert_eq!(answer.await, Ok(Fake(7)));
    assert!(!scene.keeps("it"));
}

#[tokio::test]
async fn the_one_used_longest_ago_goes_first() {
    let scene = Scene::new(Bounds {
        entries: 2,
        ..BOUNDS
    });
    for name in ["a", "b", "a", "c"] {
        scene.at_once(name, 1).await.unwrap();
    }
    let kept = ["a", "b", "c"].map(|name| scene.keeps(name));
    assert_eq!(kept, [true, false, true]);
}

#[tokio::test]
async fn bytes_are_bounded_and_counted() {
    let scene = Scene::new(Bounds {
        bytes: 100,
        ..BOUNDS
    });
    for name in ["a", "b", "c"] {
        scene.at_once(name, 40).await.unwrap();
    }
    let kept = ["a", "b", "c"].map(|name| scene.keeps(name));
    assert_eq!(kept, [false, true, true]);
    assert!(scene.forget("b") && !scene.forget("b"));
    assert_eq!(scene.cache.0.state().kept.bytes(), 40);
    // What is larger than all of it is given, and not kept.
    assert_eq!(scene.at_once("d", 101).await, Ok(Fake(101)));
    assert!(!scene.keeps("d"));
}

#[tokio::test]
async fn compilations_under_way_push_nothing_out() {
    let scene = Scene::new(Bounds {
        entries: 2,
        places: 10,
        ..BOUNDS
    });
    for name in ["a", "b"] {
        scene.at_once(name, 1).await.unwrap();
    }
    let mut ends = Vec::new();
    for number in 0..10 {
        let (answer, end) = scene.running(&format!("{number} is slow"), 1).await;
        drop(answer);
        ends.push(end);
    }
    drop(ends);
    until(|| scene.jobs() == 0).await;
    assert!(scene.keeps("a") && scene.keeps("b"));
}

#[tokio::test]
async fn failures_and_panics_are_answers_and_not_kept() {
    let scene = Scene::new(BOUNDS);
    let (it, owner) = (named("it"), Owner::Anybody);
    let failed = scene
        .cache
        .get_or_compile(it, &owner, || Err(RuntimeError::Stopped));
    assert_eq!(failed.await, Err(RuntimeError::Stopped));
    let panicked = scene
        .cache
        .get_or_compile(it, &owner, || std::panic::resume_unwind(Box::new(())));
    assert_eq!(panicked.await.unwrap_err().code(), "host-failed");
    assert_eq!(scene.at_once("it", 1).await, Ok(Fake(1)));
}

#[tokio::test]
async fn slow_components_hold_up_their_owner_only() {
    let scene = Scene::new(Bounds {
        places: 2,
        ..BOUNDS
    });
    let (_first, _never) = scene.running("a1", 1).await;
    // The same owner's second waits, although a place is free for others.
    let (mut second, _never) = scene.slow("a2", 1).await;
    settle().await;
    assert_eq!(scene.begun(), 1);
    for name in ["b1", "b2", "c1"] {
        assert_eq!(scene.at_once(name, 1).await, Ok(Fake(1)), "{name}");
    }
    assert_eq!(scene.begun(), 1);
    assert_eq!(poll(&mut second).await, None);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_place_is_no_fault_of_the_component() {
    let scene = Scene::new(BOUNDS);
    let (mut first, end_first) = scene.running("a1", 1).await;
    let (mut second, end_second) = scene.slow("b1", 2).await;
    // Past the limit: the one that runs has failed, and the one that waits has not begun to count.
    tokio::time::advance(BOUNDS.time * 3).await;
    let limit = BOUNDS.time.as_millis() as u64;
    assert_eq!(
        poll(&mut first).await,
        Some(Err(RuntimeError::LimitCompile(limit)))
    );
    assert_eq!(poll(&mut second).await, None);
    // It still holds its place, and when it gives it back, the other's time begins.
    assert_eq!(scene.begun(), 1);
    end_first.send(()).unwrap();
    until(|| scene.begun() == 2).await;
    assert_eq!(poll(&mut second).await, None);
    tokio::time::advance(BOUNDS.time / 2).await;
    assert_eq!(poll(&mut second).await, None);
    tokio::time::advance(BOUNDS.time / 2 + Duration::from_millis(1)).await;
    assert_eq!(
        poll(&mut second).await,
        Some(Err(RuntimeError::LimitCompile(limit)))
    );
    end_second.send(()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_place_without_end() {
    let scene = Scene::new(BOUNDS);
    let (_running, end) = scene.running("a1", 1).await;
    let (mut second, _never) = scene.slow("b1", 2).await;
    tokio::time::advance(BOUNDS.wait / 2).await;
    assert_eq!(poll(&mut second).await, None);
    tokio::time::advance(BOUNDS.wait / 2 + Duration::from_millis(1)).await;
    let refused = poll(&mut second).await;
    assert_eq!(refused, Some(Err(RuntimeError::CompileBusy)));
    // It has left the queue.
    drop(second);
    assert_eq!(scene.jobs(), 1);
    end.send(()).unwrap();
    until(|| scene.jobs() == 0).await;
    assert_eq!(scene.begun(), 1);
}

#[tokio::test]
async fn a_full_queue_refuses_and_says_so() {
    let scene = Scene::new(Bounds {
        waiting: 2,
        ..BOUNDS
    });
    let (_running, _never) = scene.running("a1", 1).await;
    let (mut second, _never2) = scene.slow("a2", 1).await;
    let (mut third, _never3) = scene.slow("a3", 1).await;
    let full = scene.at_once("a4", 1).await.unwrap_err();
    assert_eq!(full, RuntimeError::CompileBusy);
    // Another owner is let in, in the place of the last of the longest line.
    let (mut other, _never4) = scene.slow("b1", 1).await;
    assert_eq!(poll(&mut second).await, None);
    assert_eq!(poll(&mut third).await, Some(Err(RuntimeError::CompileBusy)));
    assert_eq!(poll(&mut other).await, None);
}

#[test]
fn each_is_compiled_where_somebody_waits_for_it() {
    let scheduler = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let (one, other) = (scheduler(), scheduler());
    let scene = Scene::new(BOUNDS);
    let (first, end) = one.block_on(scene.running("a1", 1));
    let (second, end_second) = other.block_on(scene.slow("b1", 2));
    // What runs there goes on to its end, and nothing begins there any more.
    drop(first);
    one.shutdown_background();
    end.send(()).unwrap();
    end_second.send(()).unwrap();
    assert_eq!(other.block_on(second), Ok(Fake(2)));
}
