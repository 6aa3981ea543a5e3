//! Evidence as it travels.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser as _;

use crate::snp::EndorsementKeyKind;
use crate::tdx::Quote;
use crate::{EvidenceError, TeeName};

/// Evidence of one TEE over one piece of report data: `{"tee":…,"evidence":…}`.
///
/// `evidence` is the JSON that Trustee's verifier takes for this TEE:
///
/// | tee | evidence |
/// | --- | --- |
/// | `snp` | `{"attestation_report":{…},"cert_chain":[{"cert_type":"VCEK","data":[…]}] or null}` |
/// | `tdx` | `{"cc_eventlog":base64 or null,"quote":base64}` |
/// | `sample` | `{"svn":"1","report_data":base64 of the unpadded bytes}` |
///
/// It holds nothing secret, and nothing in it may be believed before [`crate::verify::verify`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The TEE that the evidence claims to come from.
    pub tee: TeeName,
    /// The TEE's own evidence.
    pub evidence: serde_json::Value,
}

impl Evidence {
    /// SNP evidence from a report as the firmware wrote it (1184 bytes) and the DER certificate of the
    /// key that signed it. Without a certificate the verifier has to find it: Trustee asks AMD.
    ///
    /// # Errors
    /// [`EvidenceError::Malformed`] when the report does not parse.
    pub fn from_snp_report(
        report: &[u8],
        endorsement: Option<(EndorsementKeyKind, &[u8])>,
    ) -> Result<Self, EvidenceError> {
        let malformed = |error: &dyn std::fmt::Display| EvidenceError::Malformed {
            tee: TeeName::SNP,
            reason: error.to_string(),
        };
        let report = AttestationReport::from_bytes(report).map_err(|error| malformed(&error))?;
        let report = serde_json::to_value(report).map_err(|error| malformed(&error))?;
        let chain =
            endorsement.map(|(kind, der)| json!([{ "cert_type": kind.to_string(), "data": der }]));
        let evidence = json!({ "attestation_report": report, "cert_chain": chain });
        Ok(Self {
            tee: TeeName::SNP,
            evidence,
        })
    }

    /// TDX evidence from a quote as the quoting service gave it and the VM's event log, if it has one,
    /// as [`crate::tdx::ccel::trim`] gives it.
    ///
    /// # Errors
    /// [`EvidenceError::Malformed`] when the quote does not parse.
    pub fn from_tdx_quote(quote: &[u8], event_log: Option<&[u8]>) -> Result<Self, EvidenceError> {
        Quote::parse(quote).map_err(|error| EvidenceError::Malformed {
            tee: TeeName::TDX,
            reason: error.to_string(),
        })?;
        let event_log = event_log.map(|log| STANDARD.encode(log));
        let evidence = json!({ "cc_eventlog": event_log, "quote": STANDARD.encode(quote) });
        Ok(Self {
            tee: TeeName::TDX,
            evidence,
        })
    }
}
