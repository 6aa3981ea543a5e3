//! What waits, and what goes out next.
//!
//! Each owner's messages go out in the order in which they are due, and owners take turns: a result must not wait
//! behind the thousand that somebody else's tasks made. Nothing here looks at all that waits, because every start, every
//! result and every acknowledgement comes by.
//!
//! A large message that was in flight when the connection broke may be what the broker dropped it for. It waits apart from
//! then on, as does all that is not smaller, to be tried alone, so that it takes nobody else's results down with it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use bytes::Bytes;
use proplet_outbox::{Answer, Number};
use tokio::time::Instant;

use super::{
    About, Kind, Letter, Settlements,
    rooms::{RESULTS_IN_A_ROW, Rooms},
    sizes::Sizes,
    turns::Turns,
};
use crate::places::Owner;

/// The longest time that an answer waits for its time.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What waits, and the room that is taken.
pub(super) struct State {
    last_id: u64,
    pub rooms: Rooms,
    /// All messages that wait or are in flight, by their ids.
    messages: BTreeMap<u64, Waiting>,
    /// Of those, the ones that are not in flight, by when they are due.
    results: Turns<(Instant, u64), ()>,
    refusals: Turns<(Instant, u64), ()>,
    /// Those that may be what the connection was dropped for.
    suspects: Turns<(Instant, u64), ()>,
    sizes: Sizes,
    /// Those that are not in flight, by when they are of no use any more.
    ends: BTreeSet<(Instant, u64)>,
    /// Words that a task runs, by the task.
    started: HashMap<String, Vec<u64>>,
    /// Results that went out since the last refusal.
    in_a_row: usize,
    /// Whether there is a connection, so that what comes in goes out at once.
    pub connected: bool,
    /// How many messages wait, by what they are about.
    pub tasks: HashMap<String, usize>,
    pub settlements: Option<Settlements>,
}

/// What a message was to the connection that broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Returned {
    /// Every broker takes messages of its size.
    Unsuspected,
    /// One of several that may be the reason.
    Suspect,
    /// The only one.
    Alone,
}

/// A message that waits or is in flight.
pub(super) struct Waiting {
    pub id: u64,
    pub task: String,
    pub about: About,
    pub payload: Bytes,
    pub number: Option<Number>,
    owner: Owner,
    due: Instant,
    in_flight: bool,
    is_suspect: bool,
    /// How often it was tried alone.
    pub attempts: u32,
    pub kind: Kind,
    pub on_disk: Answer,
    /// It is in flight, and not sent once more.
    is_over: bool,
}

impl State {
    /// Nothing waits.
    pub(super) fn new(rooms: Rooms, settlements: Settlements) -> Self {
        Self {
            last_id: 0,
            rooms,
            messages: BTreeMap::new(),
            results: Turns::default(),
            refusals: Turns::default(),
            suspects: Turns::default(),
            sizes: Sizes::default(),
            ends: BTreeSet::new(),
            started: HashMap::new(),
            in_a_row: 0,
            connected: false,
            tasks: HashMap::new(),
            settlements: Some(settlements),
        }
    }

    /// Puts in a message, which has its room.
    pub(super) fn enqueue(&mut self, letter: Letter, kind: Kind) {
        if letter.about == About::Task {
            self.end_started(&letter.task);
        }
        self.last_id = self.last_id.saturating_add(1);
        let id = self.last_id;
        self.expect(&letter.subject());
        if letter.about == About::Started {
            self.started
                .entry(letter.task.clone())
                .or_default()
                .push(id);
        }
        let waiting = Waiting {
            kind,
            on_disk: letter.on_disk,
            id,
            task: letter.task,
            about: letter.about,
            payload: letter.payload,
            number: letter.number,
            owner: letter.owner,
            due: letter.not_before.min(Instant::now() + LONGEST_WAIT),
            in_flight: false,
            is_suspect: false,
            attempts: 0,
            is_over: false,
        };
        self.messages.insert(id, waiting);
        self.line_up(id);
    }

    /// Drops the word that this task runs, because there is a later one.
    fn end_started(&mut self, task: &str) {
        for id in self.started.get(task).cloned().unwrap_or_default() {
            match self.messages.get_mut(&id) {
                Some(started) if started.in_flight => started.is_over = true,
                _ => drop(self.remove(id)),
            }
        }
    }

    /// Has it go out when it is due.
    fn line_up(&mut self, id: u64) {
        let Some(waiting) = self.messages.get_mut(&id) else {
            return;
        };
        waiting.in_flight = false;
        waiting.is_suspect = self.sizes.is_suspect(waiting.payload.len());
        let line = match waiting.kind {
            _ if waiting.is_suspect => &mut self.suspects,
            Kind::Result => &mut self.results,
            Kind::Refusal => &mut self.refusals,
        };
        line.insert(&waiting.owner, (waiting.due, id), ());
        if let Some(until) = waiting.about.until() {
            self.ends.insert((until, id));
        }
    }

    /// Forgets a message, and gives its room back.
    pub(super) fn remove(&mut self, id: u64) -> Option<Number> {
        let done = self.messages.remove(&id)?;
        if !done.in_flight {
            let line = match done.kind {
                _ if done.is_suspect => &mut self.suspects,
                Kind::Result => &mut self.results,
                Kind::Refusal => &mut self.refusals,
            };
            line.remove(&done.owner, &(done.due, id));
        }
        if let Some(until) = done.about.until() {
            self.ends.remove(&(until, id));
        }
        if done.about == About::Started
            && let Some(started) = self.started.get_mut(&done.task)
        {
            started.retain(|other| *other != id);
            if started.is_empty() {
                self.started.remove(&done.task);
            }
        }
        self.rooms.leave(done.kind, done.payload.len());
        self.settle(&done.about.subject(&done.task));
        done.number
    }

    /// Forgets what is of no use any more and is not in flight. How much that was.
    pub(super) fn expire(&mut self, now: Instant) -> usize {
        let mut dropped: usize = 0;
        while let Some(end) = self
            .ends
            .first()
            .copied()
            .filter(|(until, _)| *until <= now)
        {
            self.ends.remove(&end);
            self.remove(end.1);
            dropped = dropped.saturating_add(1);
        }
        dropped
    }

    /// One more answer to this waits.
    pub(super) fn expect(&mut self, subject: &str) {
        let waiting = self.tasks.entry(subject.to_owned()).or_default();
        *waiting = waiting.saturating_add(1);
    }

    /// One less does.
    pub(super) fn settle(&mut self, subject: &str) {
        if let Some(waiting) = self.tasks.get_mut(subject) {
            *waiting = waiting.saturating_sub(1);
            if *waiting == 0 {
                self.tasks.remove(subject);
            }
        }
    }

    pub(super) fn find(&mut self, id: u64) -> Option<&mut Waiting> {
        self.messages.get_mut(&id)
    }

    /// All messages, the oldest first.
    pub(super) fn messages(&self) -> impl Iterator<Item = &Waiting> {
        self.messages.values()
    }

    /// The next message to go out, which is in flight from now on.
    pub(super) fn next(&mut self, now: Instant) -> Option<&Waiting> {
        let is_due = |(due, _): &(Instant, u64)| *due <= now;
        let turn_of_refusals = match self.results.is_ready(is_due) {
            true => self.in_a_row >= RESULTS_IN_A_ROW && self.refusals.is_ready(is_due),
            false => true,
        };
        let id = if turn_of_refusals {
            self.in_a_row = 0;
            self.refusals.next(is_due)?.0.1
        } else {
            if self.refusals.is_ready(is_due) {
                self.in_a_row = self.in_a_row.saturating_add(1);
            }
            self.results.next(is_due)?.0.1
        };
        self.fly(id)
    }

    /// Whether some message is to be tried alone.
    pub(super) fn has_suspects(&self) -> bool {
        self.suspects.first().is_some()
    }

    /// The next message that is to be tried alone, which is in flight from now on.
    pub(super) fn next_suspect(&mut self) -> Option<&Waiting> {
        let ((_, id), ()) = self.suspects.next(|_| true)?;
        self.fly(id)
    }

    fn fly(&mut self, id: u64) -> Option<&Waiting> {
        let waiting = self.messages.get_mut(&id)?;
        waiting.in_flight = true;
        if let Some(until) = waiting.about.until() {
            self.ends.remove(&(until, id));
        }
        Some(waiting)
    }

    /// It is not in flight any more, and goes out again as `Returned` says, unless it is of no use.
    pub(super) fn returned(&mut self, id: u64, how: Returned) {
        let Some(waiting) = self.messages.get_mut(&id) else {
            return;
        };
        let size = waiting.payload.len();
        if how == Returned::Alone {
            waiting.attempts = waiting.attempts.saturating_add(1);
        }
        match waiting.is_over {
            true => drop(self.remove(id)),
            false => self.line_up(id),
        }
        if how != Returned::Unsuspected {
            self.sizes.dropped(size);
            // Others of its size would be the next to take everything down with them.
            self.line_up_again();
        }
    }

    /// It went through alone, so nothing of its size is what the connection was dropped for.
    pub(super) fn passed(&mut self, id: u64) {
        if let Some(waiting) = self.messages.get(&id) {
            self.sizes.passed(waiting.payload.len());
            self.line_up_again();
        }
    }

    /// A message of this size was given up.
    pub(super) fn is_given_up(&self, size: usize) -> bool {
        self.sizes.is_given_up(size)
    }

    /// Puts every message that waits where its size has it wait.
    fn line_up_again(&mut self) {
        let sizes = self.sizes;
        let wrong = self.messages.values().filter(|waiting| {
            !waiting.in_flight && waiting.is_suspect != sizes.is_suspect(waiting.payload.len())
        });
        for id in wrong.map(|waiting| waiting.id).collect::<Vec<_>>() {
            let Some(waiting) = self.messages.get_mut(&id) else {
                continue;
            };
            let key = (waiting.due, id);
            let line = match waiting.kind {
                _ if waiting.is_suspect => &mut self.suspects,
                Kind::Result => &mut self.results,
                Kind::Refusal => &mut self.refusals,
            };
            line.remove(&waiting.owner, &key);
            self.line_up(id);
        }
    }

    /// Puts another message in the place of one that is in flight, to go out instead.
    pub(super) fn replace(
        &mut self,
        id: u64,
        number: Option<Number>,
        payload: Bytes,
        on_disk: Answer,
    ) {
        let Some(waiting) = self.messages.get_mut(&id) else {
            return;
        };
        let new = payload.len();
        let old = std::mem::replace(&mut waiting.payload, payload).len();
        self.sizes.given_up(old);
        let kind = waiting.kind;
        waiting.number = number;
        waiting.on_disk = on_disk;
        waiting.attempts = 0;
        waiting.is_suspect = false;
        self.rooms.resize(kind, old, new);
        match waiting.is_over {
            true => drop(self.remove(id)),
            false => self.line_up(id),
        }
    }

    /// When, after now, the next message is due or of no use any more.
    pub(super) fn next_time(&self, now: Instant) -> Option<Instant> {
        let end_of_now = (now, u64::MAX);
        let lines = [&self.results, &self.refusals];
        let dues = lines.into_iter().filter_map(|line| line.above(end_of_now));
        let ends = self.ends.range(end_of_now..).next().copied();
        let times = dues.chain(ends).map(|(time, _)| time);
        times.chain(self.rooms.next_end(now)).min()
    }
}
