//! The digest of a layer that was compressed on its way into encryption.
//!
//! `skopeo` compresses a plain tar layer when it copies it, then encrypts it, and puts the digest into the wrapped
//! options that the layer had before both. So the digest there may be the one of what a gzipped layer unpacks to.
//! It is the owner's as it always is, inside the authenticated options, and it covers every byte that is used of
//! the layer.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use proplet_types::{Digest, Hasher};
use zeroize::Zeroizing;

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
/// The most bytes that are unpacked for each byte of the largest allowed layer, as in `unpack`.
const MAX_RATIO: u64 = 2;
/// Bytes that are unpacked at a time.
const PIECE: usize = 64 * 1024;

/// The digest of what this gzipped layer unpacks to. None for any other layer, and for one that unpacks to more than is
/// ever used of a layer. The work is bounded by that, and whoever can cause it has the layer's key.
pub(super) fn digest_inside(layer: &[u8], max_bytes: u64) -> Option<Digest> {
    if !layer.starts_with(GZIP_MAGIC) {
        return None;
    }
    let most = max_bytes.saturating_mul(MAX_RATIO).saturating_add(1 << 20);
    let mut unpacked = MultiGzDecoder::new(layer).take(most.saturating_add(1));
    let (mut hasher, mut piece) = (Hasher::new(), Zeroizing::new(vec![0; PIECE]));
    loop {
        match unpacked.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => hasher.update(piece.get(..length)?),
            Err(_) => return None,
        }
    }
    (hasher.taken() <= most).then(|| hasher.finish())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn only_gzip_of_a_bounded_size_has_one() {
        let plain = vec![7; 3 << 20];
        let packed = gzip(&plain);
        assert_eq!(digest_inside(&packed, 1 << 20), Some(Digest::of(&plain)));
        assert_eq!(digest_inside(&packed, (1 << 20) - 1), None);
        assert_eq!(digest_inside(&plain, 1 << 20), None);
        assert_eq!(digest_inside(&packed[..packed.len() - 1], 1 << 20), None);
        assert_eq!(digest_inside(&[], 1 << 20), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_unpacked_or_not(bytes: Vec<u8>) {
            let mut packed = GZIP_MAGIC.to_vec();
            packed.extend_from_slice(&bytes);
            let _ = digest_inside(&packed, 1 << 10);
            prop_assert_eq!(digest_inside(&gzip(&bytes), 1 << 10), Some(Digest::of(&bytes)));
        }
    }
}
