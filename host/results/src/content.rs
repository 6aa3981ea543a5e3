//! What is inside a sealed result: a media type and the bytes of that type.
//!
//! The media type is the component's word, and a component may know secrets that are for the recipients
//! alone. So it stands inside of what is encrypted, and what stands outside is the same for every result
//! and every failure. The frame is one byte with the length of the media type, the media type, the bytes:
//! only the total length shows, as it does for the bytes by themselves.

use proplet_types::{MAX_MEDIA_TYPE_BYTES, MediaType};
use zeroize::Zeroizing;

/// Media type of a [failure](crate::failure::Failure).
pub const FAILURE_MEDIA_TYPE: &str = "application/vnd.proplet.failure+json";

/// The length of a media type as it stands before it: one byte counts the longest.
pub(crate) fn length_byte(media_type: &MediaType) -> [u8; 1] {
    const { assert!(MAX_MEDIA_TYPE_BYTES == u8::MAX as usize) };
    [media_type.as_str().len() as u8]
}

/// Takes a frame apart.
///
/// None when it is not one: empty, cut short, or with something else in the place of the media type.
pub(crate) fn split(mut frame: Zeroizing<Vec<u8>>) -> Option<(MediaType, Zeroizing<Vec<u8>>)> {
    let (length, rest) = frame.split_first()?;
    let length = usize::from(*length);
    let media_type: MediaType = std::str::from_utf8(rest.get(..length)?)
        .ok()?
        .parse()
        .ok()?;
    frame.drain(..=length);
    Some((media_type, frame))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split_bytes(bytes: &[u8]) -> Option<(String, Vec<u8>)> {
        let (media_type, content) = split(Zeroizing::new(bytes.to_vec()))?;
        Some((media_type.to_string(), content.to_vec()))
    }

    #[test]
    fn a_frame_is_taken_apart() {
        assert_eq!(
            split_bytes(b"\x03a/bcontent"),
            Some(("a/b".to_owned(), b"content".to_vec()))
        );
        assert_eq!(
            split_bytes(b"\x03a/b"),
            Some(("a/b".to_owned(), Vec::new()))
        );
        let longest = format!("a/b; c={}", "d".repeat(248));
        let frame = [b"\xff", longest.as_bytes(), b"c"].concat();
        assert_eq!(split_bytes(&frame), Some((longest, b"c".to_vec())));
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for wrong in [
            b"".as_slice(),
            b"\0",
            b"\0a/b",
            b"\x03a/",
            b"\x04a/b",
            b"\x02a/b",
            b"\x04a/b\n",
            b"\x04a/b\xff",
            b"{\"error\":\"a\"}",
            b"text/plain",
        ] {
            assert_eq!(split_bytes(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn frames_round_trip(
            media_type in "[a-z0-9]{1,9}/[a-z0-9][a-z0-9.+-]{0,60}(; ?[a-z]{1,9}=[a-z0-9]{1,30})?",
            content in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let length = length_byte(&media_type.parse().unwrap());
            let frame = [&length, media_type.as_bytes(), &content].concat();
            prop_assert_eq!(split_bytes(&frame), Some((media_type, content)));
        }

        #[test]
        fn other_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some((media_type, content)) = split_bytes(&bytes) {
                prop_assert_eq!(bytes.len(), 1 + media_type.len() + content.len());
            }
        }
    }
}
