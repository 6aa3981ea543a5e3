//! What was asked for and what became of it, for whoever keeps a record.

use std::sync::Arc;

use proplet_types::{Code, Digest};
use tonic::Status;

use crate::status;

/// The word of what nobody waited for any more.
const INTERRUPTED: &str = "interrupted";

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Evidence over this challenge.
    Evidence {
        /// Digest of what the caller chose.
        challenge: Digest,
        /// Whether it is given to others than this machine's programs.
        outside: bool,
    },
    /// A token of the attestation service.
    Token,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was given.
    Given,
    /// It was taken off the quota and not given, for this reason in one word. With those that were given there are no
    /// more of these than the quota allows.
    Failed(&'static str),
    /// It was refused before, for this reason in one word. There can be any number of these.
    Refused(&'static str),
}

/// Somebody who is told what programs ask for, for a record. Told in line with it: whoever it is must not take long.
pub trait Witness: Send + Sync {
    /// A program asked for something, and this became of it.
    fn asked(&self, wanted: Wanted, end: End);
}

/// Why something is not given: what the caller is told, and one word for the record.
pub(super) struct Refusal {
    word: &'static str,
    status: Status,
}

impl Refusal {
    pub(super) fn new(word: &'static str, status: Status) -> Self {
        Self { word, status }
    }

    pub(super) fn of_code(code: Code, words: &impl std::fmt::Display) -> Self {
        Self::new(code.as_str(), status::of_code(code, words))
    }

    pub(super) fn malformed(words: &impl std::fmt::Display) -> Self {
        Self::new("malformed", status::malformed(words))
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        refusal.status
    }
}

/// A request that is being answered. Whoever keeps a record is told of it when this is dropped.
pub(super) struct Request {
    witness: Option<Arc<dyn Witness>>,
    wanted: Wanted,
    end: End,
}

impl Request {
    pub(super) fn new(witness: Option<Arc<dyn Witness>>, wanted: Wanted) -> Self {
        Self {
            witness,
            wanted,
            end: End::Refused(INTERRUPTED),
        }
    }

    /// It was taken off the quota.
    pub(super) fn counts(&mut self) {
        self.end = End::Failed(INTERRUPTED);
    }

    /// What became of it.
    pub(super) fn ended<T>(mut self, answer: Result<T, Refusal>) -> Result<T, Status> {
        self.end = match (&answer, self.end) {
            (Ok(_), _) => End::Given,
            (Err(refusal), End::Refused(_)) => End::Refused(refusal.word),
            (Err(refusal), _) => End::Failed(refusal.word),
        };
        answer.map_err(Status::from)
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if let Some(witness) = &self.witness {
            witness.asked(self.wanted, self.end);
        }
    }
}
