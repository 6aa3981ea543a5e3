//! Sharing the passes over a layer between two threads.
//!
//! A layer is a sequence of batches. Each pass is a *lane*: it takes the batches in order, one at a
//! time, because a hash is sequential. (CTR could take them out of order; in order, it is never the
//! lane that the others wait for.) A thread that is free takes the job that is furthest behind:
//! lanes stay close together, so a batch is still in the cache when its last pass comes, and memory
//! holds a bounded number of ciphertext batches however large the layer is.
//!
//! Reading more is a job like the others. It is done without waiting while there is other work, and
//! with waiting when there is none, so a slow network stops nothing that could run.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use aes::Aes256;
use bytes::Bytes;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use ring::{digest, hmac};

use super::source::{Batcher, Gathered, Source};
use super::{LayerKey, Passes};
use crate::error::ImageError;

/// CTR, or none when the layer is plain and is copied. Boxed, so that handing it from thread to
/// thread leaves no copies of its key on stacks.
type Cipher = Option<Box<Ctr128BE<Aes256>>>;

/// Bytes of one batch. Large against the cost of a lock, small against a second-level cache.
const BATCH: usize = 128 * 1024;
/// The most batches in memory at once.
const WINDOW: usize = 16;
/// Below this many batches ahead, reading more comes first.
const READ_AHEAD: usize = 4;
/// Layers below this size are not worth a second thread.
const ONE_THREAD_BELOW: usize = 2 * BATCH;

/// Runs all passes over `source` into `output`, whose length is the size that the layer must have.
pub(super) fn run<S: Source>(
    source: S,
    output: &mut [u8],
    key: Option<&LayerKey>,
    what: &str,
) -> Result<Passes, ImageError> {
    let expected = output.len() as u64;
    let two_threads = output.len() >= ONE_THREAD_BELOW;
    let cipher = match key {
        None => None,
        Some(key) => {
            let cipher = Ctr128BE::<Aes256>::new_from_slices(key.symkey.as_slice(), &key.nonce);
            let failed = |_| ImageError::Internal {
                doing: "preparing a cipher",
            };
            Some(Box::new(cipher.map_err(failed)?))
        }
    };
    let work = Work {
        state: Mutex::new(State {
            batches: VecDeque::with_capacity(WINDOW),
            first: 0,
            room: output,
            arrived: 0,
            reading: false,
            dry: false,
            ended: false,
            failure: None,
            cipher: Lane::new(cipher),
            ciphertext: Lane::new(digest::Context::new(&digest::SHA256)),
            mac: key.map(|key| {
                let key = hmac::Key::new(hmac::HMAC_SHA256, key.symkey.as_slice());
                Lane::new(hmac::Context::with_key(&key))
            }),
            plain: key.map(|_| Lane::new(digest::Context::new(&digest::SHA256))),
        }),
        source: Mutex::new(Batcher::new(source, BATCH)),
        changed: Condvar::new(),
        expected,
        what,
    };
    std::thread::scope(|scope| {
        // Where no second thread can be had, the first does everything, only slower.
        let second = two_threads.then(|| {
            std::thread::Builder::new()
                .name("layer".to_owned())
                .spawn_scoped(scope, || work.run())
                .ok()
        });
        work.run();
        // Joined by hand so that a panic over there becomes an error here: its lane is missing.
        let _ = second.flatten().map(|thread| thread.join());
    });
    work.state
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .finish()
}

struct Work<'w, 'b, S> {
    state: Mutex<State<'b>>,
    source: Mutex<Batcher<S>>,
    changed: Condvar,
    /// Bytes that must arrive.
    expected: u64,
    /// The layer's name in errors.
    what: &'w str,
}

struct State<'b> {
    /// Batches that some lane still needs, oldest first.
    batches: VecDeque<Batch<'b>>,
    /// Number of the oldest.
    first: usize,
    /// Output that no batch has yet.
    room: &'b mut [u8],
    /// Bytes that have arrived.
    arrived: u64,
    reading: bool,
    /// The source had nothing when it was last asked: it is not asked again without waiting until
    /// some other job was done.
    dry: bool,
    ended: bool,
    failure: Option<ImageError>,
    cipher: Lane<Cipher>,
    ciphertext: Lane<digest::Context>,
    mac: Option<Lane<hmac::Context>>,
    plain: Option<Lane<digest::Context>>,
}

struct Batch<'b> {
    pieces: Vec<Bytes>,
    /// Its part of the output; away while a lane works on it.
    output: Option<&'b mut [u8]>,
}

/// One pass: the number of the batch that it takes next, and what it carries from batch to batch,
/// which is away while a thread works on it.
struct Lane<C> {
    next: usize,
    context: Option<C>,
}

impl<C> Lane<C> {
    fn new(context: C) -> Self {
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

enum Job<'b> {
    Read {
        wait: bool,
    },
    Cipher(Cipher, Vec<Bytes>, &'b mut [u8]),
    Ciphertext(digest::Context, Vec<Bytes>),
    Mac(hmac::Context, Vec<Bytes>),
    Plain(digest::Context, &'b mut [u8]),
    /// Nothing to do until the other thread is done with something.
    Wait,
    /// Nothing to do any more.
    Stop,
}

enum Done<'b> {
    Read(Result<Gathered, ImageError>),
    Cipher(Cipher, &'b mut [u8], bool),
    Ciphertext(digest::Context),
    Mac(hmac::Context),
    Plain(digest::Context),
}

impl<'b, S: Source> Work<'_, 'b, S> {
    fn run(&self) {
        // A panic in a job must not leave the other thread waiting for a lane that never comes back.
        let _guard = FailOnPanic(self);
        let mut state = self.lock();
        loop {
            let done = match state.take_job() {
                Job::Stop => break,
                Job::Wait => {
                    state = self
                        .changed
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
                Job::Read { wait } => {
                    drop(state);
                    let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
                    Done::Read(source.gather(wait))
                }
                Job::Cipher(mut cipher, pieces, output) => {
                    drop(state);
                    let fits = decrypt(&mut cipher, &pieces, output);
                    Done::Cipher(cipher, output, fits)
                }
                Job::Ciphertext(mut context, pieces) => {
                    drop(state);
                    pieces.iter().for_each(|piece| context.update(piece));
                    Done::Ciphertext(context)
                }
                Job::Mac(mut context, pieces) => {
                    drop(state);
                    pieces.iter().for_each(|piece| context.update(piece));
                    Done::Mac(context)
                }
                Job::Plain(mut context, output) => {
                    drop(state);
                    context.update(output);
                    Done::Plain(context)
                }
            };
            state = self.lock();
            state.take_back(done, self.expected, self.what);
            self.changed.notify_all();
        }
        drop(state);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<'b>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'b> State<'b> {
    fn take_job(&mut self) -> Job<'b> {
        if self.failure.is_some() {
            return Job::Stop;
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

    /// The pass that is furthest behind among those that can go on.
    fn take_pass(&mut self, end: usize) -> Option<Job<'b>> {
        let decrypted = self.cipher.next;
        let ready = [
            self.ciphertext.ready(end),
            self.mac.as_ref().and_then(|lane| lane.ready(end)),
            self.plain.as_ref().and_then(|lane| lane.ready(decrypted)),
            self.cipher.ready(end),
        ];
        let (lane, number) = ready
            .into_iter()
            .enumerate()
            .filter_map(|(lane, number)| Some((lane, number?)))
            .min_by_key(|(_, number)| *number)?;
        let batch = self.batches.get_mut(number - self.first)?;
        match lane {
            0 => Some(Job::Ciphertext(
                self.ciphertext.context.take()?,
                batch.pieces.clone(),
            )),
            1 => Some(Job::Mac(
                self.mac.as_mut()?.context.take()?,
                batch.pieces.clone(),
            )),
            2 => Some(Job::Plain(
                self.plain.as_mut()?.context.take()?,
                batch.output.take()?,
            )),
            _ => Some(Job::Cipher(
                self.cipher.context.take()?,
                batch.pieces.clone(),
                batch.output.take()?,
            )),
        }
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

    fn take_back(&mut self, done: Done<'b>, expected: u64, what: &str) {
        self.dry = false;
        match done {
            Done::Read(gathered) => {
                self.reading = false;
                self.arrive(gathered, expected, what);
            }
            Done::Cipher(cipher, output, fits) => {
                if !fits {
                    self.failure = Some(ImageError::Internal {
                        doing: "decrypting a layer",
                    });
                }
                if let Some(batch) = self.batches.get_mut(self.cipher.next - self.first) {
                    batch.output = Some(output);
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
                        self.batches.push_back(Batch {
                            pieces,
                            output: Some(output),
                        });
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

    fn finish(self) -> Result<Passes, ImageError> {
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

/// Decrypts (or copies) the pieces of a batch into its part of the output. False when they do not
/// fill it exactly.
fn decrypt(cipher: &mut Cipher, pieces: &[Bytes], output: &mut [u8]) -> bool {
    let mut rest = output;
    for piece in pieces {
        let Some((to, after)) = std::mem::take(&mut rest).split_at_mut_checked(piece.len()) else {
            return false;
        };
        rest = after;
        match cipher.as_deref_mut() {
            Some(cipher) => {
                if cipher.apply_keystream_b2b(piece, to).is_err() {
                    return false;
                }
            }
            None => to.copy_from_slice(piece),
        }
    }
    rest.is_empty()
}

struct FailOnPanic<'a, 'w, 'b, S: Source>(&'a Work<'w, 'b, S>);

impl<S: Source> Drop for FailOnPanic<'_, '_, '_, S> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().failure = Some(ImageError::Internal {
                doing: "opening a layer",
            });
            self.0.changed.notify_all();
        }
    }
}
