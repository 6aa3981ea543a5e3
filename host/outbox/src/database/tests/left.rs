//! A process opens its store again, and finds another one.

use super::*;

/// A store with a few commits, and what the process that made them knows.
fn left() -> (Power, Known) {
    let power = Power::default();
    let mut known = Known::default();
    for number in 1..4 {
        go_on(&power, &mut known, &[number]);
    }
    (power, known)
}

fn reopened(power: &Power, known: &mut Known) -> Store {
    Store::open(&mut power.disk(), Some(&root(1)), known)
        .unwrap()
        .0
}

/// Opens the store, and makes a commit.
fn go_on(power: &Power, known: &mut Known, numbers: &[u64]) {
    let mut store = reopened(power, known);
    put_as(known, &mut store, numbers);
}

fn refused(power: &Power, known: &mut Known) {
    let trouble = trouble_as(known, power, Some(&root(1)));
    assert_eq!(trouble, Breach::RolledBack.into());
}

#[test]
fn a_store_is_taken_as_it_was_left() {
    let (power, mut known) = left();
    drop(reopened(&power, &mut known));
    go_on(&power, &mut known, &[9]);
    reopened(&power, &mut known);
}

/// What the module says is not noticed, and within one process is.
#[test]
fn a_whole_store_that_is_put_back_is_noticed_by_who_knew_it_later() {
    let (power, mut known) = left();
    let earlier = power.copy();
    go_on(&power, &mut known, &[4]);
    power.damage(|seen| *seen = earlier);
    refused(&power, &mut known);
    let (_, found) = Store::open(&mut power.disk(), Some(&root(1)), &mut Known::default()).unwrap();
    assert_eq!(found.entries.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn a_store_that_somebody_else_went_on_with_is_not_the_one() {
    let (power, mut known) = left();
    let twin = power.twin();
    go_on(&power, &mut known, &[4]);
    // The same number of commits, and what they wrote looks the same but for its tickets.
    put(&mut open(&twin, Some(&root(1))), &[4]);
    power.damage(|seen| *seen = twin.copy());
    refused(&power, &mut known);
    // It holds as far as it goes.
    open(&power, Some(&root(1)));
    // Nor is one that went on from where this process is.
    let (power, mut known) = left();
    put(&mut open(&power, Some(&root(1))), &[4]);
    refused(&power, &mut known);
}

#[test]
fn only_ids_that_differ_make_another_state_too() {
    let (power, mut known) = left();
    let twin = power.twin();
    for (power, known, task) in [
        (&power, &mut known, [1; 32]),
        (&twin, &mut Known::default(), [2; 32]),
    ] {
        let mut store = reopened(power, known);
        let changes = Changes {
            entries: Vec::new(),
            done: vec![(task, true)],
        };
        store.apply(&changes, known).unwrap();
    }
    power.damage(|seen| *seen = twin.copy());
    refused(&power, &mut known);
}

#[test]
fn another_store_of_the_same_root_is_refused_however_far_it_is() {
    let (power, mut known) = left();
    let (other, _) = left();
    for number in 4..8 {
        power.damage(|seen| *seen = other.copy());
        refused(&power, &mut known);
        put(&mut open(&other, Some(&root(1))), &[number]);
    }
}

#[test]
fn an_emptied_disk_is_refused_and_nothing_is_begun_on_it() {
    let (power, mut known) = left();
    power.damage(Vec::clear);
    refused(&power, &mut known);
    let database = database(&power);
    let transaction = database.begin_read().unwrap();
    assert!(transaction.open_table(SEAL).is_err());
}
