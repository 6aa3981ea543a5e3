//! A string that must not be printed.

use std::fmt;

use serde::{Deserialize, Deserializer, de::Error as _};
use zeroize::Zeroizing;

/// A credential from the settings document or the environment: wiped when dropped, and shown by
/// neither `Debug` nor `Display`.
///
/// Deserialising anything but a string fails with a message that does not repeat the value.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over. The caller's other copies, if any, are the caller's to wipe.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text. Whoever calls this decides where it goes: never into a log or an error.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// True when there is no text at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer) {
            Ok(toml::Value::String(text)) => Ok(Self::new(text)),
            Ok(_) | Err(_) => Err(D::Error::custom("expected a string in quotation marks")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(…)");
    }

    #[test]
    fn a_number_is_refused_without_repeating_it() {
        #[derive(Debug, Deserialize)]
        #[allow(dead_code)]
        struct Holder {
            key: Secret,
        }
        let error = toml::from_str::<Holder>("key = 271828").unwrap_err();
        assert!(!error.message().contains("271828"), "{}", error.message());
    }
}
