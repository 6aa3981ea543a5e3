//! `dcap-qvl`, and names for its refusals.

use std::time::{Duration, SystemTime};

use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{Policy, QuoteClaims};

use super::chosen::{Chosen, QE_IDENTITY, TCB_INFO};
use super::facts::{TdxPlatform, TdxTcb};
use super::{TcbStatus, TdxError, TdxTrust};

/// What was verified about the platform.
pub(super) struct Platform {
    pub(super) tcb: TdxTcb,
    pub(super) platform: TdxPlatform,
    pub(super) from: SystemTime,
    pub(super) until: SystemTime,
}

/// Every demand on what was verified is made by the caller, with a name.
struct Whatever;

impl Policy for Whatever {
    fn validate(&self, _: &QuoteClaims) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Verifies collateral, certificates and signatures under the pinned root.
pub(super) fn verify(
    quote: &[u8],
    chosen: &Chosen<'_>,
    trust: &TdxTrust,
    now: SystemTime,
) -> Result<Platform, TdxError> {
    let seconds = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    // A debuggable VM is the caller's to refuse, see `verify`.
    let claims = QuoteVerifier::new(trust.root.der().to_vec())
        .allow_debug(true)
        .verify_with_policy(quote, chosen.to_dcap(), seconds, &Whatever)
        .map_err(|error| named(&format!("{error:#}"), chosen))?;
    let status = claims.tcb.status.to_string();
    let pck = claims.platform.pck;
    let at = |seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    Ok(Platform {
        tcb: TdxTcb {
            status: status.parse().map_err(|_| refused(&status))?,
            advisories: claims.tcb.advisory_ids,
            date: claims.platform.tcb_level.tcb_date,
            evaluation: claims.tcb.eval_data_number,
        },
        platform: TdxPlatform {
            fmspc: pck.fmspc,
            ppid: pck.ppid,
            instance_id: pck.platform_instance_id,
            checked: false,
        },
        from: at(claims.latest_issue_date).unwrap_or(now),
        until: at(claims.earliest_expiration_date).unwrap_or(now),
    })
}

/// The typed error for a refusal, by the words of the pinned version. Tests hold each of them.
fn named(words: &str, chosen: &Chosen<'_>) -> TdxError {
    let says = |part: &str| words.contains(part);
    if says("CertRevoked") {
        let what = chosen.revoked().unwrap_or("root");
        return TdxError::CertificateRevoked { what };
    }
    if says("Failed to verify certificate chain")
        || says("root CA CRL")
        || says("signer must be issued")
    {
        return TdxError::Chain {
            reason: short(words),
        };
    }
    for (document, what) in [("tcb_info", TCB_INFO), ("qe_identity", QE_IDENTITY)] {
        if says(&format!("Signature is invalid for {document}")) {
            return TdxError::CollateralSignature { what };
        }
    }
    if says("ISV enclave report signature") {
        return TdxError::QuoteSignature;
    }
    if says("qe_report in quote") || says("QE report hash mismatch") || says("QE auth data") {
        return TdxError::QuotingEnclaveSignature;
    }
    if says("No matching TCB level found") {
        let fmspc = hex::encode(chosen.fmspc);
        return TdxError::NoTcbLevel { fmspc };
    }
    if says("TCB status is invalid: Revoked") {
        return TdxError::TcbStatus {
            status: TcbStatus::Revoked,
            date: "any".to_owned(),
            advisories: String::new(),
        };
    }
    if says("TDX module") {
        return TdxError::ModuleTcb {
            reason: short(words),
        };
    }
    if words.starts_with("QE ") || says("QE vendor ID") {
        return TdxError::QuotingEnclave {
            reason: short(words),
        };
    }
    refused(words)
}

fn refused(words: &str) -> TdxError {
    TdxError::Refused {
        reason: short(words),
    }
}

fn short(words: &str) -> String {
    words.chars().take(200).collect()
}
