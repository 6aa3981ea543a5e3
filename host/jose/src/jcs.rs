//! Canonical JSON, RFC 8785.
//!
//! Every digest over JSON in this project is a digest over these bytes. Callers keep to strings,
//! booleans and integers below 2^53: RFC 8785 writes numbers as IEEE doubles, and other
//! implementations differ about them.

use serde::Serialize;

use crate::Error;

/// Writes a value as canonical JSON: members sorted by UTF-16 code units, no white space, shortest
/// escapes.
///
/// # Errors
///
/// [`Error::Json`] when the value has map keys that are not strings, or its `Serialize` fails.
pub fn to_string<T: Serialize>(value: &T) -> Result<String, Error> {
    serde_json_canonicalizer::to_string(value).map_err(|error| Error::Json {
        what: "the value to canonicalise",
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rfc_8785_section_3_2_3_sorts_by_utf16() {
        let value = json!({
            "\u{20ac}": "Euro Sign", "\r": "Carriage Return",
            "\u{fb33}": "Hebrew Letter Dalet With Dagesh", "1": "One",
            "\u{1f600}": "Emoji: Grinning Face", "\u{80}": "Control",
            "\u{f6}": "Latin Small Letter O With Diaeresis"
        });
        let text = to_string(&value).unwrap();
        let order = [
            "Carriage", "One", "Control", "Latin", "Euro", "Emoji", "Hebrew",
        ];
        let places: Vec<usize> = order.iter().map(|word| text.find(word).unwrap()).collect();
        assert!(places.is_sorted(), "{text}");
    }

    #[test]
    fn rfc_8785_section_3_2_2_escapes_and_numbers() {
        let value = json!({
            "numbers": [333_333_333.333_333_3, 1e30, 4.50, 2e-3, 0.000_000_000_000_000_000_000_000_001],
            "string": "\u{20ac}$\u{f}\nA'B\"\\\\\"/",
            "literals": [null, true, false]
        });
        assert_eq!(
            to_string(&value).unwrap(),
            "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
             \"string\":\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}"
        );
    }
}
