//! Thumbprints (RFC 7638).

use ring::digest::{SHA256, digest};

use crate::b64;

/// Thumbprint input of an EC key on P-256: the required members in lexicographic order (RFC 7638
/// section 3.2). Coordinates are base64url, so nothing needs escaping.
pub(crate) fn ec_thumbprint(x: &str, y: &str) -> String {
    hash_text(&format!(
        r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#
    ))
}

/// Thumbprint of an OKP key (RFC 8037 section 2).
pub(crate) fn okp_thumbprint(crv: &str, x: &str) -> String {
    hash_text(&format!(r#"{{"crv":"{crv}","kty":"OKP","x":"{x}"}}"#))
}

fn hash_text(text: &str) -> String {
    b64::encode(digest(&SHA256, text.as_bytes()).as_ref())
}
