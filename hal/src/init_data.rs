//! Init-data: the document whose digest a confidential VM is started with.
//!
//! Whoever starts a VM gives it 32 (SNP, HOST_DATA) or 48 bytes (TDX, MRCONFIGID) that every report
//! repeats. By the convention of Confidential Containers (Trustee, `kbs/docs/initdata.md`) they are the
//! digest of a TOML document that names its own digest algorithm and holds files as text:
//!
//! ```toml
//! version = "0.1.0"
//! algorithm = "sha384"
//!
//! [data]
//! "proplet.toml" = '''
//! [kbs]
//! url = "https://kbs.example"
//! '''
//! ```
//!
//! The document travels to the key broker beside the evidence, which compares the digest and shows the
//! files to its policies. So it is public: nothing secret belongs in it.
//!
//! The digest covers the bytes of the document, not what they mean. This type keeps those bytes, and
//! nothing writes them a second time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use ring::digest;
use serde::Deserialize;
use thiserror::Error;

/// Largest document, in bytes. It travels in one request to the key broker.
pub const MAX_INIT_DATA_BYTES: usize = 1024 * 1024;

/// Longest name of a file that a VM writes down.
const MAX_NAME: usize = 64;

/// The only version of the format that there is.
const VERSION: &str = "0.1.0";

/// An init-data document, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitData {
    text: String,
    algorithm: DigestAlgorithm,
    data: BTreeMap<String, String>,
}

/// Which digest of the document the VM is started with.
///
/// SHA-256 fits HOST_DATA, SHA-384 fits MRCONFIGID. A longer digest is cut off, a shorter one is padded
/// with zeros: both are bound as well as their shorter part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DigestAlgorithm {
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-384, 48 bytes.
    Sha384,
    /// SHA-512, 64 bytes.
    Sha512,
}

/// Why a text is not an init-data document.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InitDataError {
    /// It is larger than [`MAX_INIT_DATA_BYTES`].
    #[error("the init-data is larger than 1 MiB; keep files out of it")]
    TooLarge,
    /// It is not TOML, or has other names than `version`, `algorithm` and `[data]`.
    #[error(
        "not an init-data document: {0}; it has version, algorithm and a table [data] of file names and their text"
    )]
    Syntax(String),
    /// Its version is not known.
    #[error("init-data of version {0:?} is not known here; write version = \"0.1.0\"")]
    Version(String),
    /// Its algorithm is not known.
    #[error(
        "the init-data names the algorithm {0:?}; write \"sha256\" for SEV-SNP, or \"sha384\" for TDX"
    )]
    Algorithm(String),
    /// A file's text cannot be written between `'''`.
    #[error("{0} contains ''' and cannot stand in an init-data document; rewrite those strings")]
    Quotes(String),
    /// A file's name would hide it, or lead out of the folder that a VM writes it to.
    #[error(
        "the file name {0:?} cannot be used in an init-data document; use at most 64 letters, digits, `.`, `-` and \
         `_`, not `.` first, and each name once"
    )]
    Name(String),
    /// A file's name or text has characters that TOML does not allow there.
    #[error("{0} has control characters, which an init-data document cannot hold; remove them")]
    Characters(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: String,
    algorithm: String,
    #[serde(default)]
    data: BTreeMap<String, String>,
}

impl InitData {
    /// Reads a document.
    ///
    /// # Errors
    /// [`InitDataError`].
    pub fn parse(text: &str) -> Result<Self, InitDataError> {
        if text.len() > MAX_INIT_DATA_BYTES {
            return Err(InitDataError::TooLarge);
        }
        // The parser's own display quotes the line, which may hold what somebody took for a secret place.
        let document: Document = toml::from_str(text)
            .map_err(|error: toml::de::Error| InitDataError::Syntax(error.message().to_owned()))?;
        if document.version != VERSION {
            return Err(InitDataError::Version(document.version));
        }
        Ok(Self {
            text: text.to_owned(),
            algorithm: document.algorithm.parse()?,
            data: document.data,
        })
    }

    /// Whether a text is meant to be such a document: it is TOML and has `algorithm` and `[data]`. What
    /// else is wrong with it is for [`InitData::parse`] to say.
    #[must_use]
    pub fn is_meant_by(text: &str) -> bool {
        text.len() <= MAX_INIT_DATA_BYTES
            && text.parse::<toml::Table>().is_ok_and(|table| {
                table.contains_key("algorithm")
                    && table.get("data").is_some_and(toml::Value::is_table)
            })
    }

    /// Writes a document that holds one file. The text is kept as it is, without a change to its bytes.
    ///
    /// # Errors
    /// When the text cannot stand in a TOML literal string, or is too large.
    pub fn holding(
        algorithm: DigestAlgorithm,
        name: &str,
        text: &str,
    ) -> Result<Self, InitDataError> {
        Self::holding_all(algorithm, &[(name, text)])
    }

    /// As [`InitData::holding`], of several files, in their order.
    ///
    /// # Errors
    /// As [`InitData::holding`], and when a name is there twice.
    pub fn holding_all(
        algorithm: DigestAlgorithm,
        files: &[(&str, &str)],
    ) -> Result<Self, InitDataError> {
        let mut document =
            format!("version = \"{VERSION}\"\nalgorithm = \"{algorithm}\"\n\n[data]\n");
        let mut names = BTreeSet::new();
        for (name, text) in files {
            if !names.insert(name) {
                return Err(InitDataError::Name((*name).to_owned()));
            }
            document.push_str(&Self::entry(name, text)?);
        }
        Self::parse(&document)
    }

    /// A file's line and text in the table of files.
    fn entry(name: &str, text: &str) -> Result<String, InitDataError> {
        if text.contains("'''") || text.ends_with('\'') {
            return Err(InitDataError::Quotes(name.to_owned()));
        }
        let forbidden = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
        if text.contains(forbidden)
            || name.contains(|c: char| c.is_control() || c == '"' || c == '\\')
        {
            return Err(InitDataError::Characters(name.to_owned()));
        }
        // A newline right after the opening quotes is not part of the string.
        Ok(format!("\"{name}\" = '''\n{text}'''\n"))
    }

    /// Whether a file of this name can be written into a folder of the VM: it stays in it, and hides from nobody.
    #[must_use]
    pub fn is_file_name(name: &str) -> bool {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        !name.is_empty()
            && name.len() <= MAX_NAME
            && !name.starts_with('.')
            && name.chars().all(allowed)
    }

    /// The document's bytes, which the digest is over.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text of one file.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&str> {
        self.data.get(name).map(String::as_str)
    }

    /// Names of the files.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.data.keys().map(String::as_str)
    }

    /// Names and texts of the files.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.data
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// Which digest counts.
    #[must_use]
    pub fn algorithm(&self) -> DigestAlgorithm {
        self.algorithm
    }

    /// The digest of the document by its own algorithm: 32, 48 or 64 bytes.
    #[must_use]
    pub fn digest(&self) -> Vec<u8> {
        let algorithm = match self.algorithm {
            DigestAlgorithm::Sha256 => &digest::SHA256,
            DigestAlgorithm::Sha384 => &digest::SHA384,
            DigestAlgorithm::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, self.text.as_bytes())
            .as_ref()
            .to_vec()
    }

    /// HOST_DATA of an SNP VM that is started with this document.
    #[must_use]
    pub fn host_data(&self) -> [u8; 32] {
        fit(&self.digest())
    }

    /// MRCONFIGID of a TDX VM that is started with this document.
    #[must_use]
    pub fn mrconfigid(&self) -> [u8; 48] {
        fit(&self.digest())
    }

    /// Whether a VM that reports `field` was started with this document. `field` is HOST_DATA, MRCONFIGID
    /// or either without zeros at the end; the digest is cut off or padded to its length, as Trustee does.
    ///
    /// A field of fewer than 32 bytes binds nothing: it would make a match too cheap to forge.
    #[must_use]
    pub fn is_bound_by(&self, field: &[u8]) -> bool {
        let digest = self.digest();
        if field.len() < 32 || field.iter().all(|byte| *byte == 0) {
            return false;
        }
        let padded = digest.into_iter().chain(std::iter::repeat(0));
        field.iter().copied().eq(padded.take(field.len()))
    }
}

fn fit<const N: usize>(digest: &[u8]) -> [u8; N] {
    let mut field = [0; N];
    for (to, from) in field.iter_mut().zip(digest) {
        *to = *from;
    }
    field
}

impl FromStr for DigestAlgorithm {
    type Err = InitDataError;

    fn from_str(text: &str) -> Result<Self, InitDataError> {
        match text {
            "sha256" => Ok(Self::Sha256),
            "sha384" => Ok(Self::Sha384),
            "sha512" => Ok(Self::Sha512),
            other => Err(InitDataError::Algorithm(other.to_owned())),
        }
    }
}

impl fmt::Display for DigestAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETTINGS: &str = "[kbs]\nurl = \"https://kbs.example\"\n";

    #[test]
    fn a_file_comes_out_as_it_went_in() {
        let made = InitData::holding(DigestAlgorithm::Sha384, "proplet.toml", SETTINGS).unwrap();
        assert_eq!(made.file("proplet.toml"), Some(SETTINGS));
        assert_eq!(made.names().collect::<Vec<_>>(), ["proplet.toml"]);
        let read = InitData::parse(made.text()).unwrap();
        assert_eq!(read, made);
        assert!(InitData::is_meant_by(made.text()));
        assert!(!InitData::is_meant_by(SETTINGS));
        assert!(!InitData::is_meant_by("algorithm = 'sha256'"));
    }

    #[test]
    fn several_files_come_out_in_any_order() {
        let files = [("proplet.toml", SETTINGS), ("ca.pem", "-----BEGIN\n")];
        let made = InitData::holding_all(DigestAlgorithm::Sha256, &files).unwrap();
        assert_eq!(
            made.files().collect::<Vec<_>>(),
            [("ca.pem", "-----BEGIN\n"), ("proplet.toml", SETTINGS)]
        );
        let one = InitData::holding(DigestAlgorithm::Sha256, "proplet.toml", SETTINGS).unwrap();
        let of_one = InitData::holding_all(DigestAlgorithm::Sha256, &files[..1]).unwrap();
        assert_eq!(one.text(), of_one.text());
        let twice = [("a", "1"), ("a", "2")];
        let error = InitData::holding_all(DigestAlgorithm::Sha256, &twice).unwrap_err();
        assert_eq!(error, InitDataError::Name("a".to_owned()));
        let quotes = [("a", "1"), ("b", "'''")];
        let error = InitData::holding_all(DigestAlgorithm::Sha256, &quotes).unwrap_err();
        assert_eq!(error, InitDataError::Quotes("b".to_owned()));
    }

    #[test]
    fn file_names_stay_in_their_folder() {
        let longest = "a".repeat(64);
        for name in ["ca.pem", "a-b_c.1", longest.as_str()] {
            assert!(InitData::is_file_name(name), "{name}");
        }
        let longer = "a".repeat(65);
        for name in [
            "",
            ".hidden",
            "..",
            "a/b",
            "/a",
            "a b",
            "ä",
            longer.as_str(),
        ] {
            assert!(!InitData::is_file_name(name), "{name}");
        }
    }

    #[test]
    fn a_known_document_has_a_known_digest() {
        // printf 'version = "0.1.0"\nalgorithm = "sha256"\n\n[data]\n' | sha256sum
        let text = "version = \"0.1.0\"\nalgorithm = \"sha256\"\n\n[data]\n";
        let document = InitData::parse(text).unwrap();
        let digest = "5fbba2d190b4c600dc48b80802559460ecae499f76f079e9ad2ebd4e3c7eb65f";
        assert_eq!(hex::encode(document.digest()), digest);
        assert_eq!(hex::encode(document.host_data()), digest);
        assert_eq!(
            hex::encode(document.mrconfigid()),
            format!("{digest}{}", "00".repeat(16))
        );
    }

    #[test]
    fn fields_of_both_tees_bind() {
        for algorithm in [
            DigestAlgorithm::Sha256,
            DigestAlgorithm::Sha384,
            DigestAlgorithm::Sha512,
        ] {
            let document = InitData::holding(algorithm, "a", "b").unwrap();
            assert!(document.is_bound_by(&document.host_data()));
            assert!(document.is_bound_by(&document.mrconfigid()));
            let mut other = document.mrconfigid();
            other[47] ^= 1;
            assert!(!document.is_bound_by(&other));
            assert!(!document.is_bound_by(&document.host_data()[..31]));
            assert!(!document.is_bound_by(&[0; 32]));
            assert!(!document.is_bound_by(&[]));
        }
    }

    #[test]
    fn other_documents_are_refused_by_what_is_wrong() {
        let error = |text: &str| InitData::parse(text).unwrap_err();
        assert!(matches!(error("version = "), InitDataError::Syntax(_)));
        assert!(matches!(error(SETTINGS), InitDataError::Syntax(_)));
        assert!(matches!(
            error("version = '0.1.0'\nalgorithm = 'sha256'\nextra = 1"),
            InitDataError::Syntax(_)
        ));
        assert!(matches!(
            error("version = '0.1.0'\nalgorithm = 'sha256'\n[data]\na = 1"),
            InitDataError::Syntax(_)
        ));
        assert_eq!(
            error("version = '0.2.0'\nalgorithm = 'sha256'"),
            InitDataError::Version("0.2.0".to_owned())
        );
        for wrong in ["sha-384", "SHA256", "sm3", ""] {
            assert_eq!(
                error(&format!("version = '0.1.0'\nalgorithm = '{wrong}'")),
                InitDataError::Algorithm(wrong.to_owned())
            );
        }
        assert_eq!(
            error(&" ".repeat(MAX_INIT_DATA_BYTES + 1)),
            InitDataError::TooLarge
        );
        let holding =
            |text: &str| InitData::holding(DigestAlgorithm::Sha256, "a", text).unwrap_err();
        assert_eq!(
            holding("x = '''y'''"),
            InitDataError::Quotes("a".to_owned())
        );
        assert_eq!(holding("x = 'y'"), InitDataError::Quotes("a".to_owned()));
        assert_eq!(holding("\r\n"), InitDataError::Characters("a".to_owned()));
        assert_eq!(holding("\u{1b}"), InitDataError::Characters("a".to_owned()));
    }

    proptest! {
        #[test]
        fn any_text_is_held_whole_or_refused(text in "(?s).{0,200}") {
            if let Ok(made) = InitData::holding(DigestAlgorithm::Sha256, "f", &text) {
                prop_assert_eq!(made.file("f"), Some(text.as_str()));
            }
        }

        #[test]
        fn nothing_panics(text in "(?s).{0,300}") {
            let _ = InitData::parse(&text);
            let _ = InitData::is_meant_by(&text);
        }
    }
}
