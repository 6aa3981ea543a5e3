//! Whose component is compiled next.
//!
//! A compilation cannot be interrupted, and the size of a component says little about how long it takes. So an
//! owner never gets all places: at most half of them, one of two. What takes long then takes long for its
//! owner, and the others go on. Owners who wait take turns, in the order in which they began to wait, whatever
//! the number of components that each waits for.
//!
//! The queue is bounded. When it is full, the owner with the longest line loses the last in it, so one who waits
//! for less than the others is let in whatever they do.

use std::collections::VecDeque;

use proplet_types::Digest;

use super::owner::Owner;

/// Places, who holds them, and who waits for one.
pub(super) struct Queue {
    places: usize,
    max_waiting: usize,
    /// The owner of each place that is taken.
    held: Vec<Owner>,
    /// A line for each owner who waits; whose turn is next stands first.
    lines: VecDeque<Line>,
}

struct Line {
    owner: Owner,
    components: VecDeque<Digest>,
}

/// There is no room in the queue.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Queue {
    /// With so many places, and at most so many that wait for one.
    pub(super) fn new(places: usize, max_waiting: usize) -> Self {
        Self {
            places,
            max_waiting,
            held: Vec::new(),
            lines: VecDeque::new(),
        }
    }

    /// Most places that one owner holds: half of them, and at least one.
    fn share(&self) -> usize {
        self.places.div_ceil(2)
    }

    /// Lets a component wait in its owner's line. Gives the component that lost its only place in the queue for
    /// it.
    ///
    /// # Errors
    /// [`Full`] when nobody's line is longer than the owner's.
    pub(super) fn enter(
        &mut self,
        owner: &Owner,
        component: Digest,
    ) -> Result<Option<Digest>, Full> {
        let line = self.lines.iter().find(|line| line.owner == *owner);
        if line.is_some_and(|line| line.components.contains(&component)) {
            return Ok(None);
        }
        let waiting: usize = self.lines.iter().map(|line| line.components.len()).sum();
        let mut lost = None;
        if waiting >= self.max_waiting {
            let own = line.map_or(0, |line| line.components.len());
            let longest = self.lines.iter_mut();
            let longest = longest.max_by_key(|line| line.components.len());
            let longest = longest.filter(|line| line.components.len() > own);
            lost = longest.and_then(|line| line.components.pop_back());
            if lost.is_none() {
                return Err(Full);
            }
            self.lines.retain(|line| !line.components.is_empty());
        }
        match self.lines.iter_mut().find(|line| line.owner == *owner) {
            Some(line) => line.components.push_back(component),
            None => self.lines.push_back(Line {
                owner: owner.clone(),
                components: VecDeque::from([component]),
            }),
        }
        Ok(lost.filter(|lost| !self.waits(lost)))
    }

    /// Takes a component out of every line.
    pub(super) fn leave(&mut self, component: &Digest) {
        for line in &mut self.lines {
            line.components.retain(|waiting| waiting != component);
        }
        self.lines.retain(|line| !line.components.is_empty());
    }

    /// The component whose turn it is, with the owner who takes a place for it. None when there is no place, or
    /// nobody who may take it.
    pub(super) fn next(&mut self) -> Option<(Owner, Digest)> {
        if self.held.len() >= self.places {
            return None;
        }
        let may = |line: &Line| {
            let held = self.held.iter().filter(|owner| **owner == line.owner);
            held.count() < self.share()
        };
        let turn = self.lines.iter().position(may)?;
        let mut line = self.lines.remove(turn)?;
        let component = line.components.pop_front()?;
        let owner = line.owner.clone();
        self.lines.push_back(line);
        // It may stand in the lines of other owners too.
        self.leave(&component);
        self.held.push(owner.clone());
        Some((owner, component))
    }

    /// Gives a place of the owner back.
    pub(super) fn free(&mut self, owner: &Owner) {
        if let Some(place) = self.held.iter().position(|holder| holder == owner) {
            self.held.swap_remove(place);
        }
    }

    fn waits(&self, component: &Digest) -> bool {
        let mut lines = self.lines.iter();
        lines.any(|line| line.components.contains(component))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn owner(name: &str) -> Owner {
        Owner::Named(name.into())
    }

    fn component(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    fn enter(queue: &mut Queue, name: &str) -> Result<Option<Digest>, Full> {
        queue.enter(&owner(&name[..1]), component(name))
    }

    /// Takes what may be taken now, by name.
    fn taken(queue: &mut Queue, names: &[&str]) -> Vec<String> {
        let mut taken = Vec::new();
        while let Some((_, digest)) = queue.next() {
            let name = names.iter().find(|name| component(name) == digest);
            taken.push((*name.unwrap()).to_owned());
        }
        taken
    }

    #[test]
    fn one_owner_never_holds_all_places() {
        for (places, share) in [(1, 1), (2, 1), (3, 2), (4, 2)] {
            let mut queue = Queue::new(places, 100);
            let names = ["a1", "a2", "a3", "a4", "a5"];
            for name in names {
                enter(&mut queue, name).unwrap();
            }
            assert_eq!(taken(&mut queue, &names), names[..share], "{places}");
        }
    }

    #[test]
    fn owners_take_turns() {
        let names = ["a1", "a2", "a3", "b1", "b2", "c1"];
        let mut queue = Queue::new(1, 100);
        for name in names {
            enter(&mut queue, name).unwrap();
        }
        let mut order = Vec::new();
        while let Some((owner, digest)) = queue.next() {
            let name = names.iter().find(|name| component(name) == digest);
            order.push(*name.unwrap());
            queue.free(&owner);
        }
        assert_eq!(order, ["a1", "b1", "c1", "a2", "b2", "a3"]);
    }

    #[test]
    fn a_slow_owner_holds_up_itself_only() {
        let names = ["a1", "a2", "b1", "b2"];
        let mut queue = Queue::new(2, 100);
        for name in names {
            enter(&mut queue, name).unwrap();
        }
        assert_eq!(taken(&mut queue, &names), ["a1", "b1"]);
        // The first of `a` never ends.
        queue.free(&owner("b"));
        assert_eq!(taken(&mut queue, &names), ["b2"]);
        queue.free(&owner("b"));
        assert_eq!(taken(&mut queue, &names), [""; 0]);
        queue.free(&owner("a"));
        assert_eq!(taken(&mut queue, &names), ["a2"]);
    }

    #[test]
    fn a_component_of_several_owners_is_begun_once_and_at_the_first_turn() {
        let mut queue = Queue::new(2, 100);
        for name in ["a1", "a2", "a3"] {
            enter(&mut queue, name).unwrap();
        }
        queue.enter(&owner("b"), component("a3")).unwrap();
        let names = ["a1", "a2", "a3"];
        assert_eq!(taken(&mut queue, &names), ["a1", "a3"]);
        queue.free(&owner("a"));
        queue.free(&owner("b"));
        assert_eq!(taken(&mut queue, &names), ["a2"]);
    }

    #[test]
    fn a_full_queue_lets_in_who_waits_for_less() {
        let mut queue = Queue::new(1, 4);
        for name in ["a1", "a2", "a3", "a4"] {
            assert_eq!(enter(&mut queue, name), Ok(None));
        }
        assert_eq!(enter(&mut queue, "a5"), Err(Full));
        assert_eq!(enter(&mut queue, "a4"), Ok(None), "it waits already");
        assert_eq!(enter(&mut queue, "b1"), Ok(Some(component("a4"))));
        assert_eq!(enter(&mut queue, "b2"), Ok(Some(component("a3"))));
        assert_eq!(enter(&mut queue, "b3"), Err(Full));
        assert_eq!(enter(&mut queue, "a6"), Err(Full));
    }

    #[test]
    fn who_leaves_makes_room() {
        let mut queue = Queue::new(1, 1);
        enter(&mut queue, "a1").unwrap();
        queue.leave(&component("a1"));
        assert_eq!(queue.next(), None);
        assert_eq!(enter(&mut queue, "a2"), Ok(None));
    }

    /// What can happen to a queue.
    #[derive(Clone, Debug)]
    enum Step {
        Enter(u8, u8),
        Leave(u8),
        Begin,
        End(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..4_u8, 0..30_u8).prop_map(|(owner, component)| Step::Enter(owner, component)),
            1 => (0..30_u8).prop_map(Step::Leave),
            2 => Just(Step::Begin),
            2 => any::<u8>().prop_map(Step::End),
        ];
        proptest::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn bounds_hold_whatever_happens(places in 1..5_usize, steps in steps()) {
            let mut queue = Queue::new(places, 8);
            for step in steps {
                match step {
                    Step::Enter(by, component) => {
                        let _ = queue.enter(&owner(&by.to_string()), Digest::of(&[component]));
                    }
                    Step::Leave(component) => queue.leave(&Digest::of(&[component])),
                    Step::Begin => {
                        if let Some((_, component)) = queue.next() {
                            prop_assert!(!queue.waits(&component));
                        }
                    }
                    Step::End(by) if !queue.held.is_empty() => {
                        let holder = queue.held[usize::from(by) % queue.held.len()].clone();
                        queue.free(&holder);
                    }
                    Step::End(_) => {}
                }
                let waiting: usize = queue.lines.iter().map(|line| line.components.len()).sum();
                prop_assert!(waiting <= 8 && queue.held.len() <= places);
                for holder in &queue.held {
                    let held = queue.held.iter().filter(|other| *other == holder).count();
                    prop_assert!(held <= queue.share());
                }
            }
        }
    }
}
