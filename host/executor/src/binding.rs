//! Whether the settings document is the one that the VM was started with.
//!
//! A confidential VM is started with 32 (SNP HOST_DATA) or 48 (TDX MRCONFIGID) bytes that its owner
//! chooses and that every report repeats. When they are the digest of the init-data document that holds
//! the settings ([`proplet_hal::init_data`]), the settings are *bound*: a key broker or a relying party that
//! checks them knows whose recipients and which key broker are in force before it releases anything.
//! Settings that are not bound could have been exchanged by whoever controls the disk, for others with
//! other recipients. So on hardware encrypted tasks are refused then. A VM that was started without any
//! such digest may do without, where the settings say `allow_unmeasured_settings = true`: a document that is
//! part of the launch measurement (a read-only root file system with verity) says so, because a host cannot
//! tell that from inside. A VM that was started with the digest of something else never does: its owner
//! meant other settings, and a key broker that looks at the digest would take these for them.
//!
//! A fake TEE has nothing to bind: for it the finding is reported loudly and not enforced.

use std::fmt;

use proplet_hal::TeeProvider;

use proplet_settings::Settings;
use proplet_types::Code;

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
    /// The VM was started with the digest of the init-data that holds these settings.
    Bound,
    /// The settings stand in no init-data document, so nothing can bind them.
    NoInitData,
    /// It was started with something else.
    Different,
    /// The TEE has no such value, or it is all zeros.
    Absent,
    /// The TEE did not answer. The text is its error.
    Unknown(String),
}

impl Binding {
    /// Compares the init-data document with what the TEE reports.
    pub async fn of(settings: &Settings, provider: &dyn TeeProvider) -> Self {
        match (provider.init_data().await, &settings.init_data) {
            (Err(error), _) => Self::Unknown(format!("{}: {error}", error.code())),
            (Ok(None), None) => Self::NoInitData,
            (Ok(None), Some(_)) => Self::Absent,
            (Ok(Some(field)), Some(init_data)) if init_data.is_bound_by(&field) => Self::Bound,
            (Ok(Some(_)), _) => Self::Different,
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
        if *self == Self::Bound || !enforced {
            return Ok(());
        }
        // A VM that was started with other settings, or that does not say, is not waived: whoever exchanged
        // the settings would write the waiver into his own.
        let waivable = matches!(self, Self::NoInitData | Self::Absent);
        if waivable && settings.confidential.allow_unmeasured_settings {
            return Ok(());
        }
        Err(Refusal::new(
            Code::SettingsNotMeasured,
            host_text!(
                "encrypted tasks are refused because {}; make an init-data document of the settings \
                 with `proplet init-data make`, start the VM with its digest as HOST_DATA or MRCONFIGID and \
                 this program with that document, or write allow_unmeasured_settings = true under \
                 [confidential]",
                *self
            ),
        ))
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bound => f.write_str("the settings are bound to this VM"),
            Self::NoInitData => f.write_str(
                "the settings stand in no init-data document, so nothing binds them to this VM",
            ),
            Self::Different => {
                f.write_str("this VM was started with the digest of another init-data document")
            }
            Self::Absent => {
                f.write_str("this VM was started without the digest of an init-data document")
            }
            Self::Unknown(error) => write!(f, "the TEE did not tell the init-data digest: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proplet_hal::{Evidence, EvidenceError, ReportData, TeeName, init_data::DigestAlgorithm};
    use proplet_settings::{environment::Environment, init_data::init_data};

    use super::*;

    fn settings(text: &str) -> Settings {
        Settings::parse(Some(text), &Environment::default()).unwrap()
    }

    /// A TEE that reports this field, or is busy.
    struct Reports(Result<Option<Vec<u8>>, Busy>);

    #[derive(Clone)]
    struct Busy;

    #[async_trait::async_trait]
    impl TeeProvider for Reports {
        fn tee(&self) -> TeeName {
            TeeName::SNP
        }
        fn attester(&self) -> &str {
            "test"
        }
        fn is_hardware(&self) -> bool {
            true
        }
        async fn evidence(&self, _: &ReportData) -> Result<Evidence, EvidenceError> {
            Err(EvidenceError::Busy { tee: TeeName::SNP })
        }
        async fn init_data(&self) -> Result<Option<Vec<u8>>, EvidenceError> {
            let busy = |Busy| EvidenceError::Busy { tee: TeeName::SNP };
            self.0.clone().map_err(busy)
        }
    }

    #[tokio::test]
    async fn only_the_digest_of_the_init_data_binds() {
        let text = "[limits]\n";
        let plain = settings(text);
        let document = init_data(text, DigestAlgorithm::Sha384).unwrap();
        let inside = settings(document.text());
        let of = async |settings: &Settings, field: Option<Vec<u8>>| {
            Binding::of(settings, &Reports(Ok(field))).await
        };
        let host_data = Some(document.host_data().to_vec());
        assert_eq!(of(&inside, host_data.clone()).await, Binding::Bound);
        let mrconfigid = Some(document.mrconfigid().to_vec());
        assert_eq!(of(&inside, mrconfigid).await, Binding::Bound);
        assert_eq!(of(&inside, Some(vec![1; 32])).await, Binding::Different);
        assert_eq!(of(&inside, None).await, Binding::Absent);
        // The settings' own digest, without a document that a key broker could check, binds nothing.
        let own = Some(plain.digest.as_bytes().to_vec());
        assert_eq!(of(&plain, own.clone()).await, Binding::Different);
        assert_eq!(of(&inside, own).await, Binding::Different);
        assert_eq!(of(&plain, host_data).await, Binding::Different);
        assert_eq!(of(&plain, None).await, Binding::NoInitData);
    }

    #[test]
    fn hardware_without_binding_refuses() {
        for binding in [
            Binding::NoInitData,
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
        for absent in [Binding::Absent, Binding::NoInitData] {
            absent
                .enforce(BindingRule::OnHardware, true, &settings)
                .unwrap();
        }
        // But not that a VM was started with other settings, or does not say.
        for other in [Binding::Different, Binding::Unknown(String::new())] {
            let refusal = other
                .enforce(BindingRule::OnHardware, true, &settings)
                .unwrap_err();
            assert_eq!(refusal.code(), "settings-not-measured");
        }
    }

    #[tokio::test]
    async fn a_tee_that_does_not_answer_is_told_with_its_code() {
        let settings = settings("");
        let binding = Binding::of(&settings, &Reports(Err(Busy))).await;
        let refusal = binding
            .enforce(BindingRule::OnHardware, true, &settings)
            .unwrap_err();
        assert!(
            refusal.words().contains("tee-busy: "),
            "{}",
            refusal.words()
        );
    }
}
