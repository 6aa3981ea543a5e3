//! What a verifier needs beside a quote: TCB info, QE identity, revocation lists, and their chains.
//!
//! By default one TCB info serves every quote of the fake: its levels differ in the first component of
//! the CPU's security version, so a platform's version chooses the status ([`TcbStatus`]). Every part is
//! signed as Intel signs it. A test that wants something wrong changes it before it is signed
//! ([`TdxCollateralBuilder`]) or after ([`TdxCollateral`]'s fields).

use std::sync::Arc;

use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use super::pki::{Period, Platform, Revoked, TdxPki, sign, whole_seconds};
use super::svn::{PCE_SVN, QE_SVN, TEE_TCB_SVN, cpu_svn, tee_tcb_svn};

/// Who signed the fake quoting enclave.
pub(super) const QE_MR_SIGNER: [u8; 32] = *b"fake signer of quoting enclaves.";

/// The states that the default TCB info can give a platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcbStatus {
    /// Nothing is missing.
    UpToDate,
    /// Software must work around a known weakness.
    SwHardeningNeeded,
    /// The platform's configuration must change.
    ConfigurationNeeded,
    /// Both.
    ConfigurationAndSwHardeningNeeded,
    /// Firmware must be updated.
    OutOfDate,
    /// Firmware must be updated and the configuration must change.
    OutOfDateConfigurationNeeded,
    /// The platform's keys are not to be believed.
    Revoked,
    /// No level is low enough for this platform.
    Unknown,
}

impl TcbStatus {
    /// Every status.
    pub const ALL: [Self; 8] = [
        Self::UpToDate,
        Self::SwHardeningNeeded,
        Self::ConfigurationNeeded,
        Self::ConfigurationAndSwHardeningNeeded,
        Self::OutOfDate,
        Self::OutOfDateConfigurationNeeded,
        Self::Revoked,
        Self::Unknown,
    ];

    /// The name as Intel spells it. `Unknown` stands in no TCB info.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UpToDate => "UpToDate",
            Self::SwHardeningNeeded => "SWHardeningNeeded",
            Self::ConfigurationNeeded => "ConfigurationNeeded",
            Self::ConfigurationAndSwHardeningNeeded => "ConfigurationAndSWHardeningNeeded",
            Self::OutOfDate => "OutOfDate",
            Self::OutOfDateConfigurationNeeded => "OutOfDateConfigurationNeeded",
            Self::Revoked => "Revoked",
            Self::Unknown => "Unknown",
        }
    }

    /// The CPU's security version that the default TCB info gives this status.
    #[must_use]
    pub fn cpu_svn(self) -> [u8; 16] {
        cpu_svn(self.level())
    }

    /// The advisory that the default TCB info names beside this status.
    #[must_use]
    pub fn advisory(self) -> Option<&'static str> {
        (!matches!(self, Self::UpToDate | Self::Unknown)).then_some("TEST-SA-00001")
    }

    fn level(self) -> u8 {
        match self {
            Self::UpToDate => 9,
            Self::SwHardeningNeeded => 8,
            Self::ConfigurationNeeded => 7,
            Self::ConfigurationAndSwHardeningNeeded => 6,
            Self::OutOfDate => 5,
            Self::OutOfDateConfigurationNeeded => 4,
            Self::Revoked => 3,
            Self::Unknown => 1,
        }
    }
}

/// The states that the default TCB info and QE identity give a TDX module or a quoting enclave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComponentStatus {
    /// Nothing is missing.
    UpToDate,
    /// It must be updated.
    OutOfDate,
    /// It is not to be believed.
    Revoked,
}

impl ComponentStatus {
    /// TEE_TCB_SVN of a TDX module of this status.
    #[must_use]
    pub fn tee_tcb_svn(self) -> [u8; 16] {
        match self {
            Self::UpToDate => TEE_TCB_SVN,
            Self::OutOfDate => tee_tcb_svn(4),
            Self::Revoked => tee_tcb_svn(2),
        }
    }

    /// ISVSVN of a quoting enclave of this status.
    #[must_use]
    pub fn qe_svn(self) -> u16 {
        match self {
            Self::UpToDate => QE_SVN,
            Self::OutOfDate => 3,
            Self::Revoked => 2,
        }
    }
}

/// Collateral as `dcap-qvl` takes it (`QuoteCollateralV3`). Chains are PEM, leaf first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdxCollateral {
    /// Platform CA and root.
    pub pck_crl_issuer_chain: String,
    /// The root's revocation list, DER.
    pub root_ca_crl: Vec<u8>,
    /// The platform CA's revocation list, DER.
    pub pck_crl: Vec<u8>,
    /// Signer of the TCB info, and root.
    pub tcb_info_issuer_chain: String,
    /// The TCB info, the JSON text that is signed.
    pub tcb_info: String,
    /// `r || s` over it.
    pub tcb_info_signature: Vec<u8>,
    /// Signer of the QE identity, and root.
    pub qe_identity_issuer_chain: String,
    /// The QE identity, the JSON text that is signed.
    pub qe_identity: String,
    /// `r || s` over it.
    pub qe_identity_signature: Vec<u8>,
}

impl TdxCollateral {
    /// Collateral of the committed PKI for every quote of a [`super::FakeTdx`] with the default FMSPC.
    #[must_use]
    pub fn committed() -> Self {
        TdxCollateralBuilder::new(Arc::new(TdxPki::committed())).build()
    }

    /// The JSON form of `QuoteCollateralV3`: bytes are hex.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "pck_crl_issuer_chain": self.pck_crl_issuer_chain,
            "root_ca_crl": hex::encode(&self.root_ca_crl),
            "pck_crl": hex::encode(&self.pck_crl),
            "tcb_info_issuer_chain": self.tcb_info_issuer_chain,
            "tcb_info": self.tcb_info,
            "tcb_info_signature": hex::encode(&self.tcb_info_signature),
            "qe_identity_issuer_chain": self.qe_identity_issuer_chain,
            "qe_identity": self.qe_identity,
            "qe_identity_signature": hex::encode(&self.qe_identity_signature),
        })
    }
}

/// Collateral that is to be signed.
#[derive(Debug, Clone)]
#[must_use]
pub struct TdxCollateralBuilder {
    pki: Arc<TdxPki>,
    tcb_pki: Option<Arc<TdxPki>>,
    tcb_info: Value,
    qe_identity: Value,
    crls: Period,
    certificates: Period,
    revoked: Vec<Revoked>,
}

impl TdxCollateralBuilder {
    /// The default TCB info and QE identity, under this PKI, valid for a century.
    pub fn new(pki: Arc<TdxPki>) -> Self {
        let builder = Self {
            pki,
            tcb_pki: None,
            tcb_info: tcb_info(),
            qe_identity: qe_identity(),
            crls: Period::century(),
            certificates: Period::century(),
            revoked: Vec::new(),
        };
        builder
            .tcb_info_issued(Period::century())
            .qe_identity_issued(Period::century())
    }

    /// The TCB info is of this platform.
    pub fn fmspc(self, fmspc: [u8; 6]) -> Self {
        self.edit_tcb_info(|info| set(info, "fmspc", json!(hex::encode_upper(fmspc))))
    }

    /// The TCB evaluation data number of TCB info and QE identity.
    pub fn evaluation_data_number(mut self, number: u32) -> Self {
        for document in [&mut self.tcb_info, &mut self.qe_identity] {
            set(document, "tcbEvaluationDataNumber", json!(number));
        }
        self
    }

    /// `issueDate` and `nextUpdate` of the TCB info.
    pub fn tcb_info_issued(mut self, period: Period) -> Self {
        date(&mut self.tcb_info, period);
        self
    }

    /// `issueDate` and `nextUpdate` of the QE identity.
    pub fn qe_identity_issued(mut self, period: Period) -> Self {
        date(&mut self.qe_identity, period);
        self
    }

    /// When the revocation lists were made, and when the next ones come.
    pub fn crls_issued(mut self, period: Period) -> Self {
        self.crls = period;
        self
    }

    /// When the certificate of the TCB signer is valid.
    pub fn certificates_valid(mut self, period: Period) -> Self {
        self.certificates = period;
        self
    }

    /// A revocation list names this certificate.
    pub fn revoke(mut self, certificate: Revoked) -> Self {
        self.revoked.push(certificate);
        self
    }

    /// TCB info and QE identity are signed under another PKI; the revocation lists stay.
    pub fn tcb_signed_by(mut self, pki: Arc<TdxPki>) -> Self {
        self.tcb_pki = Some(pki);
        self
    }

    /// Changes the TCB info before it is signed.
    pub fn edit_tcb_info(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        edit(&mut self.tcb_info);
        self
    }

    /// Changes the QE identity before it is signed.
    pub fn edit_qe_identity(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        edit(&mut self.qe_identity);
        self
    }

    /// Signs everything.
    #[must_use]
    pub fn build(self) -> TdxCollateral {
        let tcb_pki = self.tcb_pki.as_ref().unwrap_or(&self.pki);
        let tcb_signer = tcb_pki.tcb_signer();
        let tcb_chain = tcb_pki.tcb_issuer_chain(self.certificates);
        let (tcb_info, qe_identity) = (self.tcb_info.to_string(), self.qe_identity.to_string());
        TdxCollateral {
            pck_crl_issuer_chain: self.pki.pck_issuer_chain(Period::century()),
            root_ca_crl: self.pki.root_crl(self.crls, &self.revoked),
            pck_crl: self.pki.pck_crl(self.crls, &self.revoked),
            tcb_info_issuer_chain: tcb_chain.clone(),
            tcb_info_signature: sign(&tcb_signer, tcb_info.as_bytes()),
            tcb_info,
            qe_identity_issuer_chain: tcb_chain,
            qe_identity_signature: sign(&tcb_signer, qe_identity.as_bytes()),
            qe_identity,
        }
    }
}

fn date(signed: &mut Value, period: Period) {
    let text = |time| {
        whole_seconds(time)
            .format(&Rfc3339)
            .unwrap_or_else(|error| error.to_string())
    };
    set(signed, "issueDate", json!(text(period.from)));
    set(signed, "nextUpdate", json!(text(period.until)));
}

fn set(document: &mut Value, member: &str, value: Value) {
    if let Some(members) = document.as_object_mut() {
        members.insert(member.to_owned(), value);
    }
}

fn tcb_info() -> Value {
    let svns = |svn: [u8; 16]| svn.map(|svn| json!({ "svn": svn })).to_vec();
    let levels: Vec<_> = TcbStatus::ALL
        .into_iter()
        .filter(|status| *status != TcbStatus::Unknown)
        .map(|status| {
            json!({
                "tcb": {
                    "sgxtcbcomponents": svns(status.cpu_svn()),
                    "pcesvn": PCE_SVN,
                    "tdxtcbcomponents": svns(tee_tcb_svn(0)),
                },
                "tcbDate": "2024-03-13T00:00:00Z",
                "tcbStatus": status.name(),
                "advisoryIDs": Vec::from_iter(status.advisory()),
            })
        })
        .collect();
    let module_levels = component_levels(|status| u16::from(status.tee_tcb_svn()[0]));
    // Intel's own modules are signed by nobody else: the signer's measurement is zero.
    let signer = "0".repeat(96);
    json!({
        "id": "TDX",
        "version": 3,
        "fmspc": hex::encode_upper(Platform::FMSPC),
        "pceId": "0000",
        "tcbType": 0,
        "tcbEvaluationDataNumber": 17,
        "tdxModule": {
            "mrsigner": signer,
            "attributes": "0000000000000000",
            "attributesMask": "FFFFFFFFFFFFFFFF",
        },
        "tdxModuleIdentities": [{
            "id": "TDX_01",
            "mrsigner": signer,
            "attributes": "0000000000000000",
            "attributesMask": "FFFFFFFFFFFFFFFF",
            "tcbLevels": module_levels,
        }],
        "tcbLevels": levels,
    })
}

fn qe_identity() -> Value {
    json!({
        "id": "TD_QE",
        "version": 2,
        "tcbEvaluationDataNumber": 17,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": "11000000000000000000000000000000",
        "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
        "mrsigner": hex::encode_upper(QE_MR_SIGNER),
        "isvprodid": 2,
        "tcbLevels": component_levels(ComponentStatus::qe_svn),
    })
}

/// The levels of a component that has one security version.
fn component_levels(svn: impl Fn(ComponentStatus) -> u16) -> Vec<Value> {
    let level = |status, name, advisories: &[&str]| {
        json!({
            "tcb": { "isvsvn": svn(status) },
            "tcbDate": "2024-03-13T00:00:00Z",
            "tcbStatus": name,
            "advisoryIDs": advisories,
        })
    };
    vec![
        level(ComponentStatus::UpToDate, "UpToDate", &[]),
        level(ComponentStatus::OutOfDate, "OutOfDate", &["TEST-SA-00002"]),
        level(ComponentStatus::Revoked, "Revoked", &["TEST-SA-00003"]),
    ]
}
