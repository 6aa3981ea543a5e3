//! PEM, as far as collateral needs it.

use x509_cert::der::pem;

use crate::FormError;

/// More blocks than a file of certificates has.
const MAX_BLOCKS: usize = 64;
const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";

/// The blocks of a text, each with its label, in their order. Text between them is passed over.
pub(super) fn blocks(what: &'static str, text: &str) -> Result<Vec<(String, Vec<u8>)>, FormError> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(BEGIN) {
        FormError::check_size(what, blocks.len().saturating_add(1), MAX_BLOCKS)?;
        let block = rest.get(start..).unwrap_or_default();
        let cut = || FormError::malformed(what, "a PEM block has no end");
        let end = block.find(END).ok_or_else(cut)?;
        let tail = block.get(end..).unwrap_or_default();
        let line = tail.find('\n').unwrap_or(tail.len());
        let (block, after) = block
            .split_at_checked(end.saturating_add(line))
            .ok_or_else(cut)?;
        let (label, der) = pem::decode_vec(block.trim_end().as_bytes())
            .map_err(|error| FormError::malformed(what, error))?;
        blocks.push((label.to_owned(), der));
        rest = after;
    }
    Ok(blocks)
}

/// One certificate as PEM.
pub(super) fn certificate(der: &[u8]) -> Result<String, FormError> {
    pem::encode_string("CERTIFICATE", pem::LineEnding::LF, der)
        .map_err(|error| FormError::malformed("certificate", error))
}
