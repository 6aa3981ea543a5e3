//! How long the TEE is waited for, and how much of it guests get.
//!
//! A quote costs the machine up to seconds, and a TEE makes one at a time. What a key broker session needs is
//! asked for by the host and made once ([`crate::flight`]); what guests ask for has no such end. So guests
//! queue among themselves, and one of them at a time stands in line with the host: however many tasks ask
//! for evidence, a handshake waits for one quote of theirs at most. The queue is bounded, and every wait has
//! an end.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use proplet_hal::{Evidence, EvidenceError, ReportData, TeeName, TeeProvider};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// How many requests of guests may wait. Each holds a task's place, so this bounds nothing but a machine that
/// runs more tasks at once than that.
const MAX_WAITING: usize = 256;

/// A TEE that is waited for no longer than it may take.
pub(crate) struct Patient {
    tee: Arc<dyn TeeProvider>,
    patience: Duration,
}

impl Patient {
    pub(crate) fn new(tee: Arc<dyn TeeProvider>, patience: Duration) -> Self {
        Self { tee, patience }
    }

    async fn wait<T>(
        &self,
        work: impl Future<Output = Result<T, EvidenceError>>,
    ) -> Result<T, EvidenceError> {
        let timed_out = |_| EvidenceError::TimedOut {
            tee: self.tee.tee(),
            seconds: self.patience.as_secs(),
        };
        timeout(self.patience, work).await.map_err(timed_out)?
    }
}

#[async_trait]
impl TeeProvider for Patient {
    fn tee(&self) -> TeeName {
        self.tee.tee()
    }

    fn attester(&self) -> &str {
        self.tee.attester()
    }

    fn is_hardware(&self) -> bool {
        self.tee.is_hardware()
    }

    async fn evidence(&self, report_data: &ReportData) -> Result<Evidence, EvidenceError> {
        self.wait(self.tee.evidence(report_data)).await
    }

    async fn init_data(&self) -> Result<Option<Vec<u8>>, EvidenceError> {
        self.wait(self.tee.init_data()).await
    }
}

/// A TEE for others than this host: they wait among the guests.
pub(crate) struct Queued {
    tee: Arc<dyn TeeProvider>,
    queue: Arc<GuestQueue>,
}

impl Queued {
    pub(crate) fn new(tee: Arc<dyn TeeProvider>, queue: Arc<GuestQueue>) -> Self {
        Self { tee, queue }
    }

    async fn turn(&self) -> Result<Turn, EvidenceError> {
        let busy = EvidenceError::Busy {
            tee: self.tee.tee(),
        };
        self.queue.turn().await.ok_or(busy)
    }
}

#[async_trait]
impl TeeProvider for Queued {
    fn tee(&self) -> TeeName {
        self.tee.tee()
    }

    fn attester(&self) -> &str {
        self.tee.attester()
    }

    fn is_hardware(&self) -> bool {
        self.tee.is_hardware()
    }

    async fn evidence(&self, report_data: &ReportData) -> Result<Evidence, EvidenceError> {
        let _turn = self.turn().await?;
        self.tee.evidence(report_data).await
    }

    async fn init_data(&self) -> Result<Option<Vec<u8>>, EvidenceError> {
        let _turn = self.turn().await?;
        self.tee.init_data().await
    }
}

/// The guests' queue.
pub(crate) struct GuestQueue {
    places: Arc<Semaphore>,
    turn: Arc<Semaphore>,
}

/// A guest's turn at the TEE.
pub(crate) struct Turn {
    _place: OwnedSemaphorePermit,
    _turn: OwnedSemaphorePermit,
}

impl Default for GuestQueue {
    fn default() -> Self {
        Self::of(MAX_WAITING)
    }
}

impl GuestQueue {
    fn of(places: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// Waits for a turn, in the order of asking. None when too many wait.
    pub(crate) async fn turn(&self) -> Option<Turn> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let turn = Arc::clone(&self.turn).acquire_owned().await.ok()?;
        Some(Turn {
            _place: place,
            _turn: turn,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::{Instant, sleep};

    use super::*;

    /// Makes evidence of nothing, one at a time, in a second each.
    #[derive(Default)]
    struct Slow {
        device: tokio::sync::Mutex<()>,
        calls: AtomicUsize,
        hangs: bool,
    }

    #[async_trait]
    impl TeeProvider for Slow {
        fn tee(&self) -> TeeName {
            TeeName::SNP
        }

        fn attester(&self) -> &str {
            "slow"
        }

        fn is_hardware(&self) -> bool {
            true
        }

        async fn evidence(&self, _: &ReportData) -> Result<Evidence, EvidenceError> {
            let _device = self.device.lock().await;
            self.calls.fetch_add(1, Ordering::Relaxed);
            if self.hangs {
                std::future::pending::<()>().await;
            }
            sleep(Duration::from_secs(1)).await;
            Ok(Evidence {
                tee: TeeName::SNP,
                evidence: serde_json::Value::Null,
            })
        }

        async fn init_data(&self) -> Result<Option<Vec<u8>>, EvidenceError> {
            self.evidence(&data()).await.map(|_| Some(vec![1; 32]))
        }
    }

    fn data() -> ReportData {
        ReportData::new(&[7; 64]).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_tee_that_hangs_is_given_up() {
        let slow = Slow {
            hangs: true,
            ..Slow::default()
        };
        let patient = Patient::new(Arc::new(slow), Duration::from_secs(5));
        assert_eq!(patient.attester(), "slow");
        assert!(patient.is_hardware());
        let began = Instant::now();
        let (tee, seconds) = (TeeName::SNP, 5);
        let expected = EvidenceError::TimedOut { tee, seconds };
        assert_eq!(patient.evidence(&data()).await, Err(expected.clone()));
        assert_eq!(patient.init_data().await, Err(expected));
        assert_eq!(began.elapsed(), Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_handshake_waits_for_one_guest_at_most() {
        let tee = Arc::new(Slow::default());
        let queue = Arc::new(GuestQueue::default());
        let guests: Vec<_> = (0..100)
            .map(|_| {
                let (tee, queue) = (Arc::clone(&tee), Arc::clone(&queue));
                tokio::spawn(async move {
                    let _turn = queue.turn().await.unwrap();
                    tee.evidence(&data()).await.unwrap();
                })
            })
            .collect();
        while tee.calls.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        let began = Instant::now();
        tee.evidence(&data()).await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_secs(2));
        for guest in guests {
            guest.await.unwrap();
        }
        assert_eq!(tee.calls.load(Ordering::Relaxed), 101);
    }

    #[tokio::test(start_paused = true)]
    async fn others_wait_among_the_guests() {
        let tee = Arc::new(Slow::default());
        let queue = Arc::new(GuestQueue::of(2));
        let queued = Arc::new(Queued::new(
            Arc::clone(&tee) as Arc<dyn TeeProvider>,
            Arc::clone(&queue),
        ));
        assert_eq!((queued.attester(), queued.is_hardware()), ("slow", true));
        assert_eq!(queued.tee(), TeeName::SNP);
        let guest = queue.turn().await.unwrap();
        let waiting = tokio::spawn({
            let queued = Arc::clone(&queued);
            async move { queued.evidence(&data()).await }
        });
        tokio::task::yield_now().await;
        assert_eq!(tee.calls.load(Ordering::Relaxed), 0);
        let tee_name = TeeName::SNP;
        let busy = queued.init_data().await.unwrap_err();
        assert_eq!(busy, EvidenceError::Busy { tee: tee_name });
        drop(guest);
        waiting.await.unwrap().unwrap();
        assert_eq!(queued.init_data().await.unwrap(), Some(vec![1; 32]));
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_is_bounded_and_those_who_leave_make_room() {
        let queue = Arc::new(GuestQueue::of(2));
        let first = queue.turn().await.unwrap();
        let second = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move { queue.turn().await.is_some() }
        });
        tokio::task::yield_now().await;
        assert!(queue.turn().await.is_none());
        second.abort();
        assert!(second.await.unwrap_err().is_cancelled());
        let third = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move { queue.turn().await.is_some() }
        });
        tokio::task::yield_now().await;
        drop(first);
        assert!(third.await.unwrap());
    }
}
