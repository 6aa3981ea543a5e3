//! Which passes have come how far, and what is to be done next.

use std::collections::VecDeque;

use bytes::Bytes;
use proplet_types::Hasher;
use ring::hmac;

use super::batch::{BATCH, Batch, Cipher};
use crate::error::ImageError;
use crate::layer::passes::Passes;
use crate::layer::source::Gathered;

/// The most batches in memory at once.
pub(super) const WINDOW: usize = 16;

/// Below this many batches ahead, reading more comes first.
const READ_AHEAD: usize = 4;

pub(super) struct State<'b> {
    /// Batches that some lane still needs, oldest first.
    pub(super) batches: VecDeque<Batch<'b>>,
    /// Number of the oldest.
    pub(super) first: usize,
    /// Output that no batch has yet.
    pub(super) room: &'b mut [u8],
    /// Whether the output holds the ciphertext.
    pub(super) in_place: bool,
    /// Bytes that have arrived.
    pub(super) arrived: u64,
    pub(super) reading: bool,
    /// The source had nothing when it was last asked: it is not asked again without waiting until
    /// some other job was done.
    pub(super) dry: bool,
    pub(super) ended: bool,
    pub(super) failure: Option<ImageError>,
    pub(super) cipher: Lane<Cipher>,
    pub(super) ciphertext: Lane<Hasher>,
    pub(super) mac: Option<Lane<hmac::Context>>,
    pub(super) plain: Option<Lane<Hasher>>,
}

/// One pass: the number of the batch that it takes next, and what it carries from batch to batch,
/// which is away while a thread works on it.
pub(super) struct Lane<C> {
    next: usize,
    context: Option<C>,
}

impl<C> Lane<C> {
    pub(super) fn new(context: C) -> Self {
        Self {
            next: 0,
            context: Some(context),
        }
    }

    /// The number of the next batch, when the lane is free and the batch is one of those before
    /// `end`.
    fn ready(&self, end: usize) -> Option<usize> {
        (self.context.is_some() && self.next < end).then_some(self.next)
    }

    fn put_back(&mut self, context: C) {
        self.context = Some(context);
        self.next += 1;
    }
}

pub(super) enum Job<'b> {
    Read {
        wait: bool,
    },
    Cipher(Cipher, Batch<'b>),
    Ciphertext(Hasher, Batch<'b>),
    Mac(hmac::Context, Batch<'b>),
    Plain(Hasher, Batch<'b>),
    /// Nothing to do until the other thread is done with something.
    Wait,
    /// Nothing to do any more.
    Stop,
}

pub(super) enum Done {
    Read(Result<Gathered, ImageError>),
    Cipher(Cipher, bool),
    Ciphertext(Hasher),
    Mac(hmac::Context),
    Plain(Hasher),
}

impl<'b> State<'b> {
    pub(super) fn take_job(&mut self) -> Job<'b> {
        if self.failure.is_some() {
            return Job::Stop;
        }
        if self.in_place {
            self.cut();
        }
        let end = self.first + self.batches.len();
        let may_read = !self.ended && !self.reading && self.batches.len() < WINDOW;
        let ahead = end - self.ciphertext.next.max(self.cipher.next);
        if may_read && !self.dry && ahead < READ_AHEAD {
            self.reading = true;
            return Job::Read { wait: false };
        }
        if let Some(job) = self.take_pass(end) {
            return job;
        }
        if may_read {
            self.reading = true;
            return Job::Read { wait: true };
        }
        if self.ended && self.slowest() == end {
            Job::Stop
        } else {
            Job::Wait
        }
    }

    /// Makes batches of what is in the output already.
    fn cut(&mut self) {
        while !self.ended && self.batches.len() < WINDOW {
            let length = BATCH.min(self.room.len());
            let (batch, room) = std::mem::take(&mut self.room).split_at_mut(length);
            self.room = room;
            self.ended = self.room.is_empty();
            if !batch.is_empty() {
                self.batches.push_back(Batch::new(Vec::new(), batch));
            }
        }
    }

    /// The pass that is furthest behind among those that can go on.
    fn take_pass(&mut self, end: usize) -> Option<Job<'b>> {
        let decrypted = self.cipher.next;
        let read = self
            .mac
            .as_ref()
            .map_or(end, |mac| mac.next)
            .min(self.ciphertext.next);
        let ready = [
            self.ciphertext.ready(end),
            self.mac.as_ref().and_then(|lane| lane.ready(end)),
            self.plain.as_ref().and_then(|lane| lane.ready(decrypted)),
            self.cipher.ready(if self.in_place { read } else { end }),
        ];
        let (lane, number) = ready
            .into_iter()
            .enumerate()
            .filter_map(|(lane, number)| Some((lane, number?)))
            .min_by_key(|(_, number)| *number)?;
        let batch = self.batches.get(number - self.first)?.clone();
        Some(match lane {
            0 => Job::Ciphertext(self.ciphertext.context.take()?, batch),
            1 => Job::Mac(self.mac.as_mut()?.context.take()?, batch),
            2 => Job::Plain(self.plain.as_mut()?.context.take()?, batch),
            _ => Job::Cipher(self.cipher.context.take()?, batch),
        })
    }

    /// The number of the first batch that some lane has not finished.
    fn slowest(&self) -> usize {
        let mac = self.mac.as_ref().map_or(usize::MAX, |lane| lane.next);
        let plain = self.plain.as_ref().map_or(usize::MAX, |lane| lane.next);
        self.ciphertext
            .next
            .min(self.cipher.next)
            .min(mac)
            .min(plain)
    }

    pub(super) fn take_back(&mut self, done: Done, expected: u64, what: &str) {
        self.dry = false;
        match done {
            Done::Read(gathered) => {
                self.reading = false;
                self.arrive(gathered, expected, what);
            }
            Done::Cipher(cipher, fits) => {
                if !fits {
                    self.failure = Some(ImageError::Internal {
                        doing: "decrypting a layer",
                    });
                }
                self.cipher.put_back(cipher);
            }
            Done::Ciphertext(context) => self.ciphertext.put_back(context),
            Done::Mac(context) => {
                if let Some(lane) = self.mac.as_mut() {
                    lane.put_back(context);
                }
            }
            Done::Plain(context) => {
                if let Some(lane) = self.plain.as_mut() {
                    lane.put_back(context);
                }
            }
        }
        while self.first < self.slowest() && self.batches.pop_front().is_some() {
            self.first += 1;
        }
    }

    fn arrive(&mut self, gathered: Result<Gathered, ImageError>, expected: u64, what: &str) {
        let mismatch = |actual| ImageError::SizeMismatch {
            what: what.to_owned(),
            expected,
            actual,
        };
        match gathered {
            Ok(Gathered::Batch(pieces)) => {
                let length: usize = pieces.iter().map(Bytes::len).sum();
                self.arrived = self.arrived.saturating_add(length as u64);
                match std::mem::take(&mut self.room).split_at_mut_checked(length) {
                    Some((output, room)) => {
                        self.room = room;
                        self.batches.push_back(Batch::new(pieces, output));
                    }
                    None => self.failure = Some(mismatch(self.arrived)),
                }
            }
            Ok(Gathered::NotYet) => self.dry = true,
            Ok(Gathered::End) if self.arrived < expected => {
                self.failure = Some(mismatch(self.arrived));
            }
            Ok(Gathered::End) => self.ended = true,
            Err(error) => self.failure = Some(error),
        }
    }

    pub(super) fn finish(self) -> Result<Passes, ImageError> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let lost = || ImageError::Internal {
            doing: "opening a layer",
        };
        let secret = match (self.mac, self.plain) {
            (Some(mac), Some(plain)) => Some((
                mac.context.ok_or_else(lost)?,
                plain.context.ok_or_else(lost)?,
            )),
            _ => None,
        };
        if !self.ended || !self.batches.is_empty() {
            return Err(lost());
        }
        Ok(Passes {
            ciphertext: self.ciphertext.context.ok_or_else(lost)?,
            secret,
        })
    }
}
