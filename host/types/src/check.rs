//! Checks of a verification: what was looked at in evidence and receipts, in words that programs compare.
//!
//! A check never changes its meaning; the words that a report has beside it may. `docs/codes.md` lists every
//! check, and a test holds that page against [`Check::ALL`]. A new check is one line here and one there.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that is no check of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a check of this version; docs/codes.md lists them")]
pub struct UnknownCheck;

/// The checks: variant and text.
macro_rules! checks {
    ($($(#[$doc:meta])* $variant:ident = $text:literal;)*) => {
        /// What a verification looks at.
        ///
        /// ```
        /// use proplet_types::Check;
        /// assert_eq!(Check::TaskId.as_str(), "task-id");
        /// assert_eq!("task-id".parse(), Ok(Check::TaskId));
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "&'static str")]
        pub enum Check {
            $($(#[$doc])* $variant,)*
        }

        impl Check {
            /// Every check, in the order of `docs/codes.md`.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The check as it is written: lower case with hyphens.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

checks! {
    // The evidence.

    /// The evidence is signed by a TEE that the roots vouch for.
    Evidence = "evidence";
    /// The evidence signs these claims.
    Claims = "claims";
    /// The VM cannot be read by its hypervisor.
    Debug = "debug";
    /// The launch measurement is that of a host that the reader trusts.
    Measurement = "measurement";
    /// HOST_DATA or MRCONFIGID is as expected.
    InitData = "init-data";
    /// The firmware's security versions are at least those that the reader demands.
    MinimumTcb = "minimum-tcb";
    /// No certificate of the chain was revoked, by lists that the reader gave.
    Revocation = "revocation";
    /// The chip is one that the reader named.
    Chip = "chip";
    /// The key that signed the VM's ID block is one that the reader named.
    IdKey = "id-key";
    /// The key that certified the ID key is one that the reader named.
    AuthorKey = "author-key";
    /// The guest policy holds to the rules that the reader gave.
    GuestPolicy = "guest-policy";
    /// RTMR0, what TDX firmware measured of its configuration, is as expected.
    Rtmr0 = "rtmr0";
    /// RTMR1, what TDX firmware measured of loader and kernel, is as expected.
    Rtmr1 = "rtmr1";
    /// RTMR2, what the loader measured, is as expected.
    Rtmr2 = "rtmr2";
    /// RTMR3, what programs measured, is as expected.
    Rtmr3 = "rtmr3";
    /// MROWNER, set at the VM's start, is as expected.
    MrOwner = "mr-owner";
    /// The event log leads to the RTMRs.
    EventLog = "event-log";
    /// The TDX platform's security versions have an accepted status.
    TcbStatus = "tcb-status";
    /// The TDX module is one that the reader named.
    TdxModule = "tdx-module";
    /// The TDX machine is one that the reader named.
    TdxPlatform = "tdx-platform";
    /// The evidence was made for this challenge, so it is fresh.
    Challenge = "challenge";
    /// The evidence is about a host, as that of a receipt has to be.
    EvidenceKind = "kind-of-evidence";

    // The receipt.

    /// The receipt's signature verifies with the key that it brings.
    ReceiptSignature = "receipt-signature";
    /// The key that signed the receipt is the one that the evidence vouches for.
    ReceiptKey = "receipt-key";
    /// The receipt names this evidence, its settings and its attester.
    ReceiptEvidence = "receipt-belongs-to-this-evidence";
    /// The receipt names this sealed result and its recipients.
    ReceiptResult = "receipt-belongs-to-this-result";

    // What evidence and receipt say, against what the reader expects.

    /// The host's settings document.
    Settings = "settings";
    /// The component that ran.
    Component = "component";
    /// The image that it came from.
    Image = "image";
    /// The policy inside it.
    Policy = "policy";
    /// The task's id.
    TaskId = "task-id";
    /// The invocation of a latent task, or that there is none.
    InvocationId = "invocation-id";
    /// The export that was invoked.
    Export = "export";
    /// The inputs of the task.
    Inputs = "inputs";
    /// The arguments of the task.
    Arguments = "arguments";
    /// The environment of the task.
    Environment = "environment";
    /// Who can read the result.
    Recipients = "recipients";
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Check {
    type Err = UnknownCheck;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|check| check.as_str() == text)
            .ok_or(UnknownCheck)
    }
}

impl TryFrom<String> for Check {
    type Error = UnknownCheck;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Check> for &'static str {
    fn from(check: Check) -> Self {
        check.as_str()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::page;

    #[test]
    fn each_is_written_once_in_words_with_hyphens_and_reads_back() {
        let texts: BTreeSet<&str> = Check::ALL.iter().map(|check| check.as_str()).collect();
        assert_eq!(texts.len(), Check::ALL.len());
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        for check in Check::ALL {
            assert!(check.as_str().bytes().all(plain), "{check}");
            assert_eq!(check.as_str().parse(), Ok(*check));
            let json = serde_json::to_string(check).unwrap();
            assert_eq!(json, format!("\"{check}\""));
            assert_eq!(serde_json::from_str::<Check>(&json).unwrap(), *check);
        }
        assert_eq!("task id".parse::<Check>(), Err(UnknownCheck));
        assert!(serde_json::from_str::<Check>("\"\"").is_err());
    }

    #[test]
    fn the_page_lists_every_check_and_no_other() {
        let rows = page::checks();
        for row in &rows {
            assert_eq!(row.len(), 3, "{row:?}");
            assert!(row[1..].iter().all(|cell| cell.len() > 5), "{row:?}");
        }
        let listed: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
        let all: Vec<&str> = Check::ALL.iter().map(|check| check.as_str()).collect();
        assert_eq!(listed, all, "the order of docs/codes.md and of Check::ALL");
    }

    proptest! {
        #[test]
        fn any_text_is_a_check_or_refused(text in "[a-z-]{0,30}|.{0,30}") {
            if let Ok(check) = text.parse::<Check>() {
                prop_assert_eq!(check.as_str(), text);
            }
        }
    }
}
