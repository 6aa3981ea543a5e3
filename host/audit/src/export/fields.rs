//! What a line says, for receivers that sort by it.

use serde::Deserialize;

/// Members of a line of this host's own.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Fields<'a> {
    pub chain: &'a str,
    pub code: Option<&'a str>,
    pub kind: &'a str,
    pub seq: u64,
    /// As the orchestrator chose it, so it may hold anything.
    pub task: Option<String>,
    pub untrusted_time: &'a str,
}

impl<'a> Fields<'a> {
    /// All of them are there, and none but the task has a character that JSON escapes: the line was made here.
    pub(super) fn of(line: &'a str) -> Self {
        serde_json::from_str(line).unwrap_or_default()
    }

    /// The name of the boot.
    pub(super) fn boot(&self) -> &'a str {
        self.chain
            .split_once('/')
            .map_or(self.chain, |(boot, _)| boot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_those_of_the_line() {
        let fields = Fields::of(
            r#"{"about":{"chain":"x"},"chain":"b/7","code":"no-tee","kind":"ended","prev":"p","seq":3,"task":"a\n\"b","untrusted_time":"t"}"#,
        );
        assert_eq!((fields.chain, fields.boot(), fields.seq), ("b/7", "b", 3));
        assert_eq!((fields.kind, fields.code), ("ended", Some("no-tee")));
        assert_eq!(fields.task.as_deref(), Some("a\n\"b"));
        assert_eq!(fields.untrusted_time, "t");
        let fields = Fields::of(r#"{"chain":"b","kind":"boot","seq":0,"untrusted_time":"t"}"#);
        assert_eq!((fields.boot(), fields.code), ("b", None));
    }
}
