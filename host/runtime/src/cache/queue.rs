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
mod tests;
