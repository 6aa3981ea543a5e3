//! Lives of a journal on a disk that loses power: what a commit promised is there in the next one, and nothing else.

mod power;

use std::collections::BTreeMap;

use proptest::prelude::*;

pub(crate) use self::power::{FakeBackend, Power};
use crate::{
    accept::{AcceptError, Counts, Rerun},
    core::Core,
    entry::{Answer, Entry},
    seal::{Sealing, SealingRoot},
};

pub(crate) fn core(power: &Power, rerun: Rerun, sealed: bool) -> Core {
    let sealing = match sealed {
        true => Sealing::Root(SealingRoot::new(&[7; 32]).unwrap()),
        false => Sealing::Clear,
    };
    Core::new(Box::new(power.disk()), sealing, 1 << 30, rerun)
}

/// What a process does with one task after another.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    Accept,
    /// Answers the oldest task that has no answer, with so many bytes.
    Answer(u16),
    /// Forgets the oldest answer.
    Forget,
    Commit,
}

pub(crate) fn acts() -> impl Strategy<Value = Vec<Act>> {
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

/// Lives twice with this disk, each time until power is lost after so many steps.
pub(crate) fn outlives(
    power: &Power,
    [first, second]: [&[Act]; 2],
    steps: usize,
    fates: &[u8],
    sealed: bool,
) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    for (acts, steps) in [(first, steps), (second, steps / 2)] {
        let mut core = core(power, Rerun::Allowed, sealed);
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
        model = Model {
            surely: recovered,
            ..Model::default()
        };
        power.lose_after(steps);
        live(&mut core, &mut model, acts);
        drop(core);
        let mut fates = fates.iter().copied().cycle();
        power.restore(|| fates.next().unwrap());
    }
    let mut core = core(power, Rerun::Allowed, sealed);
    core.open().unwrap();
    prop_assert!(core.is_open());
    prop_assert_eq!(power.set_asides(), 0);
    Ok(())
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
        sealed in any::<bool>(),
    ) {
        outlives(&Power::default(), [&first, &second], steps, &fates, sealed)?;
    }

    /// Bytes of others in the file never stop the journal, and are set aside.
    #[test]
    fn damage_is_set_aside(
        at in 0_usize..1 << 16,
        bytes in proptest::collection::vec(any::<u8>(), 1..64),
        sealed in any::<bool>(),
    ) {
        let power = Power::default();
        let mut first = core(&power, Rerun::Allowed, sealed);
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
        let mut core = core(&power, Rerun::Allowed, sealed);
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
    for sealed in [false, true] {
        survives_each_step(Power::default, sealed);
    }
}

/// Loses power at each step of a task, on disks that are made so.
pub(crate) fn survives_each_step(disk: impl Fn() -> Power, sealed: bool) {
    let acts = [
        Act::Accept,
        Act::Commit,
        Act::Answer(5000),
        Act::Commit,
        Act::Forget,
        Act::Commit,
    ];
    // How many steps there are when nothing happens.
    let power = disk();
    let mut whole = core(&power, Rerun::Never, sealed);
    whole.open().unwrap();
    power.lose_after(usize::MAX);
    live(&mut whole, &mut Model::default(), &acts);
    let steps = usize::MAX - power.left().unwrap();
    assert!(steps > 10, "{steps}");
    for (steps, fate) in (0..steps).flat_map(|steps| [0, 100, 250].map(|fate| (steps, fate))) {
        let power = disk();
        let mut model = Model::default();
        let mut first = core(&power, Rerun::Never, sealed);
        first.open().unwrap();
        power.lose_after(steps);
        live(&mut first, &mut model, &acts);
        drop(first);
        power.restore(|| fate);
        let mut core = core(&power, Rerun::Never, sealed);
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
