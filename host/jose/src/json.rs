//! JSON in which no object names a member twice.
//!
//! `serde_json` keeps the last of two members with one name; other parsers keep the first. A signed or
//! authenticated text that two parties read differently is an old way to attack protocols, so RFC 7515
//! section 4 and RFC 7516 section 4 let a reader refuse such headers. This one refuses them at every
//! depth.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::Error;

/// Parses a JSON text.
///
/// # Errors
///
/// [`Error::Json`] for anything but one JSON value in UTF-8, an object that names a member twice, and
/// nesting deeper than 128.
pub fn value(text: &[u8]) -> Result<Value, Error> {
    value_as(text, "the text")
}

/// Parses a JSON text that must be an object.
///
/// # Errors
///
/// As [`value`], and when the value is not an object.
pub fn object(text: &[u8]) -> Result<Map<String, Value>, Error> {
    object_as(text, "the text")
}

/// [`value`] with a name for the error message.
pub(crate) fn value_as(text: &[u8], what: &'static str) -> Result<Value, Error> {
    let fail = |error: serde_json::Error| Error::Json {
        what,
        reason: format!(
            "{:?} error at line {} column {}",
            error.classify(),
            error.line(),
            error.column()
        ),
    };
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Strict.deserialize(&mut deserializer).map_err(fail)?;
    deserializer.end().map_err(fail)?;
    Ok(value)
}

/// [`object`] with a name for the error message.
pub(crate) fn object_as(text: &[u8], what: &'static str) -> Result<Map<String, Value>, Error> {
    match value_as(text, what)? {
        Value::Object(members) => Ok(members),
        _ => Err(Error::Json {
            what,
            reason: "not an object".to_owned(),
        }),
    }
}

/// For `#[serde(deserialize_with)]`: an optional object without duplicate members.
pub(crate) fn optional_object<'de, D>(from: D) -> Result<Option<Map<String, Value>>, D::Error>
where
    D: Deserializer<'de>,
{
    match Strict.deserialize(from)? {
        Value::Object(members) => Ok(Some(members)),
        _ => Err(D::Error::custom("not an object")),
    }
}

struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without duplicate members")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Strict)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(Strict)?;
            if map.insert(name, value).is_some() {
                return Err(A::Error::custom("a member is named twice"));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_duplicates_at_every_depth() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"[{"b":{"a":1,"a":2}}]"#,
            r#"{"a":1,"\u0061":2}"#,
        ] {
            assert!(value(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_one_value() {
        for text in ["", "{", "{} {}", "[1,]", "nul", "\"\u{1}\"", "{\"a\":}"] {
            assert!(value(text.as_bytes()).is_err(), "{text}");
        }
        assert!(value(b"\"\xff\"").is_err());
        assert!(value("[".repeat(1000).as_bytes()).is_err());
        assert!(object(b"[]").is_err());
    }

    #[test]
    fn errors_do_not_repeat_the_text() {
        let error = value(br#"{"password": hunter2}"#).unwrap_err().to_string();
        assert!(
            !error.contains("hunter2") && !error.contains("password"),
            "{error}"
        );
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(".{0,4}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(json in any_json()) {
            prop_assert_eq!(value(json.to_string().as_bytes()).unwrap(), json);
        }

        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = value(&text);
        }
    }
}
