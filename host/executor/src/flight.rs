//! Work that is done once for all who need it at the same time.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

/// How many keys are remembered. While a session is renewed there are two; where each component has a session of
/// its own, two for each.
const KEPT: usize = 128;

/// One value for each key, made by whoever needs it first. The last few are kept.
///
/// The work runs in a task of its own, so a caller that gives up takes nothing away from the others, and the
/// next caller finds what was begun. How it ends is told to everybody who waited: a failure costs one try and
/// not one for each of them. Failures are not kept.
pub(crate) struct Flight<K, T, E> {
    state: Mutex<State<K, T, E>>,
}

struct State<K, T, E> {
    /// The oldest first.
    kept: VecDeque<(K, T)>,
    flying: Vec<(K, Outcome<T, E>)>,
}

type Outcome<T, E> = watch::Receiver<Option<Result<T, E>>>;

impl<K, T, E> Default for Flight<K, T, E> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                kept: VecDeque::new(),
                flying: Vec::new(),
            }),
        }
    }
}

impl<K, T, E> Flight<K, T, E>
where
    K: PartialEq + Clone,
    T: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    /// The value of this key: kept, being made, or made by `work` now. `aborted` is the error when the work
    /// ended without one, by a panic or because the runtime stops.
    pub(crate) async fn get<F>(&self, key: K, aborted: E, work: impl FnOnce() -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let mut outcome = {
            let mut state = self.lock();
            if let Some((_, value)) = state.kept.iter().find(|(kept, _)| *kept == key) {
                return Ok(value.clone());
            }
            match state.flying.iter().find(|(flying, _)| *flying == key) {
                Some((_, outcome)) => outcome.clone(),
                None => {
                    // What ended after all who wanted it had gone was told to nobody.
                    if state.flying.len() > KEPT {
                        state.flying.retain(|(_, ended)| ended.borrow().is_none());
                    }
                    let outcome = take_off(work());
                    state.flying.push((key.clone(), outcome.clone()));
                    outcome
                }
            }
        };
        let result = match outcome.wait_for(Option::is_some).await {
            Ok(result) => result.clone(),
            Err(_) => None,
        };
        let result = result.unwrap_or(Err(aborted));
        let mut state = self.lock();
        // The first to be told lands it for all.
        let flying = state.flying.len();
        state
            .flying
            .retain(|(_, flying)| !flying.same_channel(&outcome));
        if state.flying.len() < flying
            && let Ok(value) = &result
        {
            state.kept.push_back((key, value.clone()));
            if state.kept.len() > KEPT {
                state.kept.pop_front();
            }
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, State<K, T, E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take_off<T, E>(work: impl Future<Output = Result<T, E>> + Send + 'static) -> Outcome<T, E>
where
    T: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    let (sender, receiver) = watch::channel(None);
    tokio::spawn(async move {
        let result = work.await;
        sender.send_replace(Some(result));
    });
    receiver
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::*;

    type Numbers = Flight<u32, u32, &'static str>;

    /// Takes a second and gives the number of this call, or fails.
    fn work(
        calls: &Arc<AtomicU32>,
        fails: bool,
    ) -> impl Future<Output = Result<u32, &'static str>> + Send + use<> {
        let calls = Arc::clone(calls);
        async move {
            let number = calls.fetch_add(1, Ordering::Relaxed) + 1;
            sleep(Duration::from_secs(1)).await;
            if fails { Err("failed") } else { Ok(number) }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn two_hundred_at_once_cost_one_piece_of_work() {
        let (flight, calls) = (Arc::new(Numbers::default()), Arc::new(AtomicU32::new(0)));
        let began = Instant::now();
        let callers: Vec<_> = (0..200)
            .map(|_| {
                let (flight, calls) = (Arc::clone(&flight), Arc::clone(&calls));
                tokio::spawn(async move { flight.get(1, "aborted", || work(&calls, false)).await })
            })
            .collect();
        for caller in callers {
            assert_eq!(caller.await.unwrap(), Ok(1));
        }
        assert_eq!(began.elapsed(), Duration::from_secs(1));
        assert_eq!(
            flight.get(1, "aborted", || work(&calls, false)).await,
            Ok(1)
        );
        assert_eq!(
            flight.get(2, "aborted", || work(&calls, false)).await,
            Ok(2)
        );
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_overlap_cost_one_piece_of_work_each() {
        let (flight, calls) = (Arc::new(Numbers::default()), Arc::new(AtomicU32::new(0)));
        let ask = |key| {
            let (flight, calls) = (Arc::clone(&flight), Arc::clone(&calls));
            tokio::spawn(async move { flight.get(key, "aborted", || work(&calls, false)).await })
        };
        let callers: Vec<_> = (0..100).map(|number| ask(number % 2)).collect();
        for caller in callers {
            caller.await.unwrap().unwrap();
        }
        for key in [0, 1, 0, 1] {
            ask(key).await.unwrap().unwrap();
        }
        assert_eq!(calls.load(Ordering::Relaxed), 2);
        let many = u32::try_from(KEPT).unwrap();
        for key in 2..=many + 2 {
            ask(key).await.unwrap().unwrap();
        }
        assert_eq!(flight.lock().kept.len(), KEPT);
        assert!(flight.lock().flying.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_told_to_all_and_kept_for_nobody() {
        let (flight, calls) = (Arc::new(Numbers::default()), Arc::new(AtomicU32::new(0)));
        let callers: Vec<_> = (0..50)
            .map(|_| {
                let (flight, calls) = (Arc::clone(&flight), Arc::clone(&calls));
                tokio::spawn(async move { flight.get(1, "aborted", || work(&calls, true)).await })
            })
            .collect();
        for caller in callers {
            assert_eq!(caller.await.unwrap(), Err("failed"));
        }
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        assert_eq!(
            flight.get(1, "aborted", || work(&calls, false)).await,
            Ok(2)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_gives_up_takes_nothing_away() {
        let (flight, calls) = (Arc::new(Numbers::default()), Arc::new(AtomicU32::new(0)));
        for _ in 0..5 {
            let given_up = flight.get(1, "aborted", || work(&calls, false));
            let given_up = tokio::time::timeout(Duration::from_millis(100), given_up);
            assert!(given_up.await.is_err());
        }
        assert_eq!(
            flight.get(1, "aborted", || work(&calls, false)).await,
            Ok(1)
        );
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_is_forgotten() {
        let (flight, calls) = (Numbers::default(), Arc::new(AtomicU32::new(0)));
        for key in 0..100 {
            let given_up = flight.get(key, "aborted", || work(&calls, false));
            let given_up = tokio::time::timeout(Duration::from_millis(100), given_up);
            assert!(given_up.await.is_err());
            sleep(Duration::from_secs(2)).await;
        }
        assert!(flight.lock().flying.len() <= KEPT + 1);
    }

    #[tokio::test]
    async fn work_that_panics_is_aborted_and_can_be_tried_again() {
        let (flight, calls) = (Numbers::default(), Arc::new(AtomicU32::new(0)));
        let aborted = flight.get(1, "aborted", || async { panic!("on purpose") });
        assert_eq!(aborted.await, Err("aborted"));
        assert_eq!(
            flight.get(1, "aborted", || work(&calls, false)).await,
            Ok(1)
        );
    }
}
