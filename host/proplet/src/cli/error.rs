//! How a command ends when it does not end well.

use std::{fmt, io, path::Path};

use proplet_executor::{ExecutorError, Refusal, TaskError};
use proplet_image::ImageError;
use proplet_kbs::KbsError;
use proplet_settings::SettingsError;

/// The kind of end, as the exit code of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    /// 0: done; verified; the task succeeded.
    Done = 0,
    /// 1: refused, failed or not verified.
    Failed = 1,
    /// 2: wrong usage or bad input.
    Usage = 2,
    /// 3: something that is needed is unavailable: the network, the key broker, a registry.
    Unavailable = 3,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

/// An error for whoever typed the command: what failed, on what, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CliError {
    exit: ExitCode,
    code: &'static str,
    words: String,
}

impl CliError {
    /// Wrong usage or bad input.
    pub(super) fn usage(words: impl Into<String>) -> Self {
        Self {
            exit: ExitCode::Usage,
            code: "usage",
            words: words.into(),
        }
    }

    /// Refused, failed or not verified.
    pub(super) fn failed(code: &'static str, words: impl Into<String>) -> Self {
        Self {
            exit: ExitCode::Failed,
            code,
            words: words.into(),
        }
    }

    /// An input file, `what` it was to be, that cannot be used.
    pub(super) fn input(what: &str, path: &Path, error: impl fmt::Display) -> Self {
        Self {
            exit: ExitCode::Usage,
            code: "input",
            words: format!("{what} {}: {error}", path.display()),
        }
    }

    /// An output file that cannot be written.
    pub(super) fn output(path: &Path, error: &io::Error) -> Self {
        let words = if error.kind() == io::ErrorKind::AlreadyExists {
            format!(
                "{} exists, and is not overwritten: name another file",
                path.display()
            )
        } else {
            format!("cannot write {}: {error}", path.display())
        };
        Self {
            exit: ExitCode::Usage,
            code: "output",
            words,
        }
    }

    /// An error with a stable code of its own, which decides about the exit code.
    fn coded(code: &'static str, words: impl Into<String>) -> Self {
        Self {
            exit: exit_of(code),
            code,
            words: words.into(),
        }
    }

    /// The same error, with what else there is to know.
    pub(super) fn and(self, more: &str) -> Self {
        Self {
            words: format!("{}; {more}", self.words),
            ..self
        }
    }

    pub(super) fn exit(&self) -> ExitCode {
        self.exit
    }

    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    pub(super) fn words(&self) -> &str {
        &self.words
    }
}

/// What kind of end a stable code is.
fn exit_of(code: &str) -> ExitCode {
    match code {
        "registry-unavailable" | "kbs-unavailable" => ExitCode::Unavailable,
        "arguments-invalid" | "component-invalid" | "export-not-found" | "image-folder"
        | "image-layout" | "image-reference" | "image-settings" | "kbs-config"
        | "task-arguments" | "task-invalid" => ExitCode::Usage,
        _ => ExitCode::Failed,
    }
}

impl From<Refusal> for CliError {
    fn from(refusal: Refusal) -> Self {
        Self::coded(refusal.code(), refusal.words())
    }
}

/// With what a plain component said.
impl From<TaskError> for CliError {
    fn from(error: TaskError) -> Self {
        Self::coded(error.code(), error.full_words())
    }
}

impl From<ImageError> for CliError {
    fn from(error: ImageError) -> Self {
        Self::coded(error.code(), error.to_string())
    }
}

impl From<KbsError> for CliError {
    fn from(error: KbsError) -> Self {
        Self::coded(error.code(), error.to_string())
    }
}

impl From<SettingsError> for CliError {
    fn from(error: SettingsError) -> Self {
        Self {
            exit: ExitCode::Usage,
            code: "settings",
            words: error.to_string(),
        }
    }
}

impl From<ExecutorError> for CliError {
    fn from(error: ExecutorError) -> Self {
        match error {
            ExecutorError::Kbs(error) => error.into(),
            ExecutorError::Image(error) => error.into(),
            ExecutorError::Runtime(error) => Self::coded(error.code(), error.to_string()),
            ExecutorError::File { .. } => Self {
                exit: ExitCode::Usage,
                code: "settings",
                words: error.to_string(),
            },
            error => Self::failed("host-failed", error.to_string()),
        }
    }
}

/// Of the standard streams; files have [`CliError::input`] and [`CliError::output`].
impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        Self::failed("output", format!("cannot write the result: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_decide_about_the_exit_code() {
        for (code, exit) in [
            ("kbs-unavailable", ExitCode::Unavailable),
            ("registry-unavailable", ExitCode::Unavailable),
            ("task-invalid", ExitCode::Usage),
            ("kbs-denied", ExitCode::Failed),
            ("no-tee", ExitCode::Failed),
        ] {
            assert_eq!(
                CliError::from(Refusal::new(code, "words")).exit(),
                exit,
                "{code}"
            );
        }
    }

    #[test]
    fn a_file_that_exists_says_so() {
        let error = CliError::output(
            Path::new("key.jwk"),
            &io::Error::from(io::ErrorKind::AlreadyExists),
        );
        assert!(error.words().contains("key.jwk exists"), "{error:?}");
        assert_eq!(error.exit(), ExitCode::Usage);
    }
}
