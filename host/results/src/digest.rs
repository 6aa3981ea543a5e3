//! Digests: `sha256:` and 64 lower-case hexadecimal digits.
//!
//! One byte string has one digest text, so texts can be compared. Absent things have no digest; an
//! empty string never stands for one.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use proplet_jose::jcs;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

/// A SHA-256 digest in its text form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// Text that is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a digest: write `sha256:` and 64 hexadecimal digits in lower case")]
pub struct DigestError;

impl Digest {
    const PREFIX: &str = "sha256:";

    /// The digest of bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(format!(
            "{}{}",
            Self::PREFIX,
            hex::encode(digest(&SHA256, bytes))
        ))
    }

    /// The digest of a value's canonical JSON (RFC 8785).
    ///
    /// # Errors
    ///
    /// As [`jcs::to_string`].
    pub fn of_json<T: Serialize>(value: &T) -> Result<Self, proplet_jose::Error> {
        Ok(Self::of(jcs::to_string(value)?.as_bytes()))
    }

    /// The text, `sha256:…`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The digest of a task's inputs: over the JSON array of the input strings as received, a number as its
/// decimal text.
///
/// # Errors
///
/// As [`jcs::to_string`], which does not fail for strings.
pub fn of_inputs<S: AsRef<str>>(inputs: &[S]) -> Result<Digest, proplet_jose::Error> {
    of_strings(inputs)
}

/// The digest of a task's arguments: over the JSON array of `cli_args` as received.
///
/// # Errors
///
/// As [`jcs::to_string`], which does not fail for strings.
pub fn of_arguments<S: AsRef<str>>(arguments: &[S]) -> Result<Digest, proplet_jose::Error> {
    of_strings(arguments)
}

/// The digest of a task's environment: over the JSON object `env` as received.
///
/// # Errors
///
/// As [`jcs::to_string`], which does not fail for strings.
pub fn of_environment(env: &BTreeMap<String, String>) -> Result<Digest, proplet_jose::Error> {
    Digest::of_json(env)
}

fn of_strings<S: AsRef<str>>(strings: &[S]) -> Result<Digest, proplet_jose::Error> {
    let strings: Vec<&str> = strings.iter().map(AsRef::as_ref).collect();
    Digest::of_json(&strings)
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        text.to_owned().try_into()
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        let digits = text.strip_prefix(Self::PREFIX).ok_or(DigestError)?;
        let fits = digits.len() == 64
            && digits
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if fits {
            Ok(Self(text))
        } else {
            Err(DigestError)
        }
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OF_ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    /// FIPS 180-2 appendix B.1.
    #[test]
    fn known_answer() {
        assert_eq!(Digest::of(b"abc").as_str(), OF_ABC);
    }

    #[test]
    fn of_no_inputs_is_of_the_empty_array() {
        assert_eq!(of_inputs::<&str>(&[]).unwrap(), Digest::of(b"[]"));
        assert_eq!(
            of_inputs(&["10", "a\"b"]).unwrap(),
            Digest::of(br#"["10","a\"b"]"#)
        );
        assert_eq!(of_environment(&BTreeMap::new()).unwrap(), Digest::of(b"{}"));
    }

    #[test]
    fn refuses_other_texts() {
        for text in [
            "",
            "sha256:",
            &OF_ABC[7..],
            &OF_ABC.to_uppercase(),
            &OF_ABC[..70],
            "sha512:ab",
        ] {
            assert_eq!(text.parse::<Digest>(), Err(DigestError), "{text:?}");
        }
        assert_eq!(format!("{OF_ABC}0").parse::<Digest>(), Err(DigestError));
        assert!(serde_json::from_str::<Digest>("\"sha256:x\"").is_err());
    }

    proptest! {
        #[test]
        fn refuses_or_round_trips(text in "(sha256:)?[0-9a-fA-F]{0,70}") {
            if let Ok(digest) = text.parse::<Digest>() {
                prop_assert_eq!(digest.to_string(), text);
            }
        }
    }
}
