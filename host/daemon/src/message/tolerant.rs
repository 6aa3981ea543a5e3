//! Reading members that versions of the Manager write differently, and what can be saved of a message
//! that does not decode.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use proplet_executor::request::{MAX_INPUTS, MAX_VARIABLES};
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::scalar::{Scalar, drain};

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

/// Inputs: strings as they are, numbers as their decimal text. Of more than a task may have, one more is kept: who
/// counts them sees that there are too many, and a message takes no more memory than one that can be run.
pub(super) fn inputs<'de, D>(deserializer: D) -> Result<Vec<String>, D::Error>
where
    D: Deserializer<'de>,
{
    deserializer.deserialize_any(Items::<Input> {
        most: MAX_INPUTS,
        expected: "an array of strings or numbers",
        item: PhantomData,
    })
}

/// Arguments of the command line, which are strings. No more than two can be right, so three are kept.
pub(super) fn arguments<'de, D>(deserializer: D) -> Result<Vec<String>, D::Error>
where
    D: Deserializer<'de>,
{
    deserializer.deserialize_any(Items::<String> {
        most: 2,
        expected: "an array of strings",
        item: PhantomData,
    })
}

/// Up to `most` items of an array, and one more.
struct Items<T> {
    most: usize,
    expected: &'static str,
    item: PhantomData<T>,
}

impl<'de, T: Deserialize<'de> + Into<String>> Visitor<'de> for Items<T> {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        while kept.len() <= self.most {
            match items.next_element::<T>()? {
                Some(item) => kept.push(item.into()),
                None => return Ok(kept),
            }
        }
        drain(items)?;
        Ok(kept)
    }
}

/// One input.
struct Input(String);

impl From<Input> for String {
    fn from(input: Input) -> Self {
        input.0
    }
}

impl<'de> Deserialize<'de> for Input {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Scalar::deserialize(deserializer)? {
            Scalar::Text(text) => Ok(Self(text)),
            Scalar::Number(number) => Ok(Self(number.to_string())),
            Scalar::Switch(_) | Scalar::Other => {
                Err(de::Error::custom("an input must be a string or a number"))
            }
        }
    }
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

/// The environment of a task; `null` is empty. Of more variables than a task may have, one more is kept, as of
/// [`inputs`].
pub(super) fn environment<'de, D>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error>
where
    D: Deserializer<'de>,
{
    struct Variables;

    impl<'de> Visitor<'de> for Variables {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of strings")
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(BTreeMap::new())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
            let mut variables = BTreeMap::new();
            while variables.len() <= MAX_VARIABLES {
                match members.next_entry()? {
                    Some((name, value)) => variables.insert(name, value),
                    None => return Ok(variables),
                };
            }
            while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(variables)
        }
    }

    deserializer.deserialize_any(Variables)
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
                    if let Scalar::Text(id) = members.next_value()? {
                        self.0.id = Some(id);
                    }
                }
                "invocation_id" => {
                    if let Scalar::Text(id) = members.next_value()? {
                        self.0.invocation_id = Some(id);
                    }
                }
                "proplet_id" => {
                    if let Scalar::Text(id) = members.next_value()? {
                        self.0.proplet_id = Some(id);
                    }
                }
                "broadcast" => {
                    if let Scalar::Switch(broadcast) = members.next_value()? {
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
