//! The tree that is shown.

use proplet_types::text::line;

/// One line, and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Node {
    pub(super) mark: Mark,
    /// What this is about; empty for a sentence.
    pub(super) name: String,
    pub(super) text: String,
    pub(super) children: Vec<Node>,
}

/// What a line means for somebody who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// It is only said.
    Plain,
    /// It was checked, and holds.
    Holds,
    /// It was not checked.
    Open,
    /// It protects nothing.
    Warning,
}

impl Node {
    pub(super) fn new(name: &str, text: impl AsRef<str>) -> Self {
        Self {
            mark: Mark::Plain,
            name: line(name),
            text: line(text.as_ref()),
            children: Vec::new(),
        }
    }

    pub(super) fn hex(name: &str, bytes: &[u8]) -> Self {
        if bytes.iter().all(|byte| *byte == 0) {
            return Self::new(name, "unset (zeros)");
        }
        Self::new(name, hex::encode(bytes))
    }

    pub(super) fn marked(self, mark: Mark) -> Self {
        Self { mark, ..self }
    }

    pub(super) fn with(self, children: Vec<Node>) -> Self {
        Self { children, ..self }
    }
}
