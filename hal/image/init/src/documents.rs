//! The two documents that a VM is started with, and the files in them.
//!
//! The measured one is the init-data document. Its file `proplet.toml` holds the settings; other files are for the
//! settings to name, a CA for example. The operator's is not measured and looks like this:
//!
//! ```toml
//! version = "0.1.0"
//!
//! [environment]
//! PROPLET_MQTT_ADDRESS = "tcp://192.0.2.1:1883"
//!
//! [files]
//! "credentials.toml" = '''
//! [proplet]
//! api_key = "…"
//! '''
//! ```
//!
//! Its variables are `PROPLET_*` only, and not those that lead to other documents. `credentials.toml` becomes the
//! daemon's credentials document, which adds what the settings leave out and overrides nothing. The host can read
//! this disk, so what must stay from it is a resource of the key broker and stands in neither document.
//!
//! Files are at `/run/proplet/measured/NAME` and `/run/proplet/operator/NAME`: settings say by the folder which of
//! the two they trust.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use proplet_hal::init_data::InitData;
use serde::Deserialize;
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use crate::console::say;
use crate::disk::{self, Container};
use crate::{DiskError, InitError};

/// The file of the measured document that holds the settings.
pub(crate) const SETTINGS: &str = "proplet.toml";
/// The file of the operator's document that holds credentials.
const CREDENTIALS: &str = "credentials.toml";
/// Where the whole init-data document is written to, below the folder of this boot.
const INIT_DATA: &str = "init-data.toml";
/// The only version of the operator's document.
const VERSION: &str = "0.1.0";
/// Variables that would lead the daemon to other documents.
const REFUSED: &[&str] = &["PROPLET_CONFIG_FILE", "PROPLET_CREDENTIALS_FILE"];

/// The operator's document, checked. It may hold a credential, so it is wiped when dropped.
#[derive(Default)]
pub struct OperatorDocument {
    environment: BTreeMap<String, Zeroizing<String>>,
    files: BTreeMap<String, Zeroizing<String>>,
}

/// Why a text is no operator's document.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum OperatorError {
    /// It is not TOML, or has other names.
    #[error(
        "not an operator's document: {0}; it has version, a table [environment] and a table [files]"
    )]
    Syntax(String),
    /// Its version is not known.
    #[error("an operator's document of version {0:?} is not known here; write version = \"0.1.0\"")]
    Version(String),
    /// A variable may not be set.
    #[error(
        "the variable {0:?} cannot be set here; only PROPLET_* can, and not those that name documents"
    )]
    Variable(String),
    /// A file's name cannot be one here.
    #[error("the file name {0:?} cannot be used; use letters, digits, `.`, `-` and `_`")]
    FileName(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: String,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    files: BTreeMap<String, String>,
}

impl OperatorDocument {
    /// Reads a document.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub fn parse(text: &str) -> Result<Self, OperatorError> {
        // The message alone: the parser's display repeats the line, which may hold a credential.
        let written: Written = toml::from_str(text)
            .map_err(|error: toml::de::Error| OperatorError::Syntax(error.message().to_owned()))?;
        if written.version != VERSION {
            return Err(OperatorError::Version(written.version));
        }
        for name in written.environment.keys() {
            if !name.starts_with("PROPLET_") || REFUSED.contains(&name.as_str()) {
                return Err(OperatorError::Variable(name.clone()));
            }
        }
        if let Some(name) = written
            .files
            .keys()
            .find(|name| !InitData::is_file_name(name))
        {
            return Err(OperatorError::FileName(name.clone()));
        }
        let wiped = |map: BTreeMap<String, String>| {
            map.into_iter()
                .map(|(name, value)| (name, Zeroizing::new(value)))
                .collect()
        };
        Ok(Self {
            environment: wiped(written.environment),
            files: wiped(written.files),
        })
    }

    /// Variables for the daemon.
    pub fn environment(&self) -> impl Iterator<Item = (&str, &str)> {
        self.environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Both documents of this VM.
pub(crate) struct Documents {
    /// The measured one.
    pub(crate) settings: InitData,
    /// The operator's; empty when there is none.
    pub(crate) operator: OperatorDocument,
}

/// Reads both from their disks.
pub(crate) fn read() -> Result<Documents, InitError> {
    let of = |container: Container, error: DiskError| InitError::Disk {
        serial: container.name(),
        error,
    };
    let path = disk::find(Container::InitData.name(), true).ok_or(InitError::NoInitData)?;
    let text =
        disk::read(Container::InitData, &path).map_err(|error| of(Container::InitData, error))?;
    let settings = InitData::parse(&text)?;
    check(&settings)?;
    // The driver has shown one disk already, so the other one is there or will never be.
    let operator = match disk::find(Container::Operator.name(), false) {
        None => OperatorDocument::default(),
        Some(path) => {
            let mut text = disk::read(Container::Operator, &path)
                .map_err(|error| of(Container::Operator, error))?;
            let document = OperatorDocument::parse(&text);
            text.zeroize();
            say("an operator disk adds what the settings leave out");
            document?
        }
    };
    Ok(Documents { settings, operator })
}

fn check(settings: &InitData) -> Result<(), InitError> {
    if settings.file(SETTINGS).is_none() {
        return Err(InitError::NoSettings);
    }
    match settings.names().find(|name| !InitData::is_file_name(name)) {
        Some(name) => Err(InitError::FileName(name.to_owned())),
        None => Ok(()),
    }
}

impl Documents {
    /// Writes the documents and their files below the folder of this boot.
    pub(crate) fn write(&self, run: &Path) -> Result<(), InitError> {
        let measured = run.join("measured");
        let operator = run.join("operator");
        for folder in [run, &measured, &operator] {
            DirBuilder::new()
                .mode(0o700)
                .create(folder)
                .map_err(InitError::file(folder))?;
        }
        write(&run.join(INIT_DATA), self.settings.text())?;
        for (name, text) in self.settings.files() {
            write(&measured.join(name), text)?;
        }
        for (name, text) in &self.operator.files {
            write(&operator.join(name), text)?;
        }
        Ok(())
    }

    /// The daemon's arguments.
    pub(crate) fn arguments(&self, run: &Path) -> Vec<PathBuf> {
        let mut arguments = vec!["--config".into(), run.join(INIT_DATA)];
        if self.operator.files.contains_key(CREDENTIALS) {
            arguments.extend([
                "--credentials".into(),
                run.join("operator").join(CREDENTIALS),
            ]);
        }
        arguments.push("daemon".into());
        arguments
    }
}

fn write(path: &Path, text: &str) -> Result<(), InitError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(InitError::file(path))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proplet_hal::init_data::DigestAlgorithm;
    use proptest::prelude::*;

    use super::*;

    const DOCUMENT: &str = "version = '0.1.0'\n[environment]\nPROPLET_MQTT_ADDRESS = 'tcp://a:1'\n\
                            [files]\n'credentials.toml' = \"[proplet]\\napi_key = 'k'\\n\"\n";

    #[test]
    fn both_documents_are_written_for_the_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let documents = Documents {
            settings: InitData::holding(DigestAlgorithm::Sha256, SETTINGS, "# settings\n").unwrap(),
            operator: OperatorDocument::parse(DOCUMENT).unwrap(),
        };
        check(&documents.settings).unwrap();
        documents.write(&run).unwrap();
        let read = |name: &str| fs::read_to_string(run.join(name)).unwrap();
        assert_eq!(read("init-data.toml"), documents.settings.text());
        assert_eq!(read("measured/proplet.toml"), "# settings\n");
        assert_eq!(
            read("operator/credentials.toml"),
            "[proplet]\napi_key = 'k'\n"
        );
        let arguments = documents.arguments(Path::new("/r"));
        let arguments: Vec<_> = arguments
            .iter()
            .map(|path| path.to_str().unwrap())
            .collect();
        assert_eq!(
            arguments,
            [
                "--config",
                "/r/init-data.toml",
                "--credentials",
                "/r/operator/credentials.toml",
                "daemon"
            ]
        );
        let environment: Vec<_> = documents.operator.environment().collect();
        assert_eq!(environment, [("PROPLET_MQTT_ADDRESS", "tcp://a:1")]);
        assert!(documents.write(&run).is_err(), "nothing is written twice");
    }

    #[test]
    fn without_an_operator_the_settings_stand_alone() {
        let documents = Documents {
            settings: InitData::holding(DigestAlgorithm::Sha256, SETTINGS, "").unwrap(),
            operator: OperatorDocument::default(),
        };
        assert_eq!(documents.arguments(Path::new("/r")).len(), 3);
    }

    #[test]
    fn operators_cannot_say_more_than_they_may() {
        let error = |text: &str| OperatorDocument::parse(text).err().unwrap();
        assert!(matches!(error("version = 1"), OperatorError::Syntax(_)));
        assert!(matches!(
            error("version = '0.1.0'\n[settings]\n"),
            OperatorError::Syntax(_)
        ));
        assert_eq!(
            error("version = '2'"),
            OperatorError::Version("2".to_owned())
        );
        for name in [
            "LD_PRELOAD",
            "PATH",
            "PROPLET_CONFIG_FILE",
            "PROPLET_CREDENTIALS_FILE",
        ] {
            let text = format!("version = '0.1.0'\n[environment]\n{name} = 'x'\n");
            assert_eq!(error(&text), OperatorError::Variable(name.to_owned()));
        }
        for name in ["../a", ".hidden", "a/b", "", "ä"] {
            let text = format!("version = '0.1.0'\n[files]\n'{name}' = 'x'\n");
            assert_eq!(error(&text), OperatorError::FileName(name.to_owned()));
        }
    }

    #[test]
    fn a_credential_is_not_repeated() {
        let text = "version = '0.1.0'\n[environment]\nPROPLET_API_KEY = 'hunter2\n";
        let error = OperatorDocument::parse(text).err().unwrap().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn init_data_has_settings_and_plain_names() {
        let of = |name| check(&InitData::holding(DigestAlgorithm::Sha256, name, "").unwrap());
        assert!(matches!(of("aa.toml"), Err(InitError::NoSettings)));
        let two =
            "version = '0.1.0'\nalgorithm = 'sha256'\n[data]\n'proplet.toml' = ''\n'../x' = ''\n";
        let error = check(&InitData::parse(two).unwrap()).unwrap_err();
        assert!(matches!(error, InitError::FileName(_)), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(?s).{0,200}", name in "(?s).{0,20}") {
            let _ = OperatorDocument::parse(&text);
            if InitData::is_file_name(&name) {
                let path = Path::new("/a").join(&name);
                prop_assert_eq!(path.parent(), Some(Path::new("/a")));
            }
        }
    }
}
