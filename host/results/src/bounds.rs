//! How large what a reader gets can be.
//!
//! Documents come from strangers, and a text of a few hundred megabytes of brackets or numbers takes many times its
//! size once it is parsed. Of what a proplet makes only the ciphertext is large, and that is one string. So before
//! a text is parsed, what stands outside of its strings is counted: each value takes at least one byte of that.
//! What is known to be small is held to its own limit afterwards.

use serde_json::Value;
use thiserror::Error;

/// Largest text: the largest packet that MQTT can carry.
pub const MAX_TEXT_BYTES: usize = 268_435_460;
/// Most bytes outside of strings. A report of SNP with sixteen certificates, written as numbers, has half of it.
pub const MAX_STRUCTURE_BYTES: usize = 1024 * 1024;
/// Largest evidence bundle: a quote, the longest event log in Base64, and the claims.
pub const MAX_EVIDENCE_BYTES: usize = 4 * 1024 * 1024;
/// Largest receipt: digests, limits, names, and the thumbprints of 64 recipients, in Base64.
pub const MAX_RECEIPT_BYTES: usize = 256 * 1024;

/// A document, or a part of one, is larger than any that a proplet makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "its {what} has more than {limit} bytes, which none that a proplet made has: do not use it, and get the document \
     again from where it was made"
)]
pub struct TooLarge {
    /// The part.
    pub what: &'static str,
    /// The most that is read.
    pub limit: usize,
}

/// Refuses a text that would take much more memory than its own size once it is parsed. It need not be JSON.
///
/// # Errors
/// [`TooLarge`].
pub fn check_text(text: &str) -> Result<(), TooLarge> {
    check("text", text.len(), MAX_TEXT_BYTES)?;
    let what = "structure (what is no text)";
    check(what, structure(text), MAX_STRUCTURE_BYTES)
}

/// The bytes outside of strings, quotation marks included.
fn structure(text: &str) -> usize {
    let (mut outside, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => {
                in_string = !in_string;
                outside = outside.saturating_add(1);
            }
            _ if in_string => {}
            _ => outside = outside.saturating_add(1),
        }
    }
    outside
}

pub(crate) fn check(what: &'static str, size: usize, limit: usize) -> Result<(), TooLarge> {
    if size > limit {
        return Err(TooLarge { what, limit });
    }
    Ok(())
}

/// The bytes of all texts and names in a value, and one for each value.
pub(crate) fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len().saturating_add(1),
        Value::Array(values) => sum(values.iter().map(weight)),
        Value::Object(members) => sum(members
            .iter()
            .map(|(name, value)| name.len().saturating_add(weight(value)))),
        _ => 1,
    }
}

fn sum(weights: impl Iterator<Item = usize>) -> usize {
    weights.fold(1, usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(value: &Value) -> usize {
        match value {
            Value::Array(inner) => inner.iter().map(values).sum::<usize>() + 1,
            Value::Object(inner) => inner.values().map(values).sum::<usize>() + 1,
            _ => 1,
        }
    }

    #[test]
    fn what_is_outside_of_strings_is_counted() {
        for (text, outside) in [
            ("", 0),
            ("[1,2]", 5),
            (r#""abc""#, 2),
            (r#"{"a":"b,[]"}"#, 7),
            (r#""a\"b\\""#, 2),
            (r#""\\",1"#, 4),
            (r#""never closed ,,,,"#, 1),
        ] {
            assert_eq!(structure(text), outside, "{text}");
        }
    }

    #[test]
    fn a_text_that_is_all_structure_is_refused_and_one_long_string_is_not() {
        let numbers = format!("[{}0]", "0,".repeat(MAX_STRUCTURE_BYTES / 2));
        let refused = check_text(&numbers).unwrap_err();
        assert_eq!(refused.limit, MAX_STRUCTURE_BYTES);
        assert!(refused.to_string().contains("structure"), "{refused}");
        check_text(&format!("[\"{}\"]", "0,".repeat(MAX_STRUCTURE_BYTES))).unwrap();
        check_text(&numbers[..MAX_STRUCTURE_BYTES]).unwrap();
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
            "[\"\\\\,\\[\\]{}:]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 64, 8, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                proptest::collection::btree_map("[\"\\\\a,]{0,4}", inner, 0..8)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_text_holds_more_values_than_bytes_outside_of_strings(value in any_json()) {
            let text = value.to_string();
            prop_assert!(values(&value) <= structure(&text));
            prop_assert!(structure(&text) <= text.len());
            prop_assert!(values(&value) <= weight(&value));
            prop_assert!(weight(&value) <= 2 * text.len());
        }

        #[test]
        fn any_text_is_counted(text in "\\PC{0,64}") {
            prop_assert!(structure(&text) <= text.len());
        }
    }
}
