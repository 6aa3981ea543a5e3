//! Room for messages, which each has before it is made.

use proplet_outbox::Answer;
use thiserror::Error;
use tracing::warn;

use super::{
    About, Expected, Kind, Letter, Outbox, State,
    rooms::{Granted, Ticket},
};
use crate::places::Owner;

/// The outbox takes no more.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("the outbox is full: the broker takes results more slowly than tasks make them")]
pub struct OutboxFull;

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Messages.
    pub entries: usize,
    /// Bytes of all messages together.
    pub bytes: usize,
}

/// Room for one message. Dropping it gives the room back.
pub struct Place {
    outbox: Outbox,
    bytes: usize,
    kind: Kind,
    /// A message has taken the room over.
    is_taken: bool,
}

/// Waits for room. Dropping it gives the turn up.
struct Waiter<'a> {
    outbox: &'a Outbox,
    owner: &'a Owner,
    ticket: Ticket,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.outbox
            .with(|state| state.rooms.give_up(self.owner, self.ticket));
        // Whoever is behind may need less room.
        self.outbox.hand_out();
    }
}

impl Outbox {
    /// Room for a message of this kind and size. Refusals have half of all room.
    ///
    /// # Errors
    /// [`OutboxFull`], also when others wait for room.
    pub fn reserve(&self, kind: Kind, bytes: usize) -> Result<Place, OutboxFull> {
        let is_free = self.with(|state| {
            let is_free = state.rooms.is_free(kind, bytes);
            if is_free {
                state.rooms.enter(kind, bytes);
            }
            is_free
        });
        match is_free {
            true => Ok(self.place(kind, bytes)),
            false => Err(OutboxFull),
        }
    }

    /// As [`Outbox::reserve`], waiting for room until it is this owner's turn. A task keeps its own place meanwhile, so
    /// tasks do not run ahead of a slow broker.
    pub async fn reserve_waiting(&self, owner: &Owner, kind: Kind, bytes: usize) -> Place {
        let (ticket, granted) = self.with(|state| state.rooms.wish(owner, kind, bytes));
        let outbox = self;
        let _waiter = Waiter {
            outbox,
            owner,
            ticket,
        };
        self.hand_out();
        match granted.await {
            Ok(place) => place,
            // The wish is there until it is granted, so this is not reached; what has no room is not lost either.
            Err(_) => {
                self.with(|state| state.rooms.enter(kind, bytes));
                self.place(kind, bytes)
            }
        }
    }

    /// Gives room to those whose turn it is. Who does not wait any more drops it, which comes back here: so whoever is
    /// here already does it for all, in a loop and not in itself.
    pub(super) fn hand_out(&self) {
        if !self.with(|state| state.rooms.begin_granting()) {
            return;
        }
        while let Some((kind, bytes, granted)) = self.with(|state| state.rooms.grant_or_end()) {
            let place = self.place(kind, bytes);
            match granted {
                Granted::Waiter(waiter) => drop(waiter.send(place)),
                Granted::Letter(deferred) => self.keep_deferred(place, *deferred),
            }
        }
    }

    /// Room that was taken.
    fn place(&self, kind: Kind, bytes: usize) -> Place {
        Place {
            outbox: self.clone(),
            bytes,
            kind,
            is_taken: false,
        }
    }
}

impl Place {
    /// Puts an answer on the disk, and then in the queue. `busy` is dropped in the same moment: whatever says
    /// that the task runs does so until the outbox says that its answer waits.
    ///
    /// An answer that cannot be put on the disk now waits all the same; the journal writes it later.
    ///
    /// Whether the disk has it.
    pub async fn put(self, letter: Letter, busy: impl Send) -> bool {
        self.put_then(letter, |_| drop(busy)).await
    }

    /// The same of an answer that was expected, which counts as waiting already: from that moment on once, and not for
    /// longer than it waits.
    pub(super) async fn put_expected(self, letter: Letter, expected: Expected) -> bool {
        self.put_then(letter, |state| expected.waits(state)).await
    }

    async fn put_then(self, mut letter: Letter, then: impl FnOnce(&mut State) + Send) -> bool {
        let outbox = self.outbox.clone();
        if letter.about != About::Task {
            self.enqueue(letter, then);
            return true;
        }
        // One commit does for both, where it goes out as soon as it is there.
        if letter.on_disk == Answer::Unkept(None) && outbox.with(|state| state.connected) {
            letter.on_disk = Answer::Handed;
        }
        let (number, kept) = outbox
            .0
            .journal
            .answer(letter.number, &letter.task, letter.on_disk.clone())
            .await;
        let is_kept = kept.is_ok();
        if let Err(trouble) = kept {
            warn!(
                "The answer to task {} is in memory only: {trouble}",
                letter.task
            );
        }
        letter.number = number;
        self.enqueue(letter, then);
        is_kept
    }

    /// Puts an answer in the queue.
    fn enqueue(mut self, letter: Letter, then: impl FnOnce(&mut State)) {
        let outbox = self.outbox.clone();
        outbox.with(|state| {
            self.is_taken = true;
            state
                .rooms
                .resize(self.kind, self.bytes, letter.payload.len());
            state.enqueue(letter, self.kind);
            then(state);
        });
        // It may be smaller than its room, and may have taken the place of another one.
        outbox.left();
        outbox.changed();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_taken {
            return;
        }
        self.outbox
            .with(|state| state.rooms.leave(self.kind, self.bytes));
        self.outbox.left();
    }
}
