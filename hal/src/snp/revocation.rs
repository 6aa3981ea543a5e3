//! Certificates that AMD took back.
//!
//! AMD publishes a revocation list per generation and kind of key (`/vcek/v1/{product}/crl` and
//! `/vlek/v1/{product}/crl` of its key distribution service). The ARK signs it and it names ASKs and ASVKs. No VCEK
//! is ever on it: for those, what is superseded is below the TCB floor.
//!
//! Lists are given as files, verified under the **pinned** ARKs when they are read, and held against the time of
//! verification when they are used. Whoever gives lists gets them enforced: a root without a list, and a list that
//! ran out, are refusals and not a pass. A certificate that is listed is refused whatever date stands beside it,
//! because the key may have leaked before anybody noticed. For the same reason a list that is younger than the
//! time of verification counts: it knows more.

use std::time::SystemTime;

use x509_cert::crl::TbsCertList;
use x509_cert::der::{Decode, Reader as _, SliceReader, asn1::BitString, pem};
use x509_cert::ext::Extensions;
use x509_cert::spki::AlgorithmIdentifierOwned;

use super::certificate::{Certificate, Signed};
use super::error::SnpError;
use super::roots::TrustRoots;
use crate::FormError;

/// AMD's lists are about a kilobyte. Each entry takes more than ten bytes.
const MAX_LIST_LEN: usize = 64 * 1024;
/// Two for each generation, and room.
const MAX_LISTS: usize = 32;

const WHAT: &str = "revocation list";
const PEM_LABEL: &str = "X509 CRL";
const PEM_BEGIN: &[u8] = b"-----BEGIN";
const PEM_END: &str = "-----END X509 CRL-----";

/// Revocation lists whose signatures were verified under pinned ARKs.
#[derive(Debug, Clone, Default)]
pub struct RevocationLists {
    lists: Vec<List>,
}

#[derive(Debug, Clone)]
struct List {
    /// The ARK that signed it.
    signer: Certificate,
    content: TbsCertList,
}

impl RevocationLists {
    /// Adds the list, or lists, in a file: DER as AMD serves it, or PEM.
    ///
    /// # Errors
    /// [`SnpError`] when a list cannot be read, no ARK of `roots` signed it, or it says something that is not
    /// understood here.
    pub fn add(&mut self, file: &[u8], roots: &TrustRoots) -> Result<(), SnpError> {
        if !file.trim_ascii_start().starts_with(PEM_BEGIN) {
            return self.add_der(file, roots);
        }
        let malformed = |reason: &str| SnpError::malformed(WHAT, reason);
        let text = std::str::from_utf8(file).map_err(|_| malformed("it is not PEM text"))?;
        for block in text.split_inclusive(PEM_END) {
            let block = block.trim_start();
            if block.is_empty() {
                continue;
            }
            let (label, der) = pem::decode_vec(block.as_bytes())
                .map_err(|error| SnpError::malformed(WHAT, error))?;
            if label != PEM_LABEL {
                return Err(malformed("the file holds PEM other than revocation lists"));
            }
            self.add_der(&der, roots)?;
        }
        Ok(())
    }

    fn add_der(&mut self, der: &[u8], roots: &TrustRoots) -> Result<(), SnpError> {
        FormError::check_size("revocation lists", self.lists.len() + 1, MAX_LISTS)?;
        self.lists.push(List::verified(der, roots)?);
        Ok(())
    }

    /// Refuses a chain that a list of its ARK names, or whose ARK has no list that is good at `now`.
    pub(super) fn check(
        &self,
        intermediate: &Certificate,
        ark: &Certificate,
        now: SystemTime,
    ) -> Result<(), SnpError> {
        let mut of_this_root = self
            .lists
            .iter()
            .filter(|list| list.signer.is_same(ark))
            .peekable();
        if of_this_root.peek().is_none() {
            return Err(SnpError::NoRevocationList {
                root: ark.display_name(),
            });
        }
        for list in of_this_root {
            list.check(intermediate)?;
            list.check(ark)?;
            list.check_time(now)?;
        }
        Ok(())
    }
}

impl List {
    fn verified(der: &[u8], roots: &TrustRoots) -> Result<Self, SnpError> {
        FormError::check_size(WHAT, der.len(), MAX_LIST_LEN)?;
        let (signed_part, algorithm, signature) =
            split(der).map_err(|error| SnpError::malformed(WHAT, error))?;
        let content =
            TbsCertList::from_der(signed_part).map_err(|error| SnpError::malformed(WHAT, error))?;
        let signed = Signed {
            what: WHAT,
            algorithms: [&algorithm, &content.signature],
            bytes: signed_part,
            signature: signature.as_bytes().unwrap_or_default(),
        };
        let mut refusal = SnpError::RevocationListIssuer;
        let mut signer = None;
        for ark in roots.arks().filter(|ark| *ark.subject() == content.issuer) {
            match signed.verify(ark) {
                Ok(()) => signer = Some(ark.clone()),
                Err(error) => refusal = error,
            }
        }
        let signer = signer.ok_or(refusal)?;
        check_understood(&content)?;
        Ok(Self { signer, content })
    }

    fn check(&self, certificate: &Certificate) -> Result<(), SnpError> {
        let revoked = self.content.revoked_certificates.iter().flatten();
        let serial = certificate.serial();
        match revoked
            .into_iter()
            .find(|entry| entry.serial_number == *serial)
        {
            Some(entry) => Err(SnpError::Revoked {
                certificate: certificate.display_name(),
                since: entry.revocation_date.to_string(),
            }),
            None => Ok(()),
        }
    }

    fn check_time(&self, now: SystemTime) -> Result<(), SnpError> {
        match &self.content.next_update {
            Some(until) if now <= until.to_system_time() => Ok(()),
            Some(until) => Err(SnpError::RevocationListExpired {
                root: self.signer.display_name(),
                until: until.to_string(),
            }),
            None => Err(unusable("it does not say until when it is good")),
        }
    }
}

/// The signed bytes as they stand, the algorithm and the signature.
fn split(
    der: &[u8],
) -> Result<(&[u8], AlgorithmIdentifierOwned, BitString), x509_cert::der::Error> {
    let mut reader = SliceReader::new(der)?;
    let parts = reader.sequence(|inner| {
        let signed = inner.tlv_bytes()?;
        Ok((
            signed,
            AlgorithmIdentifierOwned::decode(inner)?,
            BitString::decode(inner)?,
        ))
    })?;
    reader.finish(parts)
}

/// A list may be only a part of what was revoked, or a change to another list, and says so in critical extensions.
/// None of them is known here, and AMD uses none.
fn check_understood(content: &TbsCertList) -> Result<(), SnpError> {
    let critical = |extensions: &Option<Extensions>| {
        let mut extensions = extensions.iter().flatten();
        extensions.any(|extension| extension.critical)
    };
    let mut entries = content.revoked_certificates.iter().flatten();
    if critical(&content.crl_extensions)
        || entries.any(|entry| critical(&entry.crl_entry_extensions))
    {
        return Err(unusable("it has a critical extension that is not known"));
    }
    Ok(())
}

fn unusable(reason: &'static str) -> SnpError {
    SnpError::Certificate { what: WHAT, reason }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_larger_than_any_list_is_not_read() {
        let roots = TrustRoots::amd().unwrap();
        let refused = RevocationLists::default().add(&vec![0x30; MAX_LIST_LEN + 1], &roots);
        assert!(matches!(
            refused,
            Err(SnpError::Form(FormError::TooLarge { what: WHAT, .. }))
        ));
    }

    proptest! {
        #[test]
        fn any_file_is_refused_without_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            text in "-----BEGIN (X509 CRL|CERTIFICATE)-----\n[A-Za-z0-9+/=\n]{0,80}(-----END X509 CRL-----)?",
        ) {
            let roots = TrustRoots::amd().unwrap();
            prop_assert!(RevocationLists::default().add(&bytes, &roots).is_err());
            prop_assert!(RevocationLists::default().add(text.as_bytes(), &roots).is_err());
        }
    }
}
