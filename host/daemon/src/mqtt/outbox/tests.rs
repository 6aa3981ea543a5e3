use std::time::Duration;

use futures_util::FutureExt as _;
use proplet_types::Code;
use tokio::time::timeout;

use super::{queue::LONGEST_WAIT, *};
use crate::{message::InvocationId, places::Owner};

fn outbox(entries: usize, bytes: usize) -> Outbox {
    Outbox::new(Journal::in_memory(), Bounds { entries, bytes })
}

fn letter(task: &str, payload: &str, not_before: Instant) -> Letter {
    Letter {
        task: task.to_owned(),
        about: About::Task,
        owner: Owner::Plain,
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        not_before,
        number: None,
        on_disk: Answer::Unkept(None),
    }
}

async fn submit(outbox: &Outbox, task: &str, payload: &str, not_before: Instant) {
    let place = outbox.reserve(Kind::Result, payload.len()).unwrap();
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
    outbox.returned(first.id, Returned::Alone);
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

/// A start that follows the acknowledgement of a refusal would be taken for a repetition.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_was_expected_does_not_count_as_waiting_for_longer_than_it_waits() {
    let outbox = outbox(10, 1000);
    for number in 0..2000 {
        let task = number.to_string();
        let place = outbox.reserve(Kind::Refusal, 1).unwrap();
        let (kept, _ready) = oneshot::channel();
        outbox.keep(place, letter(&task, "a", Instant::now()), kept);
        assert!(outbox.is_waiting(&task));
        // Taken as soon as it is there, however far whoever put it there has come.
        let item = loop {
            if let Some(item) = outbox.take(Instant::now()) {
                break item;
            }
            std::hint::spin_loop();
        };
        outbox.delivered(item.id);
        assert!(!outbox.is_waiting(&task), "{number}");
    }
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
    let place = few.reserve(Kind::Result, 0).unwrap();
    assert!(few.reserve(Kind::Result, 0).is_err());
    // Room that is not used is free again.
    drop(place);
    submit(&few, "1", "", now).await;
    assert!(few.reserve(Kind::Result, 0).is_err());
    let small = outbox(10, 10);
    submit(&small, "1", &"x".repeat(100), now).await;
    assert!(small.reserve(Kind::Result, 1).is_err());
    let large = small.take(now).unwrap();
    small.delivered(large.id);
    submit(&small, "2", "x", now).await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_place_gets_it() {
    let outbox = outbox(1, 1000);
    let now = Instant::now();
    submit(&outbox, "1", "", now).await;
    let waiting = outbox.reserve_waiting(&Owner::Plain, Kind::Result, 1);
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
    outbox.returned(item.id, Returned::Alone);
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
    assert!(outbox.reserve(Kind::Result, 0).is_err());
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
    let place = outbox.reserve(Kind::Result, 0).unwrap();
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

#[tokio::test(start_paused = true)]
async fn whoever_has_a_thousand_results_holds_up_his_own() {
    let outbox = outbox(4000, 100_000);
    let now = Instant::now();
    for number in 0..1000 {
        submit(&outbox, &number.to_string(), "x", now).await;
    }
    let place = outbox.reserve(Kind::Result, 1).unwrap();
    let of_another = Letter {
        owner: Owner::Named("a".into()),
        ..letter("another's", "x", now)
    };
    place.put(of_another, ()).await;
    let order = [(); 3].map(|()| outbox.take(now).unwrap().task);
    assert_eq!(order, ["0", "another's", "1"]);
}

#[tokio::test(start_paused = true)]
async fn owners_take_turns_for_room_and_who_leaves_has_none() {
    let outbox = outbox(1, 100);
    let now = Instant::now();
    submit(&outbox, "first", "x", now).await;
    let wait = |owner: Owner| {
        let outbox = outbox.clone();
        Box::pin(async move { outbox.reserve_waiting(&owner, Kind::Result, 1).await })
    };
    let mut plain: Vec<_> = (0..100).map(|_| wait(Owner::Plain)).collect();
    let mut named = wait(Owner::Named("a".into()));
    for waiter in plain.iter_mut().chain([&mut named]) {
        assert!(waiter.as_mut().now_or_never().is_none());
    }
    // Nobody who asks now is given what others wait for.
    assert!(outbox.reserve(Kind::Result, 1).is_err());
    drop(plain.remove(0));
    let first = outbox.take(now).unwrap();
    outbox.delivered(first.id);
    let place = plain.remove(0).now_or_never().unwrap();
    assert!(named.as_mut().now_or_never().is_none());
    drop(place);
    let place = named.now_or_never().unwrap();
    assert!(plain[0].as_mut().now_or_never().is_none());
    drop(place);
    // Who was given room and does not look has it no more.
    drop(plain.remove(0));
    drop(plain.remove(0).now_or_never().unwrap());
    drop(plain);
    outbox.reserve(Kind::Result, 1).unwrap();
}

#[tokio::test(start_paused = true)]
async fn whoever_is_refused_has_room_however_many_results_wait() {
    let outbox = outbox(4, 100);
    let now = Instant::now();
    for task in ["1", "2", "3", "4"] {
        submit(&outbox, task, "x", now).await;
    }
    let wait = |kind| {
        let outbox = outbox.clone();
        Box::pin(async move { outbox.reserve_waiting(&Owner::Plain, kind, 1).await })
    };
    let mut results: Vec<_> = (0..10).map(|_| wait(Kind::Result)).collect();
    let mut refusal = wait(Kind::Refusal);
    for waiter in results.iter_mut().chain([&mut refusal]) {
        assert!(waiter.as_mut().now_or_never().is_none());
    }
    for _ in 0..4 {
        let item = outbox.take(now).unwrap();
        outbox.delivered(item.id);
    }
    let given: Vec<_> = results
        .iter_mut()
        .filter_map(|waiter| waiter.now_or_never())
        .collect();
    assert_eq!(given.len(), 3);
    refusal.now_or_never().unwrap();
}

/// The large one in front would never have room, if whoever needs less were let by.
#[tokio::test(start_paused = true)]
async fn a_large_result_has_room_after_one_drain_whoever_is_refused_meanwhile() {
    let outbox = outbox(100, 100);
    let now = Instant::now();
    submit(&outbox, "1", "x", now).await;
    let wait = |kind, bytes| {
        let outbox = outbox.clone();
        Box::pin(async move { outbox.reserve_waiting(&Owner::Plain, kind, bytes).await })
    };
    let mut large = wait(Kind::Result, 1000);
    assert!(large.as_mut().now_or_never().is_none());
    assert!(outbox.reserve(Kind::Refusal, 1).is_err());
    let mut refusal = wait(Kind::Refusal, 1);
    assert!(refusal.as_mut().now_or_never().is_none());
    let item = outbox.take(now).unwrap();
    outbox.delivered(item.id);
    let place = large.now_or_never().unwrap();
    assert!(refusal.as_mut().now_or_never().is_none());
    drop(place);
    refusal.now_or_never().unwrap();
}

/// Refusals that have their part keep no result out.
#[tokio::test(start_paused = true)]
async fn results_have_room_where_refusals_have_their_part() {
    let outbox = outbox(4, 100);
    let now = Instant::now();
    for task in ["1", "2"] {
        refuse(&outbox, task, now).await;
    }
    let mut refusal = Box::pin(outbox.reserve_waiting(&Owner::Plain, Kind::Refusal, 1));
    assert!(refusal.as_mut().now_or_never().is_none());
    let results = [(); 2].map(|()| outbox.reserve(Kind::Result, 1).unwrap());
    let mut result = Box::pin(outbox.reserve_waiting(&Owner::Plain, Kind::Result, 1));
    assert!(result.as_mut().now_or_never().is_none());
    drop(results);
    result.now_or_never().unwrap();
}

/// They take no task of the scheduler while they wait, and what nobody waits for by then takes no room.
#[tokio::test(start_paused = true)]
async fn answers_wait_for_room_by_themselves() {
    let outbox = outbox(2, 1000);
    let now = Instant::now();
    refuse(&outbox, "first", now).await;
    let permits = Arc::new(tokio::sync::Semaphore::new(4));
    let until = now + Duration::from_secs(30);
    let waiting = [
        letter("1", "x", now),
        invocation("brief", until),
        letter("2", "x", now),
    ];
    let mut kept = Vec::new();
    for letter in waiting {
        let permit = Arc::clone(&permits).try_acquire_owned().unwrap();
        let (sender, receiver) = oneshot::channel();
        outbox.keep_later(Kind::Refusal, letter, sender, permit);
        kept.push(receiver);
    }
    tokio::task::yield_now().await;
    assert_eq!(permits.available_permits(), 1);
    assert!(outbox.is_waiting("1") && outbox.is_waiting("t\nbrief"));
    assert!(kept.iter_mut().all(|kept| kept.try_recv().is_err()));
    tokio::time::advance(Duration::from_secs(31)).await;
    for task in ["first", "1", "2"] {
        while outbox.tasks() != [task] {
            tokio::task::yield_now().await;
        }
        let item = outbox.take(Instant::now()).unwrap();
        assert_eq!(item.task, task);
        outbox.delivered(item.id);
    }
    for kept in kept {
        assert!(kept.await.is_err());
    }
    assert!(outbox.is_empty() && !outbox.is_waiting("t\nbrief"));
    assert_eq!(permits.available_permits(), 4);
}

/// With one message of a size that the broker dropped the connection at, all that are not smaller are tried alone, also
/// those that come later; until one of that size went through.
#[tokio::test(start_paused = true)]
async fn what_is_not_smaller_than_a_suspect_goes_alone_too() {
    let outbox = outbox(100, 10_000_000);
    let now = Instant::now();
    let large = "x".repeat(50_000);
    for (task, payload) in [("bad", large.as_str()), ("queued", &large), ("small", "x")] {
        submit(&outbox, task, payload, now).await;
    }
    let bad = outbox.take(now).unwrap();
    outbox.returned(bad.id, Returned::Suspect);
    submit(&outbox, "later", &large, now).await;
    submit(&outbox, "less", &large[..40_000], now).await;
    let others = [(); 2].map(|()| outbox.take(now).unwrap().task);
    assert_eq!(others, ["small", "less"]);
    assert!(outbox.take(now).is_none());
    let alone = outbox.take_suspect().unwrap();
    assert_eq!(alone.task, "bad");
    outbox.returned(alone.id, Returned::Alone);
    let alone = outbox.take_suspect().unwrap();
    outbox.passed(alone.id);
    outbox.delivered(alone.id);
    // The broker takes them, so the rest goes with the others.
    assert!(!outbox.has_suspects());
    assert!(outbox.take(now).is_some() && outbox.take(now).is_some());
}

/// However many there are, they are dropped in a loop: this thread's stack holds no frame for each.
#[test]
fn thousands_of_answers_that_nobody_waits_for_are_dropped_at_once() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let work = async {
        let outbox = outbox(2, 1_000_000);
        let now = Instant::now();
        refuse(&outbox, "first", now).await;
        let many = usize::from(u16::MAX);
        let permits = Arc::new(tokio::sync::Semaphore::new(many));
        let until = now + Duration::from_secs(30);
        let mut kept = Vec::new();
        for number in 0..many {
            let permit = Arc::clone(&permits).try_acquire_owned().unwrap();
            let (sender, receiver) = oneshot::channel();
            let letter = invocation(&number.to_string(), until);
            outbox.keep_later(Kind::Refusal, letter, sender, permit);
            kept.push(receiver);
        }
        tokio::time::advance(Duration::from_secs(31)).await;
        // By the room that the first one leaves, and by the time.
        let first = outbox.take(Instant::now()).unwrap();
        outbox.delivered(first.id);
        assert_eq!(permits.available_permits(), many);
        assert!(outbox.is_empty());
        for mut kept in kept {
            assert!(kept.try_recv().is_err());
        }
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(1 << 20);
        let thread = thread.spawn_scoped(scope, || runtime.block_on(work));
        thread.unwrap().join().unwrap();
    });
}

#[tokio::test(start_paused = true)]
async fn answers_that_wait_for_room_go_when_nobody_waits_for_them() {
    let outbox = outbox(2, 1000);
    let now = Instant::now();
    refuse(&outbox, "first", now).await;
    let until = now + Duration::from_secs(30);
    let permits = Arc::new(tokio::sync::Semaphore::new(2));
    let (sender, mut kept) = oneshot::channel();
    let permit = Arc::clone(&permits).try_acquire_owned().unwrap();
    outbox.keep_later(Kind::Refusal, invocation("brief", until), sender, permit);
    assert_eq!(outbox.next_due(now), Some(until));
    outbox.expire(until - Duration::from_millis(1));
    assert!(outbox.is_waiting("t\nbrief") && kept.try_recv().is_err());
    assert_eq!(permits.available_permits(), 1);
    outbox.expire(until);
    // Its message is acknowledged, though there is no room.
    assert!(!outbox.is_waiting("t\nbrief"));
    assert_eq!(permits.available_permits(), 2);
    kept.await.unwrap_err();
    assert_eq!(outbox.tasks(), ["first"]);
}

async fn refuse(outbox: &Outbox, task: &str, now: Instant) {
    let place = outbox.reserve(Kind::Refusal, 1).unwrap();
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
        assert!(outbox.reserve(Kind::Refusal, 1).is_err());
        let mut waiting: Vec<_> = (0..3)
            .map(|_| {
                let outbox = outbox.clone();
                Box::pin(async move {
                    outbox
                        .reserve_waiting(&Owner::Plain, Kind::Refusal, 1)
                        .await
                })
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
        sealing: proplet_outbox::Sealing::Clear,
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
    outbox
        .reserve(Kind::Result, 8)
        .unwrap()
        .put(accepted, ())
        .await;
    if handed {
        let item = outbox.take(now).unwrap();
        // Nothing more is to be written where it was known to go out at once.
        assert_eq!(item.unmarked, !connected);
        if item.unmarked {
            outbox.mark(item.id).await;
            outbox.returned(item.id, Returned::Alone);
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
        let place = outbox.reserve(Kind::Result, 1).unwrap();
        place.put(invocation(id, until), ()).await;
    }
    submit(&outbox, "t", "r", now).await;
    assert!(outbox.reserve(Kind::Result, 1).is_err());
    assert!(outbox.is_waiting("t\na") && outbox.is_waiting("t\nb"));
    assert_eq!(outbox.next_due(now), Some(until));
    let sent = outbox.take(now).unwrap();
    outbox.expire(until - Duration::from_millis(1));
    assert!(outbox.is_waiting("t\nb"));
    outbox.expire(until);
    // What is in flight is still the broker's to acknowledge, and results stay.
    assert!(outbox.is_waiting("t\na") && !outbox.is_waiting("t\nb"));
    assert!(outbox.is_waiting("t"));
    assert!(outbox.reserve(Kind::Result, 1).is_ok());
    outbox.returned(sent.id, Returned::Alone);
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
        sealing: proplet_outbox::Sealing::Clear,
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
        let place = outbox.reserve(Kind::Result, 1).unwrap();
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
        outbox
            .reserve(Kind::Result, 4)
            .unwrap()
            .put(started, ())
            .await;
        let taken = in_flight.then(|| outbox.take(now).unwrap());
        submit(&outbox, "d", "ended", now).await;
        if let Some(taken) = taken {
            // The connection broke, so it would go out again, after the other.
            outbox.returned(taken.id, Returned::Alone);
            outbox.expire(now);
        }
        let last = outbox.take(now).unwrap();
        assert_eq!(last.payload, "ended");
        outbox.delivered(last.id);
        assert!(outbox.take(now).is_none() && outbox.is_empty());
        assert!(!outbox.is_waiting("d"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_ends_the_words_that_its_own_task_runs_and_no_others() {
    let outbox = outbox(100, 10_000);
    let now = Instant::now();
    // Two of one task, of which one is under way; one of a task whose answer does not come.
    for task in ["twice", "twice", "other"] {
        let started = Letter {
            about: About::Started,
            ..letter(task, "runs", now)
        };
        let place = outbox.reserve(Kind::Result, 4).unwrap();
        place.put(started, ()).await;
    }
    let under_way = outbox.take(now).unwrap();
    // Answers that an earlier process left have no such word.
    for number in 0..1000 {
        outbox.recovered(letter(&format!("left {number}"), "", now));
    }
    outbox.recovered(letter("twice", "ended", now));
    outbox.returned(under_way.id, Returned::Alone);
    let mut words = Vec::new();
    while let Some(item) = outbox.take(now) {
        outbox.delivered(item.id);
        words.push((item.task, item.payload));
    }
    assert_eq!(words.len(), 1002);
    words.retain(|(task, _)| !task.starts_with("left"));
    let expected = [("other", "runs"), ("twice", "ended")];
    let expected = expected.map(|(task, word)| (task.to_owned(), Bytes::from(word)));
    assert_eq!(words, expected);
    assert!(outbox.is_empty() && !outbox.is_waiting("twice"));
}
