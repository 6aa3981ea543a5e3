//! The part of a relying party's collateral that one quote needs.

use std::borrow::Cow;
use std::time::SystemTime;

use dcap_qvl::QuoteCollateralV3;
use x509_cert::name::Name;

use super::certificate::{Certificate, Crl, shown};
use super::collateral::{Collateral, Signed};
use super::quote::Quote;
use super::{TdxError, TdxTrust, pem};
use crate::FormError;

const CHAIN: &str = "PCK certificate chain";
/// What errors call the signed documents.
pub(super) const TCB_INFO: &str = "TCB info";
pub(super) const QE_IDENTITY: &str = "quoting enclave's identity";
const TDX: &str = "TDX";
const TD_QE: &str = "TD_QE";

/// The documents for one quote. Nothing about them is verified, but that the signing certificates' keys
/// made the signatures beside them.
pub(super) struct Chosen<'a> {
    pck: Cow<'a, Certificate>,
    /// The kind of platform that it names.
    pub(super) fmspc: [u8; 6],
    /// Issuers in the quote's chain.
    issuers: Vec<Cow<'a, Certificate>>,
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
        let collateral = &trust.collateral;
        let known = [&trust.root.certificate].into_iter();
        let (pck, issuers) = chain(quote, known.chain(&collateral.certificates))?;
        let (fmspc, pce_id) = platform(&pck)?;
        let missing = |what: String| TdxError::NoCollateral {
            what,
            fmspc: hex::encode(fmspc),
        };
        let root = &trust.root.certificate.subject;
        let crl = |issuer: &Name| {
            newest(
                &collateral.crls,
                |crl| crl.issuer == *issuer,
                |crl| crl.validity.from,
            )
        };
        let tcb_info = signed(&collateral.tcb_infos, |info| {
            // The library compares the FMSPC alone. Levels count in the versions of one provisioning enclave, so
            // Intel's own verifier compares both.
            info.id == TDX && info.fmspc == fmspc && info.pce_id == pce_id
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
            tcb_signer: signer(TCB_INFO, tcb_info, collateral)?,
            qe_signer: signer(QE_IDENTITY, qe_identity, collateral)?,
            pck,
            fmspc,
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
            (TCB_INFO, self.tcb_info.validity),
            (QE_IDENTITY, self.qe_identity.validity),
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
            ("PCK", &*self.pck),
            ("TCB info signer's", self.tcb_signer),
            ("identity signer's", self.qe_signer),
        ];
        let issuers = self.issuers.iter();
        let issuers = issuers.map(|issuer| ("PCK issuer's", &**issuer));
        named
            .into_iter()
            .chain(issuers)
            .find(|(_, certificate)| lists.iter().any(|list| list.revokes(certificate)))
            .map(|(what, _)| what)
    }

    /// In the form that `dcap-qvl` takes.
    pub(super) fn to_dcap(&self) -> QuoteCollateralV3 {
        QuoteCollateralV3 {
            pck_crl_issuer_chain: String::new(),
            root_ca_crl: self.root_crl.der.clone(),
            pck_crl: self.pck_crl.der.clone(),
            tcb_info_issuer_chain: pem::certificate(&self.tcb_signer.der),
            tcb_info: self.tcb_info.body.clone(),
            tcb_info_signature: self.tcb_info.signature.clone(),
            qe_identity_issuer_chain: pem::certificate(&self.qe_signer.der),
            qe_identity: self.qe_identity.body.clone(),
            qe_identity_signature: self.qe_identity.signature.clone(),
            pck_certificate_chain: None,
        }
    }
}

impl Quote {
    /// The kind of platform that the quote is of (FMSPC), from its PCK certificate. Nothing is verified:
    /// it says which collateral to fetch.
    ///
    /// # Errors
    /// [`TdxError::Form`] when the certificate cannot be read.
    pub fn fmspc(&self) -> Result<[u8; 6], TdxError> {
        let (pck, _) = chain(self, std::iter::empty())?;
        platform(&pck).map(|(fmspc, _)| fmspc)
    }
}

/// FMSPC and PCEID.
fn platform(pck: &Certificate) -> Result<([u8; 6], [u8; 2]), TdxError> {
    let missing = || FormError::malformed(CHAIN, "its first certificate names no FMSPC and PCEID");
    Ok(pck.platform().ok_or_else(missing)?)
}

/// A certificate and those that come with it.
type Chain<'a> = (Cow<'a, Certificate>, Vec<Cow<'a, Certificate>>);

/// The quote's PCK certificate and what comes with it. Most quotes bring the root, and an issuer that came with
/// the collateral too; those that are known are not read again.
fn chain<'a>(
    quote: &Quote,
    known: impl Iterator<Item = &'a Certificate> + Clone,
) -> Result<Chain<'a>, TdxError> {
    let mut certificates = Vec::new();
    for (label, der) in pem::blocks(CHAIN, &quote.pck_chain)? {
        if label != "CERTIFICATE" {
            return Err(FormError::malformed(CHAIN, "it holds PEM other than certificates").into());
        }
        let known = known.clone().find(|known| known.der == der);
        certificates.push(match known {
            Some(known) => Cow::Borrowed(known),
            None => Cow::Owned(Certificate::parse(&der)?),
        });
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

/// The certificate among the collateral whose key made a document's signature. Authorities sign certificates and
/// no documents. Where one certificate is left, there is nothing to choose, and whether it signed is `dcap-qvl`'s
/// to check: a signature takes longer than all else here.
fn signer<'a>(
    what: &'static str,
    document: &Signed,
    collateral: &'a Collateral,
) -> Result<&'a Certificate, TdxError> {
    let certificates = collateral.certificates.iter();
    let signers: Vec<_> = certificates
        .filter(|certificate| !certificate.is_authority())
        .collect();
    let found = match signers.as_slice() {
        [only] => Some(*only),
        several => several
            .iter()
            .copied()
            .find(|certificate| certificate.signed(document.body.as_bytes(), &document.signature)),
    };
    found.ok_or(TdxError::CollateralSignature { what })
}
