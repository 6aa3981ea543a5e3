//! Pulling images from a registry.

use std::sync::Arc;

use bytes::Bytes;
use proplet_types::Digest;
use reqwest::StatusCode;
use reqwest::header::CONTENT_RANGE;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::error::ImageError;
use crate::keys::KeySource;
use crate::layer::{self, Next, Source};
use crate::manifest::{self, Descriptor, MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES, Manifest, Parsed};
use crate::media;
use crate::open::{self, PullPolicy, Unlocked, Wasm};
use crate::reference::ImageReference;
use crate::registry::{
    Registry, RegistryConfig, Request, Trouble, pause, sent_on, unavailable, unreachable,
};
use crate::unpack::GivenUp;

/// Chunks of the network that may wait for the decrypting threads. More would only use memory: a
/// download that is ahead of decryption should be held back.
const CHUNKS_IN_FLIGHT: usize = 16;
/// The most indexes that may lie one in the other.
const MAX_INDEXES: usize = 4;

/// Pulls images. Cheap to clone; clones share connections and tokens.
#[derive(Clone)]
pub struct Puller {
    registry: Arc<Registry>,
}

impl Puller {
    /// A puller with these settings. Makes ring the process's TLS provider if there is none yet.
    ///
    /// # Errors
    /// [`ImageError::Settings`] when the credentials file or the CA cannot be used.
    pub fn new(config: RegistryConfig) -> Result<Self, ImageError> {
        Ok(Self {
            registry: Arc::new(Registry::new(config)?),
        })
    }

    /// Fetches and checks the manifest of an image, following indexes to their Wasm entry.
    ///
    /// # Errors
    /// [`ImageError::NotFound`], [`ImageError::Unauthorized`], [`ImageError::Unavailable`],
    /// [`ImageError::DigestMismatch`], [`ImageError::TooLarge`] or [`ImageError::Layout`].
    pub async fn resolve(&self, reference: &ImageReference) -> Result<Manifest, ImageError> {
        let deadline = self.deadline();
        self.within(deadline, reference, self.resolve_until(reference, deadline))
            .await
    }

    async fn resolve_until(
        &self,
        reference: &ImageReference,
        deadline: Instant,
    ) -> Result<Manifest, ImageError> {
        let mut at = reference.clone();
        let mut index_digest = None;
        for _ in 0..=MAX_INDEXES {
            let bytes = self.manifest_bytes(&at, deadline).await?;
            match manifest::parse(&bytes)? {
                Parsed::Image(mut manifest) => {
                    manifest.reference = Some(reference.clone());
                    manifest.index_digest = index_digest;
                    return Ok(*manifest);
                }
                Parsed::Index(entry) => {
                    index_digest = index_digest.or_else(|| Some(Digest::of(&bytes)));
                    at = reference.with_digest(entry.digest);
                }
            }
        }
        Err(ImageError::layout(
            format!("manifest of {reference}"),
            format!(
                "more than {MAX_INDEXES} indexes lie one in the other; pin the image by its digest"
            ),
        ))
    }

    /// Pulls, decrypts and verifies an encrypted image. The key is asked for before the layer is.
    ///
    /// # Errors
    /// [`ImageError::NotEncrypted`] for a plain image; [`ImageError::KeyMismatch`] and
    /// [`ImageError::WrapRefused`] from the policy; [`ImageError::Key`] with the key source's code;
    /// [`ImageError::HmacMismatch`] and [`ImageError::PlainDigestMismatch`]; and those of a plain
    /// pull.
    pub async fn pull_encrypted(
        &self,
        manifest: &Manifest,
        keys: &dyn KeySource,
        policy: &PullPolicy,
    ) -> Result<Wasm, ImageError> {
        let encryption = open::expect_encrypted(manifest)?;
        let reference = expect_reference(manifest)?;
        let unlocked = open::unlock(manifest, encryption, keys, policy).await?;
        self.pull(reference, manifest, Some(unlocked)).await
    }

    /// Pulls and verifies a plain image.
    ///
    /// # Errors
    /// [`ImageError::Encrypted`] for an encrypted image; [`ImageError::TooLarge`],
    /// [`ImageError::SizeMismatch`], [`ImageError::DigestMismatch`], [`ImageError::Layout`],
    /// [`ImageError::NotFound`], [`ImageError::Unauthorized`] or [`ImageError::Unavailable`].
    pub async fn pull_plain(&self, manifest: &Manifest) -> Result<Wasm, ImageError> {
        open::expect_plain(manifest)?;
        let reference = expect_reference(manifest)?;
        self.pull(reference, manifest, None).await
    }

    async fn pull(
        &self,
        reference: &ImageReference,
        manifest: &Manifest,
        unlocked: Option<Unlocked>,
    ) -> Result<Wasm, ImageError> {
        let deadline = self.deadline();
        self.within(
            deadline,
            reference,
            self.pull_until(reference, manifest, unlocked, deadline),
        )
        .await
    }

    async fn pull_until(
        &self,
        reference: &ImageReference,
        manifest: &Manifest,
        unlocked: Option<Unlocked>,
        deadline: Instant,
    ) -> Result<Wasm, ImageError> {
        self.check_config(reference, manifest, deadline).await?;
        let limit = self.registry.config().max_layer_bytes;
        let layer = &manifest.layer;
        let what = format!("layer {}", layer.digest);
        if layer.size > limit {
            return Err(ImageError::TooLarge { what, limit });
        }
        let (sender, receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
        let owned = manifest.clone();
        // A thread does not end with this future, so it is told.
        let given_up = GivenUp::default();
        let _waiting = given_up.when_dropped();
        let worker = tokio::task::spawn_blocking(move || {
            let key = unlocked.as_ref().map(|unlocked| &unlocked.key);
            let opened = layer::open(Channel(receiver), &owned.layer, key, limit)?;
            open::finish(&owned, opened, unlocked, limit, &given_up)
        });
        let request = blob(reference, layer, deadline);
        self.feed(&request, layer, &what, sender).await;
        worker.await.map_err(|_| ImageError::Internal {
            doing: "opening a layer",
        })?
    }

    /// Fetches the config and checks that it is the one that the manifest names. Nothing in it is
    /// used: what runs is decided by the layer, and what it may do by its policy.
    async fn check_config(
        &self,
        reference: &ImageReference,
        manifest: &Manifest,
        deadline: Instant,
    ) -> Result<(), ImageError> {
        if manifest.config_data.is_some() {
            return Ok(());
        }
        let config = &manifest.config;
        let what = format!("config {}", config.digest);
        if config.size > MAX_CONFIG_BYTES {
            return Err(ImageError::TooLarge {
                what,
                limit: MAX_CONFIG_BYTES,
            });
        }
        let request = blob(reference, config, deadline);
        let (_, bytes) = self.registry.read(&request, config.size, &what).await?;
        let mismatched = bytes.len() as u64 != config.size;
        if mismatched {
            return Err(size_mismatch(&what, config, bytes.len() as u64));
        }
        expect_digest(&what, config.digest, Digest::of(&bytes))
    }

    /// Passes a layer on until it ends, fails, or nobody wants it any more. What broke off goes on
    /// where it stopped: the passes over it have seen the beginning, and the digest decides at the end.
    async fn feed(
        &self,
        request: &Request<'_>,
        layer: &Descriptor,
        what: &str,
        sender: mpsc::Sender<Result<Bytes, ImageError>>,
    ) {
        let mut tries = self.registry.tries();
        let mut progress = Progress {
            received: 0,
            in_part: true,
        };
        loop {
            let part = self.part(request, layer, what, &mut progress, &sender);
            let Err(trouble) = part.await else { return };
            if let Err(error) = pause(&mut tries, trouble, request.deadline).await {
                let _ = sender.send(Err(error)).await;
                return;
            }
        }
    }

    /// One try to pass on what has not been received yet.
    async fn part(
        &self,
        request: &Request<'_>,
        layer: &Descriptor,
        what: &str,
        progress: &mut Progress,
        sender: &mpsc::Sender<Result<Bytes, ImageError>>,
    ) -> Result<(), Trouble> {
        let reference = request.reference;
        let start = if progress.in_part {
            progress.received
        } else {
            0
        };
        let opened = self.registry.open(request, start).await;
        let mut answer = match opened {
            // Some servers and proxies do not know ranges: the next try asks for the whole.
            Err(trouble) if start > 0 => {
                progress.in_part = false;
                return Err(trouble.but_passing());
            }
            opened => opened?,
        };
        let begins = match answer.response.status() {
            StatusCode::PARTIAL_CONTENT => answer
                .response
                .headers()
                .get(CONTENT_RANGE)
                .and_then(|range| range.to_str().ok())
                .and_then(range_start)
                .unwrap_or(start),
            _ => 0,
        };
        if begins > progress.received {
            progress.in_part = false;
            let why = format!("it left out a part of {what}");
            return Err(Trouble::passing(unavailable(reference, why)));
        }
        let announced = answer.response.content_length();
        let whole = announced.map(|length| begins.saturating_add(length));
        if let Some(actual) = whole.filter(|whole| *whole != layer.size) {
            if answer.foreign {
                return Err(sent_on(reference, &answer.host, answer.response.status()).into());
            }
            return Err(size_mismatch(what, layer, actual).into());
        }
        let mut skip = progress.received - begins;
        while let Some(mut chunk) = answer
            .chunk()
            .await
            .map_err(|e| unreachable(reference, e))?
        {
            let seen = usize::try_from(skip).map_or(chunk.len(), |skip| skip.min(chunk.len()));
            let _ = chunk.split_to(seen);
            skip = skip.saturating_sub(seen as u64);
            if chunk.is_empty() {
                continue;
            }
            progress.received = progress.received.saturating_add(chunk.len() as u64);
            if sender.send(Ok(chunk)).await.is_err() {
                return Ok(());
            }
        }
        // Without an announced length, a connection that was cut looks like an end.
        if progress.received < layer.size {
            return Err(Trouble::passing(size_mismatch(
                what,
                layer,
                progress.received,
            )));
        }
        Ok(())
    }

    /// Fetches a manifest or an index by digest, else by tag, and checks its digest.
    async fn manifest_bytes(
        &self,
        reference: &ImageReference,
        deadline: Instant,
    ) -> Result<Vec<u8>, ImageError> {
        let name = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.to_owned(),
            (None, None) => "latest".to_owned(),
        };
        let accept = [media::IMAGE_MANIFESTS, media::IMAGE_INDEXES]
            .concat()
            .join(", ");
        let request = Request {
            reference,
            path: format!("manifests/{name}"),
            accept: &accept,
            size: None,
            deadline,
        };
        let what = format!("manifest of {reference}");
        let (headers, bytes) = self
            .registry
            .read(&request, MAX_MANIFEST_BYTES, &what)
            .await?;
        let announced: Option<Digest> = headers
            .get("docker-content-digest")
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.parse().ok());
        let actual = Digest::of(&bytes);
        // A registry that contradicts itself is broken, whatever the reference pins.
        for expected in [reference.digest(), announced].into_iter().flatten() {
            expect_digest(&what, expected, actual)?;
        }
        Ok(bytes)
    }

    fn deadline(&self) -> Instant {
        let now = Instant::now();
        now.checked_add(self.registry.config().deadline)
            .unwrap_or(now)
    }

    async fn within<T>(
        &self,
        deadline: Instant,
        reference: &ImageReference,
        work: impl Future<Output = Result<T, ImageError>>,
    ) -> Result<T, ImageError> {
        match tokio::time::timeout_at(deadline, work).await {
            Ok(result) => result,
            Err(_) => Err(unavailable(
                reference,
                format!(
                    "it took longer than the {} s allowed for one image",
                    self.registry.config().deadline.as_secs()
                ),
            )),
        }
    }
}

fn expect_reference(manifest: &Manifest) -> Result<&ImageReference, ImageError> {
    manifest.reference.as_ref().ok_or_else(|| {
        ImageError::layout(
            format!("manifest {}", manifest.digest),
            "it did not come from a registry, so its layer cannot be pulled; resolve it first",
        )
    })
}

fn expect_digest(what: &str, expected: Digest, actual: Digest) -> Result<(), ImageError> {
    if expected == actual {
        return Ok(());
    }
    Err(ImageError::DigestMismatch {
        what: what.to_owned(),
        expected: expected.to_string(),
        actual: actual.to_string(),
    })
}

fn blob<'a>(
    reference: &'a ImageReference,
    descriptor: &Descriptor,
    deadline: Instant,
) -> Request<'a> {
    Request {
        reference,
        path: format!("blobs/{}", descriptor.digest),
        accept: "*/*",
        size: Some(descriptor.size),
        deadline,
    }
}

fn size_mismatch(what: &str, descriptor: &Descriptor, actual: u64) -> ImageError {
    ImageError::SizeMismatch {
        what: what.to_owned(),
        expected: descriptor.size,
        actual,
    }
}

/// How far a layer has come.
struct Progress {
    /// Bytes that were passed on.
    received: u64,
    /// Whether the server may be asked for the rest only.
    in_part: bool,
}

/// The first byte that a `Content-Range` header names (RFC 9110 section 14.4).
fn range_start(range: &str) -> Option<u64> {
    let (start, _) = range.trim().strip_prefix("bytes")?.split_once('-')?;
    start.trim().parse().ok()
}

/// A layer that arrives from the network. When the pull is given up the channel closes, which ends
/// the layer early, which is an error.
struct Channel(mpsc::Receiver<Result<Bytes, ImageError>>);

impl Source for Channel {
    fn next(&mut self, wait: bool) -> Result<Next, ImageError> {
        let received = if wait {
            self.0.blocking_recv()
        } else {
            match self.0.try_recv() {
                Ok(received) => Some(received),
                Err(mpsc::error::TryRecvError::Empty) => return Ok(Next::NotYet),
                Err(mpsc::error::TryRecvError::Disconnected) => None,
            }
        };
        received
            .transpose()
            .map(|chunk| chunk.map_or(Next::End, Next::Chunk))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_say_where_they_start() {
        assert_eq!(range_start("bytes 7-99/100"), Some(7));
        assert_eq!(range_start(" bytes 0-0/*"), Some(0));
        for other in [
            "",
            "bytes */100",
            "items 1-2/3",
            "bytes -1/2",
            "bytes 99999999999999999999-1/2",
        ] {
            assert_eq!(range_start(other), None, "{other}");
        }
    }
}
