//! AES key wrap with a 256-bit key-encryption key (RFC 3394).

use ::aes_kw::KekAes256;
use zeroize::Zeroizing;

use crate::Error;

/// Bytes that wrapping adds.
const OVERHEAD: usize = 8;
/// RFC 3394 section 2 wraps two blocks of 64 bits or more. One block would be plain AES, without the
/// integrity check that the algorithm is there for.
const SHORTEST_KEY: usize = 16;

/// Wraps a key of 16 bytes or more, in steps of 8. The result is 8 bytes longer.
///
/// # Errors
///
/// [`Error::Malformed`] for another length.
pub fn wrap(kek: &[u8; 32], key: &[u8]) -> Result<Vec<u8>, Error> {
    check_length(key.len(), "the key to wrap")?;
    let mut wrapped = vec![0_u8; key.len() + OVERHEAD];
    KekAes256::from(*kek)
        .wrap(key, &mut wrapped)
        .map_err(|_| Error::Crypto("AES key wrap refused its input"))?;
    Ok(wrapped)
}

/// Unwraps what [`wrap`] made.
///
/// # Errors
///
/// [`Error::Malformed`] for an impossible length, [`Error::Unwrap`] when the integrity check fails.
pub fn unwrap(kek: &[u8; 32], wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let length = wrapped.len().saturating_sub(OVERHEAD);
    check_length(length, "the wrapped key")?;
    let mut key = Zeroizing::new(vec![0_u8; length]);
    KekAes256::from(*kek)
        .unwrap(wrapped, &mut key)
        .map_err(|_| Error::Unwrap)?;
    Ok(key)
}

fn check_length(length: usize, what: &'static str) -> Result<(), Error> {
    if length < SHORTEST_KEY || !length.is_multiple_of(8) {
        return Err(Error::Malformed {
            what,
            reason: "RFC 3394 wraps keys of 16 bytes or more, in steps of 8".to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 3394 section 4.6.
    #[test]
    fn rfc_3394_section_4_6() {
        let kek: [u8; 32] = std::array::from_fn(|i| u8::try_from(i).unwrap());
        let key = hex::decode("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f")
            .unwrap();
        let wrapped = wrap(&kek, &key).unwrap();
        assert_eq!(
            hex::encode(&wrapped),
            "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21"
        );
        assert_eq!(unwrap(&kek, &wrapped).unwrap().as_slice(), key);
    }

    #[test]
    fn refuses_short_and_uneven_keys() {
        for length in [0, 1, 8, 15, 17, 20] {
            assert!(
                matches!(
                    wrap(&[7; 32], &vec![0; length]),
                    Err(Error::Malformed { .. })
                ),
                "{length}"
            );
        }
        for length in [0, 1, 7, 8, 16, 23, 25] {
            assert!(
                matches!(
                    unwrap(&[7; 32], &vec![0; length]),
                    Err(Error::Malformed { .. })
                ),
                "{length}"
            );
        }
    }

    proptest! {
        #[test]
        fn round_trips_and_notices_changes(
            kek in any::<[u8; 32]>(),
            blocks in 2_usize..10,
            place in any::<proptest::sample::Index>(),
            bit in 0_u8..8,
        ) {
            let key = vec![0x5a; blocks * 8];
            let mut wrapped = wrap(&kek, &key).unwrap();
            prop_assert_eq!(unwrap(&kek, &wrapped).unwrap().to_vec(), key);
            *place.get_mut(&mut wrapped) ^= 1 << bit;
            prop_assert_eq!(unwrap(&kek, &wrapped).unwrap_err(), Error::Unwrap);
        }
    }
}
