//! The PKI in place of Intel's: root, PCK platform CA, PCK, and the signer of collateral.
#![allow(
    clippy::expect_used,
    reason = "the committed keys are constant and every test loads them; signing fails only where a \
              machine has no random numbers"
)]

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
    CustomExtension, DistinguishedName, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, RevocationReason, RevokedCertParams, SerialNumber,
};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use time::OffsetDateTime;

use super::der;
use super::svn::{CPU_SVN_UP_TO_DATE, PCE_SVN};

/// The committed root certificate, PEM.
pub const ROOT_PEM: &str = include_str!("../../../pki/tdx-root.pem");
const ROOT_KEY: &[u8] = include_bytes!("../../../pki/tdx-root-key.der");
const CA_KEY: &[u8] = include_bytes!("../../../pki/tdx-ca-key.der");
const PCK_KEY: &[u8] = include_bytes!("../../../pki/tdx-pck-key.der");
const TCB_KEY: &[u8] = include_bytes!("../../../pki/tdx-tcb-key.der");

const CA_SERIAL: u64 = 0x11;
const PCK_SERIAL: u64 = 0x22;
const TCB_SERIAL: u64 = 0x33;
/// 1.2.840.113741.1.13.1
const SGX_EXTENSION: [u64; 7] = [1, 2, 840, 113_741, 1, 13, 1];
const SECONDS_OF_A_YEAR: u64 = 31_557_600;

/// From when to when something is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// The first moment.
    pub from: SystemTime,
    /// The last moment.
    pub until: SystemTime,
}

impl Period {
    /// 1 January 2020 to the end of 2119, so that a fake needs no clock.
    #[must_use]
    pub fn century() -> Self {
        let from = SystemTime::UNIX_EPOCH + Duration::from_secs(50 * SECONDS_OF_A_YEAR);
        Self {
            from,
            until: from + Duration::from_secs(99 * SECONDS_OF_A_YEAR),
        }
    }
}

/// A certificate of the PKI that a revocation list can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// The platform's.
    Pck,
    /// Its issuer.
    PlatformCa,
    /// The signer of TCB info and QE identity.
    TcbSigner,
}

/// What the PCK certificate says about a platform, in Intel's extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// The platform provisioning id.
    pub ppid: [u8; 16],
    /// The 16 security versions of the CPU. A level of the TCB info asks for each of them.
    pub cpu_svn: [u8; 16],
    /// The security version of the provisioning enclave.
    pub pce_svn: u16,
    /// The id of the provisioning enclave.
    pub pce_id: [u8; 2],
    /// Family, model, stepping, platform type and custom SKU. The TCB info names it too.
    pub fmspc: [u8; 6],
    /// 0 standard, 1 scalable, 2 scalable with integrity.
    pub sgx_type: u8,
    /// The id of this instance of the platform.
    pub platform_instance_id: [u8; 16],
    /// Packages may be added to the platform.
    pub dynamic: bool,
    /// Intel keeps the platform's root keys.
    pub cached_keys: bool,
    /// Hyper-threading is on.
    pub smt: bool,
}

impl Platform {
    /// The FMSPC unless another is set. Intel's begin with 0 or with the CPU's stepping.
    pub const FMSPC: [u8; 6] = [0xfa, 0xce, 0x7d, 0x10, 0x00, 0x00];

    /// The extension's contents.
    fn extension(&self) -> Vec<u8> {
        let octets = |bytes: &[u8]| der::value(der::OCTET_STRING, bytes);
        let flag = |set: bool| der::value(der::BOOLEAN, &[if set { 0xff } else { 0 }]);
        let mut tcb: Vec<_> = (1..=16_u8)
            .zip(self.cpu_svn)
            .map(|(number, svn)| der::entry(&[2, number], der::integer(svn.into())))
            .collect();
        tcb.push(der::entry(&[2, 17], der::integer(self.pce_svn)));
        tcb.push(der::entry(&[2, 18], octets(&self.cpu_svn)));
        let configuration = [
            der::entry(&[7, 1], flag(self.dynamic)),
            der::entry(&[7, 2], flag(self.cached_keys)),
            der::entry(&[7, 3], flag(self.smt)),
        ];
        der::sequence(&[
            der::entry(&[1], octets(&self.ppid)),
            der::entry(&[2], der::sequence(&tcb)),
            der::entry(&[3], octets(&self.pce_id)),
            der::entry(&[4], octets(&self.fmspc)),
            der::entry(&[5], der::value(der::ENUMERATED, &[self.sgx_type])),
            der::entry(&[6], octets(&self.platform_instance_id)),
            der::entry(&[7], der::sequence(&configuration)),
        ])
    }
}

impl Default for Platform {
    fn default() -> Self {
        Self {
            ppid: *b"fake test PPID..",
            cpu_svn: CPU_SVN_UP_TO_DATE,
            pce_svn: PCE_SVN,
            pce_id: [0, 0],
            fmspc: Self::FMSPC,
            sgx_type: 1,
            platform_instance_id: *b"fake instance id",
            dynamic: false,
            cached_keys: false,
            smt: true,
        }
    }
}

/// Keys and certificates in the form of Intel's provisioning PKI.
///
/// The committed one is what tests trust. Another with fresh keys and the same names is what a forger
/// could make.
pub struct TdxPki {
    root: KeyPair,
    ca: KeyPair,
    pck: KeyPair,
    tcb: KeyPair,
    root_pem: String,
}

impl TdxPki {
    /// The PKI whose root is [`ROOT_PEM`].
    #[must_use]
    pub fn committed() -> Self {
        let load = |der: &[u8]| {
            KeyPair::from_pkcs8_der_and_sign_algo(&der.into(), &PKCS_ECDSA_P256_SHA256)
                .expect("a committed key of the test PKI is sound")
        };
        Self {
            root: load(ROOT_KEY),
            ca: load(CA_KEY),
            pck: load(PCK_KEY),
            tcb: load(TCB_KEY),
            root_pem: ROOT_PEM.to_owned(),
        }
    }

    /// Fresh keys under the committed PKI's names.
    #[must_use]
    pub fn strangers() -> Self {
        let key = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("random numbers");
        let root = key();
        let root_pem = Self::root_params()
            .self_signed(&root)
            .expect("a root certificate")
            .pem();
        Self {
            root,
            ca: key(),
            pck: key(),
            tcb: key(),
            root_pem,
        }
    }

    /// The root certificate, PEM.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// The chain of a quote, leaf first, PEM.
    #[must_use]
    pub fn pck_chain(&self, platform: &Platform, pck: Period, ca: Period) -> String {
        let mut params = leaf("TEST SGX PCK Certificate", PCK_SERIAL, pck);
        params.crl_distribution_points = published_at("pckcrl?ca=platform");
        params.custom_extensions = vec![CustomExtension::from_oid_content(
            &SGX_EXTENSION,
            platform.extension(),
        )];
        let leaf = params
            .signed_by(&self.pck, &self.platform_ca_issuer())
            .expect("a PCK certificate");
        format!("{}{}", leaf.pem(), self.pck_issuer_chain(ca))
    }

    /// The chain of the PCK revocation list: platform CA and root, PEM.
    pub(super) fn pck_issuer_chain(&self, validity: Period) -> String {
        let mut params = Self::platform_ca_params();
        within(&mut params, validity);
        params.crl_distribution_points = published_at("rootcacrl");
        let ca = params
            .signed_by(&self.ca, &self.root_issuer())
            .expect("a platform CA certificate");
        format!("{}{}", ca.pem(), self.root_pem)
    }

    /// The chain of TCB info and QE identity: their signer and root, PEM.
    pub(super) fn tcb_issuer_chain(&self, validity: Period) -> String {
        let mut params = leaf("TEST SGX TCB Signing", TCB_SERIAL, validity);
        params.crl_distribution_points = published_at("rootcacrl");
        let signer = params
            .signed_by(&self.tcb, &self.root_issuer())
            .expect("a TCB signer's certificate");
        format!("{}{}", signer.pem(), self.root_pem)
    }

    /// The platform CA's revocation list, DER.
    pub(super) fn pck_crl(&self, period: Period, revoked: &[Revoked]) -> Vec<u8> {
        let serials = revoked
            .contains(&Revoked::Pck)
            .then_some(PCK_SERIAL)
            .into_iter();
        revocation_list(period, serials.collect(), &self.platform_ca_issuer())
    }

    /// The root's revocation list, DER.
    pub(super) fn root_crl(&self, period: Period, revoked: &[Revoked]) -> Vec<u8> {
        let serials = revoked.iter().filter_map(|certificate| match certificate {
            Revoked::PlatformCa => Some(CA_SERIAL),
            Revoked::TcbSigner => Some(TCB_SERIAL),
            Revoked::Pck => None,
        });
        revocation_list(period, serials.collect(), &self.root_issuer())
    }

    /// The key that signs quoting enclaves' reports.
    pub(super) fn pck_signer(&self) -> EcdsaKeyPair {
        signer(&self.pck)
    }

    /// The key that signs TCB info and QE identity.
    pub(super) fn tcb_signer(&self) -> EcdsaKeyPair {
        signer(&self.tcb)
    }

    fn root_params() -> CertificateParams {
        let mut params = authority("TEST SGX Root CA", BasicConstraints::Unconstrained);
        within(&mut params, Period::century());
        params
    }

    fn platform_ca_params() -> CertificateParams {
        let mut params = authority("TEST SGX PCK Platform CA", BasicConstraints::Constrained(0));
        params.serial_number = Some(SerialNumber::from(CA_SERIAL));
        params
    }

    fn root_issuer(&self) -> Issuer<'static, &KeyPair> {
        Issuer::new(Self::root_params(), &self.root)
    }

    fn platform_ca_issuer(&self) -> Issuer<'static, &KeyPair> {
        Issuer::new(Self::platform_ca_params(), &self.ca)
    }
}

impl std::fmt::Debug for TdxPki {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TdxPki")
            .field("root", &self.root_pem)
            .finish_non_exhaustive()
    }
}

/// A fresh key on P-256 that signs with `r || s`.
pub(super) fn fresh_signer() -> EcdsaKeyPair {
    signer(&KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("random numbers"))
}

fn signer(key: &KeyPair) -> EcdsaKeyPair {
    EcdsaKeyPair::from_pkcs8(
        &ECDSA_P256_SHA256_FIXED_SIGNING,
        key.serialized_der(),
        &SystemRandom::new(),
    )
    .expect("a P-256 key")
}

/// `r || s` over these bytes.
pub(super) fn sign(key: &EcdsaKeyPair, message: &[u8]) -> Vec<u8> {
    let signature = key.sign(&SystemRandom::new(), message);
    signature.expect("random numbers").as_ref().to_vec()
}

/// The name of every certificate here, in the order and encoding of the committed root.
fn name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(
        DnType::OrganizationName,
        "Proplet TEST PKI that protects nothing",
    );
    name.push(DnType::OrganizationalUnitName, "Fake TDX");
    name.push(DnType::CommonName, common_name);
    name
}

fn authority(common_name: &str, constraints: BasicConstraints) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(common_name);
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf(common_name: &str, serial: u64, validity: Period) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(common_name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::ContentCommitment,
    ];
    params.serial_number = Some(SerialNumber::from(serial));
    within(&mut params, validity);
    params
}

fn within(params: &mut CertificateParams, validity: Period) {
    params.not_before = whole_seconds(validity.from);
    params.not_after = whole_seconds(validity.until);
}

/// Where Intel's certificates say their revocation lists are. This host exists nowhere.
fn published_at(path: &str) -> Vec<CrlDistributionPoint> {
    vec![CrlDistributionPoint {
        uris: vec![format!(
            "https://pcs.test.invalid/sgx/certification/v4/{path}"
        )],
    }]
}

fn revocation_list(period: Period, serials: Vec<u64>, by: &Issuer<'_, &KeyPair>) -> Vec<u8> {
    let from = whole_seconds(period.from);
    let revoked = |serial: u64| RevokedCertParams {
        serial_number: SerialNumber::from(serial),
        revocation_time: from,
        reason_code: Some(RevocationReason::KeyCompromise),
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: from,
        next_update: whole_seconds(period.until),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: serials.into_iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list.signed_by(by).expect("a revocation list");
    list.der().to_vec()
}

pub(super) fn whole_seconds(time: SystemTime) -> OffsetDateTime {
    let time = OffsetDateTime::from(time);
    time.replace_nanosecond(0).unwrap_or(time)
}
