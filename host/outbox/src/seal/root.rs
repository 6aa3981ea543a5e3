//! What all keys come from.

use std::ops::RangeInclusive;

use ring::hkdf::{HKDF_SHA256, Prk, Salt};
use thiserror::Error;

/// Sets this use of the operator's bytes apart from every other.
const EXTRACTED_FOR: &[u8] = b"proplet sealing root, version 1";

/// What all keys of sealed stores come from: the operator's bytes, extracted. The bytes themselves are not kept.
///
/// It has no `Debug`. ring's copy is not wiped when it is dropped; it stays in the memory of the VM.
pub struct SealingRoot(Prk);

impl SealingRoot {
    /// How many bytes of key material there may be. Fewer than 32 could be guessed, whatever they are; more than 1024
    /// are some other file.
    pub const LENGTHS: RangeInclusive<usize> = 32..=1024;

    /// The root of these bytes, as they are.
    ///
    /// # Errors
    /// [`RootError`] when there are fewer or more than [`SealingRoot::LENGTHS`].
    pub fn new(material: &[u8]) -> Result<Self, RootError> {
        if !Self::LENGTHS.contains(&material.len()) {
            return Err(RootError(material.len()));
        }
        Ok(Self(
            Salt::new(HKDF_SHA256, EXTRACTED_FOR).extract(material),
        ))
    }

    pub(super) fn extracted(&self) -> Prk {
        self.0.clone()
    }
}

/// That is no sealing root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("is no sealing root: store 32 to 1024 random bytes, as they are (there are {0})")]
pub struct RootError(usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_neither_short_nor_long() {
        for length in [32, 33, 65, 1024] {
            assert!(SealingRoot::new(&vec![7; length]).is_ok(), "{length}");
        }
        for length in [0, 1, 16, 31, 1025, 1 << 20] {
            let error = SealingRoot::new(&vec![7; length]).err().unwrap();
            let words = error.to_string();
            assert!(words.contains(&format!("are {length})")), "{words}");
        }
    }
}
