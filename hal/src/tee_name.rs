//! Names of TEEs.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Name of a TEE as the key broker and its attestation service spell it: `snp`, `tdx`,
/// `az-snp-vtpm`, `sample` and so on. 1 to 32 characters of `a-z`, `0-9` and `-`.
///
/// The list grows outside this project, so any well-formed name parses; whether anything can be done
/// with it is answered where it is used (`verify` answers `Unsupported`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TeeName(Cow<'static, str>);

impl TeeName {
    /// AMD SEV-SNP.
    pub const SNP: Self = Self(Cow::Borrowed("snp"));
    /// Intel TDX.
    pub const TDX: Self = Self(Cow::Borrowed("tdx"));
    /// The sample TEE of Confidential Containers. It proves nothing: anybody can write its evidence.
    pub const SAMPLE: Self = Self(Cow::Borrowed("sample"));

    const MAX_LEN: usize = 32;

    /// The name as a string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TeeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TeeName {
    type Err = TeeNameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let well_formed = (1..=Self::MAX_LEN).contains(&name.len())
            && name
                .bytes()
                .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if well_formed {
            Ok(Self(Cow::Owned(name.to_owned())))
        } else {
            Err(TeeNameError)
        }
    }
}

impl TryFrom<String> for TeeName {
    type Error = TeeNameError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

impl From<TeeName> for String {
    fn from(name: TeeName) -> Self {
        name.0.into_owned()
    }
}

/// A string that cannot be the name of a TEE.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not the name of a TEE: use 1 to 32 characters of a-z, 0-9 and -, such as `snp` or `tdx`")]
pub struct TeeNameError;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_the_key_broker_parse() {
        for name in ["snp", "tdx", "sample", "az-snp-vtpm", "nvidia-dpu"] {
            assert_eq!(name.parse::<TeeName>().unwrap().as_str(), name);
        }
        assert_eq!("snp".parse::<TeeName>().unwrap(), TeeName::SNP);
    }

    #[test]
    fn other_strings_are_refused() {
        for name in ["", "SNP", "snp ", "s/n", "sñp", &"a".repeat(33)] {
            assert_eq!(name.parse::<TeeName>(), Err(TeeNameError), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn any_string_is_refused_or_round_trips(name in ".{0,40}") {
            if let Ok(parsed) = name.parse::<TeeName>() {
                prop_assert_eq!(parsed.to_string(), name.clone());
                let json = serde_json::to_string(&parsed).unwrap();
                prop_assert_eq!(serde_json::from_str::<TeeName>(&json).unwrap(), parsed);
            }
        }
    }
}
