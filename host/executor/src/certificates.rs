//! Certificates of the keys that sign SNP reports, from AMD's key distribution service or a mirror of it.
//!
//! Nothing is fetched that the settings do not name. What comes is public and is trusted with nothing: the
//! provider takes a certificate only if the machine's own report verifies under it, and verifiers ask for
//! AMD's signature. So a cache is a plain folder, which is given only what fits and whose broken files cost
//! one request each, and a service may be asked over plain http. What it learns is the chip's id and TCB.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use proplet_hal::snp::{CertificateError, CertificateSource, Endorsement};
use proplet_net::tls;
use proplet_settings::CertificateService;
use proplet_types::text::line;
use reqwest::{Client, Url, redirect};
use rustix::fs::OFlags;
use uuid::Uuid;

use crate::ExecutorError;

/// Larger than any endorsement certificate.
const MAX_CERTIFICATE_BYTES: usize = 16 * 1024;
/// How long the service may take.
const TIMEOUT: Duration = Duration::from_secs(8);

/// A key distribution service with a cache.
pub struct KeyDistribution {
    client: Client,
    base: Url,
    cache: Option<PathBuf>,
}

impl KeyDistribution {
    /// The service that the settings name.
    ///
    /// # Errors
    /// [`ExecutorError::Setup`] when its CA cannot be used.
    pub fn new(service: &CertificateService) -> Result<Self, ExecutorError> {
        let setup = |error: &dyn std::fmt::Display| {
            ExecutorError::Setup(format!("[attestation] certificates_ca_pem: {error}"))
        };
        let tls = match service.url.scheme() {
            "http" => tls::no_trust(),
            _ => tls::client_config(service.ca_pem.as_deref().map(str::as_bytes)),
        }
        .map_err(|error| setup(&error))?;
        let client = proplet_net::client(tls, None)
            .and_then(|builder| {
                builder
                    .redirect(redirect::Policy::none())
                    .timeout(TIMEOUT)
                    .build()
            })
            .map_err(|error| setup(&error))?;
        Ok(Self {
            client,
            base: service.url.clone(),
            cache: service.cache.clone(),
        })
    }

    fn error(&self, reason: impl std::fmt::Display) -> CertificateError {
        CertificateError {
            place: self.base.to_string(),
            reason: line(&reason.to_string()),
        }
    }

    async fn get(&self, path: &str) -> Result<Option<Vec<u8>>, CertificateError> {
        let address = format!("{}{path}", self.base.as_str().trim_end_matches('/'));
        let address = Url::parse(&address).map_err(|error| self.error(error))?;
        let sent = self.client.get(address).send().await;
        let mut answer = sent.map_err(|error| self.error(words(&error)))?;
        let status = answer.status();
        if status == reqwest::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !status.is_success() {
            return Err(self.error(format!(
                "it answered {status}; AMD's own service allows a few requests a minute: use a mirror"
            )));
        }
        let mut bytes = Vec::new();
        while let Some(part) = answer
            .chunk()
            .await
            .map_err(|error| self.error(words(&error)))?
        {
            bytes.extend_from_slice(&part);
            if bytes.len() > MAX_CERTIFICATE_BYTES {
                return Err(self.error("its answer is larger than any certificate"));
            }
        }
        Ok(Some(bytes))
    }

    /// The cached certificate of this name.
    async fn cached(&self, name: &str) -> Option<Vec<u8>> {
        let file = self.cache.as_ref()?.join(name);
        let read = move || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            let limit = MAX_CERTIFICATE_BYTES as u64;
            // Neither to wait for the other end of a pipe nor to be led elsewhere.
            let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits().cast_signed();
            let file = fs::File::options()
                .read(true)
                .custom_flags(flags)
                .open(file)?;
            if file.metadata()?.is_file() {
                file.take(limit).read_to_end(&mut bytes)?;
            }
            Ok(bytes)
        };
        tokio::task::spawn_blocking(read).await.ok()?.ok()
    }

    async fn write(&self, name: String, certificate: &[u8]) {
        let Some(cache) = self.cache.clone() else {
            return;
        };
        let certificate = certificate.to_vec();
        let write = move || replace(&cache, &name, &certificate);
        match tokio::task::spawn_blocking(write).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "a certificate could not be kept in the cache")
            }
            Err(error) => tracing::warn!(%error, "a certificate could not be kept in the cache"),
        }
    }
}

/// Writes a file as a whole or not at all. Its first name is new and cannot be known beforehand, so that
/// nobody has put a link there that leads the bytes elsewhere.
fn replace(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let part = folder.join(format!("{}.part", Uuid::new_v4().simple()));
    let mut file = fs::File::options()
        .write(true)
        .create_new(true)
        .open(&part)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| fs::rename(&part, folder.join(name)));
    if written.is_err() {
        // The error that is told is the first one.
        let _ = fs::remove_file(&part);
    }
    written
}

/// The cause behind the HTTP library's words, which begin with the address that we say ourselves.
fn words(error: &reqwest::Error) -> String {
    if let Some(words) = tls::explain(error) {
        return words;
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[async_trait]
impl CertificateSource for KeyDistribution {
    async fn candidates(&self, wanted: &Endorsement) -> Result<Vec<Vec<u8>>, CertificateError> {
        let cached = self.cached(&wanted.file_name()).await;
        Ok(cached.into_iter().collect())
    }

    async fn fetch(&self, wanted: &Endorsement) -> Result<Option<Vec<u8>>, CertificateError> {
        match wanted.kds_path() {
            Some(path) => self.get(&path).await,
            None => Ok(None),
        }
    }

    async fn keep(&self, wanted: &Endorsement, certificate: &[u8]) {
        self.write(wanted.file_name(), certificate).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use axum::{Router, extract::State, http::StatusCode, http::Uri};
    use proplet_hal::snp::{EndorsementKeyKind, Generation, Tcb};
    use tempfile::TempDir;
    use tokio::net::TcpListener;

    use super::*;

    const CERTIFICATE: &[u8] = b"\x30\x03\x02\x01\x07";

    struct Mirror {
        address: String,
        calls: Arc<AtomicUsize>,
    }

    impl Mirror {
        /// Answers everything under `/mirror/vcek/v1/Milan/` with this.
        async fn start(status: u16, body: Vec<u8>) -> Self {
            let calls = Arc::new(AtomicUsize::new(0));
            let state = (Arc::clone(&calls), status, body);
            let serve = |State((calls, status, body)): State<(Arc<AtomicUsize>, u16, Vec<u8>)>,
                         uri: Uri| async move {
                calls.fetch_add(1, Ordering::Relaxed);
                let expected = format!(
                    "/mirror/vcek/v1/Milan/{}?blSPL=01&teeSPL=02&snpSPL=03&ucodeSPL=04",
                    "ab".repeat(64)
                );
                assert_eq!(uri.to_string(), expected);
                (StatusCode::from_u16(status).unwrap(), body)
            };
            let router = Router::new().fallback(serve).with_state(state);
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = format!("http://{}/mirror/", listener.local_addr().unwrap());
            tokio::spawn(async move { axum::serve(listener, router).await });
            Self { address, calls }
        }

        fn client(&self, cache: Option<&Path>) -> KeyDistribution {
            KeyDistribution::new(&CertificateService {
                url: Url::parse(&self.address).unwrap(),
                ca_pem: None,
                cache: cache.map(Path::to_path_buf),
            })
            .unwrap()
        }

        fn calls(&self) -> usize {
            self.calls.load(Ordering::Relaxed)
        }
    }

    fn wanted() -> Endorsement {
        Endorsement {
            key: EndorsementKeyKind::Vcek,
            generation: Some(Generation::Milan),
            chip_id: [0xab; 64],
            tcb: Tcb {
                fmc: None,
                bootloader: 1,
                tee: 2,
                snp: 3,
                microcode: 4,
            },
        }
    }

    #[tokio::test]
    async fn a_certificate_is_fetched_once_and_then_kept() {
        let folder = TempDir::new().unwrap();
        let cache = folder.path().join("new/folder");
        let mirror = Mirror::start(200, CERTIFICATE.to_vec()).await;
        let client = mirror.client(Some(&cache));
        assert_eq!(client.candidates(&wanted()).await.unwrap().len(), 0);
        let fetched = client.fetch(&wanted()).await.unwrap().unwrap();
        assert_eq!(fetched, CERTIFICATE);
        client.keep(&wanted(), &fetched).await;
        // Another process finds it too.
        let other = mirror.client(Some(&cache));
        assert_eq!(other.candidates(&wanted()).await.unwrap(), [CERTIFICATE]);
        assert_eq!(mirror.calls(), 1);
        // A better one takes its place, and nothing else is left in the folder.
        client.keep(&wanted(), b"better").await;
        assert_eq!(other.candidates(&wanted()).await.unwrap(), [b"better"]);
        assert_eq!(fs::read_dir(&cache).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn the_cache_leads_nowhere_else_and_waits_for_nobody() {
        let folder = TempDir::new().unwrap();
        let elsewhere = folder.path().join("elsewhere");
        fs::write(&elsewhere, b"other").unwrap();
        let cache = folder.path().join("cache");
        fs::create_dir(&cache).unwrap();
        let entry = cache.join(wanted().file_name());
        std::os::unix::fs::symlink(&elsewhere, &entry).unwrap();
        let mirror = Mirror::start(200, CERTIFICATE.to_vec()).await;
        let client = mirror.client(Some(&cache));
        assert_eq!(client.candidates(&wanted()).await.unwrap().len(), 0);
        client.keep(&wanted(), CERTIFICATE).await;
        assert_eq!(client.candidates(&wanted()).await.unwrap(), [CERTIFICATE]);
        assert_eq!(fs::read(&elsewhere).unwrap(), b"other");

        fs::remove_file(&entry).unwrap();
        let pipe = rustix::fs::Mode::from(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &entry, rustix::fs::FileType::Fifo, pipe, 0).unwrap();
        assert_eq!(client.candidates(&wanted()).await.unwrap(), [b""]);
    }

    #[tokio::test]
    async fn without_a_cache_it_is_fetched_each_time() {
        let mirror = Mirror::start(200, CERTIFICATE.to_vec()).await;
        let client = mirror.client(None);
        for _ in 0..2 {
            let fetched = client.fetch(&wanted()).await.unwrap().unwrap();
            client.keep(&wanted(), &fetched).await;
            assert_eq!(client.candidates(&wanted()).await.unwrap().len(), 0);
        }
        assert_eq!(mirror.calls(), 2);
    }

    #[tokio::test]
    async fn what_the_service_cannot_know_is_not_asked_for() {
        let mirror = Mirror::start(200, CERTIFICATE.to_vec()).await;
        let masked = Endorsement {
            chip_id: [0; 64],
            ..wanted()
        };
        let found = mirror.client(None).fetch(&masked).await.unwrap();
        assert_eq!((found, mirror.calls()), (None, 0));
    }

    #[tokio::test]
    async fn answers_that_are_no_certificate_are_told() {
        let folder = TempDir::new().unwrap();
        let missing = Mirror::start(404, Vec::new()).await;
        let found = missing.client(Some(folder.path())).fetch(&wanted()).await;
        assert_eq!(found.unwrap(), None);
        let large = vec![0x30; MAX_CERTIFICATE_BYTES + 1];
        for (status, body, words) in [
            (429, Vec::new(), "429"),
            (302, Vec::new(), "302"),
            (200, large, "larger"),
        ] {
            let mirror = Mirror::start(status, body).await;
            let client = mirror.client(Some(folder.path()));
            let error = client.fetch(&wanted()).await.unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_service_that_is_not_there_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let (calls, url) = (Arc::default(), address.clone());
        let mirror = Mirror {
            address: url,
            calls,
        };
        let error = mirror.client(None).fetch(&wanted()).await.unwrap_err();
        assert!(error.to_string().contains(&address), "{error}");
    }

    #[test]
    fn a_ca_that_is_none_is_a_mistake_of_the_settings() {
        let service = CertificateService {
            url: Url::parse("https://kds.example").unwrap(),
            ca_pem: Some("no PEM".to_owned()),
            cache: None,
        };
        let error = KeyDistribution::new(&service).err().unwrap();
        assert!(error.to_string().contains("certificates_ca_pem"), "{error}");
    }
}
