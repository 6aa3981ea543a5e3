//! A disk that loses power: writes that were not synced may be there afterwards, or not, or in part.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use proptest::prelude::*;
use redb::{Builder, Database, StorageBackend};

use crate::{
    accept::{AcceptError, Counts, Rerun},
    core::Core,
    disk::{Disk, Failure},
    entry::{Answer, Entry},
    trouble::Trouble,
};

/// The state of the disk, which outlives every process that uses it.
#[derive(Clone, Default)]
pub(crate) struct Power(Arc<Mutex<Image>>, Arc<Condvar>);

#[derive(Default)]
struct Image {
    /// What a process sees.
    seen: Vec<u8>,
    /// What a loss of power surely leaves.
    synced: Vec<u8>,
    /// Since the last sync.
    unsynced: Vec<Step>,
    /// Steps until power is lost; none for never.
    left: Option<usize>,
    /// Every write fails so.
    broken: Option<io::ErrorKind>,
    /// Processes from before the last loss of power must not write any more.
    life: usize,
    aside: usize,
    /// No step ends.
    hangs: bool,
    /// No step ends from the write on that has these bytes.
    hangs_at: Option<Vec<u8>>,
}

enum Step {
    Length(u64),
    Write(u64, Vec<u8>),
}

impl Power {
    fn image(&self) -> MutexGuard<'_, Image> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn disk(&self) -> FakeDisk {
        FakeDisk {
            power: self.clone(),
        }
    }

    /// Loses power after so many more steps.
    fn lose_after(&self, steps: usize) {
        self.image().left = Some(steps);
    }

    /// Every step fails so from now on, or none.
    pub(crate) fn fail(&self, kind: Option<io::ErrorKind>) {
        self.image().broken = kind;
    }

    /// No step ends from now on, or those that wait do.
    pub(crate) fn hang(&self, hangs: bool) {
        self.image().hangs = hangs;
        self.1.notify_all();
    }

    /// No step ends from the write on that has these bytes in it.
    pub(crate) fn hang_at(&self, bytes: &[u8]) {
        self.image().hangs_at = Some(bytes.to_vec());
    }

    pub(crate) fn hangs(&self) -> bool {
        self.image().hangs
    }

    /// Writes over what is there.
    pub(crate) fn damage(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut image = self.image();
        change(&mut image.seen);
        image.synced = image.seen.clone();
        image.unsynced.clear();
    }

    pub(crate) fn set_asides(&self) -> usize {
        self.image().aside
    }

    pub(crate) fn holds(&self, bytes: &[u8]) -> bool {
        has(&self.image().seen, bytes)
    }

    /// Power comes back: of each step that was not synced, `fate` says how much of it is there, in 256ths.
    fn restore(&self, mut fate: impl FnMut() -> u8) {
        let mut image = self.image();
        let mut left = std::mem::take(&mut image.synced);
        for step in std::mem::take(&mut image.unsynced) {
            match (step, fate()) {
                (Step::Length(length), fate) if fate >= 128 => left.resize(length as usize, 0),
                (Step::Length(_), _) => {}
                (Step::Write(at, bytes), fate) => {
                    let part = match fate {
                        0..64 => 0,
                        64..192 => bytes.len(),
                        // Sectors are written whole.
                        _ => bytes.len() * usize::from(fate) / 256 / 512 * 512,
                    };
                    let (at, end) = (at as usize, at as usize + part);
                    if left.len() < end {
                        left.resize(end, 0);
                    }
                    left[at..end].copy_from_slice(&bytes[..part]);
                }
            }
        }
        image.seen = left.clone();
        image.synced = left;
        image.left = None;
        image.life += 1;
    }
}

fn has(all: &[u8], bytes: &[u8]) -> bool {
    all.windows(bytes.len()).any(|window| window == bytes)
}

pub(crate) struct FakeDisk {
    power: Power,
}

impl Disk for FakeDisk {
    fn database(&mut self, builder: &Builder) -> Result<Database, Failure> {
        let backend = FakeBackend {
            life: self.power.image().life,
            power: self.power.clone(),
        };
        Ok(builder
            .create_with_backend(backend)
            .map_err(Trouble::from)?)
    }

    fn set_aside(&mut self) -> io::Result<PathBuf> {
        let mut image = self.power.image();
        image.aside += 1;
        image.seen.clear();
        image.synced.clear();
        image.unsynced.clear();
        Ok(PathBuf::from(format!("aside-{}", image.aside)))
    }
}

struct FakeBackend {
    power: Power,
    life: usize,
}

impl std::fmt::Debug for FakeBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FakeBackend")
    }
}

impl FakeBackend {
    fn step(&self) -> io::Result<MutexGuard<'_, Image>> {
        let image = self.power.image();
        let answers = self.power.1.wait_while(image, |image| image.hangs);
        let mut image = answers.unwrap_or_else(PoisonError::into_inner);
        if image.life != self.life || image.left == Some(0) {
            return Err(io::Error::other("power was lost"));
        }
        if let Some(kind) = image.broken {
            return Err(kind.into());
        }
        image.left = image.left.map(|left| left - 1);
        Ok(image)
    }
}

impl StorageBackend for FakeBackend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.power.image().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let image = self.power.image();
        let start = offset as usize;
        let bytes = image
            .seen
            .get(start..start + out.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut image = self.step()?;
        image.seen.resize(length as usize, 0);
        image.unsynced.push(Step::Length(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut image = self.step()?;
        image.synced = image.seen.clone();
        image.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        {
            let mut image = self.power.image();
            if image.hangs_at.take_if(|bytes| has(data, bytes)).is_some() {
                image.hangs = true;
            }
        }
        let mut image = self.step()?;
        let (start, end) = (offset as usize, offset as usize + data.len());
        if image.seen.len() < end {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        image.seen[start..end].copy_from_slice(data);
        image.unsynced.push(Step::Write(offset, data.to_vec()));
        Ok(())
    }
}

fn core(power: &Power, rerun: Rerun) -> Core {
    Core::new(Box::new(power.disk()), None, 1 << 30, rerun)
}

/// What a process does with one task after another.
#[derive(Debug, Clone, Copy)]
enum Act {
    Accept,
    /// Answers the oldest task that has no answer, with so many bytes.
    Answer(u16),
    /// Forgets the oldest answer.
    Forget,
    Commit,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        3 => Just(Act::Accept),
        3 => (0_u16..9000).prop_map(Act::Answer),
        2 => Just(Act::Forget),
        3 => Just(Act::Commit),
    ];
    proptest::collection::vec(act, 1..40)
}

/// The entries that were surely on the disk, and those that may be.
#[derive(Default)]
struct Model {
    /// After the last commit that ended well.
    surely: BTreeMap<u64, Entry>,
    /// Staged since.
    staged: BTreeMap<u64, Option<Entry>>,
}

impl Model {
    fn now(&self, number: u64) -> Option<&Entry> {
        match self.staged.get(&number) {
            Some(entry) => entry.as_ref(),
            None => self.surely.get(&number),
        }
    }

    fn oldest(&self, wanted: impl Fn(&Entry) -> bool) -> Option<u64> {
        let numbers = self.surely.keys().chain(self.staged.keys());
        let wanted = |number: &&u64| self.now(**number).is_some_and(&wanted);
        numbers.filter(wanted).min().copied()
    }

    fn settle(&mut self) {
        for (number, entry) in std::mem::take(&mut self.staged) {
            match entry {
                Some(entry) => drop(self.surely.insert(number, entry)),
                None => drop(self.surely.remove(&number)),
            }
        }
    }
}

/// Acts until power is lost; what was promised by then.
fn live(core: &mut Core, model: &mut Model, acts: &[Act]) {
    for act in acts {
        match act {
            Act::Accept => {
                let task = format!("task {}", model.surely.len() + model.staged.len());
                if let Ok(number) = core.accept(&task, Counts::Yes) {
                    let entry = Entry { task, answer: None };
                    model.staged.insert(number, Some(entry));
                }
            }
            Act::Answer(size) => {
                if let Some(number) = model.oldest(|entry| entry.answer.is_none()) {
                    let task = model.now(number).unwrap().task.clone();
                    let answer = Answer::Kept(vec![*size as u8; usize::from(*size)].into());
                    core.answer(Some(number), &task, answer.clone());
                    let answer = Some(answer);
                    model.staged.insert(number, Some(Entry { task, answer }));
                }
            }
            Act::Forget => {
                if let Some(number) = model.oldest(|entry| entry.answer.is_some()) {
                    core.forget(number);
                    model.staged.insert(number, None);
                }
            }
            Act::Commit => match core.commit() {
                Ok(()) => model.settle(),
                Err(_) => return,
            },
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Whatever power takes, what a commit promised is there, and nothing else than what was asked for.
    #[test]
    fn what_was_committed_outlives_a_loss_of_power(
        first in acts(),
        second in acts(),
        steps in 0_usize..160,
        fates in proptest::collection::vec(any::<u8>(), 1..64),
    ) {
        let power = Power::default();
        let mut model = Model::default();
        for (acts, steps) in [(&first, steps), (&second, steps / 2)] {
            let mut core = core(&power, Rerun::Allowed);
            let recovered = core.open().unwrap();
            prop_assert!(core.is_open());
            let recovered: BTreeMap<u64, Entry> = recovered.into_iter().collect();
            for (number, entry) in &model.surely {
                let found = recovered.get(number);
                // A commit that was under way may have got there.
                let staged = model.staged.get(number).map(Option::as_ref);
                prop_assert!(found == Some(entry) || Some(found) == staged, "{number}");
            }
            for (number, entry) in &recovered {
                prop_assert!(
                    model.surely.get(number) == Some(entry)
                        || model.staged.get(number) == Some(&Some(entry.clone())),
                    "{number}"
                );
            }
            model = Model { surely: recovered, ..Model::default() };
            power.lose_after(steps);
            live(&mut core, &mut model, acts);
            drop(core);
            let mut fates = fates.iter().copied().cycle();
            power.restore(|| fates.next().unwrap());
        }
        let mut core = core(&power, Rerun::Allowed);
        core.open().unwrap();
        prop_assert!(core.is_open());
        prop_assert_eq!(power.set_asides(), 0);
    }

    /// Bytes of others in the file never stop the journal, and are set aside.
    #[test]
    fn damage_is_set_aside(at in 0_usize..1 << 16, bytes in proptest::collection::vec(any::<u8>(), 1..64)) {
        let power = Power::default();
        let mut first = core(&power, Rerun::Allowed);
        first.open().unwrap();
        first.accept("a", Counts::Yes).unwrap();
        first.commit().unwrap();
        drop(first);
        power.damage(|image| {
            let length = image.len();
            for (offset, byte) in bytes.iter().enumerate() {
                image[(at + offset) % length] = *byte;
            }
        });
        let mut core = core(&power, Rerun::Allowed);
        let recovered = core.open().unwrap();
        prop_assert!(core.is_open());
        prop_assert!(power.set_asides() == 1 || recovered.len() <= 1);
        core.accept("b", Counts::Yes).unwrap();
        core.commit().unwrap();
    }
}

/// Every single point of one life of a task, and not a sample of them.
#[test]
fn power_may_be_lost_at_any_step_of_a_task() {
    let acts = [
        Act::Accept,
        Act::Commit,
        Act::Answer(5000),
        Act::Commit,
        Act::Forget,
        Act::Commit,
    ];
    // How many steps there are when nothing happens.
    let power = Power::default();
    let mut whole = core(&power, Rerun::Never);
    whole.open().unwrap();
    power.lose_after(usize::MAX);
    live(&mut whole, &mut Model::default(), &acts);
    let steps = usize::MAX - power.image().left.unwrap();
    assert!(steps > 10, "{steps}");
    for (steps, fate) in (0..steps).flat_map(|steps| [0, 100, 250].map(|fate| (steps, fate))) {
        let power = Power::default();
        let mut model = Model::default();
        let mut first = core(&power, Rerun::Never);
        first.open().unwrap();
        power.lose_after(steps);
        live(&mut first, &mut model, &acts);
        drop(first);
        power.restore(|| fate);
        let mut core = core(&power, Rerun::Never);
        let recovered: BTreeMap<_, _> = core.open().unwrap().into_iter().collect();
        assert!(core.is_open() && power.set_asides() == 0, "{steps}");
        for (number, entry) in &model.surely {
            let found = recovered.get(number);
            let staged = model.staged.get(number).map(Option::as_ref);
            assert!(found == Some(entry) || Some(found) == staged, "{steps}");
        }
        if !recovered.is_empty() {
            // Its id is on the disk with it.
            assert_eq!(
                core.accept("task 0", Counts::Yes),
                Err(AcceptError::AlreadyRun)
            );
        }
    }
}
