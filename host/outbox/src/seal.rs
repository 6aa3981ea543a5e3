//! Sealing entries one by one.

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom as _, SystemRandom},
};
use thiserror::Error;
use zeroize::Zeroizing;

/// An entry could not be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SealError {
    /// There are no random bytes.
    #[error("the operating system gave no random bytes")]
    Random,
    /// It was sealed under another key or number, or changed since.
    #[error("an entry does not open under this key")]
    Open,
    /// The cipher refused its input.
    #[error("an entry cannot be sealed")]
    Seal,
}

/// Seals entries before they reach the disk. An entry opens under the number that it was sealed for and no
/// other, so that whoever has the disk cannot exchange two.
pub trait Seal: Send + Sync + 'static {
    /// The sealed form of an entry.
    ///
    /// # Errors
    /// [`SealError`].
    fn seal(&self, number: u64, entry: &[u8]) -> Result<Vec<u8>, SealError>;

    /// The entry of a sealed form.
    ///
    /// # Errors
    /// [`SealError::Open`].
    fn open(&self, number: u64, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError>;
}

/// AES-256-GCM with a random nonce in front and the number as associated data. One key seals at most 2³²
/// entries: who has more to seal derives a key per boot.
pub struct KeySeal {
    key: LessSafeKey,
    random: SystemRandom,
}

impl KeySeal {
    /// Seals under this key.
    ///
    /// # Errors
    /// [`SealError::Seal`] when the cipher does not take the key.
    pub fn new(key: &Zeroizing<[u8; 32]>) -> Result<Self, SealError> {
        let key = UnboundKey::new(&AES_256_GCM, key.as_slice()).map_err(|_| SealError::Seal)?;
        Ok(Self {
            key: LessSafeKey::new(key),
            random: SystemRandom::new(),
        })
    }
}

impl Seal for KeySeal {
    fn seal(&self, number: u64, entry: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        self.random
            .fill(&mut nonce)
            .map_err(|_| SealError::Random)?;
        let mut text = entry.to_vec();
        let tag = self
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(number.to_le_bytes()),
                &mut text,
            )
            .map_err(|_| SealError::Seal)?;
        Ok([nonce.as_slice(), &text, tag.as_ref()].concat())
    }

    fn open(&self, number: u64, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or(SealError::Open)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Open)?;
        let mut text = Zeroizing::new(text.to_vec());
        let opened = self
            .key
            .open_in_place(nonce, Aad::from(number.to_le_bytes()), &mut text)
            .map_err(|_| SealError::Open)?
            .len();
        text.truncate(opened);
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_opens_under_its_key_and_number_only() {
        let seal = KeySeal::new(&Zeroizing::new([7; 32])).unwrap();
        let sealed = seal.seal(5, b"an entry").unwrap();
        assert_eq!(*seal.open(5, &sealed).unwrap(), b"an entry");
        assert!(!sealed.windows(8).any(|window| window == b"an entry"));
        assert_ne!(sealed, seal.seal(5, b"an entry").unwrap());
        assert_eq!(seal.open(6, &sealed).unwrap_err(), SealError::Open);
        assert_eq!(seal.open(5, b"short").unwrap_err(), SealError::Open);
        let mut changed = sealed.clone();
        changed[15] ^= 1;
        assert_eq!(seal.open(5, &changed).unwrap_err(), SealError::Open);
        let other = KeySeal::new(&Zeroizing::new([8; 32])).unwrap();
        assert_eq!(other.open(5, &sealed).unwrap_err(), SealError::Open);
    }
}
