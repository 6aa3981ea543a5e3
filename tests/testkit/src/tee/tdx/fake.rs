//! The fake itself.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proplet_hal::{Evidence, EvidenceError, ReportData, TeeName, TeeProvider};
use ring::hmac;
use ring::signature::{EcdsaKeyPair, KeyPair as _};
use serde_json::json;

use super::pki::sign;
use super::quote::{Body, Header, QuoteForm, SignatureData, TD_REPORT_LEN};
use super::tampering::QuoteTampering;

/// Where the header's user data and the body's fields stand in a quote of version 4.
const USER_DATA_AT: usize = 28;

const BODY_AT: usize = 48;

const MR_TD_AT: usize = 136;

const REPORT_DATA_AT: usize = 520;

/// A fake TDX TEE whose evidence verifies under [`ROOT_PEM`](super::ROOT_PEM) with [`TdxCollateral::committed`](super::TdxCollateral::committed), and under
/// nothing else.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use proplet_hal::{ReportData, TeeProvider as _};
/// use proplet_testkit::tee::FakeTdx;
///
/// let tee = FakeTdx::builder().init_data(&[7; 32]).build();
/// let evidence = tee.evidence(&ReportData::new(b"a digest")?).await?;
/// assert!(evidence.evidence["quote"].is_string());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FakeTdx {
    pub(super) attestation_key: EcdsaKeyPair,
    pub(super) qe_report: Vec<u8>,
    pub(super) qe_report_signature: Vec<u8>,
    pub(super) qe_auth_data: Vec<u8>,
    pub(super) pck_chain: Vec<u8>,
    pub(super) header: Header,
    pub(super) body: Body,
    pub(super) form: QuoteForm,
    pub(super) event_log: Option<Vec<u8>>,
    pub(super) padding: usize,
    pub(super) tampering: Option<QuoteTampering>,
    pub(super) failure: Option<EvidenceError>,
    pub(super) calls: AtomicU64,
}

impl FakeTdx {
    /// The measurement that is reported unless the builder sets another.
    pub const MEASUREMENT: [u8; 48] = *b"fake TDX measurement: nothing measured it.......";

    /// The runtime measurements that are reported unless the builder sets others.
    pub const RTMRS: [[u8; 48]; 4] = [
        *b"fake RTMR0: no firmware of a TDX guest was here.",
        *b"fake RTMR1: no loader and no kernel was measured",
        *b"fake RTMR2: no command line and no initrd either",
        [0; 48],
    ];

    /// How often evidence was asked for, failures included.
    pub fn evidence_calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// A signed quote, as the quoting service would send it.
    #[must_use]
    pub fn quote(&self, report_data: &[u8; 64]) -> Vec<u8> {
        let mut report_data = *report_data;
        match self.tampering {
            Some(QuoteTampering::OtherReportData) => report_data[0] ^= 1,
            Some(QuoteTampering::ZeroReportData) => report_data = [0; 64],
            _ => {}
        }
        self.sign(&Body {
            report_data,
            ..self.body.clone()
        })
    }

    /// TDREPORT_STRUCT over this report data, as `/dev/tdx_guest` would write it. Its MAC is by a key that
    /// every fake has.
    #[must_use]
    pub fn td_report(&self, report_data: &[u8; 64]) -> [u8; TD_REPORT_LEN] {
        let body = Body {
            report_data: *report_data,
            ..self.body.clone()
        };
        body.td_report(mac)
    }

    /// The quote of a TDREPORT, as the quoting enclave makes it. `None` for anything that is not a
    /// TDREPORT of a fake: a real enclave checks the MAC too.
    #[must_use]
    pub fn quote_of(&self, td_report: &[u8]) -> Option<Vec<u8>> {
        let (body, _) = Body::of_td_report(td_report)?;
        (body.td_report(mac) == *td_report).then(|| match self.tampering {
            Some(QuoteTampering::OtherReportData | QuoteTampering::ZeroReportData) => {
                self.quote(&body.report_data)
            }
            _ => self.sign(&body),
        })
    }

    /// The log that is sent as `cc_eventlog`, when there is one.
    #[must_use]
    pub fn event_log(&self) -> Option<&[u8]> {
        self.event_log.as_deref()
    }

    fn sign(&self, body: &Body) -> Vec<u8> {
        let mut signed = body.signed_part(self.form, &self.header);
        let mut signature = sign(&self.attestation_key, &signed);
        let body_at = match self.form {
            QuoteForm::V4 => BODY_AT,
            _ => BODY_AT + 6,
        };
        let flipped = match self.tampering {
            Some(QuoteTampering::Signature) => signature.get_mut(40),
            Some(QuoteTampering::Header) => signed.get_mut(USER_DATA_AT),
            Some(QuoteTampering::MrTd) => signed.get_mut(body_at + MR_TD_AT),
            Some(QuoteTampering::ReportData) => signed.get_mut(body_at + REPORT_DATA_AT),
            _ => None,
        };
        if let Some(byte) = flipped {
            *byte ^= 1;
        }
        let point = self.attestation_key.public_key().as_ref();
        let certified = self.tampering != Some(QuoteTampering::NoCertificates);
        let data = SignatureData {
            signature: &signature,
            attestation_key: point.get(1..).unwrap_or_default(),
            qe_report: &self.qe_report,
            qe_report_signature: &self.qe_report_signature,
            qe_auth_data: &self.qe_auth_data,
            pck_chain: certified.then_some(&self.pck_chain[..]),
        };
        let mut quote = [signed, data.bytes()].concat();
        quote.resize(quote.len() + self.padding, 0);
        quote
    }
}

/// What stands in for the key that only the CPU has.
fn mac(report: &[u8]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"every fake has this key");
    let mut mac = [0; 32];
    mac.copy_from_slice(hmac::sign(&key, report).as_ref());
    mac
}

#[async_trait]
impl TeeProvider for FakeTdx {
    fn tee(&self) -> TeeName {
        TeeName::TDX
    }

    fn attester(&self) -> &str {
        "fake-tdx"
    }

    fn is_hardware(&self) -> bool {
        false
    }

    async fn evidence(&self, report_data: &ReportData) -> Result<Evidence, EvidenceError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let quote = STANDARD.encode(self.quote(&report_data.padded()));
        let log = self.event_log.as_ref().map(|log| STANDARD.encode(log));
        Ok(Evidence {
            tee: TeeName::TDX,
            evidence: json!({ "cc_eventlog": log, "quote": quote }),
        })
    }

    async fn init_data(&self) -> Result<Option<Vec<u8>>, EvidenceError> {
        let id = self.body.mr_config_id;
        Ok(id.iter().any(|byte| *byte != 0).then(|| id.to_vec()))
    }
}
