//! Parts from the cache, or from one of their addresses.
//!
//! A part is in the cache under its digest, and is read against it each time: what lies there is no more trusted than
//! what comes over the network.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proplet_net::Proxy;
use reqwest::StatusCode;
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
    /// A cache in a folder, and downloads unless told otherwise, through a proxy where there is one. It sees the names
    /// of hosts: all addresses are `https`.
    ///
    /// # Errors
    /// When the folder or the client cannot be made.
    pub fn new(cache: PathBuf, offline: bool, proxy: Option<&Proxy>) -> Result<Self, BuildError> {
        fs::create_dir_all(&cache).map_err(BuildError::file(&cache))?;
        let client = if offline {
            None
        } else {
            Some(client_builder(proxy)?.build().map_err(failed)?)
        };
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
        // A lock file that is out of date is told from a network that is: somebody said that the part is gone.
        let mut is_gone = false;
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
                Err(failure) => {
                    is_gone |= failure.is_gone;
                    let _ = write!(attempts, "\n  {url}: {}", failure.reason);
                }
            }
        }
        let (name, version, cache) = (part.name.clone(), part.version.clone(), path);
        Err(if is_gone {
            BuildError::Unavailable {
                name,
                version,
                attempts,
                cache,
            }
        } else {
            BuildError::Unreachable {
                name,
                version,
                attempts,
                cache,
            }
        })
    }
}

fn client_builder(proxy: Option<&Proxy>) -> Result<reqwest::ClientBuilder, BuildError> {
    let tls = proplet_net::tls::client_config(None).map_err(failed)?;
    let builder = proplet_net::client(tls, proxy).map_err(failed)?;
    Ok(builder
        .redirect(Policy::limited(REDIRECTS))
        .https_only(true)
        .connect_timeout(PATIENCE)
        .read_timeout(PATIENCE))
}

fn failed(error: impl std::fmt::Display) -> BuildError {
    BuildError::Client(error.to_string())
}

/// Why an address does not give a part.
#[derive(Debug)]
struct Failure {
    reason: String,
    /// The address answered, and has it no more.
    is_gone: bool,
}

impl Failure {
    fn gone(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            is_gone: true,
        }
    }
}

impl From<reqwest::Error> for Failure {
    /// With what is below it: the error itself says no more than that a request failed.
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let mut reason = error.to_string();
        let mut below = std::error::Error::source(&error);
        while let Some(cause) = below {
            let _ = write!(reason, ": {cause}");
            below = cause.source();
        }
        Self {
            reason,
            is_gone: false,
        }
    }
}

async fn download(client: &reqwest::Client, url: &str, part: &Part) -> Result<Vec<u8>, Failure> {
    let mut answer = client.get(url).send().await?;
    let status = answer.status();
    if !status.is_success() {
        return Err(Failure {
            reason: format!("it answered {status}"),
            is_gone: matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE),
        });
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        bytes.extend(chunk);
        if bytes.len() as u64 > part.size {
            return Err(Failure::gone("it is longer than the lock file says"));
        }
    }
    if is(&bytes, part) {
        Ok(bytes)
    } else {
        Err(Failure::gone(
            "it has another SHA-256 than the lock file says",
        ))
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
    use std::io::Read as _;
    use std::net::TcpListener;
    use std::thread;

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
        let fetcher = Fetcher::new(folder.path().join("cache"), true, None).unwrap();
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
    async fn a_network_that_is_down_makes_no_lock_file_stale() {
        let folder = tempfile::tempdir().unwrap();
        let fetcher = Fetcher::new(folder.path().to_owned(), false, None).unwrap();
        let error = fetcher.fetch(&part(b"kernel"), &|_| ()).await.unwrap_err();
        let error = error.to_string();
        for words in ["127.0.0.1:1", "127.0.0.1:2", "refused", "network", "proxy"] {
            assert!(
                error.to_lowercase().contains(words),
                "{words:?} is not in {error}"
            );
        }
        assert!(!error.contains("lock --update"), "{error}");
    }

    #[tokio::test]
    async fn parts_come_through_the_proxy_that_is_given() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = format!("http://builder:word@{}", listener.local_addr().unwrap());
        let peer = thread::spawn(move || {
            [(); 2].map(|()| {
                let (mut stream, _) = listener.accept().unwrap();
                let (mut request, mut bytes) = (Vec::new(), [0; 4096]);
                while !request.ends_with(b"\r\n\r\n") {
                    let read = stream.read(&mut bytes).unwrap();
                    assert_ne!(read, 0, "the request breaks off");
                    request.extend_from_slice(&bytes[..read]);
                }
                let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
                String::from_utf8(request).unwrap()
            })
        });
        let folder = tempfile::tempdir().unwrap();
        let proxy = Proxy::new(&proxy, &[]).unwrap();
        let fetcher = Fetcher::new(folder.path().to_owned(), false, Some(&proxy)).unwrap();
        let error = fetcher.fetch(&part(b"kernel"), &|_| ()).await.unwrap_err();
        assert!(!error.to_string().contains("word"), "{error}");
        let asked = peer.join().unwrap();
        for (asked, port) in asked.iter().zip(1..) {
            assert!(
                asked.starts_with(&format!("CONNECT 127.0.0.1:{port} ")),
                "{asked}"
            );
            assert!(
                asked.contains("Basic YnVpbGRlcjp3b3Jk"),
                "the proxy is told no password: {asked}"
            );
        }
    }

    /// What becomes of a part, and which of both reasons it is, where one address is down and one answers with this.
    async fn where_one_answers(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/k", listener.local_addr().unwrap());
        let peer = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(answer.as_bytes());
        });
        let folder = tempfile::tempdir().unwrap();
        let fetcher = Fetcher {
            cache: folder.path().to_owned(),
            client: Some(any_scheme(client_builder(None).unwrap())),
        };
        let mut part = part(b"kernel");
        part.urls[1] = address;
        let error = fetcher.fetch(&part, &|_| ()).await.unwrap_err();
        peer.join().unwrap();
        error.to_string()
    }

    /// The client without the demand for TLS, which a server of a test has none of.
    fn any_scheme(builder: reqwest::ClientBuilder) -> reqwest::Client {
        builder.https_only(false).build().unwrap()
    }

    #[tokio::test]
    async fn a_part_that_is_gone_makes_it_stale() {
        for answer in [
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nother!",
            "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nkernels",
        ] {
            let error = where_one_answers(answer).await;
            for words in ["127.0.0.1:1", "stale", "lock --update"] {
                assert!(error.contains(words), "{answer}: {error}");
            }
        }
        let busy = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let error = where_one_answers(busy).await;
        assert!(error.contains("503") && !error.contains("stale"), "{error}");
    }
}
