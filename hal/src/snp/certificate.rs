//! X.509 as far as AMD's SNP certificates need it.
//!
//! Parsing is RustCrypto's strict DER; a certificate that does not encode back to the same bytes is
//! refused, so the bytes whose signature is checked are the bytes that were parsed. Signatures are
//! checked by ring. Path building is not needed: the chain is always ARK, ASK, endorsement key.

use std::time::SystemTime;

use ring::signature::{RSA_PSS_2048_8192_SHA384, UnparsedPublicKey};
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, ObjectIdentifier};

use super::error::SnpError;
use crate::FormError;

/// Larger than any certificate of the chain (about 1.4 to 1.7 KiB).
pub(super) const MAX_CERTIFICATE_LEN: usize = 8 * 1024;

/// How much of a name is shown in a message, in characters.
const MAX_SHOWN_NAME: usize = 64;

const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// A parsed certificate and its role, which errors name. Nothing about it is verified yet.
#[derive(Debug, Clone)]
pub(super) struct Certificate {
    what: &'static str,
    parsed: x509_cert::Certificate,
    signed_part: Vec<u8>,
}

impl Certificate {
    /// Parses DER of at most [`MAX_CERTIFICATE_LEN`] bytes.
    pub(super) fn parse(what: &'static str, der: &[u8]) -> Result<Self, SnpError> {
        FormError::check_size(what, der.len(), MAX_CERTIFICATE_LEN)?;
        let malformed = |error| SnpError::malformed(what, error);
        let parsed = x509_cert::Certificate::from_der(der).map_err(malformed)?;
        if parsed.to_der().map_err(malformed)? != der {
            return Err(SnpError::malformed(what, "it is not in canonical DER"));
        }
        let signed_part = parsed.tbs_certificate.to_der().map_err(malformed)?;
        Ok(Self {
            what,
            parsed,
            signed_part,
        })
    }

    /// The same certificate under another role.
    pub(super) fn named(self, what: &'static str) -> Self {
        Self { what, ..self }
    }

    /// Whether both are the same certificate, whatever their roles.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.signed_part == other.signed_part
    }

    /// Whether issuer and subject are the same name, as in a root.
    pub(super) fn is_self_issued(&self) -> bool {
        self.is_issued_by(self)
    }

    /// Whether `issuer` has the name that this certificate gives as its issuer. No signature check.
    pub(super) fn is_issued_by(&self, issuer: &Self) -> bool {
        self.parsed.tbs_certificate.issuer == issuer.parsed.tbs_certificate.subject
    }

    /// Checks the signature with `issuer`'s key.
    pub(super) fn verify_signature(&self, issuer: &Self) -> Result<(), SnpError> {
        let signed = Signed {
            what: self.what,
            algorithms: [
                &self.parsed.signature_algorithm,
                &self.parsed.tbs_certificate.signature,
            ],
            bytes: &self.signed_part,
            signature: self.parsed.signature.as_bytes().unwrap_or_default(),
        };
        signed.verify(issuer)
    }

    /// Checks that `now` lies within the validity period, both ends included.
    pub(super) fn verify_validity(&self, now: SystemTime) -> Result<(), SnpError> {
        let validity = &self.parsed.tbs_certificate.validity;
        let state = if now < validity.not_before.to_system_time() {
            "not yet valid"
        } else if now > validity.not_after.to_system_time() {
            "expired"
        } else {
            return Ok(());
        };
        Err(SnpError::CertificateTime {
            what: self.what,
            state,
        })
    }

    /// The uncompressed point of a P-384 public key.
    pub(super) fn p384_key(&self) -> Result<&[u8], SnpError> {
        let key = &self.parsed.tbs_certificate.subject_public_key_info;
        let curve = key
            .algorithm
            .parameters
            .as_ref()
            .and_then(|p| p.decode_as().ok());
        if key.algorithm.oid != EC_PUBLIC_KEY || curve != Some(SECP384R1) {
            return Err(self.unusable("its key is not on P-384"));
        }
        key.subject_public_key
            .as_bytes()
            .ok_or_else(|| self.unusable("its key is not a whole number of bytes"))
    }

    /// The whole name of the subject.
    pub(super) fn subject(&self) -> &Name {
        &self.parsed.tbs_certificate.subject
    }

    /// The number that its issuer gave it.
    pub(super) fn serial(&self) -> &SerialNumber {
        &self.parsed.tbs_certificate.serial_number
    }

    /// The common name for a message, without what a terminal obeys; the role when there is none.
    pub(super) fn display_name(&self) -> String {
        let name = self
            .common_name()
            .and_then(|name| std::str::from_utf8(name).ok());
        let shown = name.unwrap_or(self.what).chars().take(MAX_SHOWN_NAME);
        shown
            .map(|letter| {
                if letter.is_ascii_graphic() {
                    letter
                } else {
                    '_'
                }
            })
            .collect()
    }

    /// The subject's common name, when there is exactly one.
    pub(super) fn common_name(&self) -> Option<&[u8]> {
        let names = self.parsed.tbs_certificate.subject.0.iter();
        let mut names = names
            .flat_map(|rdn| rdn.0.iter())
            .filter(|name| name.oid == COMMON_NAME);
        let name = names.next().map(|name| name.value.value());
        if names.next().is_some() { None } else { name }
    }

    /// The contents of an extension. `None` when it is absent.
    pub(super) fn extension(&self, oid: ObjectIdentifier) -> Result<Option<&[u8]>, SnpError> {
        let extensions = self
            .parsed
            .tbs_certificate
            .extensions
            .as_deref()
            .unwrap_or_default();
        let mut found = extensions
            .iter()
            .filter(|extension| extension.extn_id == oid);
        let value = found
            .next()
            .map(|extension| extension.extn_value.as_bytes());
        if found.next().is_some() {
            return Err(self.unusable("it has the same extension twice"));
        }
        Ok(value)
    }

    /// The error that says why this certificate cannot play its role.
    pub(super) fn unusable(&self, reason: &'static str) -> SnpError {
        SnpError::Certificate {
            what: self.what,
            reason,
        }
    }
}

/// Bytes that somebody signed: a certificate's or a revocation list's.
pub(super) struct Signed<'a> {
    pub(super) what: &'static str,
    /// The algorithm as it stands outside and inside of what was signed; both have to be the same.
    pub(super) algorithms: [&'a AlgorithmIdentifierOwned; 2],
    pub(super) bytes: &'a [u8],
    pub(super) signature: &'a [u8],
}

impl Signed<'_> {
    /// Checks the signature with `issuer`'s key: RSASSA-PSS with SHA-384 and a salt of 48 bytes, the
    /// only one that AMD uses.
    pub(super) fn verify(&self, issuer: &Certificate) -> Result<(), SnpError> {
        let [outer, inner] = self.algorithms;
        if outer.oid != RSASSA_PSS || outer != inner {
            return Err(SnpError::Certificate {
                what: self.what,
                reason: "it is not signed with RSASSA-PSS",
            });
        }
        let issuer_key = &issuer.parsed.tbs_certificate.subject_public_key_info;
        if issuer_key.algorithm.oid != RSA_ENCRYPTION {
            return Err(issuer.unusable("its key is not an RSA key, so it cannot be an issuer"));
        }
        let wrong = || SnpError::CertificateSignature { what: self.what };
        let key = issuer_key.subject_public_key.as_bytes().ok_or_else(wrong)?;
        UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, key)
            .verify(self.bytes, self.signature)
            .map_err(|_| wrong())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_larger_than_any_certificate_is_not_parsed() {
        let refused = Certificate::parse("VCEK", &vec![0x30; MAX_CERTIFICATE_LEN + 1]);
        assert!(matches!(
            refused,
            Err(SnpError::Form(FormError::TooLarge { what: "VCEK", .. }))
        ));
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_without_panic(der in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(Certificate::parse("VCEK", &der).is_err());
        }
    }
}
