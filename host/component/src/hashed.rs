//! Bytes that were hashed.

use std::fmt;

use proplet_types::{Digest, Hasher};
use zeroize::Zeroizing;

/// Bytes with their digest. A digest that was read somewhere cannot be made into one of these: it comes from a
/// hasher, which only whoever has just passed the bytes through it has at hand. The bytes are wiped when it is
/// dropped.
///
/// ```compile_fail
/// use proplet_component::Hashed;
/// let read = "sha256:93a44bbb96c751218e4c00d479e4c14358122a389acca16205b1e4d0dc5f9476".parse().unwrap();
/// Hashed { bytes: Vec::new().into(), digest: read };
/// ```
pub struct Hashed {
    bytes: Zeroizing<Vec<u8>>,
    digest: Digest,
}

impl Hashed {
    /// Hashes these bytes.
    #[must_use]
    pub fn of(bytes: impl Into<Zeroizing<Vec<u8>>>) -> Self {
        let bytes = bytes.into();
        Self {
            digest: Digest::of(&bytes),
            bytes,
        }
    }

    /// The bytes that went through this hasher piece by piece. None when it has taken more or fewer than
    /// these, so they are not the ones.
    #[must_use]
    pub fn by(hasher: Hasher, bytes: Zeroizing<Vec<u8>>) -> Option<Self> {
        (hasher.taken() == bytes.len() as u64).then(|| Self {
            digest: hasher.finish(),
            bytes,
        })
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes without their digest.
    #[must_use]
    pub fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.bytes
    }

    /// Their digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl fmt::Debug for Hashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hashed({}, {} bytes)", self.digest, self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_and_the_whole_have_one_digest() {
        let mut hasher = Hasher::new();
        hasher.update(b"a");
        hasher.update(b"bc");
        let pieces = Hashed::by(hasher, b"abc".to_vec().into()).unwrap();
        let whole = Hashed::of(b"abc".to_vec());
        assert_eq!(pieces.digest(), Digest::of(b"abc"));
        assert_eq!(pieces.digest(), whole.digest());
        assert_eq!(pieces.bytes(), b"abc");
    }

    #[test]
    fn a_hasher_of_other_bytes_is_noticed_by_their_number() {
        for other in [&b""[..], b"ab", b"abcd"] {
            let mut hasher = Hasher::new();
            hasher.update(b"abc");
            assert!(Hashed::by(hasher, other.to_vec().into()).is_none());
        }
    }
}
