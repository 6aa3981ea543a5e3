//! The pieces that a layer is worked on in.

use std::sync::{Arc, PoisonError, RwLock};

use aes::Aes256;
use bytes::Bytes;
use ctr::Ctr128BE;
use ctr::cipher::StreamCipher;

/// Bytes of one batch. Large against the cost of a lock, small against a second-level cache.
pub(super) const BATCH: usize = 128 * 1024;

/// CTR, or none when the layer is plain and is copied. Boxed, so that handing it from thread to
/// thread leaves no copies of its key on stacks.
pub(super) type Cipher = Option<Box<Ctr128BE<Aes256>>>;

/// One batch. Clones are for the lanes that work on it.
#[derive(Clone)]
pub(super) struct Batch<'b> {
    /// The ciphertext; none when it is in the output.
    pieces: Vec<Bytes>,
    /// Its part of the output. Never waited for: a lane writes only when the lanes that read are
    /// past this batch or behind it.
    output: Arc<RwLock<&'b mut [u8]>>,
}

impl<'b> Batch<'b> {
    pub(super) fn new(pieces: Vec<Bytes>, output: &'b mut [u8]) -> Self {
        Self {
            pieces,
            output: Arc::new(RwLock::new(output)),
        }
    }

    pub(super) fn ciphertext(&self, mut update: impl FnMut(&[u8])) {
        if self.pieces.is_empty() {
            self.plaintext(update);
        } else {
            self.pieces.iter().for_each(|piece| update(piece));
        }
    }

    pub(super) fn plaintext(&self, mut update: impl FnMut(&[u8])) {
        update(&self.output.read().unwrap_or_else(PoisonError::into_inner));
    }

    /// Decrypts (or copies) into the output. False when the pieces do not fill it exactly.
    pub(super) fn decrypt(&self, cipher: &mut Cipher) -> bool {
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
