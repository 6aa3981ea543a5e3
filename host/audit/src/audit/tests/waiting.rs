//! Whoever waits until his entries are on the disk.

use super::{disk::Bad, *};

/// Has it begun, as if it were a task.
async fn begun<T>(waiting: &mut (impl Future<Output = T> + Unpin)) {
    std::future::poll_fn(|context| {
        assert!(std::pin::Pin::new(&mut *waiting).poll(context).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
}

#[tokio::test]
async fn those_who_wait_share_a_sync() {
    let disk = Bad::default();
    let (audit, opening) = disk.audit(PATIENCE);
    opening.done().await.unwrap();
    audit.flush().await.unwrap();
    let before = disk.0.0.lock().unwrap().syncs;
    disk.tell(|told| told.hangs = true);
    let (mut waiting, mut tasks) = (Vec::new(), Vec::new());
    for n in 0..50 {
        let task = audit.begin(&n.to_string());
        task.record(Event::Accepted { encrypted: true });
        let mut flush = Box::pin(audit.flush());
        begun(&mut flush).await;
        waiting.push(flush);
        tasks.push(task);
    }
    disk.tell(|told| told.hangs = false);
    for flush in waiting {
        flush.await.unwrap();
    }
    let syncs = disk.0.0.lock().unwrap().syncs - before;
    assert!((1..=2).contains(&syncs), "{syncs}");
    let kinds = kinds(&disk.texts());
    let accepted = kinds.iter().filter(|kind| *kind == "accepted");
    assert_eq!(accepted.count(), 50);
}

#[tokio::test]
async fn all_who_wait_for_a_sync_that_fails_are_told() {
    let disk = Bad::default();
    let (audit, opening) = disk.audit(PATIENCE);
    opening.done().await.unwrap();
    audit.flush().await.unwrap();
    disk.tell(|told| (told.hangs, told.syncs_fail) = (true, true));
    let mut waiting = Vec::new();
    for n in 0..3 {
        let task = audit.begin(&n.to_string());
        let mut flush = Box::pin(audit.flush());
        begun(&mut flush).await;
        waiting.push((flush, task));
    }
    disk.tell(|told| told.hangs = false);
    for (flush, _task) in waiting {
        assert!(matches!(flush.await, Err(Trouble::Io(_))));
    }
}

#[tokio::test]
async fn who_waits_for_lines_without_room_is_told() {
    let disk = Bad::default();
    disk.tell(|told| told.hangs = true);
    let (audit, _opening) = disk.audit(PATIENCE);
    let task = "x".repeat(256);
    while audit.lost_so_far() == 0 {
        audit.record(Event::TaskInterrupted { task: task.clone() });
    }
    let lost = audit.lost_so_far();
    let accepted = audit.begin("t");
    accepted.record(Event::Accepted { encrypted: true });
    disk.tell(|told| told.hangs = false);
    assert_eq!(audit.flush_whole(lost).await, Err(Trouble::Lost));
    assert_eq!(audit.flush().await, Ok(()));
    // What is lost before is another's.
    let lost = audit.lost_so_far();
    let _next = audit.begin("u");
    assert_eq!(audit.flush_whole(lost).await, Ok(()));
    let texts = disk.texts();
    let of = |id: &str| texts.iter().any(|(_, text)| text.contains(id));
    assert!(!of("\"t\"") && of("\"u\""));
}
