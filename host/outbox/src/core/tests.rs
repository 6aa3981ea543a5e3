use std::io::ErrorKind;

use super::*;
use crate::{
    crashes::{self, Power},
    seal::Breach,
};

fn sealed(power: &Power) -> Core {
    crashes::core(power, Rerun::Never, true)
}

fn accepted(core: &mut Core, task: &str) -> u64 {
    let number = core.accept(task, Counts::Yes).unwrap();
    core.commit().unwrap();
    number
}

/// Has the disk fail under this task, and work again.
fn fail_once(core: &mut Core, power: &Power, task: &str) {
    power.fail(Some(ErrorKind::Other));
    core.accept(task, Counts::Yes).unwrap();
    core.commit().unwrap_err();
    power.fail(None);
    assert!(!core.is_open());
}

fn tasks(entries: Vec<(u64, Entry)>) -> Vec<String> {
    entries.into_iter().map(|(_, entry)| entry.task).collect()
}

/// Each point at which a commit can fail.
#[test]
fn a_commit_that_failed_is_taken_whether_it_is_on_the_disk_or_not() {
    let (mut is_there, mut is_not) = (0, 0);
    for steps in 0.. {
        let power = Power::default();
        let mut core = sealed(&power);
        core.open().unwrap();
        accepted(&mut core, "a");
        core.accept("b", Counts::Yes).unwrap();
        power.lose_after(steps);
        let committed = core.commit();
        power.lose_after(usize::MAX);
        if committed.is_ok() {
            break;
        }
        match sealed(&power.twin()).open().unwrap().len() {
            1 => is_not += 1,
            2 => is_there += 1,
            other => panic!("{other}"),
        }
        core.open().unwrap();
        assert!(core.is_open() && power.set_asides() == 0, "{steps}");
        core.commit().unwrap();
        let bytes = core.health().bytes;
        drop(core);
        let mut next = sealed(&power);
        assert_eq!(tasks(next.open().unwrap()), ["a", "b"], "{steps}");
        // Nothing was counted twice.
        assert_eq!(next.health().bytes, bytes, "{steps}");
        let again = next.accept("b", Counts::Yes);
        assert_eq!(again, Err(AcceptError::AlreadyRun));
    }
    assert!(is_there > 0 && is_not > 0, "{is_there} {is_not}");
}

#[test]
fn a_store_in_place_of_one_that_was_set_aside_is_not_taken() {
    let power = Power::default();
    let mut core = sealed(&power);
    core.open().unwrap();
    accepted(&mut core, "a");
    let old = power.copy();
    accepted(&mut core, "b");
    fail_once(&mut core, &power, "c");
    power.damage(|seen| seen.fill(7));
    power.exchange(old);
    core.open().unwrap();
    let rolled_back = Trouble::from(Breach::RolledBack);
    assert_eq!(core.health().state, State::Failing(rolled_back));
    // It is set aside too, and what comes next is begun here.
    core.open().unwrap();
    assert!(core.is_open());
    let (_, why) = core.health().set_aside.unwrap();
    assert_eq!((power.set_asides(), why), (2, "rolled-back"));
    core.commit().unwrap();
    drop(core);
    let found = sealed(&power).open().unwrap();
    assert_eq!(tasks(found), ["a", "b", "c"]);
}

/// Each point at which it can fail to be begun.
#[test]
fn a_store_that_was_begun_in_place_of_another_is_taken_though_that_failed() {
    let mut is_there = 0;
    for steps in 0.. {
        let power = Power::default();
        let mut core = sealed(&power);
        core.open().unwrap();
        accepted(&mut core, "a");
        fail_once(&mut core, &power, "b");
        power.damage(|seen| seen.fill(7));
        power.lose_after(steps);
        core.open().unwrap();
        power.lose_after(usize::MAX);
        assert_eq!(power.set_asides(), 1);
        if core.is_open() {
            break;
        }
        // Whether it was begun, says who takes none that is there.
        let mut other = sealed(&power.twin());
        other.known.set_aside();
        other.open().unwrap();
        let is_begun = other.set_aside.is_some_and(|(_, why)| why == "rolled-back");
        core.open().unwrap();
        assert!(core.is_open(), "{steps}");
        if is_begun {
            is_there += 1;
            assert_eq!(power.set_asides(), 1, "{steps}");
        }
        core.commit().unwrap();
        drop(core);
        assert_eq!(tasks(sealed(&power).open().unwrap()), ["a", "b"]);
    }
    assert!(is_there > 0);
}

/// Of a store in clear, which says nothing of its being put back.
#[test]
fn an_entry_that_comes_back_as_it_was_is_written_again() {
    let power = Power::default();
    let mut core = crashes::core(&power, Rerun::Allowed, false);
    core.open().unwrap();
    let answered = accepted(&mut core, "answered");
    let running = accepted(&mut core, "running");
    let old = power.copy();
    let answer = Answer::Kept("a result".into());
    core.answer(Some(answered), "answered", answer.clone());
    core.commit().unwrap();
    fail_once(&mut core, &power, "other");
    power.damage(|seen| *seen = old);
    assert!(core.open().unwrap().is_empty());
    assert!(core.dirty.contains(&answered) && !core.dirty.contains(&running));
    core.commit().unwrap();
    drop(core);
    let found = crashes::core(&power, Rerun::Allowed, false).open().unwrap();
    let found: BTreeMap<_, _> = found.into_iter().collect();
    assert_eq!(found[&answered].answer, Some(answer));
    assert_eq!(found.len(), 3);
}
