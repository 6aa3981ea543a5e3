//! What vouches for platforms: TCB info, the quoting enclave's identity, and revocation lists.
//!
//! A relying party gets these documents from Intel or from a mirror (`proplet collateral fetch`), in the
//! form in which those give them, and hands them over as files. What each file is follows from its
//! contents, so names do not matter, and collateral of several platforms may lie together. Everything is
//! signed by Intel and nothing is believed before [`super::verify`] checked that.
//!
//! Source: Intel's API for the provisioning certification service, version 4.

use std::time::SystemTime;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::TdxError;
use super::certificate::{Certificate, Crl, MAX_CRL_LEN, Validity, shown};
use super::{pem, time};
use crate::FormError;

/// Largest file that is read.
pub const MAX_COLLATERAL_FILE_LEN: usize = 2 * MAX_CRL_LEN;
/// More files than collateral of all kinds of platforms has.
const MAX_FILES: usize = 256;
const WHAT: &str = "collateral";

/// The documents that a relying party has, of any number of kinds of platforms.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Collateral {
    pub(super) tcb_infos: Vec<Signed>,
    pub(super) qe_identities: Vec<Signed>,
    pub(super) certificates: Vec<Certificate>,
    pub(super) crls: Vec<Crl>,
}

/// One document of collateral.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollateralPart {
    /// What it is. Text of the document's own, not cleaned.
    pub what: String,
    /// When it was issued.
    pub from: SystemTime,
    /// When its next update is due.
    pub until: SystemTime,
}

/// A JSON document with its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signed {
    /// `TDX`, `SGX`, `TD_QE`, `QE` and so on.
    pub(super) id: String,
    /// The kind of platform that a TCB info is about. Empty for identities.
    pub(super) fmspc: Vec<u8>,
    /// The provisioning enclave whose security versions a TCB info counts in. Empty for identities.
    pub(super) pce_id: Vec<u8>,
    pub(super) validity: Validity,
    /// The bytes that are signed.
    pub(super) body: String,
    pub(super) signature: Vec<u8>,
}

impl Collateral {
    /// Collateral from the contents of files, in any order. Each of these is recognised:
    ///
    /// - the JSON of `/tdx/certification/v4/tcb` and `/tdx/certification/v4/qe/identity`;
    /// - chains of certificates in PEM, also as they stand in the headers of answers (percent-encoded);
    /// - revocation lists in DER, in PEM, or in hexadecimal as a PCCS gives them;
    /// - the one JSON file of `dcap-qvl`, which holds all of it.
    ///
    /// # Errors
    /// [`TdxError::CollateralFile`] with the name of the first file that is none of these.
    pub fn from_files<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, TdxError> {
        let mut collateral = Self::default();
        for (number, (name, contents)) in files.into_iter().enumerate() {
            FormError::check_size(WHAT, number, MAX_FILES)?;
            let read = collateral.add(contents);
            read.map_err(|error| TdxError::CollateralFile {
                name: name.chars().take(200).collect(),
                error,
            })?;
        }
        Ok(collateral)
    }

    /// What is there, for people.
    pub fn parts(&self) -> Vec<CollateralPart> {
        let part = |what: String, validity: Validity| CollateralPart {
            what,
            from: validity.from,
            until: validity.until,
        };
        let infos = self.tcb_infos.iter().map(|info| {
            let what = format!("TCB info {} of FMSPC {}", info.id, hex::encode(&info.fmspc));
            part(what, info.validity)
        });
        let identities = self
            .qe_identities
            .iter()
            .map(|identity| part(format!("identity of {}", identity.id), identity.validity));
        let crls = self.crls.iter().map(|crl| {
            part(
                format!("revocation list of {}", shown(&crl.issuer)),
                crl.validity,
            )
        });
        infos.chain(identities).chain(crls).collect()
    }

    /// Whether there is TCB info for TDX on this kind of platform.
    pub fn covers(&self, fmspc: &[u8]) -> bool {
        let mut infos = self.tcb_infos.iter();
        infos.any(|info| info.id == "TDX" && info.fmspc == fmspc)
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn add(&mut self, contents: &[u8]) -> Result<(), FormError> {
        FormError::check_size(WHAT, contents.len(), MAX_COLLATERAL_FILE_LEN)?;
        let text = std::str::from_utf8(contents).map(str::trim);
        let Ok(text) = text else {
            self.crls.push(Crl::parse(contents)?);
            return Ok(());
        };
        if text.starts_with('{') {
            return self.add_json(text);
        }
        if text.starts_with("-----BEGIN%20") {
            let text = chain_of_header(text);
            return self.add_pem(text.as_deref().unwrap_or_default());
        }
        if text.contains("-----BEGIN ") {
            return self.add_pem(text);
        }
        match hex::decode(text) {
            Ok(der) => self.crls.push(Crl::parse(&der)?),
            // A list whose bytes happen to be text.
            Err(_) => self.crls.push(Crl::parse(contents)?),
        }
        Ok(())
    }

    fn add_pem(&mut self, text: &str) -> Result<(), FormError> {
        let blocks = pem::blocks(WHAT, text)?;
        if blocks.is_empty() {
            return Err(FormError::malformed(WHAT, "there is no PEM in it"));
        }
        for (label, der) in blocks {
            match label.as_str() {
                "CERTIFICATE" => self.add_certificate(&der)?,
                "X509 CRL" => self.crls.push(Crl::parse(&der)?),
                _ => {
                    return Err(FormError::malformed(
                        WHAT,
                        "it holds PEM other than certificates and revocation lists",
                    ));
                }
            }
        }
        Ok(())
    }

    fn add_certificate(&mut self, der: &[u8]) -> Result<(), FormError> {
        let is_known = self.certificates.iter().any(|known| known.der == der);
        if !is_known {
            self.certificates.push(Certificate::parse(der)?);
        }
        Ok(())
    }

    fn add_json(&mut self, text: &str) -> Result<(), FormError> {
        let file: File<'_> =
            serde_json::from_str(text).map_err(|error| FormError::malformed(WHAT, error))?;
        match file {
            File {
                tcb_info: Some(body),
                signature: Some(signature),
                ..
            } => self.tcb_infos.push(Signed::read(body.get(), signature)?),
            File {
                enclave_identity: Some(body),
                signature: Some(signature),
                ..
            } => self
                .qe_identities
                .push(Signed::read(body.get(), signature)?),
            _ => self.add_bundle(text)?,
        }
        Ok(())
    }

    fn add_bundle(&mut self, text: &str) -> Result<(), FormError> {
        let bundle: Bundle = serde_json::from_str(text).map_err(|error| {
            let reason = format!(
                "it is neither an answer of Intel's service nor all of them in one: {error}"
            );
            FormError::malformed(WHAT, reason)
        })?;
        let tcb_info = Signed::read(&bundle.tcb_info, &bundle.tcb_info_signature)?;
        let identity = Signed::read(&bundle.qe_identity, &bundle.qe_identity_signature)?;
        for crl in [&bundle.root_ca_crl, &bundle.pck_crl] {
            self.crls.push(Crl::parse(&hexadecimal(crl)?)?);
        }
        for chain in [
            &bundle.pck_crl_issuer_chain,
            &bundle.tcb_info_issuer_chain,
            &bundle.qe_identity_issuer_chain,
        ] {
            self.add_pem(chain)?;
        }
        self.tcb_infos.push(tcb_info);
        self.qe_identities.push(identity);
        Ok(())
    }
}

/// An answer of Intel's service. The body is kept as it stands, because its very bytes are signed.
#[derive(Deserialize)]
struct File<'a> {
    #[serde(rename = "tcbInfo", borrow)]
    tcb_info: Option<&'a RawValue>,
    #[serde(rename = "enclaveIdentity", borrow)]
    enclave_identity: Option<&'a RawValue>,
    #[serde(borrow)]
    signature: Option<&'a str>,
}

/// `QuoteCollateralV3` of `dcap-qvl`.
#[derive(Deserialize)]
struct Bundle {
    pck_crl_issuer_chain: String,
    root_ca_crl: String,
    pck_crl: String,
    tcb_info_issuer_chain: String,
    tcb_info: String,
    tcb_info_signature: String,
    qe_identity_issuer_chain: String,
    qe_identity: String,
    qe_identity_signature: String,
}

/// What a signed document says about itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    id: String,
    issue_date: String,
    next_update: String,
    #[serde(default)]
    fmspc: String,
    #[serde(default)]
    pce_id: String,
}

impl Signed {
    fn read(body: &str, signature: &str) -> Result<Self, FormError> {
        let head: Head =
            serde_json::from_str(body).map_err(|error| FormError::malformed(WHAT, error))?;
        Ok(Self {
            id: head.id,
            fmspc: hexadecimal(&head.fmspc)?,
            pce_id: hexadecimal(&head.pce_id)?,
            validity: Validity {
                from: time::parse(WHAT, &head.issue_date)?,
                until: time::parse(WHAT, &head.next_update)?,
            },
            body: body.to_owned(),
            signature: hexadecimal(signature)?,
        })
    }
}

fn hexadecimal(text: &str) -> Result<Vec<u8>, FormError> {
    hex::decode(text).map_err(|error| FormError::malformed(WHAT, error))
}

/// The PEM of an issuer chain in a header of an answer, which is percent-encoded. `None` when it is not of
/// that form.
pub fn chain_of_header(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (byte, rest) = part.split_at_checked(2)?;
        bytes.extend(hex::decode(byte).ok()?);
        bytes.extend(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}
