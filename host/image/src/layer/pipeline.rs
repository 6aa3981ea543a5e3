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
//!
//! A layer that is in memory of ours already is decrypted in place: a batch is overwritten once both
//! passes over its ciphertext are done. That saves a second buffer, and with it the page faults of
//! new memory, which cost more than the decryption.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};

use aes::Aes256;
use bytes::Bytes;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use proplet_types::Hasher;
use ring::hmac;

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
/// Without a source, `output` holds the layer, which is decrypted in place.
pub(super) fn run<S: Source>(
    source: Option<S>,
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
            in_place: source.is_none(),
            arrived: 0,
            reading: false,
            dry: false,
            ended: false,
            failure: None,
            cipher: Lane::new(cipher),
            ciphertext: Lane::new(Hasher::new()),
            mac: key.map(|key| {
                let key = hmac::Key::new(hmac::HMAC_SHA256, key.symkey.as_slice());
                Lane::new(hmac::Context::with_key(&key))
            }),
            plain: key.map(|_| Lane::new(Hasher::new())),
        }),
        source: Mutex::new(source.map(|source| Batcher::new(source, BATCH))),
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
    source: Mutex<Option<Batcher<S>>>,
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
    /// Whether the output holds the ciphertext.
    in_place: bool,
    /// Bytes that have arrived.
    arrived: u64,
    reading: bool,
    /// The source had nothing when it was last asked: it is not asked again without waiting until
    /// some other job was done.
    dry: bool,
    ended: bool,
    failure: Option<ImageError>,
    cipher: Lane<Cipher>,
    ciphertext: Lane<Hasher>,
    mac: Option<Lane<hmac::Context>>,
    plain: Option<Lane<Hasher>>,
}

/// One batch. Clones are for the lanes that work on it.
#[derive(Clone)]
struct Batch<'b> {
    /// The ciphertext; none when it is in the output.
    pieces: Vec<Bytes>,
    /// Its part of the output. Never waited for: a lane writes only when the lanes that read are
    /// past this batch or behind it.
    output: Arc<RwLock<&'b mut [u8]>>,
}

impl<'b> Batch<'b> {
    fn new(pieces: Vec<Bytes>, output: &'b mut [u8]) -> Self {
        Self {
            pieces,
            output: Arc::new(RwLock::new(output)),
        }
    }

    fn ciphertext(&self, mut update: impl FnMut(&[u8])) {
        if self.pieces.is_empty() {
            self.plaintext(update);
        } else {
            self.pieces.iter().for_each(|piece| update(piece));
        }
    }

    fn plaintext(&self, mut update: impl FnMut(&[u8])) {
        update(&self.output.read().unwrap_or_else(PoisonError::into_inner));
    }

    /// Decrypts (or copies) into the output. False when the pieces do not fill it exactly.
    fn decrypt(&self, cipher: &mut Cipher) -> bool {
        let mut output = self.output.write().unwrap_or_else(PoisonError::into_inner);
        let mut rest: &mut [u8] = &mut output;
        if self.pieces.is_empty() {
            if let Some(cipher) = cipher {
                cipher.apply_keystream(rest);
            }
            return true;
        }
        for piece in &self.pieces {
            let Some((to, after)) = std::mem::take(&mut rest).split_at_mut_checked(piece.len())
            else {
                return false;
            };
            rest = after;
            match cipher {
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
    Cipher(Cipher, Batch<'b>),
    Ciphertext(Hasher, Batch<'b>),
    Mac(hmac::Context, Batch<'b>),
    Plain(Hasher, Batch<'b>),
    /// Nothing to do until the other thread is done with something.
    Wait,
    /// Nothing to do any more.
    Stop,
}

enum Done {
    Read(Result<Gathered, ImageError>),
    Cipher(Cipher, bool),
    Ciphertext(Hasher),
    Mac(hmac::Context),
    Plain(Hasher),
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
                    Done::Read(match source.as_mut() {
                        Some(source) => source.gather(wait),
                        None => Ok(Gathered::End),
                    })
                }
                Job::Cipher(mut cipher, batch) => {
                    drop(state);
                    let fits = batch.decrypt(&mut cipher);
                    Done::Cipher(cipher, fits)
                }
                Job::Ciphertext(mut context, batch) => {
                    drop(state);
                    batch.ciphertext(|bytes| context.update(bytes));
                    Done::Ciphertext(context)
                }
                Job::Mac(mut context, batch) => {
                    drop(state);
                    batch.ciphertext(|bytes| context.update(bytes));
                    Done::Mac(context)
                }
                Job::Plain(mut context, batch) => {
                    drop(state);
                    batch.plaintext(|bytes| context.update(bytes));
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

    fn take_back(&mut self, done: Done, expected: u64, what: &str) {
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
