//! Verification of AMD SEV-SNP evidence.
//!
//! What is checked, in this order: sizes; report version and layout; that exactly one VCEK or VLEK
//! certificate came along and is of the kind that the report names; that a **pinned** ASK issued it
//! and the ASK's pinned ARK is the root of the report's CPU generation; validity of all three at the
//! given time; the report's signature; that the certificate was issued for the report's TCB, and for
//! its chip (VCEK only); VMPL 0. Then what the verifier's [`SnpTrust`] demands beyond: revocation lists, the
//! lowest TCB, chips, keys, and the guest policy.
//!
//! What is not: what was not demanded, and report data, measurement and HOST_DATA. They are in
//! [`SnpReport`] for the caller to judge; above all, a debuggable VM passes with [`SnpReport::debug`] set.
//!
//! The signature is checked over the report's bytes as they are. Trustee's JSON form names fields
//! instead, so those are first put back into bytes, and everything returned is read from the signed
//! bytes, never from the JSON: a field that the signature does not cover cannot speak.
//!
//! Sources: AMD 56860 (SEV-SNP firmware ABI), AMD 57230 (VCEK and KDS interface).

use std::time::SystemTime;

use ring::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use serde::Deserialize as _;
use serde_json::Value;
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser as _;
use x509_cert::spki::ObjectIdentifier;

use super::certificate::{Certificate, MAX_CERTIFICATE_LEN};
use super::error::SnpError;
use super::kinds::EndorsementKeyKind;
use super::report::{self, SnpReport};
use super::trust::SnpTrust;
use crate::FormError;

/// More entries than a certificate table has kinds of certificates.
const MAX_CHAIN_ENTRIES: usize = 16;

/// Length of one half of a signature as reports store it: little-endian with leading room.
const STORED_SCALAR_LEN: usize = 72;
/// Length of the number itself on P-384.
const SCALAR_LEN: usize = 48;

/// Verifies SNP evidence in Trustee's form:
/// `{"attestation_report":{…},"cert_chain":[{"cert_type":"VCEK","data":[…]}]}`.
///
/// Only the VCEK or VLEK entry of `cert_chain` is used; entries of other kinds are passed over.
///
/// # Errors
/// [`SnpError`], see the module's documentation.
pub fn verify(evidence: &Value, trust: &SnpTrust, now: SystemTime) -> Result<SnpReport, SnpError> {
    let fields = evidence.get("attestation_report").unwrap_or(&Value::Null);
    let fields = AttestationReport::deserialize(fields)
        .map_err(|error| SnpError::malformed("attestation_report", error))?;
    report::check_version(fields.version, trust.minimum_version)?;
    let report = fields
        .to_bytes()
        .map_err(|error| SnpError::malformed("attestation_report", error))?;
    let (label, endorsement) = endorsement(evidence)?;
    let endorsement = EndorsementKey::parse(&endorsement)?;
    if endorsement.kind != label {
        return Err(endorsement
            .certificate
            .unusable("it is labelled as a key of another kind"));
    }
    endorsement.verify(&report, trust, now)
}

/// Verifies a report as the firmware wrote it ([`super::REPORT_LEN`] bytes) and the DER certificate of the
/// VCEK or VLEK that signed it.
///
/// # Errors
/// [`SnpError`], see the module's documentation.
pub fn verify_report(
    report: &[u8],
    endorsement_der: &[u8],
    trust: &SnpTrust,
    now: SystemTime,
) -> Result<SnpReport, SnpError> {
    EndorsementKey::parse(endorsement_der)?.verify(report, trust, now)
}

/// Whether this is the certificate of the key that signed the report, whoever issued it: what a host asks
/// before it sends both. It is no verification.
///
/// # Errors
/// [`SnpError`] when the certificate is no endorsement key's, or another one's.
pub fn is_signed_by(report: &[u8], endorsement_der: &[u8]) -> Result<(), SnpError> {
    EndorsementKey::parse(endorsement_der)?.verify_report_signature(report)
}

/// Whether a pinned ASK or ASVK signed this certificate of an endorsement key: what a host asks before it prefers or
/// keeps one. It says nothing of a time or a report, and is no verification.
#[cfg(target_os = "linux")]
pub(crate) fn is_vouched_for(endorsement_der: &[u8], roots: &super::TrustRoots) -> bool {
    EndorsementKey::parse(endorsement_der).is_ok_and(|key| {
        let mut issuers = roots.issuers(&key.certificate, key.kind);
        issuers.any(|(_, issuer)| key.certificate.verify_signature(issuer).is_ok())
    })
}

/// Finds the one endorsement key certificate in `cert_chain`.
fn endorsement(evidence: &Value) -> Result<(EndorsementKeyKind, Vec<u8>), SnpError> {
    let chain = match evidence.get("cert_chain") {
        None | Some(Value::Null) => return Err(SnpError::NoEndorsement),
        Some(Value::Array(chain)) => chain,
        Some(_) => return Err(SnpError::malformed("cert_chain", "it is not a list")),
    };
    FormError::check_size("cert_chain", chain.len(), MAX_CHAIN_ENTRIES)?;
    let kind = |entry: &Value| match entry.get("cert_type").and_then(Value::as_str) {
        Some("VCEK") => Some(EndorsementKeyKind::Vcek),
        Some("VLEK") => Some(EndorsementKeyKind::Vlek),
        _ => None,
    };
    let endorsements: Vec<_> = chain
        .iter()
        .filter_map(|entry| Some((kind(entry)?, entry.get("data"))))
        .collect();
    let (kind, data) = match endorsements.as_slice() {
        [] => return Err(SnpError::NoEndorsement),
        [(kind, Some(Value::Array(data)))] => (*kind, data),
        [_] => {
            return Err(SnpError::malformed(
                "cert_chain",
                "an entry's data is not a list",
            ));
        }
        several => {
            return Err(SnpError::SeveralEndorsements {
                count: several.len(),
            });
        }
    };
    let what = "endorsement certificate";
    FormError::check_size(what, data.len(), MAX_CERTIFICATE_LEN)?;
    let bytes = data
        .iter()
        .map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok()));
    let bytes = bytes
        .collect::<Option<_>>()
        .ok_or_else(|| SnpError::malformed("cert_chain", "an entry's data is not bytes"))?;
    Ok((kind, bytes))
}

/// A VCEK or VLEK certificate, not yet verified.
struct EndorsementKey {
    kind: EndorsementKeyKind,
    certificate: Certificate,
}

impl EndorsementKey {
    fn parse(der: &[u8]) -> Result<Self, SnpError> {
        let certificate = Certificate::parse("endorsement", der)?;
        let kind = match certificate.common_name() {
            Some(b"SEV-VCEK") => EndorsementKeyKind::Vcek,
            Some(b"SEV-VLEK") => EndorsementKeyKind::Vlek,
            _ => return Err(certificate.unusable("its subject is neither SEV-VCEK nor SEV-VLEK")),
        };
        let what = if kind == EndorsementKeyKind::Vcek {
            "VCEK"
        } else {
            "VLEK"
        };
        Ok(Self {
            kind,
            certificate: certificate.named(what),
        })
    }

    fn verify(
        &self,
        bytes: &[u8],
        trust: &SnpTrust,
        now: SystemTime,
    ) -> Result<SnpReport, SnpError> {
        let report = SnpReport::parse(bytes, trust.minimum_version)?;
        if report.signing_key != self.kind {
            let (reported, certificate) = (report.signing_key, self.kind);
            return Err(SnpError::EndorsementKeyKind {
                reported,
                certificate,
            });
        }
        self.verify_chain(&report, trust, now)?;
        self.verify_report_signature(bytes)?;
        self.verify_tcb(&report)?;
        self.verify_chip(&report)?;
        if report.vmpl != 0 {
            return Err(SnpError::Vmpl { vmpl: report.vmpl });
        }
        trust.demands.check(&report)?;
        Ok(report)
    }

    /// The signature by a pinned ASK or ASVK, the generation, all three validity periods, and revocation. AMD reuses names
    /// when it renews an ASK, so there may be several of the issuer's name; one has to fit.
    fn verify_chain(
        &self,
        report: &SnpReport,
        trust: &SnpTrust,
        now: SystemTime,
    ) -> Result<(), SnpError> {
        let mut refusal = SnpError::UnknownIssuer {
            certificate: self.kind,
        };
        for (authority, issuer) in trust.roots.issuers(&self.certificate, self.kind) {
            if let Err(error) = self.certificate.verify_signature(issuer) {
                refusal = error;
                continue;
            }
            if let (Some(root), Some(cpu)) = (authority.generation, report.generation)
                && root != cpu
            {
                return Err(SnpError::Generation);
            }
            self.certificate.verify_validity(now)?;
            issuer.verify_validity(now)?;
            authority.ark.verify_validity(now)?;
            return match &trust.revocation {
                Some(lists) => lists.check(issuer, &authority.ark, now),
                None => Ok(()),
            };
        }
        Err(refusal)
    }

    fn verify_report_signature(&self, bytes: &[u8]) -> Result<(), SnpError> {
        let key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, self.certificate.p384_key()?);
        let (signed, signature) = bytes
            .split_at_checked(report::SIGNED_LEN)
            .ok_or(SnpError::ReportSignature)?;
        let signature = fixed_signature(signature).ok_or(SnpError::ReportSignature)?;
        key.verify(signed, &signature)
            .map_err(|_| SnpError::ReportSignature)
    }

    /// Compares the TCB that the key was derived for with the one that the report states.
    fn verify_tcb(&self, report: &SnpReport) -> Result<(), SnpError> {
        let tcb = &report.reported_tcb;
        let components = [
            ("bootloader", oid::BOOTLOADER, Some(tcb.bootloader)),
            ("tee", oid::TEE, Some(tcb.tee)),
            ("snp", oid::SNP, Some(tcb.snp)),
            ("microcode", oid::MICROCODE, Some(tcb.microcode)),
            ("fmc", oid::FMC, tcb.fmc),
        ];
        for (component, oid, reported) in components {
            let Some(reported) = reported else {
                continue;
            };
            let certified = self
                .certificate
                .extension(oid)?
                .and_then(der_u8)
                .ok_or_else(|| self.certificate.unusable("it does not name its whole TCB"))?;
            if certified != reported {
                return Err(SnpError::Tcb {
                    component,
                    reported,
                    certified,
                });
            }
        }
        Ok(())
    }

    /// A VCEK is one chip's; a VLEK is not and names none.
    fn verify_chip(&self, report: &SnpReport) -> Result<(), SnpError> {
        let hardware_id = self.certificate.extension(oid::HARDWARE_ID)?;
        match (self.kind, hardware_id) {
            (EndorsementKeyKind::Vcek, Some(hardware_id)) => {
                if is_chip(hardware_id, &report.chip_id) {
                    Ok(())
                } else {
                    Err(SnpError::ChipId)
                }
            }
            (EndorsementKeyKind::Vcek, None) => Err(self.certificate.unusable("it names no chip")),
            (_, None) => Ok(()),
            (_, Some(_)) => Err(self.certificate.unusable("it names a chip")),
        }
    }
}

/// Extensions of AMD's certificates (AMD 57230, section 3).
mod oid {
    use super::ObjectIdentifier;

    const fn amd(oid: &str) -> ObjectIdentifier {
        ObjectIdentifier::new_unwrap(oid)
    }

    pub(super) const BOOTLOADER: ObjectIdentifier = amd("1.3.6.1.4.1.3704.1.3.1");
    pub(super) const TEE: ObjectIdentifier = amd("1.3.6.1.4.1.3704.1.3.2");
    pub(super) const SNP: ObjectIdentifier = amd("1.3.6.1.4.1.3704.1.3.3");
    pub(super) const MICROCODE: ObjectIdentifier = amd("1.3.6.1.4.1.3704.1.3.8");
    pub(super) const FMC: ObjectIdentifier = amd("1.3.6.1.4.1.3704.1.3.9");
    pub(super) const HARDWARE_ID: ObjectIdentifier = amd("1.3.6.1.4.1.3704.1.4");
}

/// A DER INTEGER that fits a byte. AMD has issued values from 128 on with and without the zero byte
/// that DER demands.
fn der_u8(value: &[u8]) -> Option<u8> {
    match value {
        [2, 1, byte] | [2, 2, 0, byte] => Some(*byte),
        _ => None,
    }
}

/// Whether a certificate's hardware id names the chip: 64 bytes, bare or in an OCTET STRING, or from
/// Turin on 8 bytes with zeros after them in the report. A masked id, all zeros, is no chip.
fn is_chip(hardware_id: &[u8], chip_id: &[u8; 64]) -> bool {
    let hardware_id = match hardware_id {
        [4, 64, id @ ..] if id.len() == 64 => id,
        id => id,
    };
    let masked = chip_id.iter().all(|byte| *byte == 0);
    let (8 | 64, false) = (hardware_id.len(), masked) else {
        return false;
    };
    chip_id
        .strip_prefix(hardware_id)
        .is_some_and(|rest| rest.iter().all(|byte| *byte == 0))
}

/// The signature area (two little-endian numbers of 72 bytes and padding) as `r || s`, big-endian.
/// Bytes that must be zero are checked, so that no two byte strings are the same signed report.
fn fixed_signature(area: &[u8]) -> Option<[u8; 2 * SCALAR_LEN]> {
    let (r, rest) = area.split_at_checked(STORED_SCALAR_LEN)?;
    let (s, padding) = rest.split_at_checked(STORED_SCALAR_LEN)?;
    let mut signature = [0; 2 * SCALAR_LEN];
    for (stored, fixed) in [r, s]
        .into_iter()
        .zip(signature.chunks_exact_mut(SCALAR_LEN))
    {
        let (number, room) = stored.split_at_checked(SCALAR_LEN)?;
        if room.iter().any(|byte| *byte != 0) {
            return None;
        }
        fixed.copy_from_slice(number);
        fixed.reverse();
    }
    padding.iter().all(|byte| *byte == 0).then_some(signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_ids_match_in_all_their_forms() {
        let chip: [u8; 64] = std::array::from_fn(|at| at as u8 + 1);
        assert!(is_chip(&chip, &chip));
        assert!(is_chip(&[&[4, 64][..], &chip].concat(), &chip));
        assert!(
            !is_chip(&chip[..8], &chip),
            "an id of 8 bytes wants zeros after it"
        );

        let mut turin = [0; 64];
        turin[..8].fill(9);
        assert!(is_chip(&turin[..8], &turin));
        assert!(is_chip(&turin, &turin));
        assert!(!is_chip(&[8; 8], &turin));
        assert!(!is_chip(&turin[..7], &turin));
        assert!(!is_chip(&[], &turin));
    }

    #[test]
    fn a_masked_chip_id_matches_nothing() {
        assert!(!is_chip(&[0; 64], &[0; 64]));
        assert!(!is_chip(&[0; 8], &[0; 64]));
    }

    #[test]
    fn tcb_values_are_single_bytes() {
        assert_eq!(der_u8(&[2, 1, 4]), Some(4));
        assert_eq!(der_u8(&[2, 1, 219]), Some(219));
        assert_eq!(der_u8(&[2, 2, 0, 219]), Some(219));
        for wrong in [&[][..], &[2, 1], &[2, 2, 1, 0], &[4, 1, 0], &[2, 1, 0, 0]] {
            assert_eq!(der_u8(wrong), None);
        }
    }

    #[test]
    fn signature_padding_must_be_zero() {
        let mut area = [0_u8; 512];
        area[..48].fill(1);
        area[72..120].fill(2);
        let fixed = fixed_signature(&area).unwrap();
        assert_eq!((fixed[0], fixed[95]), (1, 2));
        for at in [48, 71, 120, 143, 144, 511] {
            let mut changed = area;
            changed[at] = 1;
            assert_eq!(fixed_signature(&changed), None, "byte {at}");
        }
        assert_eq!(fixed_signature(&area[..143]), None);
    }
}
