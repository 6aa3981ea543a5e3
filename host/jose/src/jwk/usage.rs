//! What a key may be used for.

use serde_json::{Map, Value};

use super::members::key_error;
use crate::Error;

/// The one key management algorithm that keys of this module serve.
pub(crate) const ALG: &str = "ECDH-ES+A256KW";

/// What `use`, `key_ops` and `alg` say about a key, against one use. RFC 7517 sections 4.2 to 4.4.
///
/// An empty `key_ops` is what exporters write for a public ECDH key, whose private half does all the
/// operations; it is therefore accepted for encryption and refused for signatures.
pub(crate) fn check_usage(
    members: &Map<String, Value>,
    wanted_use: &str,
    operations: &[&str],
    alg: &str,
) -> Result<(), Error> {
    if let Some(found) = members.get("use")
        && found.as_str() != Some(wanted_use)
    {
        return Err(Error::Key(format!(
            "its `use` is {found}, wanted {wanted_use:?}"
        )));
    }
    if let Some(found) = members.get("alg")
        && found.as_str() != Some(alg)
    {
        return Err(Error::Key(format!("its `alg` is {found}, wanted {alg:?}")));
    }
    let Some(found) = members.get("key_ops") else {
        return Ok(());
    };
    let list: Option<Vec<&str>> = found
        .as_array()
        .and_then(|list| list.iter().map(Value::as_str).collect());
    let Some(list) = list else {
        return Err(key_error("its `key_ops` is not an array of strings"));
    };
    let empty_is_fine = list.is_empty() && wanted_use == "enc" && !members.contains_key("d");
    let distinct = list
        .iter()
        .enumerate()
        .all(|(i, op)| !list.iter().skip(i + 1).any(|o| o == op));
    if !distinct || !(empty_is_fine || list.iter().any(|op| operations.contains(op))) {
        return Err(Error::Key(format!(
            "its `key_ops` is {found}, wanted one of {operations:?}"
        )));
    }
    Ok(())
}
