//! Settings of the fake TDX TEE.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use proplet_hal::{EvidenceError, ReportData};
use ring::digest::{SHA256, digest};
use ring::signature::KeyPair as _;

use super::collateral::{ComponentStatus, QE_MR_SIGNER, TcbStatus};
use super::event_log::EventLog;
use super::fake::FakeTdx;
use super::pki::{Period, Platform, TdxPki, fresh_signer, sign};
use super::quote::{Body, Header, QeReport, QuoteForm};
use super::svn::{CPU_SVN_UP_TO_DATE, QE_SVN, TEE_TCB_SVN};
use super::tampering::QuoteTampering;

/// TD_ATTRIBUTES: the host may read the trust domain's memory.
const DEBUG: u64 = 1;
/// TD_ATTRIBUTES: the host cannot make the guest handle a fault where memory was taken away.
const SEPT_VE_DISABLE: u64 = 1 << 28;
/// TD_ATTRIBUTES: the trust domain may be moved to another machine.
const MIGRATABLE: u64 = 1 << 29;

/// Settings of a [`FakeTdx`]. Without any, it reports a plain trust domain on an up-to-date platform.
#[derive(Debug, Clone)]
#[must_use]
pub struct FakeTdxBuilder {
    pki: Arc<TdxPki>,
    pck_signer: Option<Arc<TdxPki>>,
    platform: Platform,
    pck_validity: Period,
    ca_validity: Period,
    header: Header,
    body: Body,
    qe: QeReport,
    form: QuoteForm,
    event_log: Option<EventLog>,
    padding: usize,
    tampering: Option<QuoteTampering>,
    failure: Option<EvidenceError>,
}

impl FakeTdx {
    /// A fake with the default settings.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Settings for another fake.
    pub fn builder() -> FakeTdxBuilder {
        FakeTdxBuilder::new()
    }
}

impl Default for FakeTdx {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeTdxBuilder {
    pub(super) fn new() -> Self {
        let body = Body {
            tee_tcb_svn: TEE_TCB_SVN,
            mr_seam: *b"fake TDX module: no hardware measured this one..",
            mr_signer_seam: [0; 48],
            seam_attributes: [0; 8],
            td_attributes: SEPT_VE_DISABLE,
            xfam: 0x6_02e7,
            mr_td: FakeTdx::MEASUREMENT,
            mr_config_id: [0; 48],
            mr_owner: [0; 48],
            mr_owner_config: [0; 48],
            rtmrs: FakeTdx::RTMRS,
            report_data: [0; 64],
            tee_tcb_svn2: TEE_TCB_SVN,
            mr_service_td: [0; 48],
        };
        let qe = QeReport {
            cpu_svn: CPU_SVN_UP_TO_DATE,
            misc_select: 0,
            attributes: [0x11, 0, 0, 0, 0, 0, 0, 0, 0xe7, 0, 0, 0, 0, 0, 0, 0],
            mr_enclave: *b"fake quoting enclave: no SGX....",
            mr_signer: QE_MR_SIGNER,
            isv_prod_id: 2,
            isv_svn: QE_SVN,
            report_data: [0; 64],
        };
        Self {
            pki: Arc::new(TdxPki::committed()),
            pck_signer: None,
            platform: Platform::default(),
            pck_validity: Period::century(),
            ca_validity: Period::century(),
            header: Header::intel(),
            body,
            qe,
            form: QuoteForm::V4,
            event_log: None,
            padding: 0,
            tampering: None,
            failure: None,
        }
    }

    /// Reports this MRTD, the launch measurement.
    pub fn measurement(mut self, mr_td: [u8; 48]) -> Self {
        self.body.mr_td = mr_td;
        self
    }

    /// Reports this MRCONFIGID, as if the trust domain had been launched with it.
    pub fn mr_config_id(mut self, mr_config_id: [u8; 48]) -> Self {
        self.body.mr_config_id = mr_config_id;
        self
    }

    /// Reports a digest of at most 48 bytes in MRCONFIGID, with zeros after it.
    pub fn init_data(self, init_data: &[u8]) -> Self {
        let mut padded = [0; 48];
        for (to, from) in padded.iter_mut().zip(init_data) {
            *to = *from;
        }
        self.mr_config_id(padded)
    }

    /// Reports this MROWNER.
    pub fn mr_owner(mut self, mr_owner: [u8; 48]) -> Self {
        self.body.mr_owner = mr_owner;
        self
    }

    /// Reports this MROWNERCONFIG.
    pub fn mr_owner_config(mut self, mr_owner_config: [u8; 48]) -> Self {
        self.body.mr_owner_config = mr_owner_config;
        self
    }

    /// Reports these RTMRs, whatever an event log leads to.
    pub fn rtmrs(mut self, rtmrs: [[u8; 48]; 4]) -> Self {
        self.body.rtmrs = rtmrs;
        self
    }

    /// Sends this event log and reports the RTMRs that it leads to.
    pub fn event_log(mut self, log: EventLog) -> Self {
        self.body.rtmrs = log.rtmrs();
        self.event_log = Some(log);
        self
    }

    /// Reports these TD_ATTRIBUTES, whole.
    pub fn td_attributes(mut self, td_attributes: u64) -> Self {
        self.body.td_attributes = td_attributes;
        self
    }

    /// Reports a trust domain that its host may debug.
    pub fn debug(self, debug: bool) -> Self {
        self.td_attribute(DEBUG, debug)
    }

    /// Reports a trust domain that may be migrated.
    pub fn migratable(self, migratable: bool) -> Self {
        self.td_attribute(MIGRATABLE, migratable)
    }

    /// Reports whether faults on memory that was taken away reach the guest. On unless set.
    pub fn sept_ve_disable(self, disable: bool) -> Self {
        self.td_attribute(SEPT_VE_DISABLE, disable)
    }

    fn td_attribute(mut self, bit: u64, set: bool) -> Self {
        self.body.td_attributes &= !bit;
        self.body.td_attributes |= if set { bit } else { 0 };
        self
    }

    /// Reports this XFAM: which extended states the trust domain may use.
    pub fn xfam(mut self, xfam: u64) -> Self {
        self.body.xfam = xfam;
        self
    }

    /// Reports this measurement of the TDX module and of its signer. Intel's signer is zeros.
    pub fn module(mut self, mr_seam: [u8; 48], mr_signer_seam: [u8; 48]) -> Self {
        self.body.mr_seam = mr_seam;
        self.body.mr_signer_seam = mr_signer_seam;
        self
    }

    /// Reports these attributes of the TDX module.
    pub fn seam_attributes(mut self, seam_attributes: [u8; 8]) -> Self {
        self.body.seam_attributes = seam_attributes;
        self
    }

    /// Reports service TDs (TDX 1.5).
    pub fn mr_service_td(mut self, mr_service_td: [u8; 48]) -> Self {
        self.body.mr_service_td = mr_service_td;
        self
    }

    /// The TDX module that the trust domain was launched under has this status.
    pub fn module_status(mut self, status: ComponentStatus) -> Self {
        self.body.tee_tcb_svn = status.tee_tcb_svn();
        self
    }

    /// The TDX module that runs now has this status (TDX 1.5). With an older one at launch, a relaunch is
    /// advised.
    pub fn current_module_status(mut self, status: ComponentStatus) -> Self {
        self.body.tee_tcb_svn2 = status.tee_tcb_svn();
        self
    }

    /// TEE_TCB_SVN at launch, whole.
    pub fn tee_tcb_svn(mut self, tee_tcb_svn: [u8; 16]) -> Self {
        self.body.tee_tcb_svn = tee_tcb_svn;
        self
    }

    /// The platform's TCB has this status.
    pub fn status(mut self, status: TcbStatus) -> Self {
        self.platform.cpu_svn = status.cpu_svn();
        self
    }

    /// The quoting enclave has this status.
    pub fn qe_status(mut self, status: ComponentStatus) -> Self {
        self.qe.isv_svn = status.qe_svn();
        self
    }

    /// The quoting enclave was signed by somebody else.
    pub fn qe_mr_signer(mut self, mr_signer: [u8; 32]) -> Self {
        self.qe.mr_signer = mr_signer;
        self
    }

    /// The quoting enclave is another product.
    pub fn qe_product(mut self, isv_prod_id: u16) -> Self {
        self.qe.isv_prod_id = isv_prod_id;
        self
    }

    /// The quoting enclave has these attributes, 8 bytes of flags and 8 of XFRM; bit 1 is debug.
    pub fn qe_attributes(mut self, attributes: [u8; 16]) -> Self {
        self.qe.attributes = attributes;
        self
    }

    /// The quoting enclave's MISCSELECT.
    pub fn qe_misc_select(mut self, misc_select: u32) -> Self {
        self.qe.misc_select = misc_select;
        self
    }

    /// The header's type of attestation key; 2 unless set, ECDSA on P-256.
    pub fn attestation_key_type(mut self, kind: u16) -> Self {
        self.header.attestation_key_type = kind;
        self
    }

    /// The header's vendor of the quoting enclave.
    pub fn qe_vendor_id(mut self, vendor: [u8; 16]) -> Self {
        self.header.qe_vendor_id = vendor;
        self
    }

    /// What the PCK certificate says about the platform.
    pub fn platform(mut self, platform: Platform) -> Self {
        self.platform = platform;
        self
    }

    /// When the PCK certificate is valid.
    pub fn pck_validity(mut self, validity: Period) -> Self {
        self.pck_validity = validity;
        self
    }

    /// When the platform CA's certificate is valid.
    pub fn ca_validity(mut self, validity: Period) -> Self {
        self.ca_validity = validity;
        self
    }

    /// Everything is signed under this PKI.
    pub fn pki(mut self, pki: Arc<TdxPki>) -> Self {
        self.pki = pki;
        self
    }

    /// The quoting enclave's report is signed by this PKI's platform, under the certificates of the other.
    pub fn qe_signed_by(mut self, pki: Arc<TdxPki>) -> Self {
        self.pck_signer = Some(pki);
        self
    }

    /// Quotes have this form.
    pub fn form(mut self, form: QuoteForm) -> Self {
        self.form = form;
        self
    }

    /// Zeros stand after each quote, as many hosts send them.
    pub fn padding(mut self, zeros: usize) -> Self {
        self.padding = zeros;
        self
    }

    /// Spoils the quotes in this way.
    pub fn tampering(mut self, tampering: QuoteTampering) -> Self {
        self.tampering = Some(tampering);
        self
    }

    /// Answers every request with this error.
    pub fn failing(mut self, failure: EvidenceError) -> Self {
        self.failure = Some(failure);
        self
    }

    /// The fake.
    #[must_use]
    pub fn build(mut self) -> FakeTdx {
        let attestation_key = fresh_signer();
        // What Intel's enclave puts here means nothing to a verifier.
        let mut qe_auth_data: Vec<u8> = (0..32).collect();
        let point = attestation_key.public_key().as_ref();
        let point = point.get(1..).unwrap_or_default();
        let bound = digest(&SHA256, &[point, &qe_auth_data].concat());
        self.qe.report_data = ReportData::new(bound.as_ref()).map_or([0; 64], |data| data.padded());
        let mut qe_report = self.qe.bytes();
        let pck = self.pck_signer.as_ref().unwrap_or(&self.pki).pck_signer();
        let mut qe_report_signature = sign(&pck, &qe_report);

        let flipped = match self.tampering {
            // The measurement of the quoting enclave, which no identity fixes.
            Some(QuoteTampering::QeReport) => qe_report.get_mut(64),
            Some(QuoteTampering::QeReportSignature) => qe_report_signature.get_mut(40),
            Some(QuoteTampering::QeAuthData) => qe_auth_data.get_mut(0),
            _ => None,
        };
        if let Some(byte) = flipped {
            *byte ^= 1;
        }
        let attestation_key = match self.tampering {
            Some(QuoteTampering::AttestationKey) => fresh_signer(),
            _ => attestation_key,
        };
        let chain = self
            .pki
            .pck_chain(&self.platform, self.pck_validity, self.ca_validity);
        FakeTdx {
            attestation_key,
            qe_report,
            qe_report_signature,
            qe_auth_data,
            pck_chain: chain.into_bytes(),
            header: self.header,
            body: self.body,
            form: self.form,
            event_log: self.event_log.map(|log| log.trimmed()),
            padding: self.padding,
            tampering: self.tampering,
            failure: self.failure,
            calls: AtomicU64::new(0),
        }
    }
}
