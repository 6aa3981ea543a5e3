//! The certificates that SNP evidence is verified under.
//!
//! The ARK (root) and the ASK (intermediate) are pinned: both come from here and never from the
//! evidence, whose own copies are not looked at. A chain that is merely consistent in itself proves
//! nothing, because anybody can make one.

use sev::certs::snp::builtin;
use x509_cert::der::pem;

use super::certificate::Certificate;
use super::error::SnpError;
use super::kinds::{EndorsementKeyKind, Generation};
use crate::FormError;
use crate::anchor::Anchor;

/// More certificates than all of AMD's generations have together.
const MAX_ROOTS: usize = 32;

const MILAN_ASVK: &[u8] = include_bytes!("asvk/milan.pem");
const GENOA_ASVK: &[u8] = include_bytes!("asvk/genoa.pem");
const TURIN_ASVK: &[u8] = include_bytes!("asvk/turin.pem");
/// How the common names of ASVKs begin.
const ASVK_NAME: &[u8] = b"SEV-VLEK-";

/// Pinned AMD root (ARK) and intermediate (ASK, ASVK) certificates of one or more CPU generations.
///
/// Each intermediate's signature by its ARK, and the ARK's by itself, were checked when this was made.
#[derive(Debug, Clone)]
pub struct TrustRoots {
    authorities: Vec<Authority>,
    anchor: Anchor,
}

/// One ARK with the certificates that it signed.
#[derive(Debug, Clone)]
pub(super) struct Authority {
    pub(super) ark: Certificate,
    pub(super) intermediates: Vec<Certificate>,
    /// The generation that this root is for, by the ARK's name (`ARK-Milan`); unknown for other names, as a test
    /// PKI has.
    pub(super) generation: Option<Generation>,
}

impl TrustRoots {
    /// AMD's roots for Milan, Genoa (with Bergamo and Siena) and Turin, with the ASK of each, which
    /// signs VCEKs, and the ASVK, which signs VLEKs.
    ///
    /// ARKs and ASKs are the copies of the crate `sev`. The ASVKs are beside this file, as AMD serves them
    /// under `https://kdsintf.amd.com/vlek/v1/{product}/cert_chain`; that the ARKs signed them is checked here.
    ///
    /// # Errors
    /// [`SnpError`] if a built-in certificate were unusable, which a test excludes.
    pub fn amd() -> Result<Self, SnpError> {
        use builtin::{genoa, milan, turin};
        let builtin = [
            [milan::ARK, milan::ASK, MILAN_ASVK],
            [genoa::ARK, genoa::ASK, GENOA_ASVK],
            [turin::ARK, turin::ASK, TURIN_ASVK],
        ];
        let certificates = builtin.into_iter().flatten().map(pem_certificates);
        let certificates = certificates.collect::<Result<Vec<_>, _>>()?.concat();
        Ok(Self {
            authorities: authorities(certificates)?,
            anchor: Anchor::Vendor,
        })
    }

    /// Given roots: a bundle of PEM certificates in any order, each ARK with at least one intermediate
    /// that it signed. AMD's `cert_chain` files have this form.
    ///
    /// # Errors
    /// [`SnpError`] when a certificate does not parse, an ARK is not signed by itself, an
    /// intermediate not by an ARK of the bundle, or an ARK has no intermediate.
    pub fn from_pem(bundle: &[u8]) -> Result<Self, SnpError> {
        let authorities = authorities(pem_certificates(bundle)?)?;
        Ok(Self {
            authorities,
            anchor: Anchor::Given,
        })
    }

    /// As [`TrustRoots::from_pem`], from certificates in DER.
    ///
    /// # Errors
    /// As [`TrustRoots::from_pem`].
    pub fn from_der(certificates: &[&[u8]]) -> Result<Self, SnpError> {
        let parsed = certificates
            .iter()
            .map(|der| Certificate::parse("root", der));
        let authorities = authorities(parsed.collect::<Result<_, _>>()?)?;
        Ok(Self {
            authorities,
            anchor: Anchor::Given,
        })
    }

    /// Whether these are the vendor's built-in roots or given ones.
    pub fn anchor(&self) -> Anchor {
        self.anchor
    }

    /// The pinned roots.
    pub(super) fn arks(&self) -> impl Iterator<Item = &Certificate> {
        self.authorities.iter().map(|authority| &authority.ark)
    }

    /// The pinned intermediates that may have issued this certificate of an endorsement key, each with its ARK:
    /// those that have the name of its issuer and are there for keys of this kind. A test PKI may have one
    /// intermediate for both kinds; AMD's ASKs sign no VLEKs and its ASVKs no VCEKs.
    pub(super) fn issuers<'a>(
        &'a self,
        certificate: &'a Certificate,
        kind: EndorsementKeyKind,
    ) -> impl Iterator<Item = (&'a Authority, &'a Certificate)> {
        let pairs = self.authorities.iter().flat_map(|authority| {
            authority
                .intermediates
                .iter()
                .map(move |intermediate| (authority, intermediate))
        });
        let vendor = self.anchor == Anchor::Vendor;
        pairs.filter(move |(_, intermediate)| {
            let issues = if is_asvk(intermediate) {
                kind == EndorsementKeyKind::Vlek
            } else {
                kind == EndorsementKeyKind::Vcek || !vendor
            };
            issues && certificate.is_issued_by(intermediate)
        })
    }
}

/// The generation that an ARK's name says.
fn generation(ark: &Certificate) -> Option<Generation> {
    let name = std::str::from_utf8(ark.common_name()?).ok()?;
    let product = name.strip_prefix("ARK-")?;
    product.to_ascii_lowercase().parse().ok()
}

fn is_asvk(intermediate: &Certificate) -> bool {
    intermediate
        .common_name()
        .is_some_and(|name| name.starts_with(ASVK_NAME))
}

/// Sorts certificates into ARKs and what they signed, and checks every signature.
fn authorities(certificates: Vec<Certificate>) -> Result<Vec<Authority>, SnpError> {
    FormError::check_size("roots", certificates.len(), MAX_ROOTS)?;
    let (arks, intermediates): (Vec<_>, Vec<_>) = certificates
        .into_iter()
        .partition(Certificate::is_self_issued);
    let mut authorities = Vec::new();
    for ark in arks {
        let ark = ark.named("ARK");
        ark.verify_signature(&ark)?;
        authorities.push(Authority {
            generation: generation(&ark),
            ark,
            intermediates: Vec::new(),
        });
    }
    for intermediate in intermediates {
        let what = if is_asvk(&intermediate) {
            "ASVK"
        } else {
            "ASK"
        };
        let intermediate = intermediate.named(what);
        let authority = authorities
            .iter_mut()
            .find(|authority| intermediate.is_issued_by(&authority.ark))
            .ok_or_else(|| intermediate.unusable("no ARK among the roots issued it"))?;
        intermediate.verify_signature(&authority.ark)?;
        authority.intermediates.push(intermediate);
    }
    if authorities.is_empty() {
        return Err(SnpError::malformed("roots", "there is no ARK among them"));
    }
    match authorities
        .iter()
        .find(|authority| authority.intermediates.is_empty())
    {
        Some(bare) => Err(bare
            .ark
            .unusable("no ASK came with it: give the whole cert_chain file")),
        None => Ok(authorities),
    }
}

fn pem_certificates(bundle: &[u8]) -> Result<Vec<Certificate>, SnpError> {
    const END: &str = "-----END CERTIFICATE-----";
    let malformed = |reason: &str| SnpError::malformed("roots", reason);
    let text = std::str::from_utf8(bundle).map_err(|_| malformed("they are not PEM text"))?;
    let mut certificates = Vec::new();
    for block in text.split_inclusive(END) {
        let Some(start) = block.find("-----BEGIN") else {
            continue;
        };
        let block = block.get(start..).unwrap_or_default();
        let (label, der) = pem::decode_vec(block.as_bytes())
            .map_err(|error| SnpError::malformed("roots", error))?;
        if label != "CERTIFICATE" {
            return Err(malformed("they hold PEM other than certificates"));
        }
        certificates.push(Certificate::parse("root", &der)?);
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_built_in_roots_are_sound() {
        let roots = TrustRoots::amd().unwrap();
        let generations = roots.authorities.iter().map(|root| root.generation);
        let known = [Generation::Milan, Generation::Genoa, Generation::Turin];
        assert!(generations.eq(known.map(Some)));
        assert_eq!(roots.anchor(), Anchor::Vendor);
        assert!(
            roots
                .authorities
                .iter()
                .all(|authority| authority.intermediates.len() == 2)
        );
    }

    #[test]
    fn a_bundle_parses_in_any_order() {
        let [ark, ask] = [builtin::genoa::ARK, builtin::genoa::ASK];
        for bundle in [
            [ark, ask].concat(),
            [ask, ark].concat(),
            [ask, b"\n# text\n", ark].concat(),
        ] {
            let roots = TrustRoots::from_pem(&bundle).unwrap();
            assert_eq!(roots.authorities.len(), 1);
            assert_eq!(roots.anchor(), Anchor::Given);
        }
    }

    #[test]
    fn incomplete_and_mixed_bundles_are_refused() {
        let refused = |bundle: &[u8]| TrustRoots::from_pem(bundle).unwrap_err();
        assert!(matches!(
            refused(b""),
            SnpError::Form(FormError::Malformed { .. })
        ));
        assert!(matches!(
            refused(builtin::milan::ARK),
            SnpError::Certificate { what: "ARK", .. }
        ));
        assert!(matches!(
            refused(builtin::milan::ASK),
            SnpError::Certificate { what: "ASK", .. }
        ));
        let mixed = [builtin::milan::ARK, builtin::genoa::ASK].concat();
        assert!(matches!(
            refused(&mixed),
            SnpError::Certificate { what: "ASK", .. }
        ));
        let many = [builtin::milan::ARK; MAX_ROOTS + 1].concat();
        assert!(matches!(
            refused(&many),
            SnpError::Form(FormError::TooLarge { what: "roots", .. })
        ));
    }

    #[test]
    fn a_changed_root_is_refused() {
        let der = |pem: &[u8]| pem::decode_vec(pem).unwrap().1;
        let (mut ark, ask) = (der(builtin::turin::ARK), der(builtin::turin::ASK));
        assert!(TrustRoots::from_der(&[&ark, &ask]).is_ok());
        *ark.last_mut().unwrap() ^= 1;
        assert!(matches!(
            TrustRoots::from_der(&[&ark, &ask]),
            Err(SnpError::CertificateSignature { what: "ARK" })
        ));
    }

    proptest! {
        #[test]
        fn any_bundle_is_refused_without_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            text in "(-----BEGIN [A-Z]{0,12}-----\n)?[A-Za-z0-9+/=\n]{0,80}(-----END CERTIFICATE-----)?",
        ) {
            prop_assert!(TrustRoots::from_pem(&bytes).is_err());
            prop_assert!(TrustRoots::from_pem(text.as_bytes()).is_err());
        }
    }
}
