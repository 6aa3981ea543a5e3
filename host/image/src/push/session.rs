//! The requests of one push.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use proplet_net::reach::Answer;
use proplet_types::Digest;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Body, Method, StatusCode, Url};
use tokio::time::Instant;

use super::progress::Watcher;
use super::upload::{GivenUp, Patience, body, watch};
use crate::error::ImageError;
use crate::manifest::MAX_MANIFEST_BYTES;
use crate::reference::ImageReference;
use crate::registry::{
    RegistryClient, RegistryConfig, Request, Trouble, body_trouble, pause, unavailable,
};

/// One push to one repository.
pub(super) struct Session<'a> {
    pub(super) registry: RegistryClient,
    pub(super) config: &'a RegistryConfig,
    pub(super) reference: &'a ImageReference,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        config: &'a RegistryConfig,
        reference: &'a ImageReference,
    ) -> Result<Self, ImageError> {
        Ok(Self {
            registry: RegistryClient::for_push(config.clone())?,
            config,
            reference,
        })
    }

    /// Makes sure that the registry has this blob.
    pub(super) async fn put_blob(
        &self,
        bytes: &Bytes,
        watcher: Watcher<'_>,
    ) -> Result<(), ImageError> {
        let (digest, length) = (Digest::of(bytes), bytes.len() as u64);
        if self.has_blob(digest, length).await == Some(true) {
            return Ok(());
        }
        let end = self.patience().end(length);
        self.until_done(end, async || self.upload(digest, bytes, watcher).await)
            .await?;
        // A registry that does not answer such questions is believed: the manifest is read back.
        self.until_done(self.deadline(), async || {
            match self.has_blob(digest, length).await {
                Some(false) => {
                    let why =
                        format!("it accepted blob {digest} and does not have it as it was sent");
                    Err(Trouble::passing(unavailable(self.reference, why)))
                }
                _ => Ok(()),
            }
        })
        .await
    }

    /// Stores the manifest and reads it back.
    pub(super) async fn put_manifest(
        &self,
        bytes: &Bytes,
        media_type: &'static str,
    ) -> Result<(), ImageError> {
        let digest = Digest::of(bytes).to_string();
        let tag = self.reference.tag();
        let path = format!("manifests/{}", tag.unwrap_or(&digest));
        let url = self.registry.url(self.reference, &path)?;
        let headers = headers([(CONTENT_TYPE, HeaderValue::from_static(media_type))]);
        self.until_done(self.deadline(), async || {
            let body = || Body::from(bytes.clone());
            let answer = self.exchange(Method::PUT, &url, &headers, body).await?;
            if answer.response.status().is_success() {
                Ok(())
            } else {
                Err(self.refused("the manifest", answer).await)
            }
        })
        .await?;
        for name in [Some(digest.as_str()), tag].into_iter().flatten() {
            self.until_done(self.deadline(), async || {
                self.read_back(name, bytes, media_type).await
            })
            .await?;
        }
        Ok(())
    }

    async fn read_back(
        &self,
        name: &str,
        sent: &Bytes,
        media_type: &'static str,
    ) -> Result<(), Trouble> {
        let what = format!(
            "manifest {name} of {}, read back after the push",
            self.reference
        );
        let request = Request {
            reference: self.reference,
            path: format!("manifests/{name}"),
            accept: media_type,
            size: None,
            deadline: self.deadline(),
        };
        let read = async {
            let answer = match self.registry.open(&request, 0).await {
                Ok(answer) => answer,
                // Some registries take a moment until every part of them knows.
                Err(trouble) if trouble.is_not_found() => return Err(trouble.but_passing()),
                Err(trouble) => return Err(trouble),
            };
            let bytes = answer.bytes(MAX_MANIFEST_BYTES).await;
            bytes.map_err(|error| body_trouble(self.reference, error, &what))
        };
        let bytes = self.within_deadline(read).await?;
        if bytes == *sent {
            return Ok(());
        }
        Err(ImageError::DigestMismatch {
            what: what.clone(),
            expected: Digest::of(sent).to_string(),
            actual: Digest::of(&bytes).to_string(),
        }
        .into())
    }

    /// Whether the registry has a blob of this length; none when it does not say. Who may write may not
    /// always read, and not every registry answers HEAD.
    async fn has_blob(&self, digest: Digest, length: u64) -> Option<bool> {
        let url = self
            .registry
            .url(self.reference, &format!("blobs/{digest}"))
            .ok()?;
        let headers = HeaderMap::new();
        let head = self.exchange(Method::HEAD, &url, &headers, Body::default);
        let answer = head.await.ok()?;
        match answer.response.status() {
            status if status.is_success() => {
                let announced = answer.response.headers().get(CONTENT_LENGTH)?;
                let announced: u64 = announced.to_str().ok()?.parse().ok()?;
                Some(announced == length)
            }
            StatusCode::NOT_FOUND if !answer.foreign => Some(false),
            _ => None,
        }
    }

    /// One upload: a new address for it, and all bytes in one request there.
    async fn upload(
        &self,
        digest: Digest,
        bytes: &Bytes,
        watcher: Watcher<'_>,
    ) -> Result<(), Trouble> {
        let what = format!("blob {digest}");
        let start = self.registry.url(self.reference, "blobs/uploads/")?;
        let empty = headers([(CONTENT_LENGTH, HeaderValue::from(0))]);
        let answer = self
            .exchange(Method::POST, &start, &empty, Body::default)
            .await?;
        if answer.response.status() != StatusCode::ACCEPTED {
            return Err(self.refused(&what, answer).await);
        }
        let mut url = self.location(&start, &answer)?;
        url.query_pairs_mut()
            .append_pair("digest", &digest.to_string());

        let total = bytes.len() as u64;
        let sent = Arc::new(AtomicU64::new(0));
        let headers = headers([
            (
                CONTENT_TYPE,
                HeaderValue::from_static("application/octet-stream"),
            ),
            (CONTENT_LENGTH, HeaderValue::from(total)),
        ]);
        let put = self
            .registry
            .exchange(self.reference, Method::PUT, &url, &headers, || {
                sent.store(0, Ordering::Relaxed);
                body(bytes.clone(), Arc::clone(&sent))
            });
        let answer = match watch(put, &sent, total, self.patience(), watcher).await {
            Ok(answer) => answer?,
            Err(GivenUp(at)) => {
                let why = format!(
                    "it stopped taking {what} after {} of {total} bytes",
                    at.sent
                );
                return Err(Trouble::passing(unavailable(self.reference, why)));
            }
        };
        if answer.response.status().is_success() {
            Ok(())
        } else {
            Err(self.refused(&what, answer).await)
        }
    }

    /// Where an upload goes: relative to where it was asked for or absolute. A registry behind a
    /// proxy that ends TLS may name its own address with `http`; that means the one it was asked at.
    fn location(&self, asked: &Url, answer: &Answer) -> Result<Url, ImageError> {
        let refuse = |why: &str| unavailable(self.reference, why);
        let location = answer
            .response
            .headers()
            .get(LOCATION)
            .and_then(|value| value.to_str().ok())
            .ok_or_else(|| refuse("it started an upload and gave no address for it"))?;
        let mut url = asked
            .join(location)
            .map_err(|_| refuse("the address that it gave for an upload is not a URL"))?;
        let is_downgrade = asked.scheme() == "https" && url.scheme() == "http";
        if is_downgrade && url.host() == asked.host() {
            let _ = url.set_scheme("https");
            let _ = url.set_port(asked.port());
        }
        Ok(url)
    }

    async fn exchange(
        &self,
        method: Method,
        url: &Url,
        headers: &HeaderMap,
        body: impl Fn() -> Body,
    ) -> Result<Answer, Trouble> {
        let exchange = self
            .registry
            .exchange(self.reference, method, url, headers, body);
        self.within_deadline(exchange).await
    }

    /// Does `work` until it goes well, fails for good, was tried often enough or would be tried again
    /// after `deadline`.
    async fn until_done<T>(
        &self,
        deadline: Instant,
        mut work: impl AsyncFnMut() -> Result<T, Trouble>,
    ) -> Result<T, ImageError> {
        let mut tries = self.registry.tries();
        loop {
            match work().await {
                Ok(done) => return Ok(done),
                Err(trouble) => pause(&mut tries, trouble, deadline).await?,
            }
        }
    }

    async fn within_deadline<T>(
        &self,
        work: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        match tokio::time::timeout(self.config.deadline, work).await {
            Ok(result) => result,
            Err(_) => Err(unavailable(self.reference, "it took longer than the deadline").into()),
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.config.deadline
    }

    fn patience(&self) -> Patience {
        Patience {
            stalled: self.config.read_timeout,
            answer: self.config.deadline,
        }
    }
}

fn headers<const N: usize>(headers: [(reqwest::header::HeaderName, HeaderValue); N]) -> HeaderMap {
    headers.into_iter().collect()
}
