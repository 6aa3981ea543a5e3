//! Concat KDF with SHA-256 (NIST SP 800-56A section 5.8.1, as RFC 7518 section 4.6.2 uses it).

use ring::digest::{Context, SHA256};
use zeroize::Zeroizing;

use crate::Error;

/// Derives `key_bytes` bytes from the shared secret `z`.
///
/// `algorithm_id` is the JWE `alg` for key agreement with key wrapping (`ECDH-ES+A256KW`), or `enc` for
/// direct agreement. `party_u` and `party_v` are the decoded `apu` and `apv`, empty when absent.
///
/// # Errors
///
/// [`Error::Crypto`] when a length does not fit the 32-bit fields of the construction.
pub fn concat_kdf(
    z: &[u8],
    algorithm_id: &str,
    party_u: &[u8],
    party_v: &[u8],
    key_bytes: usize,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let key_bits = key_bytes
        .checked_mul(8)
        .and_then(|bits| u32::try_from(bits).ok())
        .ok_or(Error::Crypto("the key to derive is too long"))?;
    let mut key = Zeroizing::new(Vec::with_capacity(key_bytes));
    let mut round = 0_u32;
    while key.len() < key_bytes {
        round += 1;
        let mut hash = Context::new(&SHA256);
        hash.update(&round.to_be_bytes());
        hash.update(z);
        for field in [algorithm_id.as_bytes(), party_u, party_v] {
            let length = u32::try_from(field.len())
                .map_err(|_| Error::Crypto("a field of the key derivation is too long"))?;
            hash.update(&length.to_be_bytes());
            hash.update(field);
        }
        hash.update(&key_bits.to_be_bytes());
        let digest = hash.finish();
        let wanted = (key_bytes - key.len()).min(digest.as_ref().len());
        key.extend(digest.as_ref().iter().take(wanted));
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7518 appendix C.
    #[test]
    fn rfc_7518_appendix_c() {
        let z = [
            158, 86, 217, 29, 129, 113, 53, 211, 114, 131, 66, 131, 191, 132, 38, 156, 251, 49,
            110, 163, 218, 128, 106, 72, 246, 218, 167, 121, 140, 254, 144, 196,
        ];
        let key = concat_kdf(&z, "A128GCM", b"Alice", b"Bob", 16).unwrap();
        assert_eq!(
            key.as_slice(),
            [
                86, 170, 141, 234, 248, 35, 109, 32, 92, 34, 40, 205, 113, 167, 16, 26
            ]
        );
    }

    /// The key-encryption key of a key broker's response, made with another implementation.
    #[test]
    fn key_broker_known_answer() {
        let z = hex::decode("31d3ea1d0e0c48c391dfa19c3b945e525d8cb2fdd0841eecbb52b814cedda066")
            .unwrap();
        let kek = concat_kdf(&z, "ECDH-ES+A256KW", b"", b"", 32).unwrap();
        assert_eq!(
            hex::encode(kek),
            "c07892fca67b877bf2abb1e4ab430b74c91f7a020099b4335b1a7b7e9d924c73"
        );
    }

    #[test]
    fn long_keys_take_more_rounds() {
        let long = concat_kdf(b"z", "alg", b"", b"", 40).unwrap();
        let short = concat_kdf(b"z", "alg", b"", b"", 32).unwrap();
        assert_eq!(long.len(), 40);
        // The length is part of the input, so one is no prefix of the other.
        assert_ne!(long.get(..32), short.get(..32));
    }
}
