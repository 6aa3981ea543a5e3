//! One piece of evidence, made and verified, and what that showed.

use std::time::{Duration, SystemTime};

use proplet_hal::{
    Evidence, ReportData, TeeName, TeeProvider as _,
    hardware::HardwareTee,
    snp::SnpTrust,
    tdx::{TcbStatus, TdxError, TdxFacts, TdxTrust, time},
    verify::{Anchor, AppraisalError, TeeFacts, TeeTrust, TrustPolicy, Verified, verify},
};
use proplet_types::Code;
use tokio::time::Instant;

use crate::cli::{arguments::Detect, error::CliError, trusted};

/// What became of one piece of evidence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Made {
    /// Why it was not made or does not verify. None when it does.
    pub failure: Option<Failure>,
    /// How long it took to make, certificates included.
    pub latency: Duration,
    /// The certificate that goes along: `VCEK` or `VLEK`, and `PCK` in a quote.
    pub certificate: Option<String>,
    /// Whether the event log goes along. None where there is no such thing.
    pub event_log: Option<bool>,
    /// What was checked and holds.
    pub checked: Vec<String>,
    /// What was not checked.
    pub unchecked: Vec<String>,
    /// What the vendor says of the machine, by name.
    pub platform: Vec<(&'static str, String)>,
    /// What to do about what is missing.
    pub next: Vec<String>,
}

/// Why evidence was not made or does not verify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub code: Code,
    pub words: String,
}

/// Whose evidence is believed.
pub(super) fn policy(arguments: &Detect) -> Result<TrustPolicy, CliError> {
    let (snp_roots, tdx_root) = trusted::roots(arguments.roots.as_deref())?;
    let collateral = trusted::collateral(&arguments.collateral)?;
    let mut tdx = TdxTrust::new(tdx_root).with_collateral(collateral);
    tdx.tcb_statuses.extend(&arguments.allow_tcb_status);
    let snp = SnpTrust {
        // The reports of this machine are judged as they come.
        minimum_version: 2,
        ..SnpTrust::new(snp_roots)
    };
    Ok(TrustPolicy::of(TeeTrust::Snp(Box::new(snp))).and(TeeTrust::Tdx(Box::new(tdx))))
}

/// Makes one piece of evidence and verifies it: down to the roots, and over what was asked.
pub(super) async fn make(
    hardware: &HardwareTee,
    policy: &TrustPolicy,
    now: SystemTime,
) -> Result<Made, CliError> {
    // Any data will do that nobody has seen before.
    let nonce = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()].map(uuid::Uuid::into_bytes);
    let asked = ReportData::new(nonce.as_flattened())
        .map_err(|error| CliError::new(Code::Internal, error.to_string()))?;
    let started = Instant::now();
    let evidence = hardware.evidence(&asked).await;
    let latency = started.elapsed();
    let evidence = match evidence {
        Ok(evidence) => evidence,
        Err(error) => {
            let (code, words) = (error.code(), error.to_string());
            return Ok(Made {
                failure: Some(Failure { code, words }),
                latency,
                ..Made::default()
            });
        }
    };
    let made = Made {
        latency,
        certificate: certificate(&evidence),
        event_log: (evidence.tee == TeeName::TDX).then(|| {
            evidence
                .evidence
                .get("cc_eventlog")
                .is_some_and(|log| !log.is_null())
        }),
        // The host refuses its own evidence otherwise.
        checked: vec!["report data: it is over what was asked".to_owned()],
        ..Made::default()
    };
    Ok(match verify(&evidence, policy, now) {
        Ok(verified) if !verified.binds(&asked) => {
            made.refused("it is over other report data".to_owned())
        }
        Ok(verified) => made.verified(&verified),
        Err(AppraisalError::Tdx(error @ TdxError::NoCollateral { .. })) => made.uncollated(&error),
        Err(error) => made.refused(error.to_string()),
    })
}

/// The certificate that came along.
fn certificate(evidence: &Evidence) -> Option<String> {
    if evidence.tee == TeeName::TDX {
        // A quote without one is none.
        return Some("PCK".to_owned());
    }
    let kind = evidence.evidence.pointer("/cert_chain/0/cert_type")?;
    kind.as_str().map(str::to_owned)
}

impl Made {
    fn refused(mut self, words: String) -> Self {
        if self.certificate.is_none() {
            self.next.push(
                "no certificate of the key that signs reports: have the host give one, or set \
                 [attestation] certificates or certificates_url"
                    .to_owned(),
            );
        }
        self.unchecked
            .push("everything that stands on the signature".to_owned());
        self.failure = Some(Failure {
            code: Code::NotVerified,
            words: format!("the evidence was made and does not verify: {words}"),
        });
        self
    }

    /// A quote that nothing is known of to verify it with.
    fn uncollated(mut self, error: &TdxError) -> Self {
        self.unchecked = [
            "the signature of the quote, and that Intel vouches for its quoting enclave",
            "whether Intel revoked a certificate of the chain",
            "the TCB status of the platform, and which advisories apply to it",
        ]
        .map(str::to_owned)
        .to_vec();
        self.next.push(error.to_string());
        self.failure = Some(Failure {
            code: Code::NotVerified,
            words: format!("the evidence was made and was not verified: {error}"),
        });
        self
    }

    fn verified(mut self, verified: &Verified) -> Self {
        let vouch = match (verified.anchor, &verified.facts) {
            (Anchor::Vendor, TeeFacts::Snp(_)) => "AMD vouches",
            (Anchor::Vendor, _) => "Intel vouches",
            _ => "the given roots vouch",
        };
        self.checked.push(format!(
            "signature: {vouch} for the key that signed the evidence"
        ));
        if !verified.debug && !verified.migratable {
            self.checked
                .push("the hypervisor may neither debug nor migrate this VM".to_owned());
        }
        match &verified.facts {
            TeeFacts::Snp(report) => {
                self.platform.push(("chip", hex(&report.chip_id)));
                self.platform
                    .push(("signing key", report.signing_key.to_string()));
            }
            TeeFacts::Tdx(facts) => self.verified_tdx(facts),
            _ => {}
        }
        for on_demand in verified.on_demand.iter().filter(|check| !check.made) {
            self.unchecked
                .push(format!("{}: see `proplet verify`", on_demand.check));
        }
        self.unchecked
            .push("measurement: only you know the one to expect".to_owned());
        self
    }

    fn verified_tdx(&mut self, facts: &TdxFacts) {
        let (tcb, platform) = (&facts.tcb, &facts.platform);
        let advisories = match tcb.advisories.as_slice() {
            [] => "none".to_owned(),
            some => some.join(", "),
        };
        self.checked
            .push("revocation: Intel revoked no certificate of the chain".to_owned());
        self.checked.push(format!("TCB status: {}", tcb.status));
        if tcb.status != TcbStatus::UpToDate {
            self.next.push(format!(
                "the platform's TCB status is {} (advisories: {advisories}), which verifiers refuse unless told: \
                 have its firmware updated",
                tcb.status
            ));
        }
        self.platform.extend([
            ("TCB status", tcb.status.to_string()),
            ("TCB date", tcb.date.clone()),
            ("advisories", advisories),
            ("FMSPC", hex(&platform.fmspc)),
            ("PPID", hex(&platform.ppid)),
            ("collateral until", time::shown(facts.collateral_until)),
        ]);
        match &facts.event_log {
            Some(log) => self.checked.push(format!(
                "event log: its {} records lead to the RTMRs",
                log.records.len()
            )),
            None => self.unchecked.push("event log: none came along".to_owned()),
        }
        for (what, made) in [
            ("tdx-module", facts.mr_seam_checked),
            ("tdx-platform", platform.checked),
        ] {
            if !made {
                self.unchecked.push(format!("{what}: see `proplet verify`"));
            }
        }
    }
}

/// Bytes as pairs of digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
