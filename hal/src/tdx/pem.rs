//! PEM, as far as collateral needs it.
//!
//! Certificates are public, so the decoder may be a fast one: those that keep secrets take longer than all else
//! that is done for a quote but its signatures.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::FormError;

/// More blocks than a file of certificates has.
const MAX_BLOCKS: usize = 64;
/// Letters in a line.
const LINE: usize = 64;
const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

/// The blocks of a text, each with its label, in their order. Text between them is passed over.
pub(super) fn blocks(what: &'static str, text: &str) -> Result<Vec<(String, Vec<u8>)>, FormError> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, block)) = rest.split_once(BEGIN) {
        FormError::check_size(what, blocks.len().saturating_add(1), MAX_BLOCKS)?;
        let cut = || FormError::malformed(what, "a PEM block has no end");
        let (label, block) = block.split_once(DASHES).ok_or_else(cut)?;
        let end = format!("-----END {label}{DASHES}");
        let (body, after) = block.split_once(&end).ok_or_else(cut)?;
        let body: String = body.split_ascii_whitespace().collect();
        let der = STANDARD
            .decode(body)
            .map_err(|error| FormError::malformed(what, error))?;
        blocks.push((label.to_owned(), der));
        rest = after;
    }
    Ok(blocks)
}

/// One certificate as PEM.
pub(super) fn certificate(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut pem = String::with_capacity(body.len() + body.len() / LINE + 64);
    pem.push_str("-----BEGIN CERTIFICATE-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII, so every place is between letters.
        let (line, after) = rest.split_at_checked(LINE).unwrap_or((rest, ""));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use x509_cert::der::pem::{LineEnding, decode_vec, encode_string};

    use super::*;

    const ONE: &str = "-----BEGIN CERTIFICATE-----\nMAMCAQc=\n-----END CERTIFICATE-----\n";

    fn read(text: &str) -> Result<Vec<(String, Vec<u8>)>, FormError> {
        blocks("test", text)
    }

    #[test]
    fn blocks_are_read_wherever_they_stand() {
        let der = b"\x30\x03\x02\x01\x07".to_vec();
        let one = ("CERTIFICATE".to_owned(), der.clone());
        assert_eq!(read(ONE).unwrap(), std::slice::from_ref(&one));
        assert_eq!(read("").unwrap(), []);
        assert_eq!(read("nothing of that kind").unwrap(), []);
        let lines = ONE.replace('\n', "\r\n");
        let list = ONE.replace("CERTIFICATE", "X509 CRL");
        let several = format!("text\n{lines}more text\n{list}");
        let both = [one, ("X509 CRL".to_owned(), der)];
        assert_eq!(read(&several).unwrap(), both);
    }

    #[test]
    fn what_is_no_whole_block_is_refused() {
        for (from, to) in [
            ("-----END", "-----"),
            ("END CERTIFICATE", "END X509 CRL"),
            ("BEGIN CERTIFICATE-----", "BEGIN CERTIFICATE"),
            ("MAMC", "MAM"),
            ("MAMC", "MA=C"),
            ("AQc=", "AQc"),
            // Bits that no byte has.
            ("AQc=", "AQd="),
            ("MAMC", "Proc-Type: 4,ENCRYPTED\n\nMAMC"),
            ("MAMC", "M\u{e4}MC"),
        ] {
            let broken = ONE.replace(from, to);
            assert!(read(&broken).is_err(), "{broken}");
        }
        assert_eq!(read(&ONE.repeat(MAX_BLOCKS)).unwrap().len(), MAX_BLOCKS);
        assert!(read(&ONE.repeat(MAX_BLOCKS + 1)).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_others_write(der in proptest::collection::vec(any::<u8>(), 1..300)) {
            let pem = certificate(&der);
            prop_assert_eq!(&pem, &encode_string("CERTIFICATE", LineEnding::LF, &der).unwrap());
            prop_assert_eq!(decode_vec(pem.as_bytes()).unwrap(), ("CERTIFICATE", der.clone()));
            prop_assert_eq!(read(&pem).unwrap(), [("CERTIFICATE".to_owned(), der)]);
        }

        #[test]
        fn any_text_is_read_or_refused_without_panic(text in "(-----|BEGIN |END |CERTIFICATE|[A-Za-z0-9+/=\u{e4}\n]){0,12}") {
            let _ = read(&text);
        }
    }
}
