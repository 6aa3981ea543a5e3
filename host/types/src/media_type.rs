//! Media types, as guests name them for results and as registries and servers name them for content.
//!
//! `type/subtype` of restricted names (RFC 6838, section 4.2) and parameters `; name=value` (RFC 9110,
//! section 5.6.6), where a value is a token or a quoted string. Printable ASCII only: a media type is shown
//! on terminals and written into headers, and there is no way to carry a control character in one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest media type, in bytes, parameters included.
pub const MAX_MEDIA_TYPE_BYTES: usize = 255;

/// The longest name of a type or subtype, in bytes (RFC 6838, section 4.2).
const MAX_NAME_BYTES: usize = 127;

/// A media type, checked, as it was written.
///
/// ```
/// use proplet_types::MediaType;
/// let media_type: MediaType = "Text/Plain; charset=utf-8".parse()?;
/// assert_eq!(media_type.essence(), "Text/Plain");
/// assert!(media_type.is("text/plain"));
/// # Ok::<(), proplet_types::MediaTypeError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MediaType {
    text: String,
    essence_len: usize,
}

/// Why a text is not a media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MediaTypeError {
    /// Longer than [`MAX_MEDIA_TYPE_BYTES`].
    #[error("a media type of {0} bytes is too long; at most {MAX_MEDIA_TYPE_BYTES} are accepted")]
    TooLong(usize),
    /// A control character, or one outside ASCII.
    #[error("a media type is printable ASCII; this one holds other characters")]
    Characters,
    /// No `type/subtype` of restricted names.
    #[error("a media type begins with type/subtype, as in text/plain; this one does not")]
    Name,
    /// What follows is not a list of parameters.
    #[error("a parameter of the media type is not name=value, as in text/plain; charset=utf-8")]
    Parameter,
}

impl MediaType {
    /// The whole text, as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Type and subtype without parameters, as they were written.
    pub fn essence(&self) -> &str {
        self.text.get(..self.essence_len).unwrap_or_default()
    }

    /// Whether type and subtype are these. Case does not matter (RFC 9110, section 8.3.1).
    pub fn is(&self, essence: &str) -> bool {
        self.essence().eq_ignore_ascii_case(essence)
    }
}

impl FromStr for MediaType {
    type Err = MediaTypeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_MEDIA_TYPE_BYTES {
            return Err(MediaTypeError::TooLong(text.len()));
        }
        if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(MediaTypeError::Characters);
        }
        let end = text.find([' ', ';']).unwrap_or(text.len());
        let (essence, parameters) = text.split_at(end);
        let (kind, subtype) = essence.split_once('/').ok_or(MediaTypeError::Name)?;
        if !is_restricted_name(kind) || !is_restricted_name(subtype) {
            return Err(MediaTypeError::Name);
        }
        check_parameters(parameters)?;
        Ok(Self {
            text: text.to_owned(),
            essence_len: end,
        })
    }
}

impl TryFrom<String> for MediaType {
    type Error = MediaTypeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<MediaType> for String {
    fn from(media_type: MediaType) -> Self {
        media_type.text
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

fn is_restricted_name(name: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
    name.len() <= MAX_NAME_BYTES
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(rest)
}

/// `*( OWS ";" OWS [ parameter ] )`.
fn check_parameters(mut rest: &str) -> Result<(), MediaTypeError> {
    while !rest.is_empty() {
        rest = rest
            .trim_start_matches(' ')
            .strip_prefix(';')
            .ok_or(MediaTypeError::Parameter)?
            .trim_start_matches(' ');
        if rest.is_empty() || rest.starts_with(';') {
            continue;
        }
        let (name, after) = split_token(rest);
        let value = after.strip_prefix('=').ok_or(MediaTypeError::Parameter)?;
        if name.is_empty() {
            return Err(MediaTypeError::Parameter);
        }
        rest = match value.strip_prefix('"') {
            Some(quoted) => after_quoted(quoted)?,
            None => {
                let (value, after) = split_token(value);
                if value.is_empty() {
                    return Err(MediaTypeError::Parameter);
                }
                after
            }
        };
    }
    Ok(())
}

/// The token (RFC 9110, section 5.6.2) at the beginning, and what follows.
fn split_token(text: &str) -> (&str, &str) {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    text.split_at(text.find(|c| !is_token(c)).unwrap_or(text.len()))
}

/// What follows a quoted string (RFC 9110, section 5.6.4) whose opening quote is taken already.
fn after_quoted(text: &str) -> Result<&str, MediaTypeError> {
    let mut escaped = false;
    for (index, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Ok(text.get(index + 1..).unwrap_or_default()),
            _ => {}
        }
    }
    Err(MediaTypeError::Parameter)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn usual_forms_are_taken_as_written() {
        for (text, essence) in [
            ("text/plain", "text/plain"),
            ("text/plain; charset=utf-8", "text/plain"),
            ("text/plain ;charset=\"utf-8\"", "text/plain"),
            ("text/plain;", "text/plain"),
            ("Application/WASM", "Application/WASM"),
            ("application/octet-stream", "application/octet-stream"),
            ("a/b ;c=d", "a/b"),
            (
                "application/vnd.proplet.failure+json",
                "application/vnd.proplet.failure+json",
            ),
            (
                "multipart/mixed; boundary=\"a; \\\"b\"; x=y",
                "multipart/mixed",
            ),
        ] {
            let media_type: MediaType = text.parse().unwrap();
            assert_eq!(media_type.as_str(), text);
            assert_eq!(media_type.to_string(), text);
            assert_eq!(media_type.essence(), essence);
            assert!(media_type.is(&essence.to_ascii_uppercase()));
            assert!(!media_type.is("text/html"));
        }
    }

    #[test]
    fn everything_else_is_refused() {
        use MediaTypeError as E;
        let long = format!("text/{}", "x".repeat(300));
        let long_name = format!("text/{}", "x".repeat(128));
        for (text, expected) in [
            ("", E::Name),
            ("text", E::Name),
            ("/", E::Name),
            ("text/", E::Name),
            ("/plain", E::Name),
            ("text/plain/x", E::Name),
            ("text /plain", E::Name),
            (" text/plain", E::Name),
            ("text/-x", E::Name),
            ("text/*", E::Name),
            (long_name.as_str(), E::Name),
            ("text/pl ain", E::Parameter),
            ("text/plain ", E::Parameter),
            ("text/plain; charset", E::Parameter),
            ("text/plain; charset=", E::Parameter),
            ("text/plain; =x", E::Parameter),
            ("text/plain; a =x", E::Parameter),
            ("text/plain; a=\"x", E::Parameter),
            ("text/plain; a=\"x\\\"", E::Parameter),
            ("text/plain; a=\"x\"y", E::Parameter),
            ("grün/x", E::Characters),
            ("text/plain\r\nX: y", E::Characters),
            ("text/plain;\tcharset=x", E::Characters),
            ("text/plain; a=\"\x1b[31m\"", E::Characters),
            ("text/plain; a=\"\x7f\"", E::Characters),
            (long.as_str(), E::TooLong(305)),
        ] {
            assert_eq!(text.parse::<MediaType>(), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn serde_goes_through_the_parser() {
        let media_type: MediaType = serde_json::from_str("\"a/b; c=d\"").unwrap();
        assert_eq!(serde_json::to_string(&media_type).unwrap(), "\"a/b; c=d\"");
        assert!(serde_json::from_str::<MediaType>("\"a\"").is_err());
    }

    proptest! {
        #[test]
        fn what_is_taken_is_plain_and_bounded(text in "[a-z/]{0,6}(/|;|=|\"|\\\\|\\PC|.){0,40}") {
            if let Ok(media_type) = text.parse::<MediaType>() {
                prop_assert_eq!(media_type.as_str(), text.as_str());
                prop_assert!(text.len() <= MAX_MEDIA_TYPE_BYTES);
                prop_assert!(!text.contains(|c: char| c.is_control() || !c.is_ascii()));
                prop_assert!(text.starts_with(media_type.essence()));
            }
        }

        #[test]
        fn well_formed_ones_are_taken(
            essence in "[a-z0-9][a-z0-9.+_-]{0,20}/[a-z0-9][a-z0-9.+_-]{0,20}",
            parameters in "( {0,2}; {0,2}[a-z]{1,5}=([a-z0-9]{1,5}|\"[ -!#-\\[\\]-~]{0,9}\")){0,4}",
        ) {
            let media_type: MediaType = format!("{essence}{parameters}").parse().unwrap();
            prop_assert_eq!(media_type.essence(), essence);
        }
    }
}
