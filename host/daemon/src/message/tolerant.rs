//! Reading members that versions of the Manager write differently, and what can be saved of a message
//! that does not decode.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

/// `null` is the default of the type, as an absent member is.
pub(super) fn null_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// `null` and `""` are absent.
pub(super) fn null_or_empty<'de, D>(deserializer: D) -> Result<Option<String>, D::Error>
where
    D: Deserializer<'de>,
{
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()))
}

/// Inputs: strings as they are, numbers as their decimal text.
pub(super) fn inputs<'de, D>(deserializer: D) -> Result<Vec<String>, D::Error>
where
    D: Deserializer<'de>,
{
    struct Inputs;

    impl<'de> Visitor<'de> for Inputs {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of strings or numbers")
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut inputs = Vec::new();
            while let Some(item) = items.next_element::<Value>()? {
                inputs.push(match item {
                    Value::String(text) => text,
                    Value::Number(number) => number.to_string(),
                    _ => return Err(de::Error::custom("an input must be a string or a number")),
                });
            }
            Ok(inputs)
        }
    }

    deserializer.deserialize_any(Inputs)
}

/// The same; `null` is none at all.
pub(super) fn inputs_if_any<'de, D>(deserializer: D) -> Result<Option<Vec<String>>, D::Error>
where
    D: Deserializer<'de>,
{
    struct Inputs(Vec<String>);

    impl<'de> Deserialize<'de> for Inputs {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            inputs(deserializer).map(Self)
        }
    }

    Ok(Option::<Inputs>::deserialize(deserializer)?.map(|inputs| inputs.0))
}

/// The environment of a task; `null` is empty.
pub(super) fn environment<'de, D>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error>
where
    D: Deserializer<'de>,
{
    null_default(deserializer)
}

/// What is needed to answer a message that does not decode.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Salvage {
    pub id: Option<String>,
    pub invocation_id: Option<String>,
    pub proplet_id: Option<String>,
    pub broadcast: bool,
}

impl Salvage {
    /// Reads what stands before the first error of a JSON object. Members of a wrong type are skipped.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let mut salvage = Self::default();
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        // The error is known already; what was read before it is what this is for.
        let _ = SalvageSeed(&mut salvage).deserialize(&mut deserializer);
        salvage
    }
}

struct SalvageSeed<'a>(&'a mut Salvage);

impl<'de> DeserializeSeed<'de> for SalvageSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for SalvageSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<String>()? {
            match name.as_str() {
                "id" => {
                    if let Value::String(id) = members.next_value()? {
                        self.0.id = Some(id);
                    }
                }
                "invocation_id" => {
                    if let Value::String(id) = members.next_value()? {
                        self.0.invocation_id = Some(id);
                    }
                }
                "proplet_id" => {
                    if let Value::String(id) = members.next_value()? {
                        self.0.proplet_id = Some(id);
                    }
                }
                "broadcast" => {
                    if let Value::Bool(broadcast) = members.next_value()? {
                        self.0.broadcast = broadcast;
                    }
                }
                _ => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}
