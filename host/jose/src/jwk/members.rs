//! Members of a JWK.

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::{Error, b64};

/// The members of a JWK.
pub(crate) fn object(jwk: &Value) -> Result<&Map<String, Value>, Error> {
    jwk.as_object()
        .ok_or_else(|| key_error("a JWK is a JSON object"))
}

pub(crate) fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Result<&'a str, Error> {
    members
        .get(name)
        .and_then(Value::as_str)
        .ok_or_else(|| Error::Key(format!("the JWK has no string member {name:?}")))
}

/// A member of exactly 32 bytes. RFC 7518 section 6.2.1.2: leading zeros are not stripped.
pub(crate) fn coordinate(members: &Map<String, Value>, name: &str) -> Result<[u8; 32], Error> {
    let bytes = Zeroizing::new(b64::decode_as(text(members, name)?, "a member of the JWK")?);
    bytes
        .as_slice()
        .try_into()
        .map_err(|_| Error::Key(format!("{name:?} has {} bytes, wanted 32", bytes.len())))
}

pub(crate) fn sec1_point(x: &[u8; 32], y: &[u8; 32]) -> [u8; 65] {
    let mut sec1 = [4_u8; 65];
    for (to, from) in sec1.iter_mut().skip(1).zip(x.iter().chain(y)) {
        *to = *from;
    }
    sec1
}

pub(crate) fn key_error(reason: &str) -> Error {
    Error::Key(reason.to_owned())
}
