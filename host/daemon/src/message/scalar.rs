//! Values of one piece.
//!
//! A message may say anything anywhere. Read as a JSON value, a byte of it can take thirty bytes of memory, before
//! anybody sees that the value is of no use. Here arrays and objects are read over and take none.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Number;

/// A value, as far as it is one that a member can have.
#[derive(Debug, PartialEq)]
pub(super) enum Scalar {
    Switch(bool),
    Number(Number),
    Text(String),
    /// `null`, an array or an object.
    Other,
}

impl Scalar {
    pub(super) fn switch(self) -> Option<bool> {
        match self {
            Self::Switch(value) => Some(value),
            _ => None,
        }
    }

    /// A whole number that is not negative.
    pub(super) fn number(self) -> Option<u64> {
        match self {
            Self::Number(value) => value.as_u64(),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar::Switch(value))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Scalar, E> {
                Ok(Scalar::Number(value.into()))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar::Number(value.into()))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Scalar, E> {
                Ok(Number::from_f64(value).map_or(Scalar::Other, Scalar::Number))
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(value.to_owned()))
            }

            fn visit_string<E: Error>(self, value: String) -> Result<Scalar, E> {
                Ok(Scalar::Text(value))
            }

            fn visit_unit<E: Error>(self) -> Result<Scalar, E> {
                Ok(Scalar::Other)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Scalar, A::Error> {
                drain(items)?;
                Ok(Scalar::Other)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Scalar, A::Error> {
                while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Scalar::Other)
            }
        }

        deserializer.deserialize_any(Any)
    }
}

/// Reads over the rest of an array.
pub(super) fn drain<'de, A: SeqAccess<'de>>(mut items: A) -> Result<(), A::Error> {
    while items.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_is_one_piece_is_read_and_all_else_read_over() {
        let read = |value: &Value| serde_json::from_str::<Scalar>(&value.to_string()).unwrap();
        assert_eq!(read(&json!(true)).switch(), Some(true));
        assert_eq!(read(&json!(7)).number(), Some(7));
        assert_eq!(read(&json!("a\n")), Scalar::Text("a\n".to_owned()));
        for value in [json!(null), json!([1, [2], {"a": 3}]), json!({"a": [1]})] {
            assert_eq!(read(&value), Scalar::Other);
        }
        for value in [json!(-1), json!(1.5), json!("7"), json!(true)] {
            assert_eq!(read(&value).number(), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_serde_json_writes_them(text in "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?") {
            if let Ok(Value::Number(number)) = serde_json::from_str::<Value>(&text) {
                let read: Scalar = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(read, Scalar::Number(number));
            }
        }
    }
}
