//! SNP evidence that is altered and then signed anew, with the committed keys of the test PKI.
//!
//! A check of the verifier is only shown to work by evidence that nothing else is wrong with. Altered bytes alone
//! are refused for their signature, whatever else would have been; so what is altered here is signed again by
//! whoever signs such a thing: reports by the chip's key, its certificate by the ASK, the ASK by the ARK.
//!
//! Everything here panics when it fails: it is for tests alone.
#![allow(
    clippy::expect_used,
    reason = "the keys and certificates are committed, and what tests change is theirs to keep sound"
)]

use std::time::{Duration, SystemTime};

use proplet_hal::snp::{EndorsementKeyKind, RevocationLists, TrustRoots};
use proplet_hal::{Evidence, ReportData};
use ring::rand::SystemRandom;
use ring::rsa::KeyPair;
use ring::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, RSA_PSS_SHA384};
use x509_cert::certificate::TbsCertificate;
use x509_cert::crl::{CertificateList, RevokedCert, TbsCertList};
use x509_cert::der::asn1::{BitString, OctetString};
use x509_cert::der::{Decode as _, Encode as _, pem};
use x509_cert::ext::Extension;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::ObjectIdentifier;
use x509_cert::time::Time;
use x509_cert::{Certificate, Version};

use crate::tee::FakeSnp;

const ARK: &str = include_str!("../pki/ark.pem");
const ARK_KEY: &str = include_str!("../pki/ark-key.pem");
const ASK: &str = include_str!("../pki/ask.pem");
const ASK_KEY: &str = include_str!("../pki/ask-key.pem");
const CHIP_KEY: &[u8] = include_bytes!("../pki/chip-key.der");

const SIGNED_LEN: usize = 0x2a0;
/// Length of one half of a signature as reports store it, and of the number in it.
const STORED_SCALAR_LEN: usize = 72;
const SCALAR_LEN: usize = 48;

/// Who signs a certificate or a revocation list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signer {
    /// The test PKI's root.
    Ark,
    /// The test PKI's intermediate.
    Ask,
}

impl Signer {
    fn sign(self, bytes: &[u8]) -> BitString {
        let pem = match self {
            Self::Ark => ARK_KEY,
            Self::Ask => ASK_KEY,
        };
        let (_, key) = pem::decode_vec(pem.as_bytes()).expect("a key in PEM");
        let key = KeyPair::from_pkcs8(&key).expect("an RSA key");
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(&RSA_PSS_SHA384, &SystemRandom::new(), bytes, &mut signature)
            .expect("a signature");
        BitString::from_bytes(&signature).expect("whole bytes")
    }
}

/// A report, the certificate of the key that signed it and the roots, all sound until changed.
#[derive(Debug, Clone)]
pub struct Forged {
    kind: EndorsementKeyKind,
    report: Vec<u8>,
    certificate: Certificate,
    ask: Certificate,
    ark: Certificate,
}

impl Forged {
    /// Evidence of this fake as it is.
    pub fn of(tee: &FakeSnp, kind: EndorsementKeyKind, certificate: &[u8]) -> Self {
        let data = ReportData::new(&[0xab; 48]).expect("short enough");
        Self {
            kind,
            report: tee.report(&data).expect("a report"),
            certificate: Certificate::from_der(certificate).expect("a certificate"),
            ask: from_pem(ASK),
            ark: from_pem(ARK),
        }
    }

    /// Of a Genoa CPU with its VCEK.
    pub fn vcek() -> Self {
        let vcek = include_bytes!("../pki/vcek-genoa.der");
        Self::of(&FakeSnp::new(), EndorsementKeyKind::Vcek, vcek)
    }

    /// Of a Turin CPU with its VCEK.
    pub fn turin() -> Self {
        let tee = FakeSnp::builder().cpu(crate::tee::Cpu::Turin).build();
        let vcek = include_bytes!("../pki/vcek-turin.der");
        Self::of(&tee, EndorsementKeyKind::Vcek, vcek)
    }

    /// Of a Genoa CPU with a VLEK.
    pub fn vlek() -> Self {
        let vlek = include_bytes!("../pki/vlek.der");
        Self::of(
            &FakeSnp::builder().vlek().build(),
            EndorsementKeyKind::Vlek,
            vlek,
        )
    }

    /// Changes the report and has the chip sign it anew.
    #[must_use]
    pub fn report(mut self, change: impl FnOnce(&mut [u8])) -> Self {
        change(&mut self.report);
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, CHIP_KEY, &random)
            .expect("the chip's key");
        let (signed, area) = self.report.split_at_mut(SIGNED_LEN);
        let signature = key.sign(&random, signed).expect("a signature");
        area.fill(0);
        let stored = area.chunks_exact_mut(STORED_SCALAR_LEN);
        for (stored, number) in stored.zip(signature.as_ref().chunks_exact(SCALAR_LEN)) {
            for (to, from) in stored.iter_mut().zip(number.iter().rev()) {
                *to = *from;
            }
        }
        self
    }

    /// Changes the report after it was signed.
    #[must_use]
    pub fn report_as_it_is(mut self, change: impl FnOnce(&mut [u8])) -> Self {
        change(&mut self.report);
        self
    }

    /// Changes the endorsement key's certificate and signs it anew.
    #[must_use]
    pub fn certificate(mut self, signer: Signer, change: impl FnOnce(&mut TbsCertificate)) -> Self {
        self.certificate = signed(self.certificate, signer, change);
        self
    }

    /// Changes the endorsement key's certificate, its signature included, as it is.
    #[must_use]
    pub fn certificate_as_it_is(mut self, change: impl FnOnce(&mut Certificate)) -> Self {
        change(&mut self.certificate);
        self
    }

    /// Changes the roots' intermediate and has the root sign it anew.
    #[must_use]
    pub fn ask(mut self, change: impl FnOnce(&mut TbsCertificate)) -> Self {
        self.ask = signed(self.ask, Signer::Ark, change);
        self
    }

    /// Changes the root and has it sign itself anew. The intermediate follows its name.
    #[must_use]
    pub fn ark(mut self, change: impl FnOnce(&mut TbsCertificate)) -> Self {
        self.ark = signed(self.ark, Signer::Ark, change);
        let subject = self.ark.tbs_certificate.subject.clone();
        self.ask(|ask| ask.issuer = subject)
    }

    /// The report's bytes.
    pub fn report_bytes(&self) -> &[u8] {
        &self.report
    }

    /// The endorsement key's certificate in DER.
    pub fn certificate_der(&self) -> Vec<u8> {
        self.certificate.to_der().expect("DER")
    }

    /// The evidence as a host would send it.
    pub fn evidence(&self) -> Evidence {
        let certificate = self.certificate_der();
        Evidence::from_snp_report(&self.report, Some((self.kind, &certificate))).expect("a report")
    }

    /// The roots as a verifier would pin them.
    ///
    /// # Errors
    /// When a verifier does not take such roots.
    pub fn roots(&self) -> Result<TrustRoots, proplet_hal::snp::SnpError> {
        let [ark, ask] = [&self.ark, &self.ask].map(|certificate| certificate.to_der());
        TrustRoots::from_der(&[&ark.expect("DER"), &ask.expect("DER")])
    }
}

/// A revocation list of the test PKI's root.
#[derive(Debug, Clone)]
pub struct RevocationList {
    signer: Signer,
    content: TbsCertList,
}

impl RevocationList {
    /// Without entries, good from `from` for ten days, and signed by the root.
    pub fn empty(from: SystemTime) -> Self {
        let ark = from_pem(ARK).tbs_certificate;
        Self {
            signer: Signer::Ark,
            content: TbsCertList {
                version: Version::V2,
                signature: ark.signature,
                issuer: ark.subject,
                this_update: time(from),
                next_update: Some(time(from + Duration::from_secs(10 * 24 * 3600))),
                revoked_certificates: None,
                crl_extensions: None,
            },
        }
    }

    /// Names the test PKI's root or intermediate.
    #[must_use]
    pub fn revoking(mut self, revoked: Signer) -> Self {
        let certificate = match revoked {
            Signer::Ark => from_pem(ARK),
            Signer::Ask => from_pem(ASK),
        };
        let serial_number = certificate.tbs_certificate.serial_number;
        self.push(serial_number);
        self
    }

    /// Names a certificate that nobody has.
    #[must_use]
    pub fn revoking_another(mut self) -> Self {
        self.push(SerialNumber::new(&[0x5a; 9]).expect("a serial number"));
        self
    }

    fn push(&mut self, serial_number: SerialNumber) {
        let entries = self.content.revoked_certificates.get_or_insert_default();
        entries.push(RevokedCert {
            serial_number,
            revocation_date: self.content.this_update,
            crl_entry_extensions: None,
        });
    }

    /// Is signed by somebody else than it says.
    #[must_use]
    pub fn signed_by(mut self, signer: Signer) -> Self {
        self.signer = signer;
        self
    }

    /// Changes what is signed.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut TbsCertList)) -> Self {
        change(&mut self.content);
        self
    }

    /// The list in DER, signed.
    pub fn der(&self) -> Vec<u8> {
        let signature = self.signer.sign(&self.content.to_der().expect("DER"));
        let list = CertificateList {
            signature_algorithm: self.content.signature.clone(),
            tbs_cert_list: self.content.clone(),
            signature,
        };
        list.to_der().expect("DER")
    }

    /// The list as a verifier takes it.
    ///
    /// # Errors
    /// When a verifier does not take it.
    pub fn verified(
        &self,
        roots: &TrustRoots,
    ) -> Result<RevocationLists, proplet_hal::snp::SnpError> {
        let mut lists = RevocationLists::default();
        lists.add(&self.der(), roots)?;
        Ok(lists)
    }
}

/// Sets the content of an extension, `None` to take it away.
pub fn set_extension(certificate: &mut TbsCertificate, oid: &str, content: Option<&[u8]>) {
    let oid = ObjectIdentifier::new(oid).expect("an OID");
    let extensions = certificate.extensions.get_or_insert_default();
    extensions.retain(|extension| extension.extn_id != oid);
    if let Some(content) = content {
        extensions.push(Extension {
            extn_id: oid,
            critical: false,
            extn_value: OctetString::new(content).expect("short enough"),
        });
    }
}

/// A time as certificates write it.
pub fn time(at: SystemTime) -> Time {
    Time::try_from(at).expect("a time that certificates can say")
}

/// A certificate with this change, signed anew.
fn signed(
    mut certificate: Certificate,
    signer: Signer,
    change: impl FnOnce(&mut TbsCertificate),
) -> Certificate {
    change(&mut certificate.tbs_certificate);
    certificate.signature = signer.sign(&certificate.tbs_certificate.to_der().expect("DER"));
    certificate
}

fn from_pem(pem: &str) -> Certificate {
    let (_, der) = pem::decode_vec(pem.as_bytes()).expect("PEM");
    Certificate::from_der(&der).expect("a certificate")
}
