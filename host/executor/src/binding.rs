//! Whether the settings document is the one that the VM was started with.
//!
//! A confidential VM is started with 32 (SNP HOST_DATA) or 48 (TDX MRCONFIGID) bytes that its owner
//! chooses and that every report repeats. When they are the SHA-256 of the settings document, the
//! document is *bound*: a key broker or a relying party that checks them knows whose recipients and
//! which key broker are in force before it releases anything. A document that is not bound could have
//! been exchanged by whoever controls the disk, for one with other recipients. So on hardware encrypted
//! tasks are refused then, unless the document itself says `allow_unmeasured_settings = true`; a
//! document that is part of the launch measurement (a read-only root file system with verity) says so
//! too, because a host cannot tell that from inside.
//!
//! A fake TEE has nothing to bind: for it the finding is reported loudly and not enforced.

use std::fmt;

use proplet_hal::TeeProvider;

use proplet_settings::Settings;
use proplet_types::{Code, Digest};

use crate::{host_text, refusal::Refusal};

/// When the rule refuses, rather than reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BindingRule {
    /// Refuse on hardware, report on a fake TEE: what every program uses.
    #[default]
    OnHardware,
    /// Refuse on a fake TEE too: what a test of the rule uses.
    Always,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// The VM was started with the digest of this document.
    Bound,
    /// It was started with something else.
    Different,
    /// The TEE has no such value, or it is all zeros.
    Absent,
    /// The TEE did not answer. The text is its error.
    Unknown(String),
}

impl Binding {
    /// Compares the document's digest with what the TEE reports. The TEE's field may be longer than a
    /// digest (padded with zeros) or shorter (cut off).
    pub async fn of(settings: &Settings, provider: &dyn TeeProvider) -> Self {
        match provider.init_data().await {
            Err(error) => Self::Unknown(error.to_string()),
            Ok(None) => Self::Absent,
            Ok(Some(field)) => Self::compare(settings.digest, &field),
        }
    }

    fn compare(digest: Digest, field: &[u8]) -> Self {
        // A field shorter than half a digest would make a match too cheap to forge.
        if field.len() < 16 || field.iter().all(|byte| *byte == 0) {
            return Self::Absent;
        }
        let padded = digest
            .as_bytes()
            .iter()
            .copied()
            .chain(std::iter::repeat(0));
        if field.iter().copied().eq(padded.take(field.len())) {
            Self::Bound
        } else {
            Self::Different
        }
    }

    /// Refuses encrypted tasks where the rule says so.
    ///
    /// # Errors
    /// `settings-not-measured`, when the document is not bound, does not allow that, and the rule is
    /// enforced for this TEE.
    pub fn enforce(
        &self,
        rule: BindingRule,
        is_hardware: bool,
        settings: &Settings,
    ) -> Result<(), Refusal> {
        let enforced = is_hardware || rule == BindingRule::Always;
        if *self == Self::Bound || settings.confidential.allow_unmeasured_settings || !enforced {
            return Ok(());
        }
        Err(Refusal::new(
            Code::SettingsNotMeasured,
            host_text!(
                "encrypted tasks are refused because {}; start the VM with the SHA-256 of the settings \
                 document as HOST_DATA or MRCONFIGID, or write allow_unmeasured_settings = true under \
                 [confidential]",
                *self
            ),
        ))
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bound => f.write_str("the settings document is bound to this VM"),
            Self::Different => {
                f.write_str("this VM was started with the digest of another settings document")
            }
            Self::Absent => f.write_str("this VM was started without a settings digest"),
            Self::Unknown(error) => write!(f, "the TEE did not tell the settings digest: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proplet_settings::environment::Environment;

    fn settings(text: &str) -> Settings {
        Settings::parse(Some(text), &Environment::default()).unwrap()
    }

    #[test]
    fn fields_of_both_tees_are_compared() {
        let digest = settings("").digest;
        let mut mrconfigid = digest.as_bytes().to_vec();
        mrconfigid.resize(48, 0);
        assert_eq!(Binding::compare(digest, digest.as_bytes()), Binding::Bound);
        assert_eq!(Binding::compare(digest, &mrconfigid), Binding::Bound);
        mrconfigid[47] = 1;
        assert_eq!(Binding::compare(digest, &mrconfigid), Binding::Different);
        assert_eq!(Binding::compare(digest, &[0; 32]), Binding::Absent);
        assert_eq!(
            Binding::compare(digest, &digest.as_bytes()[..8]),
            Binding::Absent
        );
    }

    #[test]
    fn hardware_without_binding_refuses() {
        for binding in [
            Binding::Different,
            Binding::Absent,
            Binding::Unknown(String::new()),
        ] {
            let refusal = binding
                .enforce(BindingRule::OnHardware, true, &settings(""))
                .unwrap_err();
            assert_eq!(refusal.code(), "settings-not-measured");
            binding
                .enforce(BindingRule::Always, false, &settings(""))
                .unwrap_err();
            binding
                .enforce(BindingRule::OnHardware, false, &settings(""))
                .unwrap();
        }
        Binding::Bound
            .enforce(BindingRule::Always, true, &settings(""))
            .unwrap();
    }

    #[test]
    fn the_document_can_allow_it_in_so_many_words() {
        let settings = settings("[confidential]\nallow_unmeasured_settings = true");
        Binding::Absent
            .enforce(BindingRule::OnHardware, true, &settings)
            .unwrap();
    }
}
