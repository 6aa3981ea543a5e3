//! What is inside a sealed result: a media type and the bytes of that type.
//!
//! The media type is the component's word, and a component may know secrets that are for the recipients
//! alone. So it stands inside of what is encrypted, and what stands outside is the same for every result
//! and every failure. The frame is one byte with the length of the media type, the media type, the bytes:
//! only the total length shows, as it does for the bytes by themselves.

use zeroize::Zeroizing;

/// Media type of a [failure](crate::failure::Failure).
pub const FAILURE_MEDIA_TYPE: &str = "application/vnd.proplet.failure+json";

/// The longest media type, in bytes: what one byte can count.
const MAX_MEDIA_TYPE_BYTES: usize = u8::MAX as usize;

/// The length of a media type as it stands before it.
///
/// None for something that is not a media type.
pub(crate) fn length_byte(media_type: &str) -> Option<[u8; 1]> {
    essence(media_type)?;
    Some([u8::try_from(media_type.len()).ok()?])
}

/// Takes a frame apart.
///
/// None when it is not one: empty, cut short, or with something else in the place of the media type.
pub(crate) fn split(mut frame: Zeroizing<Vec<u8>>) -> Option<(String, Zeroizing<Vec<u8>>)> {
    let (length, rest) = frame.split_first()?;
    let length = usize::from(*length);
    let media_type = std::str::from_utf8(rest.get(..length)?).ok()?.to_owned();
    essence(&media_type)?;
    frame.drain(..=length);
    Some((media_type, frame))
}

/// The part of a media type before its parameters.
///
/// A media type is a type, a slash and a subtype of RFC 6838 restricted names, then parameters in
/// printable ASCII; at most 255 bytes in all. None for anything else.
pub(crate) fn essence(media_type: &str) -> Option<&str> {
    let (essence, _) = media_type.split_once(';').unwrap_or((media_type, ""));
    let essence = essence.trim_end();
    let (kind, subtype) = essence.split_once('/')?;
    let restricted = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "!#$&-^_.+".contains(c))
    };
    let printable = media_type.chars().all(|c| matches!(c, ' '..='~'));
    let fits = media_type.len() <= MAX_MEDIA_TYPE_BYTES;
    (fits && printable && restricted(kind) && restricted(subtype)).then_some(essence)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split_bytes(bytes: &[u8]) -> Option<(String, Vec<u8>)> {
        let (media_type, content) = split(Zeroizing::new(bytes.to_vec()))?;
        Some((media_type, content.to_vec()))
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
        let longest = format!("a/{}", "b".repeat(253));
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
            media_type in "[a-z0-9]{1,9}/[a-z0-9][a-z0-9.+-]{0,60}(; ?[ -~]{0,60})?",
            content in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let length = length_byte(&media_type).unwrap();
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
