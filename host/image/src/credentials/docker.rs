//! The file as a whole.

use std::collections::BTreeMap;
use std::path::Path;

use zeroize::Zeroizing;

use super::credential::Credential;
use super::entry::Entry;
use super::file::File;
use super::helper::{Helper, short};
use super::key;
use crate::error::ImageError;

/// The largest credentials file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Credentials by registry, or by registry and the start of a repository.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// By normalised key: a host, or a host and the start of a repository.
    entries: BTreeMap<String, Entry>,
    /// `credHelpers`, by host. The empty name stands for "no helper, whatever `credsStore` says".
    helpers: BTreeMap<String, String>,
    /// `credsStore`: the helper for every registry without an entry.
    store: Option<String>,
}

/// What the file says about one repository.
enum Found<'a> {
    Nothing,
    Credential(&'a Credential),
    /// The key of the entry, and what is wrong with it.
    Unusable(&'a str, &'static str),
    /// A helper that has this registry's credential.
    Helper(&'a str),
    /// A helper that may have it.
    Store(&'a str),
}

impl Credentials {
    /// Reads a docker `config.json`.
    ///
    /// # Errors
    /// [`ImageError::Settings`] when the file cannot be read or is not of that form.
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
    /// `name:password`), `username` and `password`, `identitytoken` or `registrytoken`; its
    /// `credHelpers` and `credsStore`. The form of the older `.dockercfg` (entries without `auths`
    /// around them) is taken too. An empty file holds no credentials.
    ///
    /// # Errors
    /// [`ImageError::Settings`] when the text is not such a file. An entry that cannot be used is no
    /// error here, but one of [`find`](Self::find).
    pub fn from_docker_config(json: &[u8]) -> Result<Self, ImageError> {
        let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
        if json.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        // The parser's own words could quote what it read.
        let file: File = serde_json::from_slice(json).map_err(|e| ImageError::Settings {
            why: format!(
                "it is not a docker config.json (line {}, column {})",
                e.line(),
                e.column()
            ),
        })?;
        let mut credentials = Self {
            store: file.store.filter(|name| !name.is_empty()),
            ..Self::default()
        };
        for (name, raw) in file.auths {
            let Some(key) = key::of_entry(&name) else {
                continue;
            };
            let entry = Entry::of(raw);
            // One registry can stand there under several spellings.
            let known = credentials.entries.get(&key);
            if known.is_none_or(|known| entry.worth() >= known.worth()) {
                credentials.entries.insert(key, entry);
            }
        }
        for (name, helper) in file.helpers {
            if let Some(key) = key::of_entry(&name) {
                credentials.helpers.insert(key, helper);
            }
        }
        Ok(credentials)
    }

    /// The credential for a repository of a registry: the entry with the longest matching path.
    ///
    /// # Errors
    /// [`ImageError::Settings`], naming the entry, when there is one that cannot be used or that
    /// leaves the credential to a helper.
    pub fn find(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Option<&Credential>, ImageError> {
        match self.look_up(registry, repository) {
            Found::Nothing | Found::Store(_) => Ok(None),
            Found::Credential(credential) => Ok(Some(credential)),
            Found::Unusable(key, why) => Err(ImageError::Settings {
                why: format!(
                    "entry {:?} of the credentials file: {why}; log in again, or put a name and a \
                     password there",
                    short(key)
                ),
            }),
            Found::Helper(name) => Err(left_to_helper(registry, name)),
        }
    }

    /// The helper that has, or may have, the credential for a repository of a registry.
    pub fn helper(&self, registry: &str, repository: &str) -> Option<Helper> {
        match self.look_up(registry, repository) {
            Found::Helper(name) | Found::Store(name) => Some(Helper::new(name, registry)),
            _ => None,
        }
    }

    /// Puts in what a helper said about a registry: a credential, or that it has none.
    #[must_use]
    pub fn resolve(mut self, registry: &str, credential: Option<Credential>) -> Self {
        let key = key::of_registry(registry);
        self.helpers.insert(key.clone(), String::new());
        // A helper comes before entries of single repositories, and so does its answer.
        let below = format!("{key}/");
        self.entries.retain(|other, _| !other.starts_with(&below));
        let entry = credential.map_or(Entry::Placeholder, Entry::Usable);
        self.entries.insert(key, entry);
        self
    }

    /// Why a registry may have refused access although the file seems to say nothing about it: its
    /// `credsStore` could have a credential, and was not asked.
    pub(crate) fn unasked(&self, registry: &str, repository: &str) -> Option<ImageError> {
        match self.look_up(registry, repository) {
            Found::Store(name) => Some(left_to_helper(registry, name)),
            _ => None,
        }
    }

    fn look_up(&self, registry: &str, repository: &str) -> Found<'_> {
        let host = key::of_registry(registry);
        let helper = self.helpers.get(&host).map(String::as_str);
        if let Some(helper) = helper.filter(|name| !name.is_empty()) {
            return Found::Helper(helper);
        }
        let store = match helper {
            Some(_) => None,
            None => self.store.as_deref(),
        };
        let mut placeholder = false;
        let mut path = format!("{host}/{repository}");
        loop {
            match self.entries.get_key_value(&path) {
                Some((_, Entry::Usable(credential))) => return Found::Credential(credential),
                Some((key, Entry::Unusable(why))) => return Found::Unusable(key, why),
                Some((_, Entry::Placeholder)) => placeholder = true,
                None => {}
            }
            match path.rfind('/') {
                Some(end) => path.truncate(end),
                None => break,
            }
        }
        match store {
            // `docker login` leaves an empty entry behind when the store has the credential.
            Some(store) if placeholder => Found::Helper(store),
            Some(store) => Found::Store(store),
            None => Found::Nothing,
        }
    }
}

fn left_to_helper(registry: &str, name: &str) -> ImageError {
    ImageError::Settings {
        why: format!(
            "the credentials file leaves registry {registry} to the credential helper {:?}, a \
             program that is not started here; put an entry with a name and a password for this \
             registry into the file",
            short(name)
        ),
    }
}
