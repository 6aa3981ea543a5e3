//! How a command ends when it does not end well.

use std::{fmt, io, path::Path};

use proplet_executor::{ExecutorError, Refusal, TaskError};
use proplet_image::ImageError;
use proplet_kbs::KbsError;
use proplet_settings::SettingsError;
use proplet_types::{Code, ExitCode};

/// An error for whoever typed the command: what failed, on what, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CliError {
    code: Code,
    words: String,
}

impl CliError {
    /// Wrong usage or bad input.
    pub(super) fn usage(words: impl Into<String>) -> Self {
        Self {
            code: Code::Usage,
            words: words.into(),
        }
    }

    /// An error with this code, which decides about the exit code.
    pub(super) fn new(code: Code, words: impl Into<String>) -> Self {
        Self {
            code,
            words: words.into(),
        }
    }

    /// An input file, `what` it was to be, that cannot be used.
    pub(super) fn input(what: &str, path: &Path, error: impl fmt::Display) -> Self {
        Self {
            code: Code::Input,
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
            code: Code::Output,
            words,
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
        self.code.exit_code()
    }

    pub(super) fn code(&self) -> Code {
        self.code
    }

    pub(super) fn words(&self) -> &str {
        &self.words
    }
}

impl From<Refusal> for CliError {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), refusal.words())
    }
}

/// With what a plain component said.
impl From<TaskError> for CliError {
    fn from(error: TaskError) -> Self {
        Self::new(error.code(), error.full_words())
    }
}

impl From<ImageError> for CliError {
    fn from(error: ImageError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<KbsError> for CliError {
    fn from(error: KbsError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<SettingsError> for CliError {
    fn from(error: SettingsError) -> Self {
        Self {
            code: Code::Settings,
            words: error.to_string(),
        }
    }
}

impl From<ExecutorError> for CliError {
    fn from(error: ExecutorError) -> Self {
        match error {
            ExecutorError::Kbs(error) => error.into(),
            ExecutorError::Image(error) => error.into(),
            ExecutorError::Runtime(error) => Self::new(error.code(), error.to_string()),
            ExecutorError::File { .. } => Self {
                code: Code::Settings,
                words: error.to_string(),
            },
            error => Self::new(Code::HostFailed, error.to_string()),
        }
    }
}

/// Of the standard streams; files have [`CliError::input`] and [`CliError::output`].
impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        Self::new(
            Code::OutputFailed,
            format!("cannot write the result: {error}"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
