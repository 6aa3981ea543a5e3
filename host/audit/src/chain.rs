//! One chain: its name, its length and its head.

use std::{collections::BTreeMap, time::SystemTime};

use proplet_types::{Digest, rfc3339};
use serde::Serialize;
use serde_json::Value;

use crate::event::Parts;

/// A chain that is being made.
#[derive(Debug)]
pub(crate) struct Chain {
    name: String,
    next: u64,
    head: Option<Digest>,
}

/// An entry as it is written. The members are in the order of canonical JSON (RFC 8785), which a test holds against an
/// implementation of that: names are ASCII, and numbers are whole and below 2^53.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    about: &'a BTreeMap<&'static str, Value>,
    chain: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed: Option<&'a Value>,
    seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<&'a str>,
    untrusted_time: String,
}

impl Chain {
    /// The chain of a boot.
    pub(crate) fn of_boot(name: String) -> Self {
        Self {
            name,
            next: 0,
            head: None,
        }
    }

    /// The chain of a task, which begins at the line `seq` of the boot's, whose hash is `head`.
    pub(crate) fn of_task(boot: &str, seq: u64, head: Digest) -> Self {
        Self {
            name: format!("{boot}/{seq}"),
            next: 0,
            head: Some(head),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// How many entries it has.
    pub(crate) fn len(&self) -> u64 {
        self.next
    }

    /// Hash of its last line; for a task's chain without one, of the line that it begins at.
    pub(crate) fn head(&self) -> Option<Digest> {
        self.head
    }

    /// Adds an entry, and gives its line, without the line's end.
    pub(crate) fn extend(
        &mut self,
        parts: &Parts,
        sealed: Option<&Value>,
        now: SystemTime,
    ) -> String {
        let line = Line {
            about: &parts.about,
            chain: &self.name,
            code: parts.code,
            kind: parts.kind,
            prev: self.head,
            sealed,
            seq: self.next,
            task: parts.task.as_deref(),
            untrusted_time: rfc3339(now),
        };
        // Strings and numbers always make JSON.
        let line = serde_json::to_string(&line).unwrap_or_default();
        self.next = self.next.saturating_add(1);
        self.head = Some(Digest::of(line.as_bytes()));
        line
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proplet_jose::{jcs, json};
    use proptest::prelude::*;

    use super::*;
    use crate::entry::Entry;

    #[test]
    fn a_line_names_the_one_before_it() {
        let mut chain = Chain::of_boot("boot".to_owned());
        assert_eq!((chain.len(), chain.head()), (0, None));
        let now = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        let first = chain.extend(&Parts::new("stopped"), None, now);
        assert_eq!(
            first,
            r#"{"chain":"boot","kind":"stopped","seq":0,"untrusted_time":"2023-11-14T22:13:20.123Z"}"#
        );
        let head = Digest::of(first.as_bytes());
        assert_eq!((chain.len(), chain.head()), (1, Some(head)));
        let second = chain.extend(&Parts::new("stopped").task("t"), None, now);
        assert!(
            second.contains(&format!(r#""prev":"{head}","seq":1,"task":"t""#)),
            "{second}"
        );
        let task = Chain::of_task("boot", 7, head);
        assert_eq!((task.name(), task.head()), ("boot/7", Some(head)));
    }

    proptest! {
        #[test]
        fn lines_are_canonical_and_read_back(
            task in proptest::option::of("\\PC{1,40}|[\\x00-\\x1f\"\\\\]{1,8}"),
            word in ".{0,40}",
            number in 0_u64..(1 << 53),
            flag: bool,
            seconds in 0_u64..253_402_300_799,
        ) {
            let mut parts = Parts::new("accepted").word("word", &word).about("number", number)
                .about("flag", flag).code(flag.then_some("kbs-denied"));
            if let Some(task) = &task {
                parts = parts.task(task);
            }
            let mut chain = Chain::of_boot("boot".to_owned());
            let sealed = serde_json::json!({"b": "1", "a": ["x"]});
            for sealed in [None, Some(&sealed)] {
                let line = chain.extend(&parts, sealed, UNIX_EPOCH + Duration::from_secs(seconds));
                let value = json::value(line.as_bytes()).unwrap();
                prop_assert_eq!(&jcs::to_string(&value).unwrap(), &line);
                let entry = Entry::parse(line.as_bytes()).unwrap();
                prop_assert_eq!(Some(entry.hash), chain.head());
                prop_assert_eq!(entry.task, parts.task.clone());
                prop_assert_eq!(entry.code.as_deref(), parts.code);
                prop_assert_eq!(entry.sealed.as_ref(), sealed);
            }
        }
    }
}
