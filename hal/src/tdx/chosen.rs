//! The part of a relying party's collateral that one quote needs.

use std::time::SystemTime;

use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::intel::{PckExtension, parse_pck_extension};

use super::certificate::{Certificate, Crl, same, shown};
use super::collateral::{Collateral, Signed};
use super::quote::Quote;
use super::{TdxError, TdxTrust, pem};
use crate::FormError;

const CHAIN: &str = "PCK certificate chain";
/// The name of what signs TCB info and identities.
const TDX: &str = "TDX";
const TD_QE: &str = "TD_QE";

/// The documents for one quote. Nothing about them is verified, but that the signing certificates' keys
/// made the signatures beside them.
pub(super) struct Chosen<'a> {
    pub(super) pck: Certificate,
    pub(super) extension: PckExtension,
    /// Issuers in the quote's chain.
    issuers: Vec<Certificate>,
    tcb_info: &'a Signed,
    tcb_signer: &'a Certificate,
    qe_identity: &'a Signed,
    qe_signer: &'a Certificate,
    root_crl: &'a Crl,
    pck_crl: &'a Crl,
}

impl<'a> Chosen<'a> {
    /// What there is for the quote's platform; of several, the newest.
    pub(super) fn for_quote(quote: &Quote, trust: &'a TdxTrust) -> Result<Self, TdxError> {
        let (pck, issuers) = chain(quote)?;
        let extension =
            parse_pck_extension(&pck.der).map_err(|error| FormError::malformed(CHAIN, error))?;
        let fmspc = extension.fmspc;
        let collateral = &trust.collateral;
        let missing = |what: String| TdxError::NoCollateral {
            what,
            fmspc: hex::encode(fmspc),
        };
        let root = &trust.root.certificate.subject;
        let crl = |issuer| {
            newest(
                &collateral.crls,
                |crl| same(&crl.issuer, issuer),
                |crl| crl.validity.from,
            )
        };
        let tcb_info = signed(&collateral.tcb_infos, |info| {
            // The library compares the FMSPC alone. Levels count in the versions of one provisioning enclave, so
            // Intel's own verifier compares both.
            info.id == TDX && info.fmspc == fmspc && info.pce_id == extension.pce_id
        })
        .ok_or_else(|| missing("TCB info of this kind of platform".to_owned()))?;
        let qe_identity = signed(&collateral.qe_identities, |identity| identity.id == TD_QE)
            .ok_or_else(|| missing("identity of the quoting enclave".to_owned()))?;
        let list_of = |issuer| format!("list of certificates that {} revoked", shown(issuer));
        let pck_crl = crl(&pck.issuer).ok_or_else(|| missing(list_of(&pck.issuer)))?;
        let Some(root_crl) = crl(root) else {
            // Said first, because no collateral that the reader fetches for this would help.
            return Err(
                match issuers.iter().find(|issuer| issuer.is_self_issued()) {
                    Some(other) if other.der != trust.root.der() => TdxError::Chain {
                        reason: format!("the quote's chain ends in {}", shown(&other.subject)),
                    },
                    _ => missing(list_of(root)),
                },
            );
        };
        Ok(Self {
            tcb_signer: signer("TCB info", tcb_info, collateral)?,
            qe_signer: signer("quoting enclave's identity", qe_identity, collateral)?,
            pck,
            extension,
            issuers,
            tcb_info,
            qe_identity,
            root_crl,
            pck_crl,
        })
    }

    /// That everything holds at this time. There is no grace.
    pub(super) fn check_times(&self, now: SystemTime) -> Result<(), TdxError> {
        let documents = [
            ("TCB info", self.tcb_info.validity),
            ("quoting enclave's identity", self.qe_identity.validity),
            ("list of revoked PCK certificates", self.pck_crl.validity),
            (
                "list of certificates that the root revoked",
                self.root_crl.validity,
            ),
        ];
        for (what, validity) in documents {
            if let Some(state) = validity.state(now) {
                return Err(TdxError::CollateralTime {
                    what,
                    state,
                    from: super::time::shown(validity.from),
                    until: super::time::shown(validity.until),
                });
            }
        }
        self.tcb_signer.check_time("TCB info signer's", now)?;
        self.qe_signer.check_time("identity signer's", now)?;
        self.pck.check_time("PCK", now)?;
        self.issuers
            .iter()
            .try_for_each(|issuer| issuer.check_time("PCK issuer's", now))
    }

    /// The name of a certificate that is on its issuer's list.
    pub(super) fn revoked(&self) -> Option<&'static str> {
        let lists = [self.root_crl, self.pck_crl];
        let named = [
            ("PCK", &self.pck),
            ("TCB info signer's", self.tcb_signer),
            ("identity signer's", self.qe_signer),
        ];
        let issuers = self.issuers.iter().map(|issuer| ("PCK issuer's", issuer));
        named
            .into_iter()
            .chain(issuers)
            .find(|(_, certificate)| lists.iter().any(|list| list.revokes(certificate)))
            .map(|(what, _)| what)
    }

    /// In the form that `dcap-qvl` takes.
    pub(super) fn to_dcap(&self) -> Result<QuoteCollateralV3, TdxError> {
        Ok(QuoteCollateralV3 {
            pck_crl_issuer_chain: String::new(),
            root_ca_crl: self.root_crl.der.clone(),
            pck_crl: self.pck_crl.der.clone(),
            tcb_info_issuer_chain: pem::certificate(&self.tcb_signer.der)?,
            tcb_info: self.tcb_info.body.clone(),
            tcb_info_signature: self.tcb_info.signature.clone(),
            qe_identity_issuer_chain: pem::certificate(&self.qe_signer.der)?,
            qe_identity: self.qe_identity.body.clone(),
            qe_identity_signature: self.qe_identity.signature.clone(),
            pck_certificate_chain: None,
        })
    }
}

impl Quote {
    /// The kind of platform that the quote is of (FMSPC), from its PCK certificate. Nothing is verified:
    /// it says which collateral to fetch.
    ///
    /// # Errors
    /// [`TdxError::Form`] when the certificate cannot be read.
    pub fn fmspc(&self) -> Result<[u8; 6], TdxError> {
        let (pck, _) = chain(self)?;
        let extension =
            parse_pck_extension(&pck.der).map_err(|error| FormError::malformed(CHAIN, error))?;
        Ok(extension.fmspc)
    }
}

/// The quote's PCK certificate and what comes with it.
fn chain(quote: &Quote) -> Result<(Certificate, Vec<Certificate>), TdxError> {
    let mut certificates = Vec::new();
    for (label, der) in pem::blocks(CHAIN, &quote.pck_chain)? {
        if label != "CERTIFICATE" {
            return Err(FormError::malformed(CHAIN, "it holds PEM other than certificates").into());
        }
        certificates.push(Certificate::parse(&der)?);
    }
    let mut certificates = certificates.into_iter();
    let pck = certificates
        .next()
        .ok_or_else(|| FormError::malformed(CHAIN, "it is empty"))?;
    Ok((pck, certificates.collect()))
}

fn signed(all: &[Signed], fits: impl Fn(&Signed) -> bool) -> Option<&Signed> {
    newest(all, fits, |signed| signed.validity.from)
}

fn newest<T>(
    all: &[T],
    fits: impl Fn(&T) -> bool,
    issued: impl Fn(&T) -> SystemTime,
) -> Option<&T> {
    all.iter()
        .filter(|one| fits(one))
        .max_by_key(|one| issued(one))
}

/// The certificate among the collateral whose key made a document's signature.
fn signer<'a>(
    what: &'static str,
    document: &Signed,
    collateral: &'a Collateral,
) -> Result<&'a Certificate, TdxError> {
    collateral
        .certificates
        .iter()
        .find(|certificate| certificate.signed(document.body.as_bytes(), &document.signature))
        .ok_or(TdxError::CollateralSignature { what })
}
