//! Answers that wait for room without anybody who waits with them.
//!
//! A refusal is complete when it is made, and there can be as many as messages are unacknowledged. So while there is no room
//! it is the letter alone that waits: a task of the scheduler for each would take twice as much memory.

use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

use super::{Expected, Kind, Letter, Outbox, Place};

/// An answer that waits for room.
pub(super) struct Deferred {
    letter: Letter,
    kept: oneshot::Sender<()>,
    /// One of so many that may wait.
    _permit: OwnedSemaphorePermit,
    runtime: Handle,
}

impl Outbox {
    /// Puts an answer into room that it has. What is kept ends when the answer is on the disk, or with the broker.
    pub fn keep(&self, place: Place, letter: Letter, kept: oneshot::Sender<()>) {
        let expected = self.expect(letter.subject());
        tokio::spawn(keep(place, letter, kept, expected));
    }

    /// The same when there is room, in turn among owners. No later answer to the same is taken before that. What nobody
    /// waits for by then is dropped.
    pub fn keep_later(
        &self,
        kind: Kind,
        letter: Letter,
        kept: oneshot::Sender<()>,
        permit: OwnedSemaphorePermit,
    ) {
        let runtime = Handle::current();
        self.with(|state| {
            state.expect(&letter.subject());
            let deferred = Deferred {
                letter,
                kept,
                _permit: permit,
                runtime,
            };
            state.rooms.defer(kind, deferred);
        });
        self.hand_out();
    }

    /// Drops answers that nobody waits for any more, and so what they kept. How many.
    pub(super) fn expire_deferred(&self, now: Instant) -> usize {
        let mut dropped: usize = 0;
        while let Some(deferred) = self.with(|state| {
            let deferred = state.rooms.expired(now)?;
            state.settle(&deferred.letter.subject());
            Some(deferred)
        }) {
            drop(deferred);
            dropped = dropped.saturating_add(1);
        }
        dropped
    }

    /// An answer that waited has room now.
    pub(super) fn keep_deferred(&self, place: Place, deferred: Deferred) {
        let Deferred {
            letter,
            kept,
            _permit,
            runtime,
        } = deferred;
        // It counts as expected since it was deferred.
        let expected = Expected::new(self, letter.subject());
        let until = letter.about.until();
        if until.is_none_or(|until| until > Instant::now()) {
            runtime.spawn(keep(place, letter, kept, expected));
        }
    }
}

impl Deferred {
    pub(super) fn letter(&self) -> &Letter {
        &self.letter
    }
}

async fn keep(place: Place, letter: Letter, kept: oneshot::Sender<()>, expected: Expected) {
    let outbox = expected.outbox.clone();
    let task = letter.task.clone();
    let is_kept = place.put_expected(letter, expected).await;
    if !is_kept {
        // Neither the disk nor the broker has it so far: the message is still the broker's.
        outbox.answered(&task).await;
    }
    drop(kept);
}
