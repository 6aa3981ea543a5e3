//! Registry credentials from a docker `config.json`.
//!
//! Only what stands in the file is used: credential helpers are programs, and this host starts none.
//! Nothing of an entry is ever printed, in errors either.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::error::ImageError;

/// The largest credentials file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// How to show a registry who asks. Wiped when dropped, never printed.
#[derive(Clone)]
pub enum Credential {
    /// Name and password.
    Basic {
        /// The user's name.
        username: String,
        /// The password or access token.
        password: Zeroizing<String>,
    },
    /// A bearer token for the registry (`registrytoken`).
    Bearer(Zeroizing<String>),
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic(..)",
            Self::Bearer(_) => "Bearer(..)",
        })
    }
}

/// Credentials by registry, or by registry and the start of a repository.
#[derive(Debug, Clone, Default)]
pub struct Credentials(BTreeMap<String, Credential>);

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<Zeroizing<String>>,
    username: Option<String>,
    password: Option<Zeroizing<String>>,
    identitytoken: Option<Zeroizing<String>>,
    registrytoken: Option<Zeroizing<String>>,
}

impl Credentials {
    /// Reads a docker `config.json`.
    ///
    /// # Errors
    /// [`ImageError::Settings`] when the file cannot be read or used.
    pub fn read(path: &Path) -> Result<Self, ImageError> {
        let settings = |why: String| ImageError::Settings {
            why: format!("credentials file {}: {why}", path.display()),
        };
        let length = std::fs::metadata(path)
            .map_err(|e| settings(e.to_string()))?
            .len();
        if length > MAX_FILE_BYTES {
            return Err(settings(format!(
                "it is larger than {MAX_FILE_BYTES} bytes"
            )));
        }
        let json = Zeroizing::new(std::fs::read(path).map_err(|e| settings(e.to_string()))?);
        Self::from_docker_config(&json).map_err(|error| match error {
            ImageError::Settings { why } => settings(why),
            error => error,
        })
    }

    /// Parses the JSON text of a docker `config.json`: its `auths`, each with `auth` (base64 of
    /// `name:password`), `username` and `password`, or `registrytoken`. Entries without any of
    /// these are placeholders of credential helpers and are passed over.
    ///
    /// # Errors
    /// [`ImageError::Settings`], naming the entry and nothing in it.
    pub fn from_docker_config(json: &[u8]) -> Result<Self, ImageError> {
        let settings = |why: String| ImageError::Settings { why };
        // The parser's own words could quote what it read.
        let file: File = serde_json::from_slice(json).map_err(|e| {
            settings(format!(
                "it is not a docker config.json (line {}, column {})",
                e.line(),
                e.column()
            ))
        })?;
        let mut credentials = BTreeMap::new();
        for (name, entry) in file.auths {
            let credential = match Credential::from_entry(entry) {
                Ok(Some(credential)) => credential,
                Ok(None) => continue,
                Err(why) => {
                    let shown: String = name.chars().take(128).collect();
                    return Err(settings(format!("entry {shown:?}: {why}")));
                }
            };
            credentials.insert(normalise(&name), credential);
        }
        Ok(Self(credentials))
    }

    /// The credential for a repository of a registry: the entry with the longest matching path.
    pub fn find(&self, registry: &str, repository: &str) -> Option<&Credential> {
        let host = normalise(registry);
        let mut path = Some(repository);
        while let Some(some) = path {
            if let Some(found) = self.0.get(&format!("{host}/{some}")) {
                return Some(found);
            }
            path = some.rsplit_once('/').map(|(parent, _)| parent);
        }
        self.0.get(&host)
    }
}

impl Credential {
    fn from_entry(entry: Entry) -> Result<Option<Self>, &'static str> {
        if let Some(token) = entry.registrytoken.filter(|token| !token.is_empty()) {
            return Ok(Some(Self::Bearer(token)));
        }
        if let Some(auth) = entry.auth.filter(|auth| !auth.is_empty()) {
            let bytes = Zeroizing::new(
                STANDARD
                    .decode(auth.as_bytes())
                    .map_err(|_| "its auth is not base64")?,
            );
            let text =
                std::str::from_utf8(&bytes).map_err(|_| "its auth is not the base64 of text")?;
            let (username, password) = text
                .split_once(':')
                .ok_or("its auth is not the base64 of name:password")?;
            return Ok(Some(Self::Basic {
                username: username.to_owned(),
                // Docker pads some with NUL bytes.
                password: Zeroizing::new(password.trim_end_matches('\0').to_owned()),
            }));
        }
        match (entry.username, entry.password) {
            (Some(username), Some(password)) => Ok(Some(Self::Basic { username, password })),
            _ if entry.identitytoken.is_some_and(|token| !token.is_empty()) => {
                Err("identity tokens are not used; put a name and a password there")
            }
            _ => Ok(None),
        }
    }
}

/// One spelling for the ways in which a registry is named in a credentials file.
fn normalise(name: &str) -> String {
    let name = name
        .strip_prefix("https://")
        .or(name.strip_prefix("http://"))
        .unwrap_or(name);
    let name = name.trim_end_matches('/');
    let name = name
        .strip_suffix("/v1")
        .or(name.strip_suffix("/v2"))
        .unwrap_or(name);
    let (host, path) = name
        .split_once('/')
        .map_or((name, None), |(host, path)| (host, Some(path)));
    let host = match host.to_ascii_lowercase().as_str() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        other => other.to_owned(),
    };
    match path {
        Some(path) => format!("{host}/{path}"),
        None => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn basic(credentials: &Credentials, registry: &str, repository: &str) -> (String, String) {
        match credentials.find(registry, repository) {
            Some(Credential::Basic { username, password }) => {
                (username.clone(), password.to_string())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn both_forms_and_all_spellings_are_read() {
        let json = r#"{"auths":{
            "https://index.docker.io/v1/":{"auth":"dTpwOnE="},
            "Registry.example:5000":{"username":"v","password":"w"},
            "registry.example:5000/team":{"auth":"dGVhbTp4AAA="},
            "helper.example":{},
            "token.example":{"registrytoken":"t"}},
            "credsStore":"desktop","HttpHeaders":{"a":"b"}}"#;
        let credentials = Credentials::from_docker_config(json.as_bytes()).unwrap();
        assert_eq!(
            basic(&credentials, "docker.io", "library/a"),
            ("u".into(), "p:q".into())
        );
        assert_eq!(
            basic(&credentials, "index.docker.io", "a"),
            ("u".into(), "p:q".into())
        );
        assert_eq!(
            basic(&credentials, "registry.example:5000", "a"),
            ("v".into(), "w".into())
        );
        let team = basic(&credentials, "registry.example:5000", "team/a/b");
        assert_eq!(team, ("team".into(), "x".into()));
        assert!(credentials.find("helper.example", "a").is_none());
        assert!(credentials.find("other.example", "a").is_none());
        assert!(matches!(
            credentials.find("token.example", "a"),
            Some(Credential::Bearer(_))
        ));
    }

    #[test]
    fn nothing_of_a_bad_entry_is_told() {
        for json in [
            r#"{"auths":{"r.example":{"auth":"hunter2-hunter2"}}}"#,
            r#"{"auths":{"r.example":{"auth":"aHVudGVyMg=="}}}"#,
            r#"{"auths":{"r.example":{"identitytoken":"hunter2"}}}"#,
            r#"{"auths":{"r.example":"hunter2"}}"#,
            r#"["hunter2"]"#,
        ] {
            let error = Credentials::from_docker_config(json.as_bytes()).unwrap_err();
            assert_eq!(error.code(), "image-settings");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn credentials_do_not_print() {
        let json = r#"{"auths":{"r.example":{"username":"u","password":"hunter2"}}}"#;
        let credentials = Credentials::from_docker_config(json.as_bytes()).unwrap();
        assert!(!format!("{credentials:?}").contains("hunter2"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Credentials::read(Path::new("/nonexistent/config.json")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/config.json"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes: Vec<u8>) {
            let _ = Credentials::from_docker_config(&bytes);
        }

        #[test]
        fn what_is_written_is_found(
            host in "[a-z]{1,10}\\.example(:[0-9]{1,5})?",
            user in "[a-z]{1,8}",
            password in "[ -~]{0,20}",
        ) {
            let auth = STANDARD.encode(format!("{user}:{password}"));
            let json = serde_json::json!({"auths": {host.clone(): {"auth": auth}}}).to_string();
            let credentials = Credentials::from_docker_config(json.as_bytes()).unwrap();
            prop_assert_eq!(basic(&credentials, &host, "any/thing"), (user, password));
        }
    }
}
