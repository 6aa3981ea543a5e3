//! What encrypted tasks will meet.

use std::fmt;

use super::shared::Process;
use crate::{binding::Binding, refusal::Refusal};

/// What encrypted tasks will meet on this machine.
#[derive(Debug, Clone)]
pub struct Readiness {
    /// Who makes evidence, and whether it is hardware.
    pub attester: Option<(String, bool)>,
    /// Why encrypted tasks are refused.
    pub refusal: Option<Refusal>,
    /// What is wrong and not enforced here.
    pub warnings: Vec<String>,
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.refusal, &self.attester) {
            (Some(refusal), _) => write!(f, "encrypted tasks are refused ({refusal})"),
            (None, Some((attester, true))) => write!(f, "encrypted tasks run under {attester}"),
            (None, Some((attester, false))) => write!(
                f,
                "encrypted tasks run under {attester}, which is NO hardware TEE and protects nothing"
            ),
            (None, None) => f.write_str("encrypted tasks are refused"),
        }
    }
}

impl Process {
    /// Whether encrypted tasks will be taken, and why not. Asks the TEE once.
    pub(crate) async fn readiness(&self) -> Readiness {
        let mut warnings = self.warnings.clone();
        let refusal = match self.takes_encrypted_tasks() {
            Err(refusal) => Some(refusal),
            Ok(confidential) => {
                let binding = confidential.binding(&self.settings).await;
                let refusal = confidential.enforce(&binding, &self.settings).err();
                if binding != Binding::Bound && refusal.is_none() {
                    warnings.push(format!("{binding}; this is not enforced here"));
                }
                refusal
            }
        };
        let attester = self.provider.as_ref();
        Readiness {
            attester: attester.map(|tee| (tee.attester().to_owned(), tee.is_hardware())),
            refusal,
            warnings,
        }
    }
}
