//! Why there are no settings.

use std::path::PathBuf;

use proplet_hal::init_data::InitDataError;
use thiserror::Error;

use super::address::AddressError;

/// Why there are no settings.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read the settings document {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is larger than [`crate::MAX_DOCUMENT_BYTES`] or not UTF-8.
    #[error("{path} is not a settings document: {why}")]
    NotADocument {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The text is not TOML, or has a name or a type that the document does not have.
    #[error("{document}, line {line}: {message}")]
    Syntax {
        /// Which document: of the settings, or of the credentials.
        document: &'static str,
        /// Line, counted from 1.
        line: usize,
        /// What is wrong there. Never a value of a credential.
        message: String,
    },
    /// A value does not make sense.
    #[error("settings document, [{table}] {name}: {why}")]
    Value {
        /// The table.
        table: &'static str,
        /// The name in it.
        name: &'static str,
        /// What is wrong and what to write instead.
        why: String,
    },
    /// It is meant to be an init-data document, and cannot be read as one.
    #[error(transparent)]
    InitData(#[from] InitDataError),
    /// An init-data document without settings.
    #[error(
        "the init-data holds no settings: put them under [data] as \"proplet.toml\", or let `proplet init-data make` do it"
    )]
    NoSettingsInside,
    /// A credential in what is public.
    #[error(
        "the settings in the init-data hold a credential, [{table}] {name}: init-data is public, so \
         replace that credential now, and write the new one into a document of its own (--credentials)"
    )]
    PublicCredential {
        /// The table.
        table: &'static str,
        /// The name in it.
        name: &'static str,
    },
    /// The credentials document says again what the settings say.
    #[error(
        "the credentials document cannot override [{table}] {name} of the settings document: remove one of \
         the two"
    )]
    OverridingCredential {
        /// The table.
        table: &'static str,
        /// The name in it.
        name: &'static str,
    },
    /// An environment variable does not parse.
    #[error("environment variable {name}: expected {expected}; unset it or correct it")]
    Variable {
        /// The variable.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// What is imported with an environment is a settings document already.
    #[error(
        "the file is not upstream's config.toml: it has other tables than [manager], [proxy] and [proplet…]. A settings \
         document needs no import: start with it"
    )]
    NotUpstreams,
    /// A line of an environment file is none.
    #[error("line {line}: {why}")]
    EnvironmentFile {
        /// Line, counted from 1.
        line: usize,
        /// What is wrong there. Never a value.
        why: &'static str,
    },
    /// An environment variable is not an address.
    #[error("environment variable PROPLET_MQTT_ADDRESS: {0}")]
    Address(#[from] AddressError),
    /// An environment variable would lead something of the document's elsewhere.
    #[error("environment variable {name}: {why}")]
    Override {
        /// The variable.
        name: &'static str,
        /// What it would do, and what to do instead.
        why: String,
    },
    /// The daemon has no identity.
    #[error(
        "{missing} is not set: set [proplet] {missing} in the settings document (a credential, where the settings are \
         init-data, in the document that --credentials names), or {variables}"
    )]
    NoIdentity {
        /// Name of the missing value in the document.
        missing: &'static str,
        /// Variables that set it.
        variables: &'static str,
    },
}

impl SettingsError {
    /// A value of the document that does not make sense.
    pub(super) fn value(table: &'static str, name: &'static str, why: impl Into<String>) -> Self {
        Self::Value {
            table,
            name,
            why: why.into(),
        }
    }
}

/// The parser's own display quotes the line, which may hold a credential: only its message is kept.
pub(super) fn syntax_error(
    document: &'static str,
    text: &str,
    error: &toml::de::Error,
) -> SettingsError {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or(text);
    SettingsError::Syntax {
        document,
        line: before.matches('\n').count().saturating_add(1),
        message: error.message().to_owned(),
    }
}
