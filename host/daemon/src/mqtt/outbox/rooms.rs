//! The room that messages take, and who waits for some.
//!
//! Whoever waits for room is given it when there is some, in turn among owners: nobody wakes to find that another was
//! quicker, and whoever has a thousand results waiting holds up his own.

use std::collections::BTreeMap;

use tokio::{sync::oneshot, time::Instant};

use super::{Bounds, Kind, Place, deferred::Deferred, turns::Turns};
use crate::places::Owner;

/// So many results in a row are given room, or go out, before it is a refusal's turn, where there are both.
pub(super) const RESULTS_IN_A_ROW: usize = 3;

/// Room for messages.
pub(super) struct Rooms {
    bounds: Bounds,
    results: Held,
    refusals: Held,
    waiting_results: Turns<u64, Wish>,
    waiting_refusals: Turns<u64, Wish>,
    last: u64,
    /// Results that were given room since the last refusal was.
    in_a_row: usize,
    /// When answers that wait by themselves are of no use any more, and where they wait.
    ends: BTreeMap<(Instant, u64), (Kind, Owner)>,
    /// Somebody gives room to those who wait.
    is_granting: bool,
}

/// What messages take that wait, or have a place to.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    entries: usize,
    bytes: usize,
}

/// Somebody waits for room for a message of this size.
pub(super) struct Wish {
    bytes: usize,
    granted: Granted,
}

/// What room is for.
pub(super) enum Granted {
    /// Somebody waits for it.
    Waiter(oneshot::Sender<Place>),
    /// An answer that is there.
    Letter(Box<Deferred>),
}

/// Names a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    kind: Kind,
    number: u64,
}

impl Held {
    fn with(self, bytes: usize) -> Self {
        Self {
            entries: self.entries.saturating_add(1),
            bytes: self.bytes.saturating_add(bytes),
        }
    }

    fn without(self, bytes: usize) -> Self {
        Self {
            entries: self.entries.saturating_sub(1),
            bytes: self.bytes.saturating_sub(bytes),
        }
    }
}

impl Rooms {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            results: Held::default(),
            refusals: Held::default(),
            waiting_results: Turns::default(),
            waiting_refusals: Turns::default(),
            last: 0,
            in_a_row: 0,
            ends: BTreeMap::new(),
            is_granting: false,
        }
    }

    /// How many messages have room.
    pub(super) fn entries(&self) -> usize {
        self.results.entries.saturating_add(self.refusals.entries)
    }

    /// Whether there is room for one of this size, unless others wait for some.
    pub(super) fn is_free(&self, kind: Kind, bytes: usize) -> bool {
        let is_turn = match kind {
            Kind::Result => !self.is_blocked(Kind::Refusal),
            Kind::Refusal => !self.is_blocked(Kind::Result),
        };
        is_turn && self.waiting(kind).first().is_none() && self.fits(kind, bytes)
    }

    /// Whether one of this kind waits until there is less of everything. Nobody takes what it waits for: a large one would
    /// never have room, if whoever needs less were let by.
    fn is_blocked(&self, kind: Kind) -> bool {
        let first = self.waiting(kind).first();
        first.is_some_and(|wish| self.has_part(kind, wish.bytes) && !self.fits(kind, wish.bytes))
    }

    /// Whether its kind has not too much.
    fn has_part(&self, kind: Kind, bytes: usize) -> bool {
        let refusals = self.refusals;
        match kind {
            Kind::Result => true,
            Kind::Refusal => {
                let of_refusals = refusals.bytes.saturating_add(bytes);
                let Bounds { entries, bytes } = self.bounds;
                refusals.entries == 0 || refusals.entries < entries / 2 && of_refusals <= bytes / 2
            }
        }
    }

    fn fits(&self, kind: Kind, bytes: usize) -> bool {
        let total = self.results.bytes.saturating_add(self.refusals.bytes);
        // One message always fits, however large: otherwise it could never be delivered.
        let fits = self.entries() == 0 || total.saturating_add(bytes) <= self.bounds.bytes;
        fits && self.entries() < self.bounds.entries && self.has_part(kind, bytes)
    }

    /// Takes room for a message, whether or not there is some.
    pub(super) fn enter(&mut self, kind: Kind, bytes: usize) {
        let held = self.held(kind);
        *held = held.with(bytes);
    }

    /// Gives the room of a message back.
    pub(super) fn leave(&mut self, kind: Kind, bytes: usize) {
        let held = self.held(kind);
        *held = held.without(bytes);
    }

    /// A message has another size than its room.
    pub(super) fn resize(&mut self, kind: Kind, old: usize, new: usize) {
        self.leave(kind, old);
        self.enter(kind, new);
    }

    /// Has somebody wait for room. It is sent where the receiver is.
    pub(super) fn wish(
        &mut self,
        owner: &Owner,
        kind: Kind,
        bytes: usize,
    ) -> (Ticket, oneshot::Receiver<Place>) {
        let (granted, place) = oneshot::channel();
        let granted = Granted::Waiter(granted);
        let number = self.line_up(owner, kind, Wish { bytes, granted });
        (Ticket { kind, number }, place)
    }

    /// Has an answer wait for room by itself.
    pub(super) fn defer(&mut self, kind: Kind, deferred: Deferred) {
        let letter = deferred.letter();
        let (owner, bytes) = (letter.owner.clone(), letter.payload.len());
        let until = letter.about.until();
        let granted = Granted::Letter(Box::new(deferred));
        let number = self.line_up(&owner, kind, Wish { bytes, granted });
        if let Some(until) = until {
            self.ends.insert((until, number), (kind, owner));
        }
    }

    /// The next answer that waits by itself and is of no use any more. It waits no more.
    pub(super) fn expired(&mut self, now: Instant) -> Option<Box<Deferred>> {
        loop {
            let ((until, number), (kind, owner)) = self.ends.pop_first()?;
            if until > now {
                self.ends.insert((until, number), (kind, owner));
                return None;
            }
            let wish = self.waiting_mut(kind).remove(&owner, &number);
            if let Some(Granted::Letter(deferred)) = wish.map(|wish| wish.granted) {
                return Some(deferred);
            }
        }
    }

    /// When, after now, the next of those is.
    pub(super) fn next_end(&self, now: Instant) -> Option<Instant> {
        let later = self.ends.range((now, u64::MAX)..).next();
        later.map(|((until, _), _)| *until)
    }

    fn line_up(&mut self, owner: &Owner, kind: Kind, wish: Wish) -> u64 {
        self.last = self.last.saturating_add(1);
        let number = self.last;
        self.waiting_mut(kind).insert(owner, number, wish);
        number
    }

    /// Has somebody wait no more.
    pub(super) fn give_up(&mut self, owner: &Owner, ticket: Ticket) {
        drop(self.waiting_mut(ticket.kind).remove(owner, &ticket.number));
    }

    /// Whether whoever asks is to grant room until [`Rooms::grant_or_end`] gives none. Otherwise somebody does, who
    /// looks once more before that.
    pub(super) fn begin_granting(&mut self) -> bool {
        !std::mem::replace(&mut self.is_granting, true)
    }

    /// As [`Rooms::grant`], for who began to. None ends it.
    pub(super) fn grant_or_end(&mut self) -> Option<(Kind, usize, Granted)> {
        let granted = self.grant();
        // Under the same lock, so whoever was turned away before had its room looked at, and who comes later is not.
        self.is_granting = granted.is_some();
        granted
    }

    /// Whoever has room now, which is taken: its kind and size, and what it is for. Of four, one is
    /// a refusal where there are both, so that none waits for ever, however many results do.
    fn grant(&mut self) -> Option<(Kind, usize, Granted)> {
        let order = match self.in_a_row < RESULTS_IN_A_ROW {
            true => [Kind::Result, Kind::Refusal],
            false => [Kind::Refusal, Kind::Result],
        };
        for kind in order {
            let Some(bytes) = self.waiting(kind).first().map(|wish| wish.bytes) else {
                continue;
            };
            if self.is_blocked(kind) {
                return None;
            }
            if self.fits(kind, bytes) {
                let (number, wish) = self.waiting_mut(kind).next(|_| true)?;
                if let Granted::Letter(deferred) = &wish.granted
                    && let Some(until) = deferred.letter().about.until()
                {
                    self.ends.remove(&(until, number));
                }
                self.enter(kind, bytes);
                self.in_a_row = match kind {
                    Kind::Result => self.in_a_row.saturating_add(1),
                    Kind::Refusal => 0,
                };
                return Some((kind, bytes, wish.granted));
            }
        }
        None
    }

    fn held(&mut self, kind: Kind) -> &mut Held {
        match kind {
            Kind::Result => &mut self.results,
            Kind::Refusal => &mut self.refusals,
        }
    }

    fn waiting(&self, kind: Kind) -> &Turns<u64, Wish> {
        match kind {
            Kind::Result => &self.waiting_results,
            Kind::Refusal => &self.waiting_refusals,
        }
    }

    fn waiting_mut(&mut self, kind: Kind) -> &mut Turns<u64, Wish> {
        match kind {
            Kind::Result => &mut self.waiting_results,
            Kind::Refusal => &mut self.waiting_refusals,
        }
    }
}
