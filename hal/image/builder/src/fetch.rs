//! Parts from the cache, or from one of their addresses.
//!
//! A part is in the cache under its digest, and is read against it each time: what lies there is no more trusted than
//! what comes over the network.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::redirect::Policy;
use ring::digest::{SHA256, digest};

use crate::BuildError;
use crate::lock::Part;

/// How long a connection and a pause within a download may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often an address may lead elsewhere.
const REDIRECTS: usize = 5;

/// Where parts come from.
pub struct Fetcher {
    cache: PathBuf,
    /// None where nothing may be downloaded.
    client: Option<reqwest::Client>,
}

impl Fetcher {
    /// A cache in a folder, and downloads unless told otherwise.
    ///
    /// # Errors
    /// When the folder or the client cannot be made.
    pub fn new(cache: PathBuf, offline: bool) -> Result<Self, BuildError> {
        fs::create_dir_all(&cache).map_err(BuildError::file(&cache))?;
        let client = if offline { None } else { Some(client()?) };
        Ok(Self { cache, client })
    }

    /// A part, whose digest is the lock file's. `tell` gets lines about the progress.
    ///
    /// # Errors
    /// When it is in no place.
    pub async fn fetch(&self, part: &Part, tell: &dyn Fn(&str)) -> Result<Vec<u8>, BuildError> {
        let path = self.cache.join(&part.sha256);
        if let Ok(bytes) = fs::read(&path) {
            if is(&bytes, part) {
                return Ok(bytes);
            }
            tell(&format!(
                "{} in the cache is damaged, and fetched again",
                part.name
            ));
        }
        let Some(client) = &self.client else {
            return Err(BuildError::Offline {
                name: part.name.clone(),
                version: part.version.clone(),
                cache: path,
            });
        };
        let mut attempts = String::new();
        for url in &part.urls {
            tell(&format!(
                "{} {} ({} MiB) from {url}",
                part.name,
                part.version,
                part.size.div_ceil(1 << 20)
            ));
            match download(client, url, part).await {
                Ok(bytes) => {
                    store(&path, &bytes)?;
                    return Ok(bytes);
                }
                Err(reason) => {
                    let _ = write!(attempts, "\n  {url}: {reason}");
                }
            }
        }
        Err(BuildError::Unavailable {
            name: part.name.clone(),
            version: part.version.clone(),
            attempts,
            cache: path,
        })
    }
}

fn client() -> Result<reqwest::Client, BuildError> {
    let failed = |error: &dyn std::fmt::Display| BuildError::Client(error.to_string());
    let tls = proplet_net::tls::client_config(None).map_err(|error| failed(&error))?;
    proplet_net::client(tls, None)
        .and_then(|builder| {
            builder
                .redirect(Policy::limited(REDIRECTS))
                .https_only(true)
                .connect_timeout(PATIENCE)
                .read_timeout(PATIENCE)
                .build()
        })
        .map_err(|error| failed(&error))
}

async fn download(client: &reqwest::Client, url: &str, part: &Part) -> Result<Vec<u8>, String> {
    let words = |error: reqwest::Error| error.without_url().to_string();
    let mut answer = client.get(url).send().await.map_err(words)?;
    if !answer.status().is_success() {
        return Err(format!("it answered {}", answer.status()));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(words)? {
        bytes.extend(chunk);
        if bytes.len() as u64 > part.size {
            return Err("it is longer than the lock file says".to_owned());
        }
    }
    if is(&bytes, part) {
        Ok(bytes)
    } else {
        Err("it has another SHA-256 than the lock file says".to_owned())
    }
}

fn is(bytes: &[u8], part: &Part) -> bool {
    bytes.len() as u64 == part.size && hex::encode(digest(&SHA256, bytes)) == part.sha256
}

/// Under another name first: what has the right name is whole.
fn store(path: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    let partial = path.with_extension(format!("{}.partial", std::process::id()));
    fs::File::create(&partial)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&partial, path))
        .map_err(BuildError::file(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(contents: &[u8]) -> Part {
        Part {
            name: "kernel".to_owned(),
            version: "1".to_owned(),
            file: "k".to_owned(),
            sha256: hex::encode(digest(&SHA256, contents)),
            size: contents.len() as u64,
            urls: vec![
                "https://127.0.0.1:1/k".to_owned(),
                "https://127.0.0.1:2/k".to_owned(),
            ],
        }
    }

    #[tokio::test]
    async fn the_cache_is_believed_only_as_far_as_the_digest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let fetcher = Fetcher::new(folder.path().join("cache"), true).unwrap();
        let part = part(b"kernel");
        let error = fetcher.fetch(&part, &|_| ()).await.unwrap_err();
        assert!(matches!(error, BuildError::Offline { .. }), "{error}");
        let path = folder.path().join("cache").join(&part.sha256);
        store(&path, b"kernel").unwrap();
        assert_eq!(fetcher.fetch(&part, &|_| ()).await.unwrap(), b"kernel");
        store(&path, b"other!").unwrap();
        let error = fetcher.fetch(&part, &|_| ()).await.unwrap_err();
        assert!(matches!(error, BuildError::Offline { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_part_that_is_nowhere_is_said_to_be_stale() {
        let folder = tempfile::tempdir().unwrap();
        let fetcher = Fetcher::new(folder.path().to_owned(), false).unwrap();
        let error = fetcher
            .fetch(&part(b"kernel"), &|_| ())
            .await
            .unwrap_err()
            .to_string();
        for words in ["127.0.0.1:1", "127.0.0.1:2", "stale", "lock --update"] {
            assert!(error.contains(words), "{error}");
        }
    }
}
