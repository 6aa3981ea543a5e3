mod forged;
mod left;

use proptest::prelude::*;

use super::*;
use crate::{crashes::Power, entry::Answer};

fn root(byte: u8) -> SealingRoot {
    SealingRoot::new(&[byte; 32]).unwrap()
}

fn entry(task: &str) -> Entry {
    Entry {
        task: task.to_owned(),
        answer: Some(Answer::Kept("a marker".into())),
    }
}

fn open(power: &Power, root: Option<&SealingRoot>) -> Store {
    Store::open(&mut power.disk(), root, &mut Known::default())
        .unwrap()
        .0
}

fn put(store: &mut Store, numbers: &[u64]) {
    put_as(&mut Known::default(), store, numbers);
}

/// As a process that knows this much of the store.
fn put_as(known: &mut Known, store: &mut Store, numbers: &[u64]) {
    let entry = entry("a task");
    let changes = Changes {
        entries: numbers
            .iter()
            .map(|number| (*number, Some(&entry)))
            .collect(),
        done: Vec::new(),
    };
    store.apply(&changes, known).unwrap();
}

fn remember(store: &mut Store, tasks: &[(TaskDigest, bool)]) {
    let changes = Changes {
        entries: Vec::new(),
        done: tasks.to_vec(),
    };
    store.apply(&changes, &mut Known::default()).unwrap();
}

fn written(power: &Power, root: Option<&SealingRoot>) {
    let mut store = open(power, root);
    put(&mut store, &[3]);
    remember(&mut store, &[([9; 32], true)]);
    assert!(store.is_done(&[9; 32]).unwrap());
    assert!(!store.is_done(&[8; 32]).unwrap());
}

fn trouble_as(known: &mut Known, power: &Power, root: Option<&SealingRoot>) -> Trouble {
    match Store::open(&mut power.disk(), root, known) {
        Err(Failure::Trouble(trouble)) => trouble,
        Err(Failure::Fatal(error)) => panic!("{error}"),
        Ok(_) => panic!("it opened"),
    }
}

fn trouble(power: &Power, root: Option<&SealingRoot>) -> Trouble {
    trouble_as(&mut Known::default(), power, root)
}

fn database(power: &Power) -> Database {
    match power.disk().database(&Builder::new()) {
        Ok(database) => database,
        Err(_) => panic!("it does not open"),
    }
}

/// What whoever has the disk does to the entries.
fn tamper(power: &Power, change: impl FnOnce(&mut Table<'_, u64, &'static [u8]>)) {
    let database = database(power);
    let transaction = database.begin_write().unwrap();
    change(&mut transaction.open_table(ENTRIES).unwrap());
    transaction.commit().unwrap();
}

fn tamper_with_done(power: &Power, change: impl FnOnce(&mut Table<'_, &'static [u8; 32], ()>)) {
    let database = database(power);
    let transaction = database.begin_write().unwrap();
    change(&mut transaction.open_table(DONE).unwrap());
    transaction.commit().unwrap();
}

/// The record of a number, as it lies there.
fn record(power: &Power, number: u64) -> Vec<u8> {
    let database = database(power);
    let transaction = database.begin_read().unwrap();
    let entries = transaction.open_table(ENTRIES).unwrap();
    entries.get(number).unwrap().unwrap().value().to_vec()
}

#[test]
fn sealed_entries_lie_sealed_and_open_under_their_root_only() {
    let power = Power::default();
    written(&power, Some(&root(1)));
    // Neither ids nor answers, nor what ids could be tried out against.
    for clear in [b"a marker".as_slice(), b"a task", &[9; 32]] {
        assert!(!power.holds(clear));
    }
    let (store, found) =
        Store::open(&mut power.disk(), Some(&root(1)), &mut Known::default()).unwrap();
    assert_eq!(found.entries.len(), 1);
    assert_eq!(found.entries[&3], entry("a task"));
    assert_eq!(store.done(), 1);
    assert!(store.is_done(&[9; 32]).unwrap());
    drop(store);
    assert_eq!(trouble(&power, Some(&root(2))), Breach::OtherRoot.into());
    assert_eq!(trouble(&power, None), Breach::NoRoot.into());
    // Nothing of that changed it.
    open(&power, Some(&root(1)));
}

#[test]
fn a_store_in_clear_is_not_taken_over_by_a_root_unless_nothing_is_in_it() {
    for (numbers, done) in [(&[3][..], &[][..]), (&[], &[([9; 32], true)])] {
        let power = Power::default();
        let mut store = open(&power, None);
        put(&mut store, numbers);
        remember(&mut store, done);
        drop(store);
        assert_eq!(trouble(&power, Some(&root(1))), Breach::NotSealed.into());
        open(&power, None);
    }
    let power = Power::default();
    drop(open(&power, None));
    written(&power, Some(&root(1)));
    assert!(!power.holds(b"a marker"));
    assert_eq!(trouble(&power, None), Breach::NoRoot.into());
}

#[test]
fn an_entry_with_the_last_number_is_not_one_of_ours() {
    let power = Power::default();
    put(&mut open(&power, None), &[u64::MAX]);
    let trouble = trouble(&power, None);
    assert!(trouble.to_string().contains("number"), "{trouble}");
}

#[test]
fn a_sealed_entry_is_none_of_a_store_in_clear() {
    let (sealed, clear) = (Power::default(), Power::default());
    written(&sealed, Some(&root(1)));
    written(&clear, None);
    let bytes = record(&sealed, 3);
    tamper(&clear, |entries| {
        entries.insert(4, bytes.as_slice()).unwrap();
    });
    assert_eq!(trouble(&clear, None), Breach::NoRoot.into());
}

/// A sealed store with entries 1 to 3, and 2 as it was before.
fn store_with_history() -> (Power, Vec<u8>) {
    let power = Power::default();
    let root = root(1);
    put(&mut open(&power, Some(&root)), &[1, 2, 3]);
    let old = record(&power, 2);
    put(&mut open(&power, Some(&root)), &[2]);
    assert_ne!(record(&power, 2), old);
    (power, old)
}

#[test]
fn whatever_is_done_to_single_records_is_noticed() {
    /// Which record is written over, or taken out, given the store and its entry 2 as it was before.
    type Change = fn(&Power, Vec<u8>) -> (u64, Option<Vec<u8>>);
    fn foreign() -> Vec<u8> {
        let other = Power::default();
        written(&other, Some(&root(1)));
        record(&other, 3)
    }
    fn in_clear() -> Vec<u8> {
        [&[CLEAR], entry("x").encode().unwrap().as_slice()].concat()
    }
    let head = Sealed::HEAD;
    assert_eq!(head, u64::MAX);
    let (altered, incomplete) = (Breach::Altered, Breach::Incomplete);
    let cases: [(&str, Change, Breach); 10] = [
        (
            "in place of another",
            |power, _| (3, Some(record(power, 1))),
            altered,
        ),
        (
            "at a new number",
            |power, _| (4, Some(record(power, 1))),
            altered,
        ),
        (
            "head as entry",
            |power, _| (4, Some(record(power, u64::MAX))),
            altered,
        ),
        (
            "entry as head",
            |power, _| (u64::MAX, Some(record(power, 1))),
            altered,
        ),
        ("of another store", |_, _| (3, Some(foreign())), altered),
        ("in clear", |_, _| (4, Some(in_clear())), altered),
        ("empty", |_, _| (3, Some(Vec::new())), altered),
        ("as it was before", |_, old| (2, Some(old)), incomplete),
        ("taken out", |_, _| (2, None), incomplete),
        ("no head", |_, _| (u64::MAX, None), incomplete),
    ];
    for (what, change, breach) in cases {
        let (power, old) = store_with_history();
        let (number, record) = change(&power, old);
        tamper(&power, |entries| match record {
            Some(record) => drop(entries.insert(number, record.as_slice()).unwrap()),
            None => drop(entries.remove(number).unwrap()),
        });
        assert_eq!(trouble(&power, Some(&root(1))), breach.into(), "{what}");
    }
}

#[test]
fn an_old_head_does_not_make_an_old_record_good() {
    let power = Power::default();
    let root = root(1);
    put(&mut open(&power, Some(&root)), &[1, 2]);
    let (old, old_head) = (record(&power, 2), record(&power, Sealed::HEAD));
    put(&mut open(&power, Some(&root)), &[1, 2]);
    tamper(&power, |entries| {
        entries.insert(2, old.as_slice()).unwrap();
        entries.insert(Sealed::HEAD, old_head.as_slice()).unwrap();
    });
    assert_eq!(trouble(&power, Some(&root)), Breach::Incomplete.into());
}

#[test]
fn ids_that_must_not_run_again_are_neither_taken_out_nor_put_in() {
    for take_out in [true, false] {
        let power = Power::default();
        let root = root(1);
        let mut store = open(&power, Some(&root));
        remember(
            &mut store,
            &[([1; 32], true), ([2; 32], true), ([3; 32], true)],
        );
        // What is there already, and what is not, changes nothing.
        remember(
            &mut store,
            &[([1; 32], true), ([3; 32], false), ([4; 32], false)],
        );
        drop(store);
        let store = open(&power, Some(&root));
        assert!(store.is_done(&[1; 32]).unwrap() && !store.is_done(&[3; 32]).unwrap());
        drop(store);
        tamper_with_done(&power, |done| {
            if take_out {
                drop(done.pop_first().unwrap());
            } else {
                done.insert(&[7; 32], ()).unwrap();
            }
        });
        assert_eq!(trouble(&power, Some(&root)), Breach::Incomplete.into());
    }
}

#[test]
fn breaches_have_words_of_their_own() {
    let all = [
        Breach::OtherRoot,
        Breach::NoRoot,
        Breach::NotSealed,
        Breach::Altered,
        Breach::Incomplete,
        Breach::RolledBack,
    ];
    let words: std::collections::BTreeSet<_> = all
        .iter()
        .map(|breach| Trouble::from(*breach).word())
        .collect();
    assert_eq!(words.len(), all.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever is written and removed, the head fits, and what is there is what was written.
    #[test]
    fn a_sealed_store_is_what_was_written(
        commits in proptest::collection::vec(
            proptest::collection::vec((1_u64..8, any::<bool>(), 0_u8..6, any::<bool>()), 0..6),
            1..8,
        ),
    ) {
        let power = Power::default();
        let root = root(1);
        let mut store = open(&power, Some(&root));
        let mut model = BTreeMap::new();
        let mut done = std::collections::BTreeSet::new();
        for (round, commit) in commits.iter().enumerate() {
            let texts: Vec<_> = commit
                .iter()
                .map(|(number, stays, task, is_done)| {
                    let text = stays.then(|| entry(&format!("task {number} of {round}")));
                    (*number, text, [*task; 32], *is_done)
                })
                .collect();
            let changes = Changes {
                entries: texts.iter().map(|(number, text, ..)| (*number, text.as_ref())).collect(),
                done: texts.iter().map(|(.., task, is_done)| (*task, *is_done)).collect(),
            };
            store.apply(&changes, &mut Known::default()).unwrap();
            for (number, text, task, is_done) in &texts {
                match text {
                    Some(text) => drop(model.insert(*number, text.clone())),
                    None => drop(model.remove(number)),
                }
                if *is_done { done.insert(*task); } else { done.remove(task); }
            }
        }
        drop(store);
        let (store, found) = Store::open(&mut power.disk(), Some(&root), &mut Known::default()).unwrap();
        prop_assert_eq!(found.entries, model);
        prop_assert_eq!(store.done(), done.len() as u64);
        for task in 0..6 {
            prop_assert_eq!(store.is_done(&[task; 32]).unwrap(), done.contains(&[task; 32]));
        }
    }
}
