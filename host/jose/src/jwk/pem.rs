//! PEM.

use p256::pkcs8::SecretDocument;

use super::members::key_error;
use crate::Error;

/// The DER of one PEM block `PRIVATE KEY`.
pub(crate) fn pem_document(pem: &str) -> Result<SecretDocument, Error> {
    let (label, document) = SecretDocument::from_pem(pem).map_err(|_| {
        key_error("the text is not one PEM block; give a PKCS#8 private key in PEM")
    })?;
    if label != "PRIVATE KEY" {
        return Err(key_error(
            "the PEM block is not a `PRIVATE KEY`; convert it with `openssl pkcs8 -topk8 -nocrypt`",
        ));
    }
    Ok(document)
}
