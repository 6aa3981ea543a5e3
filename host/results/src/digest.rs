//! Digests of values: SHA-256 over their canonical JSON (RFC 8785).

use std::collections::BTreeMap;

use proplet_jose::jcs;
use proplet_types::Digest;
use serde::Serialize;

/// The digest of a value's canonical JSON.
///
/// # Errors
///
/// As [`jcs::to_string`].
pub fn of_json<T: Serialize>(value: &T) -> Result<Digest, proplet_jose::Error> {
    Ok(Digest::of(jcs::to_string(value)?.as_bytes()))
}

/// The digest of a task's inputs: over the JSON array of the input strings as received, a number as its
/// decimal text.
///
/// # Errors
///
/// As [`jcs::to_string`], which does not fail for strings.
pub fn of_inputs<S: AsRef<str>>(inputs: &[S]) -> Result<Digest, proplet_jose::Error> {
    of_strings(inputs)
}

/// The digest of a task's arguments: over the JSON array of `cli_args` as received.
///
/// # Errors
///
/// As [`jcs::to_string`], which does not fail for strings.
pub fn of_arguments<S: AsRef<str>>(arguments: &[S]) -> Result<Digest, proplet_jose::Error> {
    of_strings(arguments)
}

/// The digest of a task's environment: over the JSON object `env` as received.
///
/// # Errors
///
/// As [`jcs::to_string`], which does not fail for strings.
pub fn of_environment(env: &BTreeMap<String, String>) -> Result<Digest, proplet_jose::Error> {
    of_json(env)
}

fn of_strings<S: AsRef<str>>(strings: &[S]) -> Result<Digest, proplet_jose::Error> {
    let strings: Vec<&str> = strings.iter().map(AsRef::as_ref).collect();
    of_json(&strings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_no_inputs_is_of_the_empty_array() {
        assert_eq!(of_inputs::<&str>(&[]).unwrap(), Digest::of(b"[]"));
        assert_eq!(
            of_inputs(&["10", "a\"b"]).unwrap(),
            Digest::of(br#"["10","a\"b"]"#)
        );
        assert_eq!(of_environment(&BTreeMap::new()).unwrap(), Digest::of(b"{}"));
    }
}
