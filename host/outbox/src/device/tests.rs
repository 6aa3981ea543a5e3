//! Devices that lose power, are full, damaged, or somebody else's. What they hold is as in the tests of files.

use std::{
    io::{self, ErrorKind},
    path::Path,
    sync::Arc,
};

use proptest::prelude::*;
use redb::{ReadableDatabase as _, StorageBackend};

use super::{
    area::{BEGIN, LEAST},
    blocks::{Blocks, Raw},
    header::{self, Header, Place},
    *,
};
use crate::{
    accept::{Counts, Rerun},
    core::Core,
    crashes::{self, FakeBackend, Power, acts, outlives, survives_each_step},
    database::Store,
    entry::Answer,
    health::State,
    seal::{Known, Sealing, SealingRoot},
};

impl Blocks for FakeBackend {
    fn size(&self) -> io::Result<u64> {
        StorageBackend::len(self)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        StorageBackend::read(self, offset, out)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        StorageBackend::write(self, offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        StorageBackend::sync_data(self)
    }
}

fn core(power: &Power, rerun: Rerun) -> Core {
    crashes::core(power, rerun, false)
}

fn empty() -> Power {
    Power::device(vec![0; LEAST as usize])
}

/// A device with a task on it.
fn used() -> Power {
    let power = empty();
    let mut core = core(&power, Rerun::Allowed);
    core.open().unwrap();
    core.accept("a task", Counts::Yes).unwrap();
    core.commit().unwrap();
    power
}

/// Why nothing can be done with these bytes. None of them may change.
fn refused(bytes: Vec<u8>) -> String {
    let power = Power::device(bytes.clone());
    let error = core(&power, Rerun::Allowed).open().unwrap_err();
    assert!(power.bytes() == bytes, "{error}");
    error.to_string()
}

/// The header of a device, and where it is.
fn in_force(bytes: &[u8]) -> (Place, Header) {
    let found = header::find(&bytes[..header::LEN], &bytes[4096..4096 + header::LEN]);
    match found {
        header::Found::Header(place, header) => (place, header),
        other => panic!("{other:?}"),
    }
}

/// The trouble of a store that is not open.
fn trouble(core: &Core) -> Trouble {
    match core.health().state {
        State::Failing(trouble) => trouble,
        state => panic!("{state:?}"),
    }
}

/// A core on a device with these bytes, which is damaged.
fn damaged(bytes: Vec<u8>) -> (Power, Core) {
    let power = Power::device(bytes);
    let mut core = core(&power, Rerun::Allowed);
    assert_eq!(core.open().unwrap(), []);
    assert_eq!(trouble(&core).word(), "damaged");
    (power, core)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_was_committed_outlives_a_loss_of_power(
        first in acts(),
        second in acts(),
        steps in 0_usize..160,
        fates in proptest::collection::vec(any::<u8>(), 1..64),
        sealed in any::<bool>(),
    ) {
        outlives(&empty(), [&first, &second], steps, &fates, sealed)?;
    }

    /// A host can write whatever it likes.
    #[test]
    fn any_bytes_are_opened_or_refused(
        start in proptest::collection::vec(any::<u8>(), 0..128),
        store in proptest::collection::vec(any::<u8>(), 0..8192),
        length in prop_oneof![0..=LEAST - BEGIN, any::<u64>()],
        generation in any::<u64>(),
        with_header in any::<bool>(),
        at in prop_oneof![0..2 * BEGIN, 0..LEAST - 8192],
    ) {
        let mut bytes = used().bytes();
        if with_header {
            let header = Header { generation, length }.bytes();
            bytes[..header::LEN].copy_from_slice(&header);
        } else {
            bytes[..start.len()].copy_from_slice(&start);
        }
        let at = at as usize;
        bytes[at..at + store.len()].copy_from_slice(&store);
        let power = Power::device(bytes);
        let mut core = core(&power, Rerun::Allowed);
        if core.open().is_ok() && core.is_open() {
            core.accept("another", Counts::Yes).unwrap();
            let _ = core.commit();
        }
    }
}

#[test]
fn power_may_be_lost_at_any_step_of_a_task() {
    survives_each_step(empty, false);
    survives_each_step(empty, true);
}

#[test]
fn power_may_be_lost_at_any_step_of_a_new_store() {
    let power = empty();
    power.lose_after(usize::MAX);
    core(&power, Rerun::Allowed).open().unwrap();
    let steps = usize::MAX - power.left().unwrap();
    assert!(steps > 20, "{steps}");
    for (steps, fate) in (0..steps).flat_map(|steps| [0, 100, 250].map(|fate| (steps, fate))) {
        let power = empty();
        power.lose_after(steps);
        core(&power, Rerun::Allowed).open().unwrap();
        power.restore(|| fate);
        let mut core = core(&power, Rerun::Allowed);
        assert_eq!(core.open().unwrap(), []);
        assert!(core.is_open(), "{steps}, {fate}: {:?}", core.health());
        core.accept("a", Counts::Yes).unwrap();
        core.commit().unwrap();
    }
}

#[test]
fn what_is_not_ours_is_left_alone() {
    // A file system of the kind ext4, one of the kind btrfs, tables of partitions, and anything at the end.
    for (at, mark) in [
        (1080, &b"\x53\xef"[..]),
        (0x1_0040, b"_BHRfS_M"),
        (510, b"\x55\xaa"),
        (512, b"EFI PART"),
        (0, b"\x7fELF"),
        (BEGIN as usize - 1, b"x"),
        (LEAST as usize - 512, b"EFI PART"),
        ((LEAST - BEGIN) as usize, b"x"),
    ] {
        let mut bytes = vec![0; LEAST as usize];
        bytes[at..at + mark.len()].copy_from_slice(mark);
        let error = refused(bytes);
        assert!(error.contains("left alone"), "{at}: {error}");
        assert!(error.contains("a device"), "{at}: {error}");
    }
}

#[test]
fn a_store_of_a_later_proplet_is_left_alone() {
    let mut bytes = used().bytes();
    bytes[16] += 1;
    let sum = ring::digest::digest(&ring::digest::SHA256, &bytes[..40]);
    bytes[40..72].copy_from_slice(sum.as_ref());
    let error = refused(bytes);
    assert!(error.contains("later proplet"), "{error}");
}

#[test]
fn a_device_without_room_for_a_store_is_refused() {
    let error = refused(vec![0; LEAST as usize - 1]);
    assert!(error.contains("8388608"), "{error}");
    assert!(refused(Vec::new()).contains("0 bytes"));
}

#[test]
fn what_lay_in_the_middle_is_not_shown_to_a_new_store() {
    let mut bytes = vec![0; LEAST as usize];
    bytes[BEGIN as usize..(LEAST - BEGIN) as usize].fill(7);
    let power = Power::device(bytes);
    let mut core = core(&power, Rerun::Allowed);
    core.open().unwrap();
    assert!(core.is_open());
    let bytes = power.bytes();
    let length = in_force(&bytes).1.length as usize;
    assert!(length > 10_000, "{length}");
    let store = &bytes[BEGIN as usize..][..length];
    assert!(!store.windows(512).any(|bytes| bytes == [7; 512]));
}

#[test]
fn a_damaged_store_stays_where_it_is_and_takes_no_tasks() {
    let whole = used().bytes();
    let mut store = whole.clone();
    store[BEGIN as usize..][..64].fill(7);
    let mut headers = whole.clone();
    headers[30] ^= 1;
    headers[4096 + 30] ^= 1;
    for bytes in [store, headers] {
        let (power, mut core) = damaged(bytes.clone());
        let words = trouble(&core).to_string();
        assert!(
            words.contains("a device is a device and is left as it is"),
            "{words}"
        );
        assert!(words.contains("another one"), "{words}");
        assert!(power.bytes() == bytes);
        assert!(core.accept("b", Counts::Yes).is_err());
        assert!(core.commit().is_err());
        assert_eq!(core.open().unwrap(), []);
        assert!(!core.is_open() && core.health().set_aside.is_none());
        assert!(power.bytes() == bytes);
    }
    let power = Power::device(whole);
    assert_eq!(core(&power, Rerun::Allowed).open().unwrap().len(), 1);
}

#[test]
fn a_store_that_the_device_has_no_room_for_is_damaged() {
    let power = used();
    let length = LEAST - BEGIN + 1;
    let mut bytes = power.bytes();
    let header = Header {
        generation: 99,
        length,
    };
    bytes[..header::LEN].copy_from_slice(&header.bytes());
    let (power, _) = damaged(bytes.clone());
    assert!(power.bytes() == bytes);
}

#[test]
fn another_root_costs_nothing() {
    let power = empty();
    let sealed = |byte| {
        let root = SealingRoot::new(&[byte; 32]).unwrap();
        let disk = Box::new(power.disk());
        Core::new(disk, Sealing::Root(root), 1 << 30, Rerun::Allowed)
    };
    let mut first = sealed(1);
    first.open().unwrap();
    first.accept("a task", Counts::Yes).unwrap();
    first.commit().unwrap();
    drop(first);
    assert!(!power.holds(b"a task"));
    let mut other = sealed(2);
    for _ in 0..2 {
        assert_eq!(other.open().unwrap(), []);
        let trouble = trouble(&other);
        assert!(matches!(trouble, Trouble::Breach(_)), "{trouble}");
    }
    drop(other);
    assert_eq!(sealed(1).open().unwrap().len(), 1);
}

/// All of the device is used, also what is less than double.
#[test]
fn a_full_device_takes_no_tasks_and_loses_none() {
    let power = empty();
    let mut core = core(&power, Rerun::Allowed);
    core.open().unwrap();
    let mut kept = Vec::new();
    let mut troubles = 0;
    for round in 0..400 {
        let Ok(number) = core.accept(&format!("task {round}"), Counts::Yes) else {
            break;
        };
        let answer = Answer::Kept(vec![round as u8; 50_000].into());
        core.answer(Some(number), &format!("task {round}"), answer);
        match core.commit() {
            Ok(()) => kept.push(number),
            Err(trouble) => {
                assert_eq!(trouble, Trouble::Full);
                // What is not on the disk goes there with the next commit.
                troubles += 1;
                core.open().unwrap();
                assert!(core.is_open());
                match core.commit() {
                    Ok(()) => kept.push(number),
                    Err(trouble) => {
                        assert_eq!(trouble, Trouble::Full);
                        break;
                    }
                }
            }
        }
    }
    assert_eq!(troubles, 2, "once to have all of it, once at its end");
    let bytes = kept.len() as u64 * 50_000;
    assert!(bytes > (LEAST - BEGIN) / 2, "{bytes}");
    // What leaves makes room for what waits, which did not fit beside it.
    for number in &kept[..20] {
        core.forget(*number);
    }
    let mut commits = || {
        core.open().unwrap();
        core.commit()
    };
    assert!((0..3).any(|_| commits().is_ok()));
    core.accept("next", Counts::Yes).unwrap();
    core.commit().unwrap();
    drop(core);
    let mut again = crashes::core(&power, Rerun::Allowed, false);
    assert_eq!(again.open().unwrap().len(), kept.len() - 20 + 2);
}

#[test]
fn a_store_shrinks_and_grows_over_what_it_left() {
    let power = empty();
    for _ in 0..3 {
        let mut core = core(&power, Rerun::Allowed);
        core.open().unwrap();
        let numbers: Vec<_> = (0..30)
            .map(|round| {
                let number = core.accept("a", Counts::Yes).unwrap();
                let answer = Answer::Kept(vec![round as u8; 50_000].into());
                core.answer(Some(number), "a", answer);
                core.commit().unwrap();
                number
            })
            .collect();
        for number in numbers {
            core.forget(number);
            core.commit().unwrap();
        }
        assert!(core.is_open());
    }
}

#[test]
fn headers_are_written_in_turn() {
    let bytes = used().bytes();
    let (place, last) = in_force(&bytes);
    assert!(last.length > 0 && last.generation >= 2);
    let other = place.other().offset() as usize;
    let zeros = [0; header::LEN];
    let (first, second) = match place {
        Place::First => (&zeros[..], &bytes[other..other + header::LEN]),
        Place::Second => (&bytes[other..other + header::LEN], &zeros[..]),
    };
    let header::Found::Header(_, before) = header::find(first, second) else {
        panic!("one copy only");
    };
    assert_eq!(before.generation + 1, last.generation);
}

#[test]
fn a_file_does_as_a_device() {
    let file = Arc::new(tempfile::tempfile().unwrap());
    file.set_len(LEAST).unwrap();
    let open = || {
        let blocks = Raw(Arc::clone(&file));
        database(blocks, Path::new("file"), &Arc::default(), &Builder::new()).unwrap()
    };
    let table = redb::TableDefinition::<u64, u64>::new("t");
    {
        let database = open();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(table).unwrap().insert(1, 2).unwrap();
        transaction.commit().unwrap();
    }
    let database = open();
    let transaction = database.begin_read().unwrap();
    let found = transaction.open_table(table).unwrap().get(1).unwrap();
    assert_eq!(found.unwrap().value(), 2);
}

#[test]
fn paths_of_devices_make_no_folders() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox");
    for (path, is_device) in [
        (Path::new("/dev/proplet/outbox"), true),
        (Path::new("/dev/no-such-disk"), true),
        (Path::new("/dev/shm/outbox"), false),
        (Path::new("/dev/null"), false),
        (Path::new("/dev"), false),
        (Path::new("/devices"), false),
        (&path, false),
        (folder.path(), false),
    ] {
        assert_eq!(is_meant(path), is_device, "{}", path.display());
    }
}

#[test]
fn what_is_no_device_is_refused() {
    let open = |path: &str| {
        let mut device = Device::new(path.into(), 1 << 20);
        let Err(failure) = Store::open(&mut device, None, &mut Known::default()) else {
            panic!("{path} opened");
        };
        failure
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    for path in ["/dev/null", file.path().to_str().unwrap(), "/dev"] {
        let failure = open(path);
        assert!(
            matches!(&failure, Failure::Fatal(OpenError::NoDevice(_))),
            "{failure:?}"
        );
    }
    let absent = open("/dev/no-such-disk");
    let Failure::Trouble(trouble) = absent else {
        panic!("{absent:?}");
    };
    assert_eq!(trouble.word(), "absent");
    assert!(trouble.to_string().contains("/dev/no-such-disk"));
}

#[test]
fn failures_of_the_system_are_told_apart() {
    let device = Device::new("/dev/x".into(), 1);
    let failure = |errno: Errno| device.failure(io::Error::from_raw_os_error(errno.raw_os_error()));
    assert!(matches!(
        failure(Errno::BUSY),
        Failure::Fatal(OpenError::Busy(_))
    ));
    for errno in [Errno::NXIO, Errno::NODEV, Errno::NOMEDIUM] {
        assert!(matches!(
            failure(errno),
            Failure::Trouble(Trouble::Absent(_))
        ));
    }
    for errno in [Errno::ACCESS, Errno::ROFS] {
        let Failure::Trouble(trouble) = failure(errno) else {
            panic!("{errno:?}");
        };
        assert_eq!(trouble.word(), "read-only");
    }
    assert_eq!(kept(Path::new("x")).kind(), ErrorKind::InvalidData);
}
