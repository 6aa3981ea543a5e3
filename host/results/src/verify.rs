//! Verification for relying parties: offline, without a TEE, with a time that the caller gives.
//!
//! Every check ends in one of three ways. It fails: the whole verification does, with a [`VerifyError`].
//! It passes: the [`Report`] lists it as verified. Or nobody said what to expect: the report lists it as
//! **not verified**, with the reason, so that a reader sees what is only claimed. A report also carries
//! warnings about what passed but protects nothing: fakes, given roots, debuggable VMs.
//!
//! What claims are worth is what the launch measurement of the host is worth: without an expected
//! measurement a verification shows that *some* VM of this TEE said so. So that check alone is not left to
//! a reader of reports. It fails when no measurement is expected, unless the caller accepts
//! [any](ExpectedMeasurement::Any) in so many words, and then the report warns.

mod error;
mod expectations;
mod invocation;
mod on_demand;
mod report;
mod tdx;

use std::time::SystemTime;

use proplet_hal::verify::{self as hal, Anchor, TeeFacts, TrustPolicy, Verified};
use proplet_types::Check;

use crate::claims::{Claims, ClaimsKind};
use crate::receipt::{ReceiptClaims, SelfSigned};
use crate::{EvidenceBundle, ResultDocument};

pub use error::VerifyError;
pub use expectations::{Expectations, ExpectedMeasurement};
pub use invocation::ExpectedInvocation;
pub use report::{CheckOutcome, Checked, Report};
pub use tdx::TdxExpectations;

/// Verifies a result document without opening it.
///
/// Checked always: the evidence to the roots of `trust` at the time `now`; that it signs the claims;
/// that they are of kind `instance`; that the key they vouch for signed the receipt; that the receipt
/// names this evidence and this JWE, its recipients, settings and attester. Then every expectation.
///
/// # Errors
///
/// [`VerifyError`] for the first check that fails.
pub fn verify(
    document: &ResultDocument,
    trust: &TrustPolicy,
    expectations: &Expectations,
    now: SystemTime,
) -> Result<Report, VerifyError> {
    let (mut report, claims) = verify_evidence(&document.evidence, trust, expectations, now)?;
    if claims.kind() != ClaimsKind::Instance {
        return Err(VerifyError::Kind(claims.kind()));
    }
    report.verified(Check::EvidenceKind);

    let receipt = SelfSigned::read(&document.receipt)?;
    report.verified(Check::ReceiptSignature);
    if receipt.thumbprint != claims.cnf {
        return Err(VerifyError::ReceiptKey {
            receipt: receipt.thumbprint,
            evidence: claims.cnf,
        });
    }
    report.verified(Check::ReceiptKey);
    check_links(document, &claims, &receipt.claims)?;
    report.verified(Check::ReceiptEvidence);
    report.verified(Check::ReceiptResult);

    expectations.check_evidence(&mut report, &claims)?;
    expectations.check_receipt(&mut report, &receipt.claims)?;
    report.claims = Some(claims);
    report.receipt = Some(receipt.claims);
    Ok(report)
}

/// Verifies an evidence bundle of either kind.
///
/// Checked always: the evidence to the roots of `trust` at the time `now`, and that it signs the
/// claims. Then the expectations that apply to evidence; above all the challenge, without which the
/// evidence may be old.
///
/// # Errors
///
/// [`VerifyError`] for the first check that fails.
pub fn verify_bundle(
    bundle: &EvidenceBundle,
    trust: &TrustPolicy,
    expectations: &Expectations,
    now: SystemTime,
) -> Result<Report, VerifyError> {
    let (mut report, claims) = verify_evidence(bundle, trust, expectations, now)?;
    expectations.check_challenge(&mut report, &claims)?;
    expectations.check_evidence(&mut report, &claims)?;
    if let Some(workload) = &claims.workload {
        expectations.check_workload(&mut report, workload)?;
    }
    expectations.check_unanswerable(&claims)?;
    report.claims = Some(claims);
    Ok(report)
}

/// What the TEE vouches for, by itself.
fn verify_evidence(
    bundle: &EvidenceBundle,
    trust: &TrustPolicy,
    expectations: &Expectations,
    now: SystemTime,
) -> Result<(Report, Claims), VerifyError> {
    let claims = bundle.claims()?;
    let verified = hal::verify(&bundle.to_evidence(), trust, now)?;
    if !verified.binds(&claims.report_data()?) {
        return Err(VerifyError::ReportData);
    }
    let mut report = Report::new(&verified);
    if verified.anchor == Anchor::Nothing {
        report.not_verified(
            Check::Evidence,
            "this kind of evidence has no signature: anybody can write it",
        );
    } else {
        report.verified(Check::Evidence);
    }
    report.verified(Check::Claims);
    warn_of_fakes(&mut report, &verified, &claims);
    if claims.flavour.is_debug() {
        report.warn(
            "the host is of the DEBUG FLAVOUR of the VM image: whoever started that VM could log in, and read and \
             change everything in it, what it signs included",
        );
    }
    warn_of_old_reports(&mut report, &verified);
    if verified.debug {
        if !expectations.allow_debug {
            return Err(VerifyError::Debug);
        }
        report.not_verified(
            Check::Debug,
            "the VM can be read by its hypervisor, which was allowed",
        );
        report.warn("the evidence is of a DEBUGGABLE VM: its hypervisor can read everything in it");
    } else if verified.anchor != Anchor::Nothing {
        report.verified(Check::Debug);
    }
    if verified.migratable {
        return Err(VerifyError::Migratable);
    }
    expectations.check_vm(&mut report, &verified)?;
    on_demand::list(&mut report, &verified);
    Ok((report, claims))
}

fn warn_of_fakes(report: &mut Report, verified: &Verified, claims: &Claims) {
    match verified.anchor {
        Anchor::Vendor => {}
        Anchor::Given => report.warn(
            "the evidence rests on GIVEN ROOTS, not on the hardware vendor's: with roots of a test PKI \
             it proves nothing",
        ),
        _ => report.warn("the evidence is SAMPLE EVIDENCE: it proves nothing about anything"),
    }
    if claims.attester != verified.tee().as_str() {
        report.warn(&format!(
            "the host names its attester {:?}: it is a FAKE, not the TEE `{}`",
            claims.attester,
            verified.tee()
        ));
    }
}

fn warn_of_old_reports(report: &mut Report, verified: &Verified) {
    if let TeeFacts::Snp(snp) = &verified.facts
        && snp.version < 3
    {
        report.warn(&format!(
            "the SNP report is of VERSION {}, which does not name the CPU: that its root is that of its \
             generation was not checked",
            snp.version
        ));
    }
}

/// That evidence, receipt and JWE of a document are of one run.
fn check_links(
    document: &ResultDocument,
    claims: &Claims,
    receipt: &ReceiptClaims,
) -> Result<(), VerifyError> {
    let mismatch = |part, what| Err(VerifyError::Mismatch { part, what });
    if receipt.evidence_digest != document.evidence.digest()? {
        return mismatch("evidence", "digest of the evidence");
    }
    if receipt.settings_digest != claims.settings_digest {
        return mismatch("evidence", "settings");
    }
    if receipt.attester != claims.attester {
        return mismatch("evidence", "attester");
    }
    if receipt.flavour != claims.flavour {
        return mismatch("evidence", "flavour of the VM image");
    }
    if receipt.result_digest != document.jwe_digest()? {
        return mismatch("jwe", "digest of the sealed result");
    }
    let named: Vec<Option<&str>> = receipt
        .recipients
        .iter()
        .map(|r| Some(r.as_str()))
        .collect();
    if named != document.jwe.recipients() {
        return mismatch("jwe", "recipients");
    }
    Ok(())
}
