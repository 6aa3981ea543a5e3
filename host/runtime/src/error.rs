//! What can go wrong with a component or a task, split into what the host says and what the guest says.
//!
//! For a component that came encrypted, everything that the component wrote or contains is confidential:
//! its export names and types, the text of its failures, its traps and its standard error. A log line or a
//! clear error message must hold none of it. So [`RuntimeError`]'s `Display` and `Debug` give the host's
//! words only, and the rest is behind [`RuntimeError::detail`] and [`RuntimeError::full_text`], which the
//! caller uses for plain tasks and for sealed failures. The safe form is the one that is easy to print.

use std::fmt;

use proplet_types::Code;
use zeroize::Zeroizing;

/// Most bytes of a [`GuestText`]: an error has to fit into one message, however much a guest says.
pub(crate) const MAX_GUEST_TEXT: usize = 16 * 1024;

/// Text that comes from a component or describes its insides, at most 16 KiB of it. Wiped on drop; never
/// printed by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct GuestText(Zeroizing<String>);

impl GuestText {
    /// Wraps text that only the owner of the component may read. What is too long is cut.
    pub fn new(text: impl Into<String>) -> Self {
        let text = Zeroizing::new(text.into());
        if text.len() <= MAX_GUEST_TEXT {
            return Self(text);
        }
        let end = text.floor_char_boundary(MAX_GUEST_TEXT);
        Self(Zeroizing::new(format!(
            "{}…",
            text.get(..end).unwrap_or_default()
        )))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for GuestText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GuestText({} bytes)", self.0.len())
    }
}

/// Why a component was not compiled, or why a task has no result.
///
/// `Display` and `Debug` hold the host's words only. What a component says or contains is confidential when it
/// came encrypted; it is in [`detail`](Self::detail) and [`full_text`](Self::full_text).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The bytes are neither a valid component nor a valid core module for this engine.
    #[error(
        "the WebAssembly is not valid for this host; check that it is a component (or core module) \
         built for WASI 0.2 and not truncated"
    )]
    ComponentInvalid(GuestText),
    /// The bytes are more than the host compiles.
    #[error(
        "the component has {size} bytes and this host compiles at most {limit}; make it smaller or \
         raise the limit in the settings"
    )]
    ComponentTooLarge {
        /// Size of the component in bytes.
        size: u64,
        /// Largest size that is compiled.
        limit: u64,
    },
    /// The component imports interfaces that its policy does not grant, or that no host offers.
    #[error("the component imports what it is not given: {reason}")]
    ImportNotGranted {
        /// Names that are in this host's own vocabulary, how many others there are, and what to do.
        reason: String,
        /// Every name.
        imports: GuestText,
    },
    /// The component has no such export, or none that could be the default.
    #[error("the component has no export that this task could invoke; name one with --invoke")]
    ExportNotFound(GuestText),
    /// The component answers HTTP requests, which one that came encrypted may not.
    #[error(
        "the component answers HTTP requests (wasi:http/incoming-handler), and it came encrypted: its clients \
         could not tell this host from another one, so it is not served; export a function instead"
    )]
    HttpEncrypted,
    /// The component answers HTTP requests, and this host serves none.
    #[error(
        "the component answers HTTP requests (wasi:http/incoming-handler), and this host does not serve it: {0}"
    )]
    HttpNotServed(String),
    /// The component's policy does not let this export be invoked.
    #[error("the component's policy does not let this export be invoked; list it in `exports`")]
    ExportNotAllowed(GuestText),
    /// The export's type has something that a start message cannot carry, as a resource handle.
    #[error("the export's type cannot be invoked by a task; export a function of plain values")]
    ExportUnsupported(GuestText),
    /// The inputs do not fit the export's parameters.
    #[error("the inputs do not fit the parameters of the export")]
    ArgumentsInvalid(GuestText),
    /// The guest trapped.
    #[error("the component trapped")]
    GuestTrapped(GuestText),
    /// The guest ended with a failure: an `err`, or an exit status other than 0.
    #[error("the component ended with a failure")]
    GuestFailed {
        /// The exit status of a command.
        exit_code: Option<i32>,
        /// The failure as WAVE text, or the exit status in words.
        text: GuestText,
    },
    /// The component is not compiled in time.
    #[error(
        "compile limit: the component was not compiled within {0} ms; make it smaller, or raise `compile_ms` in \
         the settings"
    )]
    LimitCompile(u64),
    /// Too many components wait to be compiled, or this one's turn did not come in time.
    #[error("this host is busy compiling other components; start the task later or elsewhere")]
    CompileBusy,
    /// The guest asked for more memory than the task may have.
    #[error("memory limit: the task may use {0} bytes of guest memory, and asked for more")]
    LimitMemory(u64),
    /// The task took too long.
    #[error("wall clock limit: the task ran for more than {0} ms")]
    LimitWallClock(u64),
    /// The task computed too long.
    #[error("CPU limit: the task used more than {0} ms of processor time")]
    LimitCpu(u64),
    /// The task wrote too much.
    #[error(
        "output limit: standard output, standard error and the result may have {0} bytes together"
    )]
    LimitOutput(u64),
    /// The task holds too many handles.
    #[error("handle limit: the task may hold {0} resource handles, and asked for more")]
    LimitHandles(u32),
    /// The task was stopped by its canceller.
    #[error("the task was stopped before completion")]
    Stopped,
    /// The host could not do its part.
    #[error("the host could not run the task: {0}")]
    Host(String),
}

impl RuntimeError {
    /// The stable code of this error, as it stands in results messages and the audit log.
    pub fn code(&self) -> Code {
        match self {
            Self::ComponentInvalid(_) => Code::ComponentInvalid,
            Self::ComponentTooLarge { .. } => Code::ComponentTooLarge,
            Self::ImportNotGranted { .. } => Code::ImportNotGranted,
            Self::ExportNotFound(_) => Code::ExportNotFound,
            Self::HttpEncrypted => Code::HttpEncrypted,
            Self::HttpNotServed(_) => Code::HttpNotServed,
            Self::ExportNotAllowed(_) => Code::ExportNotAllowed,
            Self::ExportUnsupported(_) => Code::ExportUnsupported,
            Self::ArgumentsInvalid(_) => Code::ArgumentsInvalid,
            Self::GuestTrapped(_) => Code::GuestTrapped,
            Self::GuestFailed { .. } => Code::GuestFailed,
            Self::LimitCompile(_) => Code::LimitCompile,
            Self::CompileBusy => Code::QueueFull,
            Self::LimitMemory(_) => Code::LimitMemory,
            Self::LimitWallClock(_) => Code::LimitWallClock,
            Self::LimitCpu(_) => Code::LimitCpu,
            Self::LimitOutput(_) => Code::LimitOutput,
            Self::LimitHandles(_) => Code::LimitHandles,
            Self::Stopped => Code::Stopped,
            Self::Host(_) => Code::HostFailed,
        }
    }

    /// What the guest said, or what describes its insides: for a component that came encrypted this is
    /// sealed to the recipients and never logged. None when the host's words are all there is.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::ComponentInvalid(text)
            | Self::ExportNotFound(text)
            | Self::ExportNotAllowed(text)
            | Self::ExportUnsupported(text)
            | Self::ArgumentsInvalid(text)
            | Self::GuestTrapped(text)
            | Self::GuestFailed { text, .. }
            | Self::ImportNotGranted { imports: text, .. } => Some(text.as_str()),
            _ => None,
        }
    }

    /// The host's words followed by [`detail`](Self::detail): for plain tasks and sealed failures.
    pub fn full_text(&self) -> Zeroizing<String> {
        Zeroizing::new(match self.detail() {
            Some(detail) if !detail.is_empty() => format!("{self}: {detail}"),
            _ => self.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_and_debug_hold_no_guest_text() {
        let guest = || GuestText::new("patient 4711");
        for error in [
            RuntimeError::ComponentInvalid(guest()),
            RuntimeError::ExportNotFound(guest()),
            RuntimeError::ExportNotAllowed(guest()),
            RuntimeError::ExportUnsupported(guest()),
            RuntimeError::ArgumentsInvalid(guest()),
            RuntimeError::GuestTrapped(guest()),
            RuntimeError::GuestFailed {
                exit_code: Some(3),
                text: guest(),
            },
            RuntimeError::ImportNotGranted {
                reason: "1 interface".into(),
                imports: guest(),
            },
        ] {
            assert!(!error.to_string().contains("4711"), "{error}");
            assert!(!format!("{error:?}").contains("4711"), "{error:?}");
            assert_eq!(error.detail(), Some("patient 4711"));
            assert!(error.full_text().contains("4711"));
        }
    }

    #[test]
    fn long_guest_text_is_cut_between_characters() {
        let text = GuestText::new("ü".repeat(1_000_000));
        assert!(text.as_str().len() <= MAX_GUEST_TEXT + '…'.len_utf8());
        assert!(text.as_str().ends_with("ü…"));
        assert_eq!(GuestText::new("short").as_str(), "short");
    }

    #[test]
    fn errors_without_guest_text_have_no_detail() {
        assert_eq!(RuntimeError::Stopped.detail(), None);
        assert_eq!(RuntimeError::Stopped.code(), "stopped");
        assert_eq!(
            *RuntimeError::LimitMemory(5).full_text(),
            RuntimeError::LimitMemory(5).to_string()
        );
    }
}
