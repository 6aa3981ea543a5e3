//! Where lines of the log are in what is read.
//!
//! A receiver of an export may write something before each line, and lines of other programs between them. All of it is
//! anybody's text, so it is looked through for what could be the log's, and nothing of it is believed.
//!
//! journald's entries may also be JSON (`journalctl --output json`): the line is a text in it then, or an array of bytes
//! where it holds what does not print. White space behind a line is a receiver's or a transport's, since canonical JSON
//! ends with a brace.

use std::borrow::Cow;

use serde::Deserialize;

use crate::entry::{Entry, MAX_LINE_BYTES};

/// What a receiver may write before a line, in bytes.
pub(super) const MAX_BEFORE_BYTES: usize = 4096;
/// How much longer a line gets at most in journald's JSON: each byte as a number, with a comma and a space.
const JSON_FACTOR: usize = 5;

/// What wrote the lines that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The host: a file of the log.
    File,
    /// A receiver of an export.
    Export,
}

impl Form {
    /// Longer lines are none.
    pub(super) const fn most_bytes(self) -> usize {
        match self {
            Self::File => MAX_LINE_BYTES,
            Self::Export => MAX_LINE_BYTES
                .saturating_mul(JSON_FACTOR)
                .saturating_add(MAX_BEFORE_BYTES),
        }
    }

    /// Whether this is no half of a line, though nothing ends it. The host ends each of its own.
    pub(super) fn is_whole(self, line: &[u8]) -> bool {
        let is_entry = |line: Cow<'_, [u8]>| Entry::parse(&line).is_ok();
        self == Self::Export && self.line(line).is_some_and(is_entry)
    }

    /// The line of the log in this one, if there could be one.
    pub(super) fn line(self, line: &[u8]) -> Option<Cow<'_, [u8]>> {
        if self == Self::File {
            return Some(Cow::Borrowed(line));
        }
        let line = line.trim_ascii_end();
        match exported_line(line) {
            Some(line) => Some(Cow::Borrowed(line)),
            None => Some(Cow::Owned(exported_line(&message(line)?)?.to_vec())),
        }
    }
}

/// An entry of a journal, as `journalctl --output json` prints it; other fields are journald's own.
#[derive(Deserialize)]
struct JournalEntry {
    #[serde(rename = "MESSAGE")]
    message: Message,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Message {
    Text(String),
    Bytes(Vec<u8>),
}

/// What is logged by such an entry.
fn message(line: &[u8]) -> Option<Vec<u8>> {
    if !line.starts_with(b"{") {
        return None;
    }
    let entry: JournalEntry = serde_json::from_slice(line).ok()?;
    Some(match entry.message {
        Message::Text(text) => text.into_bytes(),
        Message::Bytes(bytes) => bytes,
    })
}

/// It is all from where one can begin: members are sorted, and a receiver writes nothing like that of its own before it.
fn exported_line(line: &[u8]) -> Option<&[u8]> {
    const BEGINS: [&[u8]; 2] = [b"{\"about\":{", b"{\"chain\":\""];
    let first = BEGINS.iter().filter_map(|begin| find(line, begin)).min()?;
    line.get(first..)
}

/// The boots whose chains a line names that cannot be read as an entry.
pub(super) fn claimed_boots(mut line: &[u8]) -> impl Iterator<Item = &str> {
    const CHAIN: &[u8] = b"\"chain\":\"";
    std::iter::from_fn(move || {
        let begin = find(line, CHAIN)?.saturating_add(CHAIN.len());
        line = line.get(begin..)?;
        let is_end = |byte: &u8| !byte.is_ascii_alphanumeric() && !matches!(byte, b'-' | b'_');
        let end = line.iter().position(is_end).unwrap_or(line.len());
        str::from_utf8(line.get(..end)?).ok()
    })
}

fn find(line: &[u8], part: &[u8]) -> Option<usize> {
    line.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boots_that_a_broken_line_names_are_found() {
        let boots = |line: &'static str| claimed_boots(line.as_bytes()).collect::<Vec<_>>();
        assert_eq!(boots(r#"{"chain":"b0/1","kin"#), ["b0"]);
        assert_eq!(
            boots(r#"{"about":{"chain":"b0/1"},"chain":"b-_1"#),
            ["b0", "b-_1"]
        );
        assert_eq!(boots(r#"{"chain":"b0"#), ["b0"]);
        assert_eq!(boots("{\"chain\":\""), [""]);
        assert_eq!(boots(r#"{"chain":1,"chain\":\"b0"}"#), [""; 0]);
    }
}
