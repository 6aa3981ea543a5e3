//! Verification of TDX evidence.
//!
//! What is checked, in this order: sizes and layout; that the collateral at hand is of this kind of platform
//! and holds at the given time; then, by `dcap-qvl` under the **pinned** root, that the collateral is Intel's
//! and no certificate is revoked, that a PCK certificate vouches for the quoting enclave, the enclave for the
//! attestation key and that key for the quote, and which TCB level the platform has; what the VM's attributes,
//! XFAM and the TDX module's attributes demand; TCB status and advisories by the policy; lists of TDX modules
//! and machines; the replay of the event log.
//!
//! What is not: report data, measurement, RTMRs, MRCONFIGID and MROWNER. They are in [`TdxFacts`] for the
//! caller to judge; above all, a debuggable VM passes, with [`super::TdReport::debug`] set.
//!
//! `dcap-qvl` reads quote and collateral anew from the same bytes. What this parser is for is that nothing
//! without bounds reaches it, and that each refusal has a name.
//!
//! Sources: Intel TDX DCAP Quoting Library API; Intel TDX module ABI reference 1.5, section 3.3.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::ccel::{self, EventLog};
use super::chosen::Chosen;
use super::quote::{MAX_QUOTE_LEN, Quote};
use super::{TdReport, TdxError, TdxFacts, TdxTrust, dcap};
use crate::FormError;

/// Attributes of a VM whose meaning is known: DEBUG, SEPT_VE_DISABLE, MIGRATABLE, PKS, KL, PERFMON.
const KNOWN_ATTRIBUTES: u64 = TdReport::DEBUG
    | TdReport::SEPT_VE_DISABLE
    | TdReport::MIGRATABLE
    | (1 << 30)
    | (1 << 31)
    | (1 << 63);
/// CPU features that a VM has always (x87, SSE).
const XFAM_FIXED: u64 = 0x3;
/// CPU features that a VM can have.
const XFAM_KNOWN: u64 = 0x0006_dbe7;

/// Verifies TDX evidence in Trustee's form: `{"cc_eventlog":base64 or null,"quote":base64}`.
///
/// # Errors
/// [`TdxError`], see the module's documentation.
pub fn verify(evidence: &Value, trust: &TdxTrust, now: SystemTime) -> Result<TdxFacts, TdxError> {
    let quote = match evidence.get("quote") {
        Some(Value::String(text)) => decoded("TDX quote", text, MAX_QUOTE_LEN)?,
        _ => return Err(FormError::malformed("TDX quote", "it is missing").into()),
    };
    let log = match evidence.get("cc_eventlog") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(decoded("event log", text, ccel::MAX_LOG_LEN)?),
        Some(_) => return Err(FormError::malformed("event log", "it is not text").into()),
    };
    verify_quote(&quote, log.as_deref(), trust, now)
}

/// Verifies a quote as the quoting service gave it, and the event log that came with it, if any.
///
/// # Errors
/// [`TdxError`], see the module's documentation.
pub fn verify_quote(
    bytes: &[u8],
    event_log: Option<&[u8]>,
    trust: &TdxTrust,
    now: SystemTime,
) -> Result<TdxFacts, TdxError> {
    let quote = Quote::parse(bytes)?;
    let chosen = Chosen::for_quote(&quote, trust)?;
    chosen.check_times(now)?;
    let verified = dcap::verify(bytes, &chosen, trust, now);
    if matches!(
        verified,
        Ok(_) | Err(TdxError::Refused { .. } | TdxError::ModuleTcb { .. })
    ) {
        // The library minds some of this too, after all else, and has no names for it.
        check_attributes(&quote.report)?;
    }
    let verified = verified?;
    let mut facts = TdxFacts {
        quote_version: quote.version,
        report: quote.report,
        tcb: verified.tcb,
        platform: verified.platform,
        collateral_from: verified.from,
        collateral_until: verified.until,
        event_log: None,
        mr_seam_checked: false,
    };
    check_policy(&mut facts, trust)?;
    if let Some(log) = event_log {
        let log = EventLog::parse(log)?;
        log.check(&facts.report.rtmrs)?;
        facts.event_log = Some(log);
    }
    Ok(facts)
}

fn decoded(what: &'static str, text: &str, limit: usize) -> Result<Vec<u8>, TdxError> {
    FormError::check_size(what, text.len() / 4 * 3, limit.saturating_add(3))?;
    let bytes = STANDARD
        .decode(text)
        .map_err(|error| FormError::malformed(what, error))?;
    Ok(bytes)
}

/// What no VM that is worth its evidence has.
fn check_attributes(report: &TdReport) -> Result<(), TdxError> {
    let attributes = report.td_attributes;
    if attributes & !KNOWN_ATTRIBUTES != 0 {
        return Err(TdxError::Reserved {
            what: "TD attributes",
            bits: attributes & !KNOWN_ATTRIBUTES,
        });
    }
    if attributes & TdReport::SEPT_VE_DISABLE == 0 {
        return Err(TdxError::SeptVe);
    }
    if report.migratable() {
        return Err(TdxError::Migratable);
    }
    let xfam = report.xfam;
    if xfam & !XFAM_KNOWN != 0 || xfam & XFAM_FIXED != XFAM_FIXED {
        return Err(TdxError::Reserved {
            what: "XFAM",
            bits: (xfam & !XFAM_KNOWN) | (!xfam & XFAM_FIXED),
        });
    }
    if report.mr_signer_seam != [0; 48] {
        return Err(TdxError::ModuleSigner {
            signer: hex::encode(report.mr_signer_seam),
        });
    }
    if report.seam_attributes != 0 {
        return Err(TdxError::Reserved {
            what: "TDX module attributes",
            bits: report.seam_attributes,
        });
    }
    Ok(())
}

/// What the relying party decides.
fn check_policy(facts: &mut TdxFacts, trust: &TdxTrust) -> Result<(), TdxError> {
    let tcb = &facts.tcb;
    if !trust.tcb_statuses.contains(&tcb.status) {
        return Err(TdxError::TcbStatus {
            status: tcb.status,
            date: tcb.date.clone(),
            advisories: tcb.advisories.join(", "),
        });
    }
    let allowed = trust.allowed_advisories.as_ref();
    let refused = tcb.advisories.iter().find(|advisory| {
        trust.denied_advisories.contains(advisory)
            || allowed.is_some_and(|allowed| !allowed.contains(advisory))
    });
    if let Some(advisory) = refused {
        return Err(TdxError::Advisory {
            advisory: advisory.clone(),
        });
    }
    if !trust.mr_seam.is_empty() {
        if !trust.mr_seam.contains(&facts.report.mr_seam) {
            return Err(TdxError::Module {
                found: hex::encode(facts.report.mr_seam),
            });
        }
        facts.mr_seam_checked = true;
    }
    if !trust.platforms.is_empty() {
        let platform = &facts.platform;
        let named = |id: &[u8]| trust.platforms.iter().any(|known| known == id);
        let instance = platform.instance_id;
        if !named(&platform.ppid) && !instance.is_some_and(|id| named(&id)) {
            return Err(TdxError::Platform {
                ppid: hex::encode(&platform.ppid),
                instance: instance.map_or_else(|| "none".to_owned(), hex::encode),
            });
        }
        facts.platform.checked = true;
    }
    Ok(())
}
