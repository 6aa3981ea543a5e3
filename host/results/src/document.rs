//! The result of an encrypted task as it travels: one JSON text.

use std::str::FromStr;

use proplet_jose::json;
use proplet_jose::jwe::Jwe;
use proplet_types::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::bounds::{self, MAX_RECEIPT_BYTES, TooLarge};
use crate::{EvidenceBundle, digest};

/// `{"jwe":…,"receipt":…,"evidence":…}`: what stands in the `results` string of an encrypted task.
///
/// Whoever carries it can drop or repeat it, and can read who the recipients are and how long the
/// result is. It cannot read the result, and [`crate::verify::verify`] notices any change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResultDocument {
    /// The sealed result, or the sealed failure.
    pub jwe: Jwe,
    /// The receipt, a compact JWS.
    pub receipt: String,
    /// The `instance` evidence that vouches for the receipt's key.
    pub evidence: EvidenceBundle,
}

/// Why a text is not a result document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// Not JSON that can be used.
    #[error("not a result document: {0}")]
    Unreadable(#[from] proplet_jose::Error),
    /// Larger than any that a proplet makes.
    #[error("not a result document: {0}")]
    TooLarge(#[from] TooLarge),
    /// A part is missing or malformed.
    #[error("not a result document `{{\"jwe\",\"receipt\",\"evidence\"}}`: {0}")]
    Malformed(String),
    /// There is no result in the message, but an error.
    #[error("the task gave no sealed result; its host reported the error {0:?}")]
    TaskFailed(String),
    /// There is a result, in clear.
    #[error(
        "the result is not sealed: the task ran a plain component, for which there is no receipt and \
         nothing to open"
    )]
    NotSealed,
    /// There is no result at all.
    #[error("there is no result in it yet; fetch the task again when it has finished")]
    NoResult,
}

/// The longest piece of a foreign error message that is repeated, in characters.
const MAX_FOREIGN_ERROR: usize = 500;

impl ResultDocument {
    /// The document as one line of JSON.
    ///
    /// # Errors
    ///
    /// [`DocumentError::Malformed`] when the evidence cannot be written as JSON.
    pub fn to_text(&self) -> Result<String, DocumentError> {
        serde_json::to_string(self).map_err(|error| DocumentError::Malformed(error.to_string()))
    }

    /// The text of a document whose evidence is text already. A host sends the same evidence with every
    /// result of a session; writing its thousands of numbers anew would cost more than sealing does.
    ///
    /// `evidence` is [`EvidenceBundle::to_text`] of the bundle that the receipt names.
    ///
    /// # Errors
    ///
    /// [`DocumentError::Malformed`] when the JWE cannot be written as JSON, which does not happen.
    pub fn text_with(jwe: &Jwe, receipt: &str, evidence: &str) -> Result<String, DocumentError> {
        let malformed = |error: serde_json::Error| DocumentError::Malformed(error.to_string());
        let jwe = serde_json::to_string(jwe).map_err(malformed)?;
        let receipt = serde_json::to_string(receipt).map_err(malformed)?;
        Ok(format!(
            r#"{{"jwe":{jwe},"receipt":{receipt},"evidence":{evidence}}}"#
        ))
    }

    /// Reads a document from its own text, from the results message of a proplet
    /// (`{"task_id","proplet_id","results","error"}`), or from the Manager's JSON of the whole task; in
    /// the latter two `results` holds it.
    ///
    /// # Errors
    ///
    /// [`DocumentError`], see its variants.
    pub fn from_text(text: &str) -> Result<Self, DocumentError> {
        bounds::check_text(text)?;
        let mut members = json::object(text.as_bytes())?;
        if members.contains_key("jwe") {
            return Self::from_members(members);
        }
        match members.remove("results") {
            Some(Value::String(results)) if results.trim_start().starts_with('{') => {
                bounds::check_text(&results)?;
                let inner =
                    json::object(results.as_bytes()).map_err(|_| DocumentError::NotSealed)?;
                if inner.contains_key("jwe") {
                    Self::from_members(inner)
                } else {
                    Err(DocumentError::NotSealed)
                }
            }
            // The Manager keeps JSON of any type as it came.
            Some(Value::Object(results)) if results.contains_key("jwe") => {
                Self::from_members(results)
            }
            None | Some(Value::Null) => Err(without_result(&members)),
            Some(Value::String(results)) if results.is_empty() => Err(without_result(&members)),
            Some(_) => Err(DocumentError::NotSealed),
        }
    }

    /// The digest of the JWE, as a receipt holds it.
    ///
    /// # Errors
    ///
    /// As [`digest::of_json`].
    pub fn jwe_digest(&self) -> Result<Digest, proplet_jose::Error> {
        digest::of_json(&self.jwe)
    }

    fn from_members(members: Map<String, Value>) -> Result<Self, DocumentError> {
        let malformed = |error: serde_json::Error| DocumentError::Malformed(error.to_string());
        let as_received = members.get("jwe").cloned().unwrap_or_default();
        let document: Self = serde_json::from_value(members.into()).map_err(malformed)?;
        bounds::check("receipt", document.receipt.len(), MAX_RECEIPT_BYTES)?;
        document.evidence.check_size()?;
        // The receipt's digest is over the object as it stands here. One with members that a JWE reader
        // passes over would have another digest for whoever hashes all of it.
        if serde_json::to_value(&document.jwe).map_err(malformed)? != as_received {
            return Err(DocumentError::Malformed(
                "its `jwe` has members that RFC 7516 does not know".to_owned(),
            ));
        }
        Ok(document)
    }
}

impl FromStr for ResultDocument {
    type Err = DocumentError;

    /// As [`ResultDocument::from_text`].
    fn from_str(text: &str) -> Result<Self, DocumentError> {
        Self::from_text(text)
    }
}

fn without_result(members: &Map<String, Value>) -> DocumentError {
    match members.get("error").and_then(Value::as_str) {
        Some(error) if !error.is_empty() => {
            DocumentError::TaskFailed(error.chars().take(MAX_FOREIGN_ERROR).collect())
        }
        _ => DocumentError::NoResult,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::{MAX_EVIDENCE_BYTES, MAX_STRUCTURE_BYTES};

    /// A document of the right form, with these parts.
    fn document(receipt: &str, evidence: &str) -> String {
        let jwe = r#"{"protected":"e30","encrypted_key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "iv":"AAAAAAAAAAAAAAAA","ciphertext":"","tag":"AAAAAAAAAAAAAAAAAAAAAA"}"#;
        format!(
            r#"{{"jwe":{jwe},"receipt":"{receipt}","evidence":{{"tee":"snp","evidence":{evidence},"claims":{{}}}}}}"#
        )
    }

    fn too_large(text: &str) -> TooLarge {
        match ResultDocument::from_text(text) {
            Err(DocumentError::TooLarge(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_part_has_its_limit() {
        ResultDocument::from_text(&document("", "{}")).unwrap();
        let receipt = "a".repeat(MAX_RECEIPT_BYTES + 1);
        assert_eq!(too_large(&document(&receipt, "{}")).what, "receipt");
        let log = format!(r#"{{"quote":"{}"}}"#, "a".repeat(MAX_EVIDENCE_BYTES));
        assert_eq!(too_large(&document("", &log)).what, "evidence");
        let numbers = format!("[{}0]", "0,".repeat(MAX_STRUCTURE_BYTES / 2));
        let nested = document("", &numbers);
        assert_eq!(too_large(&nested).limit, MAX_STRUCTURE_BYTES);
        // As the results message has it: there it is one string.
        let message = serde_json::json!({ "task_id": "t", "results": nested }).to_string();
        assert_eq!(too_large(&message).limit, MAX_STRUCTURE_BYTES);
    }
}
