use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::mpsc;

use proplet_types::Code;
use rustix::io::Errno;
use tempfile::TempDir;

use super::*;
use crate::snp::REPORT_LEN;
use crate::tsm::TsmError;

/// What one attempt does.
enum Answer {
    /// A good report over what was asked.
    Good,
    /// A report with one byte changed.
    Changed(usize),
    Fails(WayError),
    /// Good, once the sender said so or has gone.
    Waits(mpsc::Receiver<()>),
}

#[derive(Clone, Default)]
struct Script(Arc<Mutex<VecDeque<Answer>>>, Arc<AtomicUsize>);

impl Script {
    fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self(
            Arc::new(Mutex::new(answers.into_iter().collect())),
            Arc::default(),
        )
    }

    fn calls(&self) -> usize {
        self.1.load(Ordering::Relaxed)
    }
}

struct Scripted(&'static str, Script);

fn report(data: &[u8; 64]) -> Vec<u8> {
    let mut report = vec![0; REPORT_LEN];
    report[0] = 3;
    report[52] = 1;
    report[0x188] = 0x19;
    report[80..144].copy_from_slice(data);
    report[192..224].fill(6);
    report
}

impl Way for Scripted {
    fn name(&self) -> &'static str {
        self.0
    }

    fn attempt(&self, data: &[u8; 64]) -> Result<Raw, WayError> {
        self.1.1.fetch_add(1, Ordering::Relaxed);
        let answer = self.1.0.lock().unwrap().pop_front();
        let mut evidence = report(data);
        match answer.unwrap_or(Answer::Good) {
            Answer::Good => {}
            Answer::Changed(at) => evidence[at] ^= 1,
            Answer::Fails(error) => return Err(error),
            Answer::Waits(gate) => {
                let _ = gate.recv();
            }
        }
        Ok(Raw {
            evidence,
            ..Raw::default()
        })
    }
}

fn busy() -> WayError {
    let error = Errno::BUSY.into();
    let step = "read outblob";
    TsmError::Busy { step, error }.into()
}

fn gone() -> WayError {
    let error = Errno::NXIO.into();
    let step = "read outblob";
    TsmError::Gone { step, error }.into()
}

fn tee(ways: &[(&'static str, &Script)]) -> HardwareTee {
    let ways = ways
        .iter()
        .map(|(name, script)| Box::new(Scripted(name, (*script).clone())) as Box<dyn Way>);
    HardwareTee::with_ways(HardwareKind::Snp, ways.collect())
}

fn asked() -> ReportData {
    ReportData::new(&[7; 64]).unwrap()
}

#[tokio::test(start_paused = true)]
async fn evidence_is_made_and_says_what_binds_the_vm() {
    let script = Script::default();
    let tee = tee(&[("first", &script)]);
    assert!(tee.is_hardware());
    let evidence = tee.evidence(&asked()).await.unwrap();
    assert_eq!(evidence.tee, TeeName::SNP);
    assert_eq!(evidence.evidence["cert_chain"], serde_json::Value::Null);
    // Known from the first evidence: no other request.
    assert_eq!(tee.init_data().await.unwrap(), Some(vec![6; 32]));
    assert_eq!(script.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn init_data_is_asked_for_when_there_was_no_evidence() {
    let script = Script::default();
    let tee = tee(&[("first", &script)]);
    for _ in 0..3 {
        assert_eq!(tee.init_data().await.unwrap(), Some(vec![6; 32]));
    }
    assert_eq!(script.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_passes_by_itself_is_waited_for() {
    let script = Script::new((0..5).map(|_| Answer::Fails(busy())));
    let started = Instant::now();
    tee(&[("first", &script)]).evidence(&asked()).await.unwrap();
    assert_eq!(script.calls(), 6);
    // 50 + 100 + 200 + 400 + 800 ms.
    assert_eq!(started.elapsed().as_millis() / 10, 155);
}

#[tokio::test(start_paused = true)]
async fn waiting_has_an_end() {
    let script = Script::new((0..100).map(|_| Answer::Fails(busy())));
    let error = tee(&[("first", &script)])
        .evidence(&asked())
        .await
        .unwrap_err();
    assert_eq!(script.calls(), 8);
    assert_eq!(error.code(), Code::TeeBusy);
}

#[tokio::test(start_paused = true)]
async fn the_next_way_takes_over() {
    let first = Script::new([Answer::Good, Answer::Fails(gone())]);
    let second = Script::default();
    let tee = tee(&[("first", &first), ("second", &second)]);
    tee.evidence(&asked()).await.unwrap();
    assert_eq!((tee.way(), second.calls()), (Some("first"), 0));
    tee.evidence(&asked()).await.unwrap();
    assert_eq!(tee.way(), Some("second"));
    tee.evidence(&asked()).await.unwrap();
    assert_eq!((first.calls(), second.calls()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn the_first_way_that_answers_is_chosen() {
    let first = Script::new([Answer::Fails(gone())]);
    let second = Script::default();
    let third = Script::default();
    let tee = tee(&[("first", &first), ("second", &second), ("third", &third)]);
    let trials = tee.choose(PATIENCE).await;
    assert_eq!(trials.len(), 2);
    assert_eq!(trials[0].outcome, Err(gone()));
    assert_eq!(trials[1].outcome, Ok(Vec::new()));
    assert_eq!((tee.way(), third.calls()), (Some("second"), 0));
    assert_eq!(tee.own().unwrap().measurement, vec![0; 48]);
    assert_eq!(tee.try_all().await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn when_no_way_works_each_is_told() {
    let first = Script::new([Answer::Fails(gone())]);
    let second = Script::new((0..8).map(|_| Answer::Fails(busy())));
    let tee = tee(&[("first", &first), ("second", &second)]);
    let error = tee.evidence(&asked()).await.unwrap_err();
    let words = error.to_string();
    assert!(
        words.contains("by first (tee-unreachable): ")
            && words.contains("; by second (tee-busy): "),
        "{words}"
    );
    assert_eq!(error.code(), Code::TeeUnreachable);
    // Nothing is broken for good.
    tee.evidence(&asked()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_does_not_change_while_a_vm_lives_stays() {
    // HOST_DATA and the measurement.
    for at in [192, 144] {
        for first in [Answer::Good, Answer::Changed(at)] {
            let then = match first {
                Answer::Good => Answer::Changed(at),
                _ => Answer::Good,
            };
            let (script, second) = (Script::new([first, then]), Script::default());
            let tee = tee(&[("first", &script), ("second", &second)]);
            tee.evidence(&asked()).await.unwrap();
            let told = tee.init_data().await.unwrap();
            let error = tee.evidence(&asked()).await.unwrap_err();
            assert_eq!(error.code(), Code::TeeNotTrusted);
            assert_eq!(second.calls(), 0);
            assert_eq!(tee.init_data().await.unwrap(), told);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn foul_evidence_is_refused_and_not_replaced() {
    for at in [80, 143, 48, 10] {
        let first = Script::new([Answer::Changed(at)]);
        let second = Script::default();
        let tee = tee(&[("first", &first), ("second", &second)]);
        // Byte 10 holds the migration and debug bits; bit 0 of it is neither.
        let result = tee.evidence(&asked()).await;
        if at == 10 {
            result.unwrap();
            continue;
        }
        assert_eq!(result.unwrap_err().code(), Code::TeeNotTrusted);
        assert_eq!(second.calls(), 0);
    }
}

#[tokio::test]
async fn a_way_that_hangs_is_left_behind_and_never_asked_twice_at_once() {
    let (hold, gate) = mpsc::channel();
    let first = Script::new([Answer::Waits(gate)]);
    let second = Script::default();
    let tee = tee(&[("first", &first), ("second", &second)]);
    let tee = tee.with_patience(Duration::from_secs(1));
    tee.evidence(&asked()).await.unwrap();
    assert_eq!((tee.way(), second.calls()), (Some("second"), 1));
    let trial = &tee.try_all().await[0];
    assert!(matches!(trial.outcome, Err(WayError::TimedOut { .. })));
    assert_eq!(
        first.calls(),
        1,
        "its one thread hangs, and there is no other"
    );
    drop(hold);
}

#[tokio::test(start_paused = true)]
async fn at_the_start_a_silent_way_leaves_time_for_the_others() {
    let (hold, gate) = mpsc::channel();
    let (silent, second) = (Script::new([Answer::Waits(gate)]), Script::default());
    // Whatever one piece of evidence may take later on.
    let tee = tee(&[("silent", &silent), ("second", &second)]).with_patience(PATIENCE * 10);
    // Time goes on by itself only while nothing blocks, and the silent way does.
    let started = Instant::now();
    let choosing = tee.choose(Duration::from_secs(20));
    let mut choosing = std::pin::pin!(choosing);
    while silent.calls() == 0 {
        assert!(poll_once(choosing.as_mut()).await.is_none());
        tokio::task::yield_now().await;
    }
    tokio::time::advance(Duration::from_secs(10)).await;
    let trials = choosing.await;
    assert_eq!(started.elapsed().as_secs(), 10);
    assert_eq!(trials[0].outcome, Err(WayError::TimedOut { seconds: 10 }));
    assert_eq!(trials[1].outcome, Ok(Vec::new()));
    assert_eq!(tee.way(), Some("second"));
    drop(hold);
}

async fn poll_once<T>(mut future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match future.as_mut().poll(context) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[tokio::test]
async fn waiters_share_one_thread_and_leave_when_they_are_cancelled() {
    let (hold, gate) = mpsc::channel();
    let first = Script::new([Answer::Waits(gate)]);
    let tee = Arc::new(tee(&[("first", &first)]));
    let ask = || {
        let tee = tee.clone();
        tokio::spawn(async move { tee.evidence(&asked()).await })
    };
    let waiters: Vec<_> = (0..1000).map(|_| ask()).collect();
    while first.calls() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(first.calls(), 1);
    let (gone, kept) = waiters.split_at(990);
    for waiter in gone {
        waiter.abort();
    }
    hold.send(()).unwrap();
    for waiter in kept.iter() {
        while !waiter.is_finished() {
            tokio::task::yield_now().await;
        }
    }
    assert!(first.calls() <= 11, "{}", first.calls());
}

#[tokio::test(start_paused = true)]
async fn without_a_fitting_certificate_evidence_goes_without() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("other.der"), b"\x30\x00").unwrap();
    let script = Script::default();
    let source = crate::snp::CertificateFolder::new(folder.path().to_path_buf());
    let tee = tee(&[("first", &script)]).with_certificates(Arc::new(source));
    let evidence = tee.evidence(&asked()).await.unwrap();
    assert_eq!(evidence.evidence["cert_chain"], serde_json::Value::Null);
}

#[test]
fn event_logs_are_trimmed_and_missing_ones_are_none() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("CCEL");
    assert_eq!(event_log(&file), None);
    std::fs::write(&file, b"no log").unwrap();
    assert_eq!(event_log(&file), None);

    // The first record names the algorithms; then the area is unused.
    let head = [&[0, 0, 0, 0, 3, 0, 0, 0][..], &[0; 20], &[0x25, 0, 0, 0]].concat();
    let spec = [
        &[0; 24][..],
        &[2, 0, 0, 0, 0x0c, 0, 0x30, 0, 0x12, 0, 0x20, 0, 0],
    ]
    .concat();
    let log = [head, spec].concat();
    std::fs::write(&file, [&log[..], &[0xff; 4096]].concat()).unwrap();
    let trimmed = event_log(&file).unwrap();
    assert_eq!(trimmed, [&log[..], &[0xff; 8]].concat());
}
