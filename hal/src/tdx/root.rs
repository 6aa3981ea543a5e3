//! The certificate that TDX evidence is verified under.

use super::TdxError;
use super::certificate::Certificate;
use super::pem;
use crate::FormError;
use crate::anchor::Anchor;

/// Intel's SGX root CA (valid to 2049), which vouches for SGX and TDX alike. A test holds its digest against
/// the one that Intel publishes.
const INTEL: &[u8] = include_bytes!("intel-sgx-root-ca.der");
const WHAT: &str = "TDX root";

/// The pinned root of PCK certificates, collateral and revocation lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdxRoot {
    pub(super) certificate: Certificate,
    anchor: Anchor,
}

impl TdxRoot {
    /// Intel's SGX root CA.
    ///
    /// # Errors
    /// [`TdxError`] if the built-in certificate were unusable, which a test excludes.
    pub fn intel() -> Result<Self, TdxError> {
        Self::of(INTEL, Anchor::Vendor)
    }

    /// A given root, in DER. Intel's own counts as Intel's.
    ///
    /// # Errors
    /// [`TdxError::Form`] when it does not parse or is not a root.
    pub fn from_der(der: &[u8]) -> Result<Self, TdxError> {
        let anchor = if der == INTEL {
            Anchor::Vendor
        } else {
            Anchor::Given
        };
        Self::of(der, anchor)
    }

    /// As [`TdxRoot::from_der`], from PEM with exactly one certificate.
    ///
    /// # Errors
    /// As [`TdxRoot::from_der`].
    pub fn from_pem(text: &[u8]) -> Result<Self, TdxError> {
        let malformed = |reason: &str| FormError::malformed(WHAT, reason);
        let text = std::str::from_utf8(text).map_err(|_| malformed("it is not PEM text"))?;
        match pem::blocks(WHAT, text)?.as_slice() {
            [(label, der)] if label == "CERTIFICATE" => Self::from_der(der),
            _ => Err(malformed("there has to be exactly one certificate").into()),
        }
    }

    /// The TDX root in a bundle of roots of several vendors, if there is one, and the rest of the bundle in
    /// PEM, if there is any. A TDX root is told by its key, which is on P-256.
    ///
    /// # Errors
    /// [`TdxError::Form`] for what is no bundle of certificates, and for several TDX roots.
    pub fn split_bundle(text: &[u8]) -> Result<(Option<Self>, Option<String>), TdxError> {
        let malformed = |reason: &str| FormError::malformed(WHAT, reason);
        let text = std::str::from_utf8(text).map_err(|_| malformed("it is not PEM text"))?;
        let (mut root, mut rest) = (None, String::new());
        for (label, der) in pem::blocks(WHAT, text)? {
            if label != "CERTIFICATE" {
                return Err(malformed("the roots hold PEM other than certificates").into());
            }
            let certificate = Certificate::parse(&der)?;
            if !certificate.is_on_p256() {
                rest.push_str(&pem::certificate(&der));
            } else if certificate.is_self_issued() && root.replace(Self::from_der(&der)?).is_some()
            {
                return Err(malformed("there are several").into());
            }
        }
        Ok((root, (!rest.is_empty()).then_some(rest)))
    }

    /// Whether this is the vendor's root or a given one.
    pub fn anchor(&self) -> Anchor {
        self.anchor
    }

    /// The certificate in DER.
    pub fn der(&self) -> &[u8] {
        &self.certificate.der
    }

    fn of(der: &[u8], anchor: Anchor) -> Result<Self, TdxError> {
        let certificate = Certificate::parse(der)?;
        if !certificate.is_self_issued() {
            return Err(FormError::malformed(WHAT, "it is not a root: another issued it").into());
        }
        Ok(Self {
            certificate,
            anchor,
        })
    }
}

#[cfg(test)]
mod tests {
    use ring::digest::{SHA256, digest};

    use super::*;

    #[test]
    fn the_built_in_root_is_intels() {
        let published = "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3";
        assert_eq!(hex::encode(digest(&SHA256, INTEL)), published);
        let root = TdxRoot::intel().unwrap();
        assert_eq!(root.anchor(), Anchor::Vendor);
        assert_eq!(TdxRoot::from_der(root.der()).unwrap(), root);
        let pem = pem::certificate(root.der());
        assert_eq!(TdxRoot::from_pem(pem.as_bytes()).unwrap(), root);
    }

    #[test]
    fn a_bundle_is_split_by_vendors() {
        let tdx = pem::certificate(INTEL);
        let snp = include_str!("../../tests/vectors/fake-snp/roots.pem");
        let root = Some(TdxRoot::intel().unwrap());
        let split = |text: &str| TdxRoot::split_bundle(text.as_bytes());
        assert_eq!(split(&tdx).unwrap(), (root.clone(), None));
        let (none, rest) = split(snp).unwrap();
        assert_eq!(none, None);
        let whole = format!("{snp}{tdx}");
        assert_eq!(split(&whole).unwrap(), (root, rest.clone()));
        assert_eq!(
            rest.unwrap().matches("BEGIN").count(),
            snp.matches("BEGIN").count()
        );
        assert_eq!(split("").unwrap(), (None, None));
        assert!(split(&format!("{tdx}{tdx}")).is_err());
        assert!(split(&tdx.replace("CERTIFICATE", "PRIVATE KEY")).is_err());
        assert!(TdxRoot::split_bundle(&[0xff]).is_err());
    }

    #[test]
    fn what_is_no_single_root_is_refused() {
        let one = pem::certificate(INTEL);
        let key = one.replace("CERTIFICATE", "PRIVATE KEY");
        for wrong in ["", "nonsense", &format!("{one}{one}"), &key] {
            assert!(TdxRoot::from_pem(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert!(TdxRoot::from_pem(&[0xff]).is_err());
        assert!(TdxRoot::from_der(&INTEL[1..]).is_err());
    }
}
