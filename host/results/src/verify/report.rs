//! What a verification found.

use std::fmt;

use proplet_hal::TeeName;
use proplet_hal::verify::{Anchor, TeeFacts, Verified};
use proplet_types::Check;

use crate::claims::Claims;
use crate::receipt::ReceiptClaims;

/// The outcome of a verification in which nothing failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Every check, in the order in which it was made.
    pub checks: Vec<Checked>,
    /// What passed and still protects nothing, loudly.
    pub warnings: Vec<String>,
    /// The TEE that the evidence is of.
    pub tee: TeeName,
    /// What vouches for the evidence.
    pub anchor: Anchor,
    /// The launch measurement, empty when the TEE has none.
    pub measurement: Vec<u8>,
    /// The init-data binding (HOST_DATA), when it is set.
    pub init_data: Option<Vec<u8>>,
    /// What only this TEE says: the report or quote, the platform, the event log.
    pub facts: TeeFacts,
    /// The claims that the evidence signs.
    pub claims: Option<Claims>,
    /// What the receipt says. None for a bare bundle.
    pub receipt: Option<ReceiptClaims>,
}

/// One check, made or left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// What was to be checked.
    pub check: Check,
    /// How it went.
    pub outcome: CheckOutcome,
}

/// How a check went that did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckOutcome {
    /// It holds.
    Verified,
    /// Nothing was checked, for this reason.
    NotVerified(String),
}

impl Report {
    pub(super) fn new(verified: &Verified) -> Self {
        Self {
            checks: Vec::new(),
            warnings: Vec::new(),
            tee: verified.tee(),
            anchor: verified.anchor,
            measurement: verified.measurement.clone(),
            init_data: verified.init_data.clone(),
            facts: verified.facts.clone(),
            claims: None,
            receipt: None,
        }
    }

    /// How this check went; None when it does not apply.
    #[must_use]
    pub fn check(&self, check: Check) -> Option<&CheckOutcome> {
        self.checks
            .iter()
            .find(|checked| checked.check == check)
            .map(|checked| &checked.outcome)
    }

    /// The checks that were not made, with their reasons.
    pub fn not_verified_checks(&self) -> impl Iterator<Item = (Check, &str)> {
        self.checks
            .iter()
            .filter_map(|checked| match &checked.outcome {
                CheckOutcome::Verified => None,
                CheckOutcome::NotVerified(why) => Some((checked.check, why.as_str())),
            })
    }

    /// Whether every check was made and there are no warnings.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.warnings.is_empty() && self.not_verified_checks().next().is_none()
    }

    pub(super) fn verified(&mut self, check: Check) {
        self.checks.push(Checked {
            check,
            outcome: CheckOutcome::Verified,
        });
    }

    pub(super) fn not_verified(&mut self, check: Check, why: &str) {
        self.checks.push(Checked {
            check,
            outcome: CheckOutcome::NotVerified(why.to_owned()),
        });
    }

    pub(super) fn warn(&mut self, warning: &str) {
        self.warnings.push(warning.to_owned());
    }
}

/// One line per warning and per check.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for warning in &self.warnings {
            writeln!(f, "WARNING: {warning}")?;
        }
        for Checked { check, outcome } in &self.checks {
            match outcome {
                CheckOutcome::Verified => writeln!(f, "{check}: verified")?,
                CheckOutcome::NotVerified(why) => {
                    writeln!(f, "{check}: not verified, {why}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_complete_when_nothing_is_left_out_and_nothing_warned_of() {
        let mut report = Report {
            checks: Vec::new(),
            warnings: Vec::new(),
            tee: TeeName::SNP,
            anchor: Anchor::Vendor,
            measurement: vec![1; 48],
            init_data: None,
            facts: TeeFacts::Sample,
            claims: None,
            receipt: None,
        };
        report.verified(Check::Measurement);
        assert!(report.is_complete());
        let mut left_out = report.clone();
        left_out.not_verified(Check::Component, "nobody said which");
        assert!(!left_out.is_complete());
        report.warn("it is a fake");
        assert!(!report.is_complete());
    }
}
