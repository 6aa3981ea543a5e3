//! What a relying party expects.

use proplet_hal::verify::Verified;
use proplet_types::{Check, Digest};

use super::error::VerifyError;
use super::invocation::{self, ExpectedInvocation};
use super::report::Report;
use super::tdx::TdxExpectations;
use crate::claims::{Claims, WorkloadClaims};
use crate::receipt::ReceiptClaims;

/// What a relying party expects. What is left empty is reported as not verified, but for the launch
/// measurement: everything else in a document is the word of the host that it identifies, so there is no
/// default for it. Begin with [`Expectations::of_measurements`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectations {
    /// The launch measurement.
    pub measurement: ExpectedMeasurement,
    /// What is expected of a TDX VM besides.
    pub tdx: TdxExpectations,
    /// The init-data binding: the digest of the init-data document, or the field (HOST_DATA, MRCONFIGID).
    /// It is cut off at the length of the TEE's field, and zeros at the end make no difference.
    pub init_data: Option<Vec<u8>>,
    /// Digest of the host's settings document.
    pub settings: Option<Digest>,
    /// The challenge that the evidence was asked for with. For bundles; the evidence of a receipt
    /// carries a random number of the host's own.
    pub challenge: Option<Vec<u8>>,
    /// Digest of the component.
    pub component: Option<Digest>,
    /// Digest of the OCI manifest.
    pub image: Option<Digest>,
    /// Digest of the policy.
    pub policy: Option<Digest>,
    /// The task's id.
    pub task_id: Option<String>,
    /// The invocation, or that there is none. For receipts.
    pub invocation: Option<ExpectedInvocation>,
    /// The export that ran.
    pub export: Option<String>,
    /// Digest of the inputs, see [`crate::digest::of_inputs`].
    pub inputs: Option<Digest>,
    /// Digest of the arguments, see [`crate::digest::of_arguments`].
    pub arguments: Option<Digest>,
    /// Digest of the environment, see [`crate::digest::of_environment`].
    pub environment: Option<Digest>,
    /// Thumbprints of the recipients, in any order: these and no others.
    pub recipients: Option<Vec<String>>,
    /// Accept a VM that its hypervisor may debug. For tests only: nothing in such a VM is secret.
    pub allow_debug: bool,
}

/// Which hosts are believed, by launch measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpectedMeasurement {
    /// Measurements of good hosts; one of them has to be the one in the evidence. None of them: nothing
    /// verifies.
    OneOf(Vec<Vec<u8>>),
    /// Whatever the evidence says. Reported as not verified, with a warning: a host that was patched to
    /// write any receipt it likes passes.
    Any,
}

impl Expectations {
    /// A host of one of these launch measurements, and nothing else yet.
    #[must_use]
    pub fn of_measurements(measurements: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self::of(ExpectedMeasurement::OneOf(
            measurements.into_iter().collect(),
        ))
    }

    /// Any host at all, see [`ExpectedMeasurement::Any`], and nothing else yet.
    #[must_use]
    pub fn of_any_measurement() -> Self {
        Self::of(ExpectedMeasurement::Any)
    }

    fn of(measurement: ExpectedMeasurement) -> Self {
        Self {
            measurement,
            tdx: TdxExpectations::default(),
            init_data: None,
            settings: None,
            challenge: None,
            component: None,
            image: None,
            policy: None,
            task_id: None,
            invocation: None,
            export: None,
            inputs: None,
            arguments: None,
            environment: None,
            recipients: None,
            allow_debug: false,
        }
    }

    /// What the evidence itself says about the VM.
    pub(super) fn check_vm(
        &self,
        report: &mut Report,
        verified: &Verified,
    ) -> Result<(), VerifyError> {
        self.check_measurement(report, &verified.measurement)?;
        if self.measurement != ExpectedMeasurement::Any {
            self.tdx.demand_boot_chain(&verified.facts)?;
        }
        self.tdx.check(report, &verified.facts)?;
        let Some(expected) = &self.init_data else {
            if !self.tdx.check_init_data(report, &verified.facts)? {
                report.not_verified(Check::InitData, "no expected init-data was given");
            }
            return Ok(());
        };
        // The field is padded with zeros or cut off: a verifier may have a shorter or a longer digest in hand.
        let found = verified.init_data.as_deref().unwrap_or_default();
        let expected = expected.get(..found.len()).unwrap_or(expected);
        if !found.is_empty() && unpadded(found) == unpadded(expected) {
            report.verified(Check::InitData);
            return Ok(());
        }
        Err(VerifyError::Unexpected {
            check: Check::InitData,
            found: if found.is_empty() {
                "absent".to_owned()
            } else {
                hex::encode(found)
            },
            expected: hex::encode(expected),
        })
    }

    fn check_measurement(&self, report: &mut Report, found: &[u8]) -> Result<(), VerifyError> {
        let shown = || {
            if found.is_empty() {
                "absent".to_owned()
            } else {
                hex::encode(found)
            }
        };
        match &self.measurement {
            ExpectedMeasurement::Any => {
                report.not_verified(Check::Measurement, "any launch measurement was accepted");
                report.warn(
                    "ANY MEASUREMENT was accepted: SOME VM of this TEE said all of this, and it may \
                     run anything",
                );
                Ok(())
            }
            ExpectedMeasurement::OneOf(good) if good.is_empty() => {
                Err(VerifyError::NoExpectedMeasurement { found: shown() })
            }
            ExpectedMeasurement::OneOf(good) if good.iter().any(|good| good == found) => {
                report.verified(Check::Measurement);
                Ok(())
            }
            ExpectedMeasurement::OneOf(good) => {
                let expected: Vec<String> = good.iter().map(hex::encode).collect();
                Err(VerifyError::Unexpected {
                    check: Check::Measurement,
                    found: shown(),
                    expected: expected.join(" or "),
                })
            }
        }
    }

    /// What claims of both kinds say.
    pub(super) fn check_evidence(
        &self,
        report: &mut Report,
        claims: &Claims,
    ) -> Result<(), VerifyError> {
        digest(
            report,
            Check::Settings,
            self.settings.as_ref(),
            Some(&claims.settings_digest),
        )
    }

    /// The challenge.
    pub(super) fn check_challenge(
        &self,
        report: &mut Report,
        claims: &Claims,
    ) -> Result<(), VerifyError> {
        let challenge = self.challenge.as_ref().map(hex::encode);
        text(
            report,
            Check::Challenge,
            challenge.as_deref(),
            &hex::encode(claims.nonce()),
        )
    }

    /// What claims of kind `workload` say.
    pub(super) fn check_workload(
        &self,
        report: &mut Report,
        claims: &WorkloadClaims,
    ) -> Result<(), VerifyError> {
        digest(
            report,
            Check::Component,
            self.component.as_ref(),
            Some(&claims.component_digest),
        )?;
        digest(
            report,
            Check::Image,
            self.image.as_ref(),
            claims.image_digest.as_ref(),
        )?;
        digest(
            report,
            Check::Policy,
            self.policy.as_ref(),
            claims.policy_digest.as_ref(),
        )?;
        text(
            report,
            Check::TaskId,
            self.task_id.as_deref(),
            &claims.task_id,
        )
    }

    /// What a receipt says.
    pub(super) fn check_receipt(
        &self,
        report: &mut Report,
        receipt: &ReceiptClaims,
    ) -> Result<(), VerifyError> {
        if self.challenge.is_some() {
            return Err(unanswerable(Check::Challenge, "a receipt"));
        }
        digest(
            report,
            Check::Component,
            self.component.as_ref(),
            Some(&receipt.component_digest),
        )?;
        digest(
            report,
            Check::Image,
            self.image.as_ref(),
            receipt.image_digest.as_ref(),
        )?;
        digest(
            report,
            Check::Policy,
            self.policy.as_ref(),
            receipt.policy_digest.as_ref(),
        )?;
        text(
            report,
            Check::TaskId,
            self.task_id.as_deref(),
            &receipt.task_id,
        )?;
        invocation::check(
            report,
            self.invocation.as_ref(),
            receipt.invocation_id.as_deref(),
        )?;
        text(
            report,
            Check::Export,
            self.export.as_deref(),
            &receipt.export,
        )?;
        digest(
            report,
            Check::Inputs,
            self.inputs.as_ref(),
            Some(&receipt.inputs_digest),
        )?;
        digest(
            report,
            Check::Arguments,
            self.arguments.as_ref(),
            Some(&receipt.arguments_digest),
        )?;
        digest(
            report,
            Check::Environment,
            self.environment.as_ref(),
            Some(&receipt.environment_digest),
        )?;
        let sorted = |list: &[String]| {
            let mut list = list.to_vec();
            list.sort();
            list.join(" ")
        };
        let expected = self.recipients.as_deref().map(sorted);
        text(
            report,
            Check::Recipients,
            expected.as_deref(),
            &sorted(&receipt.recipients),
        )
    }

    /// Expectations that a bundle cannot answer. To pass them over would look like a pass.
    pub(super) fn check_unanswerable(&self, claims: &Claims) -> Result<(), VerifyError> {
        let workload_only = [
            (Check::Component, self.component.is_some()),
            (Check::Image, self.image.is_some()),
            (Check::Policy, self.policy.is_some()),
            (Check::TaskId, self.task_id.is_some()),
        ];
        let receipt_only = [
            (Check::InvocationId, self.invocation.is_some()),
            (Check::Export, self.export.is_some()),
            (Check::Inputs, self.inputs.is_some()),
            (Check::Arguments, self.arguments.is_some()),
            (Check::Environment, self.environment.is_some()),
            (Check::Recipients, self.recipients.is_some()),
        ];
        let about_host = claims.workload.is_none();
        for (check, expected) in workload_only {
            if expected && about_host {
                return Err(unanswerable(check, "evidence of kind `instance`"));
            }
        }
        for (check, expected) in receipt_only {
            if expected {
                return Err(unanswerable(check, "evidence"));
            }
        }
        Ok(())
    }
}

fn digest(
    report: &mut Report,
    check: Check,
    expected: Option<&Digest>,
    found: Option<&Digest>,
) -> Result<(), VerifyError> {
    let expected = expected.map(Digest::to_string);
    text(report, check, expected.as_deref(), &shown(found))
}

fn text(
    report: &mut Report,
    check: Check,
    expected: Option<&str>,
    found: &str,
) -> Result<(), VerifyError> {
    match expected {
        None => report.not_verified(check, &format!("no expected {check} was given")),
        Some(expected) if expected == found => report.verified(check),
        Some(expected) => {
            return Err(VerifyError::Unexpected {
                check,
                found: format!("{found:?}"),
                expected: format!("{expected:?}"),
            });
        }
    }
    Ok(())
}

fn unanswerable(check: Check, by: &str) -> VerifyError {
    VerifyError::Unexpected {
        check,
        found: format!("not said by {by}"),
        expected: "an answer; leave this expectation out".to_owned(),
    }
}

fn unpadded(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().rev().take_while(|byte| **byte == 0).count();
    bytes.split_at(bytes.len() - zeros).0
}

/// The text of a digest that may be absent.
fn shown(digest: Option<&Digest>) -> String {
    digest.map_or_else(|| "absent".to_owned(), Digest::to_string)
}
