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

mod batch;
mod state;

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use aes::Aes256;
use ctr::Ctr128BE;
use ctr::cipher::KeyIvInit;
use proplet_types::Hasher;
use ring::hmac;

use self::batch::BATCH;
use self::state::{Done, Job, Lane, State, WINDOW};
use super::key::LayerKey;
use super::passes::Passes;
use super::source::{Batcher, Gathered, Source};
use crate::error::ImageError;

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
