//! Files that redb takes, with every checksum right and every record there, in which searches end elsewhere.
//!
//! redb makes them itself: it is given the tables under their names and types, and another order.

use std::{
    cell::Cell,
    cmp::Ordering::{self, Greater, Less},
    marker::PhantomData,
};

use redb::{Key, TypeName, Value};

use super::*;

/// A key as it lies on the disk, in an order of the attacker's.
#[derive(Debug)]
struct Forged<K, O>(PhantomData<(K, O)>);

/// Such an order.
trait Order: std::fmt::Debug + 'static {
    fn compare<K: Key>(one: &[u8], other: &[u8]) -> Ordering;
}

impl<K: Value + 'static, O: Order> Value for Forged<K, O> {
    type SelfType<'a> = K::SelfType<'a>;
    type AsBytes<'a> = K::AsBytes<'a>;

    fn fixed_width() -> Option<usize> {
        K::fixed_width()
    }

    fn from_bytes<'a>(data: &'a [u8]) -> Self::SelfType<'a>
    where
        Self: 'a,
    {
        K::from_bytes(data)
    }

    fn as_bytes<'a, 'b: 'a>(value: &'a Self::SelfType<'b>) -> Self::AsBytes<'a>
    where
        Self: 'b,
    {
        K::as_bytes(value)
    }

    fn type_name() -> TypeName {
        K::type_name()
    }
}

impl<K: Key + 'static, O: Order> Key for Forged<K, O> {
    fn compare(one: &[u8], other: &[u8]) -> Ordering {
        O::compare::<K>(one, other)
    }
}

#[derive(Debug)]
struct Backwards;

impl Order for Backwards {
    fn compare<K: Key>(one: &[u8], other: &[u8]) -> Ordering {
        K::compare(other, one)
    }
}

/// As it should be, but that nothing is the same as anything.
#[derive(Debug)]
struct Doubled;

impl Order for Doubled {
    fn compare<K: Key>(one: &[u8], other: &[u8]) -> Ordering {
        K::compare(one, other).then(Greater)
    }
}

/// As it should be, but that the last of all keys is right behind the one that is set.
#[derive(Debug)]
struct OneMoved;

const MOVED: [u8; 32] = [0xff; 32];

thread_local! {
    static BEHIND: Cell<[u8; 32]> = const { Cell::new([0; 32]) };
}

impl Order for OneMoved {
    fn compare<K: Key>(one: &[u8], other: &[u8]) -> Ordering {
        let is_before = |key: &[u8]| key <= BEHIND.get().as_slice();
        match (one == MOVED, other == MOVED) {
            (true, false) if is_before(other) => Greater,
            (true, false) => Less,
            (false, true) if is_before(one) => Less,
            (false, true) => Greater,
            _ => K::compare(one, other),
        }
    }
}

type Names<'a, O> = TableDefinition<'a, Forged<&'static [u8; 32], O>, ()>;

/// The names of all ids in a store that must not run again, as they lie there.
fn names(power: &Power) -> Vec<[u8; 32]> {
    let database = database(power);
    let transaction = database.begin_read().unwrap();
    let done = transaction.open_table(DONE).unwrap();
    let names = done.iter().unwrap();
    names.map(|item| *item.unwrap().0.value()).collect()
}

/// Writes all names anew in another order.
fn reorder<O: Order>(
    power: &Power,
    and: impl FnOnce(&mut Table<'_, Forged<&'static [u8; 32], O>, ()>),
) {
    let names = names(power);
    let database = database(power);
    let transaction = database.begin_write().unwrap();
    transaction.delete_table(DONE).unwrap();
    {
        let forged = Names::<O>::new("done");
        let mut done = transaction.open_table(forged).unwrap();
        for name in &names {
            done.insert(name, ()).unwrap();
        }
        and(&mut done);
    }
    transaction.commit().unwrap();
}

/// Those of these names that a search does not find.
fn missed(power: &Power, names: &[[u8; 32]]) -> usize {
    let database = database(power);
    let transaction = database.begin_read().unwrap();
    let done = transaction.open_table(DONE).unwrap();
    let is_missed = |name: &&[u8; 32]| done.get(*name).unwrap().is_none();
    names.iter().filter(is_missed).count()
}

fn store_with_ids(ids: u64) -> Power {
    let power = Power::default();
    let mut store = open(&power, Some(&root(1)));
    let digest = |id: u64| {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&id.to_le_bytes());
        digest
    };
    let tasks: Vec<_> = (0..ids).map(|id| (digest(id), true)).collect();
    remember(&mut store, &tasks);
    power
}

fn out_of_order(power: &Power) {
    let trouble = trouble(power, Some(&root(1)));
    assert_eq!(trouble.word(), "damaged");
    assert!(trouble.to_string().contains("out of order"), "{trouble}");
}

#[test]
fn ids_that_no_search_finds_are_noticed() {
    let power = store_with_ids(3);
    let before = names(&power);
    reorder::<Backwards>(&power, |_| ());
    let mut after = names(&power);
    assert!(missed(&power, &before) > 0);
    // The sum is over the same names as ever.
    after.reverse();
    assert_eq!(after, before);
    out_of_order(&power);
}

/// The records are in order, and what leads to them is not.
#[test]
fn ids_that_the_nodes_above_lead_past_are_noticed() {
    let honest = store_with_ids(300);
    let before = names(&honest);
    let mut forged = 0;
    for behind in &before {
        BEHIND.set(*behind);
        let power = honest.twin();
        // The moved key is a bound between two leaves, where it happens to be the last of one, and stays it when it goes.
        reorder::<OneMoved>(&power, |done| {
            done.insert(&MOVED, ()).unwrap();
            done.remove(&MOVED).unwrap();
        });
        assert_eq!(names(&power), before);
        if missed(&power, &before) > 0 {
            out_of_order(&power);
            forged += 1;
        } else {
            open(&power, Some(&root(1)));
        }
    }
    assert!(forged > 0);
}

/// Writes all entries anew in another order, each so many times.
fn reorder_entries<O: Order>(power: &Power, times: usize) {
    let database = database(power);
    let transaction = database.begin_write().unwrap();
    let records: Vec<(u64, Vec<u8>)> = {
        let entries = transaction.open_table(ENTRIES).unwrap();
        let records = entries.iter().unwrap().map(Result::unwrap);
        records
            .map(|(number, record)| (number.value(), record.value().to_vec()))
            .collect()
    };
    transaction.delete_table(ENTRIES).unwrap();
    {
        let forged = TableDefinition::<Forged<u64, O>, &[u8]>::new("entries");
        let mut entries = transaction.open_table(forged).unwrap();
        for (number, record) in &records {
            for _ in 0..times {
                entries.insert(number, record.as_slice()).unwrap();
            }
        }
        assert_eq!(entries.len().unwrap(), (records.len() * times) as u64);
    }
    transaction.commit().unwrap();
}

#[test]
fn entries_that_no_search_finds_are_noticed() {
    for root in [None, Some(&root(1))] {
        let power = Power::default();
        put(&mut open(&power, root), &[1, 2, 3]);
        reorder_entries::<Backwards>(&power, 1);
        let trouble = trouble(&power, root);
        assert!(trouble.to_string().contains("out of order"), "{trouble}");
    }
}

/// Of which one would stay when the other is removed.
#[test]
fn entries_that_are_there_twice_are_noticed() {
    let power = Power::default();
    put(&mut open(&power, Some(&root(1))), &[1, 2, 3]);
    reorder_entries::<Backwards>(&power, 1);
    reorder_entries::<Doubled>(&power, 1);
    open(&power, Some(&root(1)));
    reorder_entries::<Doubled>(&power, 2);
    out_of_order(&power);
}

/// Changes these bytes wherever they are, under the process that uses the disk.
fn corrupt(power: &Power, bytes: &[u8]) {
    assert!(power.holds(bytes));
    power.damage(|seen| {
        for at in 0..seen.len() - bytes.len() {
            if seen[at..].starts_with(bytes) {
                seen[at] ^= 1;
            }
        }
    });
}

#[test]
fn no_search_on_the_disk_of_a_running_process_says_whether_an_id_ran() {
    let power = Power::default();
    power.without_cache();
    let task = [9; 32];
    let mut store = open(&power, Some(&root(1)));
    remember(&mut store, &[(task, true)]);
    let sealed = store.sealed.as_mut().unwrap();
    let name = sealed.writing().unwrap().name(&task);
    let is_found = |store: &Store| {
        let transaction = store.database.begin_read().unwrap();
        let done = transaction.open_table(DONE).unwrap();
        done.get(&name).unwrap().is_some()
    };
    assert!(is_found(&store));
    corrupt(&power, &name);
    assert!(!is_found(&store));
    assert!(store.is_done(&task).unwrap());
    assert!(!store.is_done(&[8; 32]).unwrap());
    // Nor does a commit go by what the disk says.
    let changes = Changes {
        entries: Vec::new(),
        done: vec![(task, false)],
    };
    let failed = store.apply(&changes, &mut Known::default());
    assert_eq!(failed, Err(Breach::Incomplete.into()));
}

#[test]
fn a_disk_that_does_not_find_an_entry_that_is_there_is_not_written_to() {
    const NUMBER: u64 = 0x1122_3344_5566_7788;
    for entry in [None, Some(&entry("a task"))] {
        let power = Power::default();
        power.without_cache();
        let mut store = open(&power, Some(&root(1)));
        put(&mut store, &[NUMBER]);
        corrupt(&power, &NUMBER.to_le_bytes());
        let changes = Changes {
            entries: vec![(NUMBER, entry)],
            done: Vec::new(),
        };
        let mut known = Known::default();
        let failed = store.apply(&changes, &mut known);
        assert_eq!(failed, Err(Breach::Incomplete.into()));
    }
}
