//! The JSON of a credentials file, read as leniently as people need it: what is not about
//! credentials is passed over, and what is malformed spoils its own entry only.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

/// What a file says, in its order.
#[derive(Default)]
pub(super) struct File {
    pub auths: Vec<(String, RawEntry)>,
    pub helpers: Vec<(String, String)>,
    pub store: Option<String>,
}

/// The members of an entry that are known here.
#[derive(Default)]
pub(super) struct RawEntry {
    pub auth: Option<Zeroizing<String>>,
    pub username: Option<Zeroizing<String>>,
    pub password: Option<Zeroizing<String>>,
    pub identitytoken: Option<Zeroizing<String>>,
    pub registrytoken: Option<Zeroizing<String>>,
    /// Something in it is not text, or it is no object.
    pub malformed: bool,
}

impl RawEntry {
    fn is_empty(&self) -> bool {
        [
            &self.auth,
            &self.username,
            &self.password,
            &self.identitytoken,
            &self.registrytoken,
        ]
        .into_iter()
        .all(Option::is_none)
    }
}

impl<'de> Deserialize<'de> for File {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FileVisitor)
    }
}

struct FileVisitor;

impl<'de> Visitor<'de> for FileVisitor {
    type Value = File;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<File, A::Error> {
        let mut file = File::default();
        let mut is_config = false;
        let mut others = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "auths" => file.auths.extend(map.next_value::<Members<RawEntry>>()?.0),
                "credHelpers" => {
                    let helpers = map.next_value::<Members<Text>>()?.0;
                    for (registry, name) in helpers {
                        match name {
                            Text::Given(name) => {
                                file.helpers.push((registry, name.as_str().to_owned()));
                            }
                            Text::Null => {}
                            Text::Other => file.auths.push((registry, RawEntry::malformed())),
                        }
                    }
                }
                "credsStore" => {
                    if let Text::Given(name) = map.next_value()? {
                        file.store = Some(name.as_str().to_owned());
                    }
                }
                _ => {
                    others.push((key, map.next_value::<RawEntry>()?));
                    continue;
                }
            }
            is_config = true;
        }
        if !is_config {
            // The form of `.dockercfg`: the entries are the whole file.
            file.auths = others;
            file.auths.retain(|(_, entry)| !entry.is_empty());
        }
        Ok(file)
    }
}

impl RawEntry {
    fn malformed() -> Self {
        Self {
            malformed: true,
            ..Self::default()
        }
    }
}

impl<'de> Deserialize<'de> for RawEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor)
    }
}

struct EntryVisitor;

/// For visitors that take any value: what each kind but objects, sequences and text becomes.
macro_rules! scalars {
    ($null:expr, $other:expr) => {
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($null)
        }
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($other)
        }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok($other)
        }
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok($other)
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok($other)
        }
    };
}

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = RawEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    scalars!(RawEntry::default(), RawEntry::malformed());

    fn visit_str<E>(self, _: &str) -> Result<RawEntry, E> {
        Ok(RawEntry::malformed())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<RawEntry, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(RawEntry::malformed())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawEntry, A::Error> {
        let mut entry = RawEntry::default();
        while let Some(key) = map.next_key::<String>()? {
            let field = match key.as_str() {
                "auth" => &mut entry.auth,
                "username" => &mut entry.username,
                "password" => &mut entry.password,
                "identitytoken" => &mut entry.identitytoken,
                "registrytoken" => &mut entry.registrytoken,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            match map.next_value()? {
                Text::Given(text) if !text.is_empty() => *field = Some(text),
                Text::Given(_) | Text::Null => {}
                Text::Other => entry.malformed = true,
            }
        }
        Ok(entry)
    }
}

/// The value of a member that should be text.
enum Text {
    Given(Zeroizing<String>),
    Null,
    Other,
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    scalars!(Text::Null, Text::Other);

    fn visit_str<E>(self, text: &str) -> Result<Text, E> {
        Ok(Text::Given(Zeroizing::new(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Text, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Text::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Text, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Text::Other)
    }
}

/// The members of an object in their order; none of `null`, and of the empty list that some
/// programs write for an empty object.
struct Members<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Members<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MembersVisitor(std::marker::PhantomData))
    }
}

struct MembersVisitor<T>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for MembersVisitor<T> {
    type Value = Members<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<Members<T>, E> {
        Ok(Members(Vec::new()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Members<T>, A::Error> {
        match seq.next_element::<IgnoredAny>()? {
            None => Ok(Members(Vec::new())),
            Some(_) => Err(serde::de::Error::custom("a list")),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<T>, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}
