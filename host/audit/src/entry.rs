//! An entry as it is read. Who wrote the file is not known, so nothing is taken that this host would not write.

use proplet_jose::{jcs, json, jwe::Jwe, jwk::PrivateKey};
use proplet_types::{Digest, text::short_line};
use serde_json::{Map, Value};

/// The longest line, in bytes, without its end.
pub const MAX_LINE_BYTES: usize = 64 * 1024;
/// The longest name, in bytes.
const MAX_NAME_BYTES: usize = 64;
/// The largest number that every implementation of JSON has.
const MAX_NUMBER: u64 = (1 << 53) - 1;
/// The longest value of a stranger in an error, in characters.
const MAX_SHOWN: usize = 64;

/// A line that is none of an audit log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// It is longer than any that is written.
    #[error("it is longer than {MAX_LINE_BYTES} bytes")]
    TooLong,
    /// It is not JSON.
    #[error("it cannot be read: {0}")]
    Unreadable(proplet_jose::Error),
    /// It is written in another way than the one that is hashed.
    #[error("it is not canonical JSON, so its hash is nobody's")]
    NotCanonical,
    /// A member is missing, unknown or of another form.
    #[error("its member {0:?} is missing or cannot be used")]
    Member(String),
}

/// Why what is sealed in an entry is not seen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealedError {
    /// It does not open with this key.
    #[error("what is sealed cannot be opened: {0}")]
    Jose(#[from] proplet_jose::Error),
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its chain: the boot's random name, or that and the number of the line that a task's chain begins at.
    pub chain: String,
    /// Its place there, from 0.
    pub seq: u64,
    /// Hash of the line before it.
    pub prev: Option<Digest>,
    /// What kind of event it is.
    pub kind: String,
    /// The task, as the orchestrator chose its id.
    pub task: Option<String>,
    /// Why something was refused or failed.
    pub code: Option<String>,
    /// What else there is to know, by name.
    pub about: Map<String, Value>,
    /// What only recipients see: a JWE.
    pub sealed: Option<Value>,
    /// When, by a clock that the hypervisor sets.
    pub untrusted_time: String,
    /// Hash of this line.
    pub hash: Digest,
}

impl Entry {
    /// Reads a line, without its end.
    ///
    /// # Errors
    /// [`EntryError`].
    pub fn parse(line: &[u8]) -> Result<Self, EntryError> {
        if line.len() > MAX_LINE_BYTES {
            return Err(EntryError::TooLong);
        }
        let mut members = json::object(line).map_err(EntryError::Unreadable)?;
        let canonical = jcs::to_string(&members).map_err(EntryError::Unreadable)?;
        if canonical.as_bytes() != line {
            return Err(EntryError::NotCanonical);
        }
        let mut take = |name: &str| members.remove(name);
        let entry = Self {
            chain: name("chain", text("chain", take("chain"))?)?,
            seq: number("seq", take("seq"))?,
            prev: optional(take("prev"), |value| digest("prev", value))?,
            kind: name("kind", text("kind", take("kind"))?)?,
            task: optional(take("task"), |value| text("task", Some(value)))?,
            code: optional(take("code"), |value| {
                name("code", text("code", Some(value))?)
            })?,
            about: match take("about") {
                None => Map::new(),
                Some(Value::Object(about)) if about.values().all(is_plain) => about,
                Some(_) => return Err(wrong("about")),
            },
            sealed: optional(take("sealed"), |value| match value {
                Value::Object(_) => Ok(value),
                _ => Err(wrong("sealed")),
            })?,
            untrusted_time: text("untrusted_time", take("untrusted_time"))?,
            hash: Digest::of(line),
        };
        match members.keys().next() {
            Some(unknown) => Err(wrong(unknown)),
            None => Ok(entry),
        }
    }

    /// The boot whose chain it is in, or whose task's.
    pub(crate) fn boot(&self) -> &str {
        self.chain
            .split_once('/')
            .map_or(&*self.chain, |(boot, _)| boot)
    }

    /// A value of [`Entry::about`] that is a text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.about.get(name)?.as_str()
    }

    /// A value of [`Entry::about`] that is a number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.about.get(name)?.as_u64()
    }

    /// Opens what is sealed in it; none when nothing is.
    ///
    /// # Errors
    /// [`SealedError`].
    pub fn open(&self, key: &PrivateKey) -> Result<Option<Map<String, Value>>, SealedError> {
        let Some(sealed) = &self.sealed else {
            return Ok(None);
        };
        let jwe: Jwe = sealed.to_string().parse()?;
        let content = jwe.decrypt(key)?;
        Ok(Some(json::object(&content.plaintext)?))
    }
}

fn wrong(name: &str) -> EntryError {
    EntryError::Member(short_line(name, MAX_SHOWN))
}

fn optional<T>(
    value: Option<Value>,
    read: impl FnOnce(Value) -> Result<T, EntryError>,
) -> Result<Option<T>, EntryError> {
    value.map(read).transpose()
}

fn text(name: &str, value: Option<Value>) -> Result<String, EntryError> {
    match value {
        Some(Value::String(text)) => Ok(text),
        _ => Err(wrong(name)),
    }
}

/// Short, and of characters that need no care.
fn name(member: &str, text: String) -> Result<String, EntryError> {
    let is_good = !text.is_empty()
        && text.len() <= MAX_NAME_BYTES
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'/'));
    match is_good {
        true => Ok(text),
        false => Err(wrong(member)),
    }
}

fn number(name: &str, value: Option<Value>) -> Result<u64, EntryError> {
    let number = value.as_ref().and_then(Value::as_u64);
    number
        .filter(|number| *number <= MAX_NUMBER)
        .ok_or_else(|| wrong(name))
}

fn digest(name: &str, value: Value) -> Result<Digest, EntryError> {
    text(name, Some(value))?.parse().map_err(|_| wrong(name))
}

/// Texts, truth values and numbers: nothing that has parts.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::String(_) | Value::Bool(_) => true,
        Value::Number(number) => number.as_u64().is_some_and(|number| number <= MAX_NUMBER),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"about":{"count":1},"chain":"b/1","code":"x","kind":"k","seq":1,"task":"t","untrusted_time":"now"}"#;

    #[test]
    fn what_this_host_would_not_write_is_none() {
        let entry = Entry::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(entry.number("count"), Some(1));
        assert_eq!(entry.text("count"), None);
        assert_eq!(entry.task.as_deref(), Some("t"));
        let refused = |line: String| Entry::parse(line.as_bytes()).unwrap_err();
        assert!(matches!(
            refused("x".repeat(MAX_LINE_BYTES + 1)),
            EntryError::TooLong
        ));
        for line in ["", "{", "[]", "{}x", r#"{"a":1,"a":1}"#] {
            assert!(
                matches!(refused(line.to_owned()), EntryError::Unreadable(_)),
                "{line}"
            );
        }
        for line in [
            format!(" {GOOD}"),
            GOOD.replace(":", ": "),
            GOOD.replace("\"k\"", "\"\\u006b\""),
            r#"{"seq":1,"chain":"b"}"#.to_owned(),
        ] {
            assert_eq!(refused(line), EntryError::NotCanonical);
        }
    }

    #[test]
    fn members_have_one_form() {
        let refused = |from: &str, to: &str, name: &str| {
            let line = GOOD.replace(from, to);
            assert_ne!(line, GOOD);
            let error = Entry::parse(line.as_bytes()).unwrap_err();
            assert_eq!(error, EntryError::Member(name.to_owned()), "{line}");
        };
        refused(r#""seq":1"#, r#""seq":-1"#, "seq");
        refused(r#""seq":1"#, r#""seq":9007199254740992"#, "seq");
        refused(r#""seq":1"#, r#""seq":"1""#, "seq");
        refused(r#""chain":"b/1""#, r#""chain":"""#, "chain");
        refused(r#""chain":"b/1""#, r#""chain":"b 1""#, "chain");
        refused(r#""code":"x""#, r#""code":1"#, "code");
        refused(r#""kind":"k","#, "", "kind");
        refused(r#""count":1"#, r#""count":[1]"#, "about");
        refused(r#""count":1"#, r#""count":null"#, "about");
        refused(r#"{"count":1}"#, "1", "about");
        refused(r#""kind":"k""#, r#""kind":"k","prev":"sha256:ab""#, "prev");
        refused(r#""kind":"k""#, r#""kind":"k","sealed":"x""#, "sealed");
        refused(r#""untrusted_time":"now""#, r#""zz":1"#, "untrusted_time");
        refused(
            r#""untrusted_time":"now""#,
            r#""untrusted_time":"now","zz":1"#,
            "zz",
        );
    }
}
