//! X.509 as far as choosing collateral and naming what is wrong with it need it.
//!
//! Chains, signatures and revocation are `dcap-qvl`'s to check, with webpki. What is read here chooses
//! among the relying party's own files, and says by name what would be refused anyway.

use std::time::SystemTime;

use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use x509_cert::crl::CertificateList;
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::{AnyRef, OctetStringRef};
use x509_cert::ext::pkix::BasicConstraints;
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::ObjectIdentifier;

use super::TdxError;
use crate::FormError;

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP256R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
/// Intel's extension of PCK certificates; in it the kind of platform, and the provisioning enclave's number.
const SGX: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1");
const FMSPC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1.4");
const PCE_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1.3");
/// Larger than any certificate of Intel's.
const MAX_CERTIFICATE_LEN: usize = 16 * 1024;
/// Larger than Intel's lists of revoked certificates have ever been.
pub(super) const MAX_CRL_LEN: usize = 4 * 1024 * 1024;

/// A certificate. Nothing about it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Certificate {
    pub(super) der: Vec<u8>,
    pub(super) subject: Name,
    pub(super) issuer: Name,
    serial: SerialNumber,
    key: Vec<u8>,
    is_on_p256: bool,
    is_authority: bool,
    /// Contents of Intel's extension, in PCK certificates.
    sgx: Option<Vec<u8>>,
    validity: Validity,
}

/// When something is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: SystemTime,
    pub(super) until: SystemTime,
}

/// A list of revoked certificates. Nothing about it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Crl {
    pub(super) der: Vec<u8>,
    pub(super) issuer: Name,
    pub(super) validity: Validity,
    revoked: Vec<SerialNumber>,
}

impl Certificate {
    pub(super) fn parse(der: &[u8]) -> Result<Self, FormError> {
        const WHAT: &str = "certificate";
        FormError::check_size(WHAT, der.len(), MAX_CERTIFICATE_LEN)?;
        let parsed = x509_cert::Certificate::from_der(der)
            .map_err(|error| FormError::malformed(WHAT, error))?;
        let certificate = parsed.tbs_certificate;
        let info = &certificate.subject_public_key_info;
        let key = &info.subject_public_key;
        let curve = info.algorithm.parameters.as_ref();
        let curve = curve.and_then(|curve| curve.decode_as().ok());
        let constraints = certificate.get::<BasicConstraints>().ok().flatten();
        let extensions = certificate.extensions.as_deref().unwrap_or_default();
        let sgx = extensions.iter().find(|extension| extension.extn_id == SGX);
        Ok(Self {
            der: der.to_vec(),
            key: key.raw_bytes().to_vec(),
            is_authority: constraints.is_some_and(|(_, constraints)| constraints.ca),
            sgx: sgx.map(|extension| extension.extn_value.as_bytes().to_vec()),
            is_on_p256: info.algorithm.oid == EC_PUBLIC_KEY && curve == Some(SECP256R1),
            subject: certificate.subject,
            issuer: certificate.issuer,
            serial: certificate.serial_number,
            validity: Validity {
                from: certificate.validity.not_before.to_system_time(),
                until: certificate.validity.not_after.to_system_time(),
            },
        })
    }

    /// Whether its key is on P-256, as all of Intel's are and none of AMD's.
    pub(super) fn is_on_p256(&self) -> bool {
        self.is_on_p256
    }

    /// The kind of platform that a PCK certificate names (FMSPC), and its provisioning enclave's number (PCEID).
    pub(super) fn platform(&self) -> Option<([u8; 6], [u8; 2])> {
        let fields = Vec::<AnyRef<'_>>::from_der(self.sgx.as_deref()?).ok()?;
        let (mut fmspc, mut pce_id) = (None, None);
        for field in fields {
            let parts = field.decode_as::<Vec<AnyRef<'_>>>().ok()?;
            let [name, value] = parts.as_slice() else {
                continue;
            };
            let octets = || value.decode_as::<OctetStringRef<'_>>().ok();
            let name = name.decode_as::<ObjectIdentifier>().ok()?;
            if name == FMSPC {
                fmspc = Some(octets()?.as_bytes().try_into().ok()?);
            } else if name == PCE_ID {
                pce_id = Some(octets()?.as_bytes().try_into().ok()?);
            }
        }
        fmspc.zip(pce_id)
    }

    /// Whether it may issue others.
    pub(super) fn is_authority(&self) -> bool {
        self.is_authority
    }

    /// Whether subject and issuer are one name, as in a root.
    pub(super) fn is_self_issued(&self) -> bool {
        self.subject == self.issuer
    }

    /// Whether its key made this signature (ECDSA on P-256 with SHA-256, `r || s`).
    pub(super) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.key)
            .verify(message, signature)
            .is_ok()
    }

    /// That `now` is within its validity.
    pub(super) fn check_time(&self, what: &'static str, now: SystemTime) -> Result<(), TdxError> {
        match self.validity.state(now) {
            None => Ok(()),
            Some(state) => Err(TdxError::CertificateTime { what, state }),
        }
    }
}

impl Validity {
    /// What is wrong at this time, both ends included.
    pub(super) fn state(&self, now: SystemTime) -> Option<&'static str> {
        if now < self.from {
            Some("not yet valid")
        } else if now > self.until {
            Some("expired")
        } else {
            None
        }
    }
}

impl Crl {
    pub(super) fn parse(der: &[u8]) -> Result<Self, FormError> {
        const WHAT: &str = "certificate revocation list";
        FormError::check_size(WHAT, der.len(), MAX_CRL_LEN)?;
        let parsed = CertificateList::from_der(der)
            .map_err(|error| FormError::malformed(WHAT, error))?
            .tbs_cert_list;
        let until = parsed.next_update.ok_or_else(|| {
            FormError::malformed(WHAT, "it does not say when its next update is due")
        })?;
        let revoked = parsed.revoked_certificates.unwrap_or_default();
        Ok(Self {
            der: der.to_vec(),
            issuer: parsed.issuer,
            validity: Validity {
                from: parsed.this_update.to_system_time(),
                until: until.to_system_time(),
            },
            revoked: revoked
                .into_iter()
                .map(|entry| entry.serial_number)
                .collect(),
        })
    }

    /// Whether the certificate is on this list.
    pub(super) fn revokes(&self, certificate: &Certificate) -> bool {
        certificate.issuer == self.issuer && self.revoked.contains(&certificate.serial)
    }
}

/// A name as text, for people.
pub(super) fn shown(name: &Name) -> String {
    name.to_string().chars().take(200).collect()
}
