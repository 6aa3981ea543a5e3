//! Heads that somebody else vouches for: of receipts and of evidence.

use std::{collections::BTreeMap, io::Read, path::Path};

use proplet_audit::verify::{Linked, Report};
use proplet_results::receipt;
use proplet_types::Digest;

use super::super::{document::Document, error::CliError, files};

/// A head, and what the line with it must say.
pub(super) struct Claimed {
    pub head: Digest,
    /// Whose head it is, for people.
    pub says: String,
    kind: Kind,
}

enum Kind {
    /// Somebody typed it.
    Head,
    /// The head of a boot, of its evidence.
    Evidence {
        /// Thumbprint of the receipt key.
        key: String,
    },
    /// The head of a task, of its receipt.
    Receipt {
        task: String,
        result: Digest,
        sequence: u64,
        key: String,
    },
}

impl Claimed {
    pub(super) fn head(head: Digest) -> Self {
        Self {
            head,
            says: head.to_string(),
            kind: Kind::Head,
        }
    }

    /// The heads of a sealed result, of evidence alone, or of a receipt alone.
    pub(super) fn read(path: &Path, stdin: &mut (dyn Read + Send)) -> Result<Vec<Self>, CliError> {
        let bytes = files::read_or_stdin("receipt", path, files::MAX_DOCUMENT_BYTES, stdin)?;
        let text = files::text("receipt", path, &bytes)?;
        let text = text.trim();
        // A JWS in compact form has two dots and is no JSON.
        if !text.starts_with('{') {
            return Ok(vec![Self::of_receipt(path, text)?]);
        }
        match Document::read(path, &mut text.as_bytes())? {
            Document::Evidence(bundle) => {
                let of_evidence = Self::of_evidence(path, &bundle)?;
                let without = || CliError::input("evidence", path, NO_HEAD);
                Ok(vec![of_evidence.ok_or_else(without)?])
            }
            Document::Result(document) => {
                let mut claimed = vec![Self::of_receipt(path, &document.receipt)?];
                claimed.extend(Self::of_evidence(path, &document.evidence)?);
                Ok(claimed)
            }
        }
    }

    fn of_receipt(path: &Path, text: &str) -> Result<Self, CliError> {
        let bad = |error: &dyn std::fmt::Display| CliError::input("receipt", path, error);
        let (claims, key) = receipt::self_signed(text).map_err(|error| bad(&error))?;
        let head = claims.audit_head.ok_or_else(|| bad(&NO_HEAD))?;
        Ok(Self {
            head: head.parse().map_err(|error| bad(&error))?,
            says: format!("receipt of task {} in {}", claims.task_id, path.display()),
            kind: Kind::Receipt {
                task: claims.task_id,
                result: claims.result_digest,
                sequence: claims.sequence,
                key,
            },
        })
    }

    fn of_evidence(
        path: &Path,
        bundle: &proplet_results::EvidenceBundle,
    ) -> Result<Option<Self>, CliError> {
        let claims = bundle
            .claims()
            .map_err(|error| CliError::input("evidence", path, error))?;
        Ok(claims.audit_head.map(|head| Self {
            head,
            says: format!("evidence in {}", path.display()),
            kind: Kind::Evidence { key: claims.cnf },
        }))
    }

    /// Why the log is not the one that this is of; none when it is. `keys` are the receipt keys that boots name.
    pub(super) fn refusal(
        &self,
        report: &Report,
        keys: &BTreeMap<String, String>,
    ) -> Option<String> {
        let Some(found) = report.found.get(&self.head) else {
            return Some(format!("no line of the log has the head of {}", self.says));
        };
        let entry = &found.entry;
        let boot = entry.chain.split('/').next().unwrap_or_default();
        // Where the beginning of the boot is not here, its key is not known.
        let is_key = |key: &String| keys.get(boot).is_none_or(|named| named == key);
        let holds = match &self.kind {
            Kind::Head => true,
            Kind::Evidence { key } => entry.chain == boot && is_key(key),
            Kind::Receipt {
                task,
                result,
                sequence,
                key,
            } => {
                entry.kind == "result"
                    && entry.task.as_ref() == Some(task)
                    && entry.text("result_digest") == Some(result.to_string().as_str())
                    && entry.number("sequence") == Some(*sequence)
                    && is_key(key)
            }
        };
        let (says, place) = (&self.says, &found.place);
        if !holds {
            return Some(format!(
                "the line with the head of {says} is of something else: {place}"
            ));
        }
        // A head vouches for the lines that lead to it, and so says nothing of a log that lacks one.
        let is_of_task = entry.chain != boot;
        match found.linked {
            Linked::Whole => None,
            Linked::Elsewhere if !is_of_task => None,
            Linked::Elsewhere => Some(format!(
                "what led to the head of {says} is not all in these files: give the earlier ones too ({place})"
            )),
            Linked::Not => Some(format!(
                "what led to the head of {says} is not whole: lines before {place} are missing, changed or lost"
            )),
        }
    }
}

/// Why there is nothing to compare.
const NO_HEAD: &str = "it names no head of an audit log: an older proplet made it";
