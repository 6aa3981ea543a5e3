//! base64url without padding, strict (RFC 4648 section 5, RFC 7515 section 2).
//!
//! One byte string has exactly one accepted text. That matters where texts are compared or hashed: a
//! decoder that forgives padding or spare bits lets a message change without its meaning changing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::Error;

/// Encodes bytes as base64url without padding.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Decodes base64url without padding.
///
/// # Errors
///
/// [`Error::Base64`] for padding, white space, the standard alphabet's `+` and `/`, an impossible
/// length, and spare bits that are not zero.
pub fn decode(text: &str) -> Result<Vec<u8>, Error> {
    decode_as(text, "the text")
}

/// [`decode`] with a name for the error message.
pub(crate) fn decode_as(text: &str, what: &'static str) -> Result<Vec<u8>, Error> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| Error::Base64(what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rfc_7515_appendix_c() {
        assert_eq!(encode(&[3, 236, 255, 224, 193]), "A-z_4ME");
        assert_eq!(decode("A-z_4ME").unwrap(), [3, 236, 255, 224, 193]);
        assert_eq!(decode("").unwrap(), b"");
    }

    #[test]
    fn refuses_every_second_spelling() {
        for text in [
            "A-z_4ME=",
            "A+z/4ME",
            "A-z_ 4ME",
            "A-z_4ME\n",
            "A",
            "A-z_4MF",
            "AB",
            "Ä",
        ] {
            assert_eq!(decode(text), Err(Error::Base64("the text")), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn round_trips(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(decode(&encode(&bytes)).unwrap(), bytes);
        }

        #[test]
        fn accepts_only_its_own_output(text in "[A-Za-z0-9_=+/ -]{0,24}") {
            if let Ok(bytes) = decode(&text) {
                prop_assert_eq!(encode(&bytes), text);
            }
        }
    }
}
