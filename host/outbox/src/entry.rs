//! One entry as it lies on the disk.
//!
//! | bytes | |
//! | --- | --- |
//! | 1 | version of this form: 1 |
//! | 1 | 0 accepted, 1 answered, 2 answered in memory, 3 the same and handed to the broker |
//! | 2 | length of the id, little endian |
//! | n | the task's id, UTF-8, 1 to 256 bytes |
//! | rest | of 1: the answer; of 2: the code, or nothing when the task ended well; of 3: nothing |

use bytes::Bytes;
use proplet_types::{Code, text::is_id};
use thiserror::Error;

const VERSION: u8 = 1;
const ACCEPTED: u8 = 0;
const KEPT: u8 = 1;
const UNKEPT: u8 = 2;
const HANDED: u8 = 3;

/// An answer, as far as it is on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The whole message, which goes out again as it is.
    Kept(Bytes),
    /// The message was in memory only: the code of a failure, or none of a task that ended well.
    Unkept(Option<Code>),
    /// The result of a task that ended well was in memory only, and may have been handed to the broker, which did
    /// not acknowledge it.
    Handed,
}

/// What is known of one start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The task's id.
    pub task: String,
    /// The answer; none while the task waits or runs.
    pub answer: Option<Answer>,
}

/// The bytes are no entry of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("an entry of the outbox cannot be read: {0}")]
pub struct EntryError(&'static str);

const NO_ID: EntryError = EntryError("no task can have its id");

impl Entry {
    /// Bytes that the entry takes.
    pub(crate) fn size(&self) -> u64 {
        let answer = match &self.answer {
            Some(Answer::Kept(message)) => message.len(),
            Some(Answer::Unkept(Some(code))) => code.as_str().len(),
            _ => 0,
        };
        (4 + self.task.len() + answer) as u64
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>, EntryError> {
        let length = u16::try_from(self.task.len()).map_err(|_| NO_ID)?;
        // It could not be read again.
        if !is_id(&self.task) {
            return Err(NO_ID);
        }
        let (kind, rest): (u8, &[u8]) = match &self.answer {
            None => (ACCEPTED, &[]),
            Some(Answer::Kept(message)) => (KEPT, message),
            Some(Answer::Unkept(code)) => (UNKEPT, code.map_or("", Code::as_str).as_bytes()),
            Some(Answer::Handed) => (HANDED, &[]),
        };
        let mut bytes = Vec::with_capacity(4 + self.task.len() + rest.len());
        bytes.extend([VERSION, kind]);
        bytes.extend(length.to_le_bytes());
        bytes.extend(self.task.as_bytes());
        bytes.extend(rest);
        Ok(bytes)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        let [version, kind, low, high, rest @ ..] = bytes else {
            return Err(EntryError("it is too short"));
        };
        if *version != VERSION {
            return Err(EntryError("it is of another version"));
        }
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        let (task, rest) = rest
            .split_at_checked(length)
            .ok_or(EntryError("it ends within the id"))?;
        let task = std::str::from_utf8(task).map_err(|_| EntryError("the id is not UTF-8"))?;
        // No task that is accepted has such an id: somebody else wrote this, and it would end in the log and on record.
        if !is_id(task) {
            return Err(NO_ID);
        }
        let answer = match *kind {
            ACCEPTED if rest.is_empty() => None,
            KEPT => Some(Answer::Kept(Bytes::copy_from_slice(rest))),
            HANDED if rest.is_empty() => Some(Answer::Handed),
            UNKEPT if rest.is_empty() => Some(Answer::Unkept(None)),
            UNKEPT => {
                let code = std::str::from_utf8(rest)
                    .ok()
                    .and_then(|text| text.parse().ok());
                Some(Answer::Unkept(Some(
                    code.ok_or(EntryError("its code is unknown"))?,
                )))
            }
            _ => return Err(EntryError("its kind is unknown")),
        };
        Ok(Self {
            task: task.to_owned(),
            answer,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answers() -> impl Strategy<Value = Option<Answer>> {
        prop_oneof![
            Just(None),
            proptest::collection::vec(any::<u8>(), 0..100)
                .prop_map(|bytes| Some(Answer::Kept(bytes.into()))),
            Just(Some(Answer::Unkept(None))),
            Just(Some(Answer::Handed)),
            proptest::sample::select(Code::ALL).prop_map(|code| Some(Answer::Unkept(Some(code)))),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(task in "\\PC{1,60}", answer in answers()) {
            let entry = Entry { task, answer };
            let bytes = entry.encode().unwrap();
            prop_assert_eq!(bytes.len() as u64, entry.size());
            prop_assert_eq!(Entry::decode(&bytes).unwrap(), entry);
        }

        #[test]
        fn any_bytes_are_an_entry_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(entry) = Entry::decode(&bytes) {
                prop_assert_eq!(entry.encode().unwrap(), bytes);
            }
        }

        #[test]
        fn any_rest_is_an_entry_or_refused(kind in 0_u8..5, rest in proptest::collection::vec(any::<u8>(), 0..80)) {
            let bytes = [&[VERSION, kind], rest.as_slice()].concat();
            if let Ok(entry) = Entry::decode(&bytes) {
                prop_assert_eq!(entry.encode().unwrap(), bytes);
            }
        }
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        for (bytes, why) in [
            (&b"\x01\x00\x01"[..], "too short"),
            (b"\x02\x00\x00\x00", "version"),
            (b"\x01\x00\x02\x00a", "within the id"),
            (b"\x01\x00\x01\x00\xff", "UTF-8"),
            (b"\x01\x00\x00\x00", "no task"),
            (b"\x01\x00\x02\x00a\n", "no task"),
            (b"\x01\x00\x01\x00\x1b", "no task"),
            (b"\x01\x00\x01\x00ax", "kind"),
            (b"\x01\x03\x01\x00ax", "kind"),
            (b"\x01\x04\x01\x00a", "kind"),
            (b"\x01\x02\x01\x00ano-such", "code"),
        ] {
            let error = Entry::decode(bytes).unwrap_err().to_string();
            assert!(error.contains(why), "{bytes:?}: {error}");
        }
        let of = |task: String| Entry { task, answer: None };
        for task in [70_000, 257, 0].map(|length| "x".repeat(length)) {
            assert_eq!(of(task).encode(), Err(NO_ID));
        }
        // The longest one, and one that is longer by a byte.
        let longest = of("x".repeat(256));
        let mut bytes = longest.encode().unwrap();
        assert_eq!(Entry::decode(&bytes), Ok(longest));
        bytes[2] = 1;
        bytes.push(b'x');
        assert_eq!(Entry::decode(&bytes), Err(NO_ID));
    }
}
