use proplet_types::Code;
use tokio::time::timeout;

use super::*;

fn outbox(entries: usize, bytes: usize) -> Outbox {
    Outbox::new(Journal::in_memory(), Bounds { entries, bytes })
}

fn letter(task: &str, payload: &str, not_before: Instant) -> Letter {
    Letter {
        task: task.to_owned(),
        about: About::Task,
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        not_before,
        number: None,
        on_disk: Answer::Unkept(None),
    }
}

async fn submit(outbox: &Outbox, task: &str, payload: &str, not_before: Instant) {
    let place = outbox.reserve(payload.len()).unwrap();
    place.put(letter(task, payload, not_before), ()).await;
}

#[tokio::test(start_paused = true)]
async fn a_message_stays_until_it_is_delivered() {
    let outbox = outbox(10, 1000);
    let now = Instant::now();
    submit(&outbox, "1", "a", now).await;
    submit(&outbox, "2", "b", now).await;
    let first = outbox.take(now).unwrap();
    assert_eq!((first.task.as_str(), first.attempts), ("1", 0));
    outbox.returned(first.id);
    let again = outbox.take(now).unwrap();
    assert_eq!((again.task.as_str(), again.attempts), ("1", 1));
    assert_eq!(again.payload, first.payload);
    assert_eq!(outbox.tasks(), ["1", "2"]);
    outbox.delivered(again.id);
    let second = outbox.take(now).unwrap();
    assert_eq!(second.task, "2");
    assert!(outbox.take(now).is_none());
    assert!(!outbox.is_empty());
    outbox.delivered(second.id);
    assert!(outbox.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_message_waits_for_its_time() {
    let outbox = outbox(10, 1000);
    let now = Instant::now();
    let later = now + Duration::from_millis(50);
    submit(&outbox, "late", "", later).await;
    submit(&outbox, "soon", "", now).await;
    assert_eq!(outbox.take(now).unwrap().task, "soon");
    assert!(outbox.take(now).is_none());
    assert_eq!(outbox.next_due(now), Some(later));
    assert_eq!(outbox.take(later).unwrap().task, "late");
    assert_eq!(outbox.next_due(later), None);
    // A time that is far away holds nothing back for long.
    submit(&outbox, "never", "", now + Duration::from_secs(1_000_000)).await;
    assert_eq!(outbox.take(now + LONGEST_WAIT).unwrap().task, "never");
}

#[tokio::test(start_paused = true)]
async fn number_and_bytes_are_bounded() {
    let now = Instant::now();
    let few = outbox(1, 1000);
    let place = few.reserve(0).unwrap();
    assert!(few.reserve(0).is_err());
    // Room that is not used is free again.
    drop(place);
    submit(&few, "1", "", now).await;
    assert!(few.reserve(0).is_err());
    let small = outbox(10, 10);
    submit(&small, "1", &"x".repeat(100), now).await;
    assert!(small.reserve(1).is_err());
    let large = small.take(now).unwrap();
    small.delivered(large.id);
    submit(&small, "2", "x", now).await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_place_gets_it() {
    let outbox = outbox(1, 1000);
    let now = Instant::now();
    submit(&outbox, "1", "", now).await;
    let waiting = outbox.reserve_waiting(1);
    tokio::pin!(waiting);
    let long = Duration::from_secs(3600);
    assert!(timeout(long, &mut waiting).await.is_err());
    let first = outbox.take(now).unwrap();
    outbox.delivered(first.id);
    let place = timeout(long, waiting).await.unwrap();
    // A place that is taken counts: something is on its way in.
    assert!(!outbox.is_empty());
    place.put(letter("2", "b", now), ()).await;
    let second = outbox.take(now).unwrap();
    let emptied = outbox.emptied();
    tokio::pin!(emptied);
    assert!(timeout(long, &mut emptied).await.is_err());
    outbox.delivered(second.id);
    timeout(long, emptied).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_delivered_can_be_replaced() {
    let outbox = outbox(10, 10);
    let now = Instant::now();
    submit(&outbox, "1", "0123456789", now).await;
    let item = outbox.take(now).unwrap();
    outbox.returned(item.id);
    let item = outbox.take(now).unwrap();
    let on_disk = Answer::Unkept(Some(Code::ResultUndeliverable));
    outbox.replace(item.id, "sorry".into(), on_disk).await;
    let other = outbox.take(now).unwrap();
    assert_eq!((other.task.as_str(), other.attempts), ("1", 0));
    assert_eq!(other.payload, "sorry");
    // The room that it took is free.
    submit(&outbox, "2", "01234", now).await;
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_run_left_has_room_whatever_the_bounds_are() {
    let outbox = outbox(1, 4);
    let now = Instant::now();
    outbox.recovered(letter("left", "much", now));
    outbox.recovered(letter("left too", "more", now));
    assert!(outbox.reserve(0).is_err());
    for task in ["left", "left too"] {
        let item = outbox.take(now).unwrap();
        assert_eq!(item.task, task);
        outbox.delivered(item.id);
    }
    submit(&outbox, "new", "", now).await;
}

#[tokio::test(start_paused = true)]
async fn a_task_is_busy_until_its_answer_waits() {
    struct Busy(Outbox);
    impl Drop for Busy {
        fn drop(&mut self) {
            // Under the lock of the outbox: nobody can see neither.
            assert!(self.0.0.state.try_lock().is_err());
        }
    }
    let outbox = outbox(10, 10);
    let now = Instant::now();
    let place = outbox.reserve(0).unwrap();
    assert!(!outbox.is_waiting("1"));
    place.put(letter("1", "", now), Busy(outbox.clone())).await;
    assert!(outbox.is_waiting("1"));
    submit(&outbox, "1", "", now).await;
    for is_waiting in [true, false] {
        let item = outbox.take(now).unwrap();
        outbox.delivered(item.id);
        assert_eq!(outbox.is_waiting("1"), is_waiting);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_acknowledgements_that_nobody_looks_at() {
    let outbox = outbox(10, 10);
    drop(outbox.settlements());
    timeout(Duration::from_secs(3600), outbox.settled())
        .await
        .unwrap();
}

async fn refuse(outbox: &Outbox, task: &str, now: Instant) {
    let place = outbox.reserve_refusal(1).unwrap();
    place.put(letter(task, "x", now), ()).await;
}

#[tokio::test(start_paused = true)]
async fn refusals_have_half_of_the_room_and_wait_in_line_for_more() {
    let now = Instant::now();
    for (entries, bytes) in [(4, 1000), (100, 4)] {
        let outbox = outbox(entries, bytes);
        for task in ["1", "2"] {
            refuse(&outbox, task, now).await;
        }
        assert!(outbox.reserve_refusal(1).is_err());
        let mut waiting: Vec<_> = (0..3)
            .map(|_| {
                let outbox = outbox.clone();
                Box::pin(async move { outbox.reserve_refusal_waiting(1).await })
            })
            .collect();
        for place in &mut waiting {
            let long = Duration::from_secs(3600);
            assert!(timeout(long, place.as_mut()).await.is_err());
        }
        // Results have theirs, whoever is refused.
        for task in ["a", "b"] {
            submit(&outbox, task, "x", now).await;
        }
        let refusal = loop {
            let item = outbox.take(now).unwrap();
            if item.kind == Kind::Refusal {
                break item;
            }
        };
        outbox.delivered(refusal.id);
        let place = waiting.remove(0).await;
        let again = timeout(Duration::from_secs(3600), waiting[0].as_mut()).await;
        assert!(again.is_err());
        // Room that is not used goes to the next.
        drop(place);
        waiting.remove(0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn results_overtake_refusals_which_do_not_starve() {
    let outbox = outbox(2000, 100_000);
    let now = Instant::now();
    for number in 0..500 {
        refuse(&outbox, &format!("r{number}"), now).await;
    }
    for number in 0..12 {
        submit(&outbox, &number.to_string(), "x", now).await;
    }
    let order: Vec<_> = (0..20).map(|_| outbox.take(now).unwrap().kind).collect();
    let (results, rest) = order.split_at(16);
    for four in results.chunks(4) {
        assert_eq!(
            four.iter().filter(|kind| **kind == Kind::Refusal).count(),
            1
        );
    }
    assert_eq!(results[0], Kind::Result);
    assert!(rest.iter().all(|kind| *kind == Kind::Refusal));
    assert_eq!(outbox.tasks().len(), 512);
}

/// What a restart says of a result that was in memory only.
async fn left(connected: bool, handed: bool) -> Answer {
    let folder = tempfile::tempdir().unwrap();
    let options = || proplet_outbox::Options {
        path: folder.path().join("outbox"),
        max_bytes: 1 << 20,
        rerun: proplet_outbox::Rerun::Allowed,
        seal: None,
        patience: Duration::from_secs(30),
    };
    let (journal, opening) = Journal::open(options()).unwrap();
    opening.done().await.unwrap();
    let entries = Bounds {
        entries: 9,
        bytes: 99,
    };
    let outbox = Outbox::new(journal.clone(), entries);
    outbox.set_connected(connected);
    let now = Instant::now();
    let accepted = Letter {
        number: Some(journal.accept("a").await.unwrap()),
        ..letter("a", "a result", now)
    };
    outbox.reserve(8).unwrap().put(accepted, ()).await;
    if handed {
        let item = outbox.take(now).unwrap();
        // Nothing more is to be written where it was known to go out at once.
        assert_eq!(item.unmarked, !connected);
        if item.unmarked {
            outbox.mark(item.id).await;
            outbox.returned(item.id);
            assert!(!outbox.take(now).unwrap().unmarked);
        }
    }
    drop((outbox, journal));
    let (_journal, opening) = Journal::open(options()).unwrap();
    let found = opening.done().await.unwrap().recv().await.unwrap();
    found.entry.answer.unwrap()
}

#[tokio::test]
async fn a_result_that_the_broker_may_have_is_not_called_lost() {
    assert_eq!(left(false, false).await, Answer::Unkept(None));
    assert_eq!(left(false, true).await, Answer::Handed);
    assert_eq!(left(true, true).await, Answer::Handed);
}

fn invocation(id: &str, until: Instant) -> Letter {
    let id = InvocationId {
        task: "t".to_owned(),
        invocation: id.to_owned(),
    };
    Letter {
        about: About::Invocation { id, until },
        ..letter("t", "x", Instant::now())
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_an_invocation_goes_when_nobody_waits_for_it() {
    let outbox = outbox(3, 1000);
    let now = Instant::now();
    let until = now + Duration::from_secs(30);
    for id in ["a", "b"] {
        let place = outbox.reserve(1).unwrap();
        place.put(invocation(id, until), ()).await;
    }
    submit(&outbox, "t", "r", now).await;
    assert!(outbox.reserve(1).is_err());
    assert!(outbox.is_waiting("t\na") && outbox.is_waiting("t\nb"));
    assert_eq!(outbox.next_due(now), Some(until));
    let sent = outbox.take(now).unwrap();
    outbox.expire(until - Duration::from_millis(1));
    assert!(outbox.is_waiting("t\nb"));
    outbox.expire(until);
    // What is in flight is still the broker's to acknowledge, and results stay.
    assert!(outbox.is_waiting("t\na") && !outbox.is_waiting("t\nb"));
    assert!(outbox.is_waiting("t"));
    assert!(outbox.reserve(1).is_ok());
    outbox.returned(sent.id);
    outbox.expire(until);
    assert!(!outbox.is_waiting("t\na"));
    assert_eq!(outbox.tasks(), ["t"]);
}

#[tokio::test]
async fn nothing_of_an_invocation_is_on_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let options = || proplet_outbox::Options {
        path: folder.path().join("outbox"),
        max_bytes: 1 << 20,
        rerun: proplet_outbox::Rerun::Allowed,
        seal: None,
        patience: Duration::from_secs(30),
    };
    let (journal, opening) = Journal::open(options()).unwrap();
    opening.done().await.unwrap();
    let bounds = Bounds {
        entries: 10,
        bytes: 1000,
    };
    let outbox = Outbox::new(journal.clone(), bounds);
    let until = Instant::now() + Duration::from_secs(30);
    for id in ["a", "b"] {
        let place = outbox.reserve(1).unwrap();
        assert!(place.put(invocation(id, until), ()).await);
    }
    let item = outbox.take(Instant::now()).unwrap();
    assert!(!item.unmarked);
    let report = Bytes::from_static(b"too large");
    outbox
        .replace(
            item.id,
            report,
            Answer::Unkept(Some(Code::ResultUndeliverable)),
        )
        .await;
    journal.flush().await.unwrap();
    assert_eq!(journal.health().borrow().entries, 0);
}

#[tokio::test(start_paused = true)]
async fn that_a_daemon_runs_is_not_said_after_how_it_ended() {
    for in_flight in [false, true] {
        let outbox = outbox(10, 1000);
        let now = Instant::now();
        let started = Letter {
            about: About::Started,
            ..letter("d", "runs", now)
        };
        outbox.reserve(4).unwrap().put(started, ()).await;
        let taken = in_flight.then(|| outbox.take(now).unwrap());
        submit(&outbox, "d", "ended", now).await;
        if let Some(taken) = taken {
            // The connection broke, so it would go out again, after the other.
            outbox.returned(taken.id);
            outbox.expire(now);
        }
        let last = outbox.take(now).unwrap();
        assert_eq!(last.payload, "ended");
        outbox.delivered(last.id);
        assert!(outbox.take(now).is_none() && outbox.is_empty());
        assert!(!outbox.is_waiting("d"));
    }
}
