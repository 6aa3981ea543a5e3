use std::io::ErrorKind;

use proplet_types::Code;

use super::*;
use crate::{crashes::Power, entry::Entry};

fn options(rerun: Rerun) -> Options {
    Options {
        path: PathBuf::new(),
        max_bytes: 1 << 20,
        rerun,
        sealing: Sealing::Clear,
        patience: Duration::from_secs(30),
    }
}

async fn open(power: &Power) -> (Journal, Vec<Recovered>) {
    open_with(power, options(Rerun::Allowed)).await
}

async fn open_with(power: &Power, options: Options) -> (Journal, Vec<Recovered>) {
    let (journal, opening) = Journal::over(Box::new(power.disk()), options).unwrap();
    let mut recovered = opening.done().await.unwrap();
    let mut found = Vec::new();
    while let Ok(entry) = recovered.try_recv() {
        found.push(entry);
    }
    (journal, found)
}

fn state(journal: &Journal) -> State {
    journal.health().borrow().state.clone()
}

#[tokio::test]
async fn what_a_process_left_is_found_by_the_next() {
    let power = Power::default();
    let (journal, found) = open(&power).await;
    assert_eq!(found, []);
    assert_eq!(state(&journal), State::Good);
    let interrupted = journal.accept("interrupted").await.unwrap();
    let answered = journal.accept("answered").await.unwrap();
    let kept = Answer::Kept("a message".into());
    let (number, result) = journal
        .answer(Some(answered), "answered", kept.clone())
        .await;
    assert_eq!((number, result), (Some(answered), Ok(())));
    let refused = Answer::Unkept(Some(Code::QueueFull));
    let (refused_number, result) = journal.answer(None, "refused", refused.clone()).await;
    result.unwrap();
    let delivered = journal.accept("delivered").await.unwrap();
    journal.forget(delivered);
    journal.flush().await.unwrap();
    drop(journal);

    let (_journal, found) = open(&power).await;
    let entry = |number, task: &str, answer| Recovered {
        number,
        entry: Entry {
            task: task.to_owned(),
            answer,
        },
    };
    assert_eq!(
        found,
        [
            entry(interrupted, "interrupted", None),
            entry(answered, "answered", Some(kept)),
            entry(refused_number.unwrap(), "refused", Some(refused)),
        ]
    );
}

#[tokio::test]
async fn removals_are_written_at_the_end_at_the_latest() {
    let power = Power::default();
    let (journal, _) = open(&power).await;
    let number = journal.accept("a").await.unwrap();
    journal.forget(number);
    drop(journal);
    assert_eq!(open(&power).await.1, []);
}

#[tokio::test]
async fn a_full_disk_refuses_tasks_and_keeps_answers() {
    let power = Power::default();
    let (journal, _) = open(&power).await;
    let running = journal.accept("running").await.unwrap();
    power.fail(Some(ErrorKind::StorageFull));
    let refused = journal.accept("refused").await.unwrap_err();
    assert_eq!(refused, AcceptError::Unavailable(Trouble::Full));
    assert_eq!(state(&journal), State::Failing(Trouble::Full));
    let answer = Answer::Kept("a result".into());
    let (number, kept) = journal
        .answer(Some(running), "running", answer.clone())
        .await;
    assert_eq!((number, kept), (Some(running), Err(Trouble::Full)));

    power.fail(None);
    journal.flush().await.unwrap();
    assert_eq!(state(&journal), State::Good);
    journal.accept("next").await.unwrap();
    drop(journal);
    let tasks: Vec<_> = open(&power).await.1;
    let tasks: Vec<_> = tasks.iter().map(|found| &found.entry).collect();
    assert_eq!(tasks.len(), 2, "{tasks:?}");
    assert_eq!(
        (tasks[0].task.as_str(), &tasks[0].answer),
        ("running", &Some(answer))
    );
    assert_eq!(tasks[1].task, "next");
}

#[tokio::test]
async fn a_disk_that_fails_at_the_start_gives_what_it_holds_later() {
    let power = Power::default();
    let (journal, _) = open(&power).await;
    let earlier = journal.accept("earlier").await.unwrap();
    drop(journal);
    power.fail(Some(ErrorKind::ReadOnlyFilesystem));
    let disk = Box::new(power.disk());
    let (journal, opening) = Journal::over(disk, options(Rerun::Allowed)).unwrap();
    let mut recovered = opening.done().await.unwrap();
    let State::Failing(trouble) = state(&journal) else {
        panic!("it works");
    };
    assert_eq!(trouble.word(), "read-only");
    journal.accept("now").await.unwrap_err();
    let (number, kept) = journal
        .answer(None, "now", Answer::Unkept(Some(Code::OutboxUnavailable)))
        .await;
    assert!(number.is_none() && kept.is_err());
    power.fail(None);
    journal.flush().await.unwrap();
    assert_eq!(recovered.recv().await.unwrap().number, earlier);
    assert_ne!(journal.accept("now").await.unwrap(), earlier);
}

#[tokio::test]
async fn a_damaged_store_is_set_aside_and_what_is_in_memory_written_anew() {
    let power = Power::default();
    power.damage(|image| *image = b"no store at all".repeat(1000));
    let (journal, found) = open(&power).await;
    assert_eq!((found, power.set_asides()), (Vec::new(), 1));
    let aside = journal.health().borrow().set_aside.clone();
    assert_eq!(aside, Some((PathBuf::from("aside-1"), "damaged")));
    journal.accept("a").await.unwrap();
    // The disk fails, and what is on it then is somebody else's.
    power.fail(Some(ErrorKind::Other));
    journal.accept("b").await.unwrap_err();
    power.fail(None);
    power.damage(|image| image.iter_mut().for_each(|byte| *byte ^= 0x55));
    journal.flush().await.unwrap();
    assert_eq!(power.set_asides(), 2);
    drop(journal);
    let found = open(&power).await.1;
    let tasks: Vec<_> = found
        .iter()
        .map(|found| found.entry.task.as_str())
        .collect();
    assert_eq!(tasks, ["a"]);
}

#[tokio::test]
async fn the_store_is_bounded_and_what_runs_is_answered_all_the_same() {
    let power = Power::default();
    let small = Options {
        max_bytes: 20,
        ..options(Rerun::Allowed)
    };
    let (journal, _) = open_with(&power, small).await;
    let first = journal.accept("first, of 24 bytes and 4").await.unwrap();
    let refused = journal.accept("second").await.unwrap_err();
    assert_eq!(refused, AcceptError::Unavailable(Trouble::Bound(20)));
    // Whoever watches sees why tasks are refused.
    assert_eq!(state(&journal), State::Failing(Trouble::Bound(20)));
    let large = Answer::Kept(vec![0; 1000].into());
    journal.answer(Some(first), "first", large).await.1.unwrap();
    journal.forget(first);
    let mut health = journal.health();
    let good = health.wait_for(|health| health.state == State::Good);
    good.await.unwrap();
    journal.accept("second").await.unwrap();
}

#[tokio::test]
async fn what_an_earlier_process_left_counts_against_the_bound() {
    let power = Power::default();
    let (journal, _) = open(&power).await;
    journal.accept("first, of 24 bytes and 4").await.unwrap();
    drop(journal);
    let small = Options {
        max_bytes: 20,
        ..options(Rerun::Allowed)
    };
    let (journal, found) = open_with(&power, small).await;
    assert_eq!(found.len(), 1);
    assert_eq!(state(&journal), State::Failing(Trouble::Bound(20)));
}

#[tokio::test]
async fn an_id_that_ran_does_not_run_again_if_so_set() {
    let power = Power::default();
    let (journal, _) = open_with(&power, options(Rerun::Never)).await;
    let first = journal.accept("a").await.unwrap();
    assert_eq!(
        journal.accept("a").await.unwrap_err(),
        AcceptError::AlreadyRun
    );
    journal.forget(first);
    journal.flush().await.unwrap();
    // A task that could not be accepted has not run.
    power.fail(Some(ErrorKind::StorageFull));
    journal.accept("b").await.unwrap_err();
    power.fail(None);
    journal.flush().await.unwrap();
    journal.accept("b").await.unwrap();
    drop(journal);
    let (journal, _) = open_with(&power, options(Rerun::Never)).await;
    assert_eq!(
        journal.accept("a").await.unwrap_err(),
        AcceptError::AlreadyRun
    );
    drop(journal);
    let (journal, _) = open(&power).await;
    journal.accept("a").await.unwrap();
    journal.accept("a").await.unwrap();
}

#[tokio::test]
async fn what_does_not_run_may_come_again_but_not_after_a_run() {
    let power = Power::default();
    let (journal, _) = open_with(&power, options(Rerun::Never)).await;
    let latent = journal.accept_repeatable("latent").await.unwrap();
    journal.forget(latent);
    journal.flush().await.unwrap();
    drop(journal);
    let (journal, _) = open_with(&power, options(Rerun::Never)).await;
    let again = journal.accept_repeatable("latent").await.unwrap();
    journal.forget(again);
    journal.accept("ran").await.unwrap();
    let ran = journal.accept_repeatable("ran").await.unwrap_err();
    assert_eq!(ran, AcceptError::AlreadyRun);
    // One that could not be kept takes nothing back of what did run.
    power.fail(Some(ErrorKind::StorageFull));
    journal.accept_repeatable("other").await.unwrap_err();
    power.fail(None);
    journal.flush().await.unwrap();
    journal.accept("other").await.unwrap();
    let ran = journal.accept("other").await.unwrap_err();
    assert_eq!(ran, AcceptError::AlreadyRun);
}

#[tokio::test]
async fn many_share_a_commit() {
    let power = Power::default();
    let (journal, _) = open(&power).await;
    let tasks: Vec<_> = (0..2000)
        .map(|number| {
            let journal = journal.clone();
            tokio::spawn(async move { journal.accept(&number.to_string()).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(journal.health().borrow().entries, 2000);
}

#[tokio::test]
async fn a_journal_in_memory_takes_everything() {
    let journal = Journal::in_memory();
    assert!(!journal.is_on_disk());
    let number = journal.accept("a").await.unwrap();
    journal
        .answer(Some(number), "a", Answer::Unkept(None))
        .await
        .1
        .unwrap();
    journal.forget(number);
    journal.flush().await.unwrap();
    assert_eq!(state(&journal), State::Memory);
}

#[tokio::test]
async fn a_folder_that_only_an_operator_can_mend_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let folder = || Options {
        path: root.path().join("outbox"),
        ..options(Rerun::Allowed)
    };
    let (journal, opening) = Journal::open(folder()).unwrap();
    opening.done().await.unwrap();
    let (second, opening) = Journal::open(folder()).unwrap();
    assert!(matches!(opening.done().await, Err(OpenError::InUse(_))));
    let refused = second.accept("a").await.unwrap_err();
    assert_eq!(refused, AcceptError::Unavailable(Trouble::Closed));
    journal.accept("a").await.unwrap();
}

fn impatient(patience: u64) -> Options {
    Options {
        patience: Duration::from_millis(patience),
        ..options(Rerun::Never)
    }
}

/// What the next process finds, once the disk answers and this one has ended.
async fn left(power: &Power, journal: Journal) -> Vec<(String, Option<Answer>)> {
    power.hang(false);
    drop(journal);
    let found = open(power).await.1.into_iter();
    found
        .map(|found| (found.entry.task, found.entry.answer))
        .collect()
}

#[tokio::test]
async fn a_disk_that_hangs_holds_nobody_up_and_nothing_is_promised() {
    let power = Power::default();
    let (journal, _) = open_with(&power, impatient(1000)).await;
    let running = journal.accept("running").await.unwrap();
    power.hang(true);
    let hung = AcceptError::Unavailable(Trouble::Hung);
    // The first is given up in time, and the next need not wait at all.
    for task in ["first", "second"] {
        assert_eq!(journal.accept(task).await.unwrap_err(), hung);
    }
    assert_eq!(state(&journal), State::Failing(Trouble::Hung));
    let answer = Answer::Unkept(Some(Code::OutboxUnavailable));
    for task in ["first", "second"] {
        let (number, kept) = journal.answer(None, task, answer.clone()).await;
        assert_eq!((number, kept), (None, Err(Trouble::Hung)));
    }
    // The answer to what runs is written when the disk answers.
    let result = Answer::Kept("a result".into());
    let (number, kept) = journal
        .answer(Some(running), "running", result.clone())
        .await;
    assert_eq!((number, kept), (Some(running), Err(Trouble::Hung)));
    power.hang(false);
    let mut health = journal.health();
    let good = health.wait_for(|health| health.state == State::Good);
    drop(
        tokio::time::timeout(Duration::from_secs(30), good)
            .await
            .unwrap(),
    );
    // What was refused did not run, so it may.
    journal.accept("first").await.unwrap();
    let found = left(&power, journal).await;
    let expected = [
        ("running".to_owned(), Some(result)),
        ("first".to_owned(), None),
    ];
    assert_eq!(found, expected);
}

/// Opening it went well, so it is the commit that is waited for.
#[tokio::test]
async fn a_disk_that_hangs_once_it_was_opened_anew_is_noticed() {
    let power = Power::default();
    let (journal, _) = open_with(&power, impatient(1000)).await;
    let running = journal.accept("running").await.unwrap();
    power.fail(Some(ErrorKind::Other));
    let result = Answer::Kept("a result".into());
    let (_, kept) = journal
        .answer(Some(running), "running", result.clone())
        .await;
    kept.unwrap_err();
    power.hang_at(b"a result");
    power.fail(None);
    while !power.hangs() {
        let _ = journal.flush().await;
    }
    // The first may be given up before the disk has had its time.
    for _ in 0..2 {
        assert_eq!(journal.flush().await, Err(Trouble::Hung));
    }
    assert_eq!(state(&journal), State::Failing(Trouble::Hung));
    let found = left(&power, journal).await;
    assert_eq!(found, [("running".to_owned(), Some(result))]);
}

#[tokio::test]
async fn what_nobody_waited_for_is_undone() {
    let power = Power::default();
    let (journal, _) = open_with(&power, impatient(20_000)).await;
    power.hang(true);
    // Given up while the disk is at it, and while the thread has not begun with it.
    for task in ["a", "b"] {
        let accepting = journal.accept(task);
        tokio::time::timeout(Duration::from_millis(20), accepting)
            .await
            .unwrap_err();
        let answering = journal.answer(None, task, Answer::Unkept(Some(Code::Stopped)));
        tokio::time::timeout(Duration::from_millis(20), answering)
            .await
            .unwrap_err();
    }
    power.hang(false);
    for task in ["a", "b"] {
        journal.accept(task).await.unwrap();
    }
    let found = left(&power, journal).await;
    assert_eq!(found, [("a".to_owned(), None), ("b".to_owned(), None)]);
}

/// What was done before somebody gave up, and was not looked at yet.
#[tokio::test]
async fn an_entry_whose_number_nobody_took_is_undone() {
    let power = Power::default();
    let (journal, _) = open_with(&power, impatient(20_000)).await;
    {
        let accepting = std::pin::pin!(journal.accept("a"));
        let mut accepting = Some(accepting);
        // One look has it asked for, and no second one takes the answer.
        // The disk keeps the answer from being there at that look already.
        power.hang(true);
        let waiting = std::future::poll_fn(|context| {
            let looked = accepting.as_mut().unwrap().as_mut().poll(context);
            std::task::Poll::Ready(looked.is_pending())
        });
        assert!(waiting.await);
        power.hang(false);
        // The thread takes them in order: it has answered by now.
        journal.accept("b").await.unwrap();
        accepting.take();
    }
    journal.flush().await.unwrap();
    let found = left(&power, journal).await;
    assert_eq!(found, [("b".to_owned(), None)]);
}

#[tokio::test]
async fn a_disk_that_hangs_does_not_hold_the_end_up() {
    let power = Power::default();
    let (journal, _) = open_with(&power, impatient(1000)).await;
    power.hang(true);
    journal.accept("a").await.unwrap_err();
    assert_eq!(journal.flush().await, Err(Trouble::Hung));
    // Returns; without a bound it never would.
    drop(journal);
    power.hang(false);
}

#[tokio::test]
async fn a_disk_that_hangs_at_the_start_does_not_hold_it_up() {
    let power = Power::default();
    let (journal, _) = open(&power).await;
    let earlier = journal.accept("earlier").await.unwrap();
    drop(journal);
    power.hang(true);
    let disk = Box::new(power.disk());
    let (journal, opening) = Journal::over(disk, impatient(1000)).unwrap();
    let mut recovered = opening.done().await.unwrap();
    let refused = journal.accept("now").await.unwrap_err();
    assert_eq!(refused, AcceptError::Unavailable(Trouble::Hung));
    power.hang(false);
    assert_eq!(recovered.recv().await.unwrap().number, earlier);
    journal.accept("now").await.unwrap();
}

fn root(byte: u8) -> SealingRoot {
    SealingRoot::new(&[byte; 32]).unwrap()
}

fn sealed(sealing: Sealing) -> Options {
    Options {
        sealing,
        ..options(Rerun::Never)
    }
}

#[tokio::test]
async fn a_journal_that_waits_for_its_root_takes_nothing_and_touches_nothing() {
    let power = Power::default();
    power.hang(true);
    let disk = Box::new(power.disk());
    let (journal, opening) = Journal::over(disk, sealed(Sealing::Awaited)).unwrap();
    let locked = |code| AcceptError::Unavailable(Trouble::Locked(code));
    assert_eq!(journal.accept("a").await.unwrap_err(), locked(None));
    assert_eq!(state(&journal), State::Failing(Trouble::Locked(None)));
    journal.stay_locked(Code::KbsDenied);
    let why = Some(Code::KbsDenied);
    assert_eq!(journal.accept("a").await.unwrap_err(), locked(why));
    assert_eq!(state(&journal), State::Failing(Trouble::Locked(why)));
    let (number, kept) = journal.answer(None, "a", Answer::Unkept(None)).await;
    assert_eq!((number, kept), (None, Err(Trouble::Locked(why))));
    assert_eq!(journal.flush().await, Err(Trouble::Locked(why)));
    power.hang(false);
    assert!(power.copy().is_empty());
    journal.unlock(root(1));
    assert!(opening.done().await.unwrap().try_recv().is_err());
    assert_eq!(state(&journal), State::Good);
    journal.accept("a").await.unwrap();
    // Later roots, and reasons, are nobody's.
    journal.unlock(root(2));
    journal.stay_locked(Code::KbsDenied);
    journal.accept("b").await.unwrap();
    assert_eq!(state(&journal), State::Good);
    drop(journal);
    let found = open_with(&power, sealed(Sealing::Root(root(1)))).await.1;
    assert_eq!(found.len(), 2);
    assert!(!power.holds(b"\x01\x00\x01\x00a"));
}

#[tokio::test]
async fn a_journal_that_never_gets_its_root_ends_all_the_same() {
    let power = Power::default();
    let disk = Box::new(power.disk());
    let (journal, opening) = Journal::over(disk, sealed(Sealing::Awaited)).unwrap();
    journal.stay_locked(Code::KbsUnavailable);
    drop(journal);
    assert!(matches!(opening.done().await, Err(OpenError::Thread(_))));
    assert!(power.copy().is_empty());
}

#[tokio::test]
async fn a_store_that_does_not_fit_the_root_is_set_aside_with_its_reason() {
    let clear = || sealed(Sealing::Clear);
    let of = |byte| move || sealed(Sealing::Root(root(byte)));
    let (first, second) = (of(1), of(2));
    type Settings<'a> = &'a dyn Fn() -> Options;
    let cases: [(Settings<'_>, Settings<'_>, &str); 3] = [
        (&clear, &first, "not-sealed"),
        (&first, &clear, "no-root"),
        (&first, &second, "other-root"),
    ];
    for (before, after, word) in cases {
        let power = Power::default();
        let (journal, _) = open_with(&power, before()).await;
        journal.accept("a").await.unwrap();
        drop(journal);
        let (journal, found) = open_with(&power, after()).await;
        assert_eq!((found, power.set_asides()), (Vec::new(), 1), "{word}");
        let aside = journal.health().borrow().set_aside.clone();
        assert_eq!(aside.unwrap().1, word);
        assert_eq!(state(&journal), State::Good);
        // What ran is forgotten with it, and the new store works.
        journal.accept("a").await.unwrap();
        drop(journal);
        let (_journal, found) = open_with(&power, after()).await;
        assert_eq!((found.len(), power.set_asides()), (1, 1), "{word}");
    }
}

/// The disk fails, and comes back as it was before.
#[tokio::test]
async fn a_sealed_store_that_is_put_back_while_the_process_lives_is_set_aside() {
    let power = Power::default();
    let (journal, _) = open_with(&power, sealed(Sealing::Root(root(1)))).await;
    let first = journal.accept("first").await.unwrap();
    let image = power.copy();
    journal.forget(first);
    journal.accept("second").await.unwrap();
    power.fail(Some(ErrorKind::Other));
    journal.accept("third").await.unwrap_err();
    power.damage(|seen| *seen = image);
    power.fail(None);
    journal.flush().await.unwrap();
    let aside = journal.health().borrow().set_aside.clone();
    assert_eq!(aside.unwrap().1, "rolled-back");
    drop(journal);
    let (_journal, found) = open_with(&power, sealed(Sealing::Root(root(1)))).await;
    let tasks: Vec<_> = found.iter().map(|one| one.entry.task.as_str()).collect();
    assert_eq!(tasks, ["second"]);
}
