//! Telling what somebody wants verified: a result, or evidence alone.

use std::{io::Read, path::Path};

use proplet_jose::json;
use proplet_results::{DocumentError, EvidenceBundle, ResultDocument, bounds};
use proplet_types::Code;

use super::{error::CliError, files};

/// What a report or quote by itself lacks.
const NO_CLAIMS: &str = "a report or quote by itself holds no claims that could be compared: give the results message of \
                         a task, or the evidence document that a component or `proplet detect` gave";

/// Something with evidence in it.
pub(super) enum Document {
    /// A sealed result with its receipt.
    Result(Box<ResultDocument>),
    /// An evidence bundle.
    Evidence(Box<EvidenceBundle>),
}

impl Document {
    /// Reads a file, or standard input for `-`.
    pub(super) fn read(path: &Path, stdin: &mut (dyn Read + Send)) -> Result<Self, CliError> {
        let bytes = files::read_or_stdin("document", path, files::MAX_DOCUMENT_BYTES, stdin)?;
        let text = files::text("document", path, &bytes).map_err(|error| error.and(NO_CLAIMS))?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, CliError> {
        let bad = |error: &dyn std::fmt::Display| CliError::input("document", path, error);
        bounds::check_text(text).map_err(|error| bad(&error))?;
        let members = json::object(text.as_bytes()).map_err(|error| bad(&error))?;
        let is_bundle = members.contains_key("claims")
            && !members.contains_key("jwe")
            && !members.contains_key("results");
        if is_bundle {
            let bundle = text.parse().map_err(|error| bad(&error))?;
            return Ok(Self::Evidence(Box::new(bundle)));
        }
        match ResultDocument::from_text(text) {
            Ok(document) => Ok(Self::Result(Box::new(document))),
            Err(error @ DocumentError::TaskFailed(_)) => {
                Err(CliError::new(Code::TaskFailed, error.to_string()))
            }
            Err(error @ DocumentError::NotSealed) => {
                Err(CliError::new(Code::NotSealed, error.to_string()))
            }
            Err(error @ DocumentError::NoResult) => {
                Err(CliError::new(Code::NoResult, error.to_string()))
            }
            Err(error) => Err(bad(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proplet_types::ExitCode;

    #[test]
    fn a_bare_quote_is_told_what_it_lacks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("quote.bin");
        std::fs::write(&path, [4, 0, 2, 0, 0x81, 0xff]).unwrap();
        let error = Document::read(&path, &mut std::io::empty()).err().unwrap();
        assert_eq!(error.code(), Code::Input);
        assert!(error.words().contains("results message"), "{error:?}");
    }

    fn refused(text: &str) -> CliError {
        match Document::parse(text, Path::new("file")) {
            Ok(_) => panic!("{text} was taken"),
            Err(error) => error,
        }
    }

    #[test]
    fn what_is_no_document_is_told_apart() {
        for (text, code, exit) in [
            ("[]", "input", ExitCode::Usage),
            ("not JSON", "input", ExitCode::Usage),
            (r#"{"jwe": 1}"#, "input", ExitCode::Usage),
            (r#"{"claims": {}}"#, "input", ExitCode::Usage),
            (
                r#"{"id": "t", "results": "42"}"#,
                "not-sealed",
                ExitCode::Failed,
            ),
            (r#"{"id": "t"}"#, "no-result", ExitCode::Failed),
            (
                r#"{"id": "t", "error": "no-tee: none"}"#,
                "task-failed",
                ExitCode::Failed,
            ),
        ] {
            let error = refused(text);
            assert_eq!(
                (error.code().as_str(), error.exit()),
                (code, exit),
                "{text}: {error:?}"
            );
        }
    }

    #[test]
    fn what_no_proplet_makes_is_refused_before_it_is_parsed() {
        let numbers = "0,".repeat(bounds::MAX_STRUCTURE_BYTES);
        // No JSON at all: it was not looked at.
        let error = refused(&format!("{{{numbers}"));
        assert_eq!(error.code(), Code::Input);
        assert!(error.words().contains("structure"), "{error:?}");
        let log = "a".repeat(bounds::MAX_EVIDENCE_BYTES);
        let bundle = format!(r#"{{"tee":"tdx","evidence":{{"quote":"{log}"}},"claims":{{}}}}"#);
        let error = refused(&bundle);
        assert!(error.words().contains("4194304 bytes"), "{error:?}");
    }

    proptest::proptest! {
        #[test]
        fn text_never_panics(text: String) {
            let _ = Document::parse(&text, Path::new("file"));
        }
    }
}
