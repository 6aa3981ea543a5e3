//! Pulling images from a registry.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use reqwest::Response;
use tokio::sync::mpsc;

use crate::digest::Digest;
use crate::error::ImageError;
use crate::keys::KeySource;
use crate::layer::{self, Next, Source};
use crate::manifest::{self, Descriptor, MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES, Manifest, Parsed};
use crate::media;
use crate::open::{self, PullPolicy, Unlocked, Wasm};
use crate::reference::ImageReference;
use crate::registry::{self, Registry, RegistryConfig, unavailable};

/// Chunks of the network that may wait for the decrypting threads. More would only use memory: a
/// download that is ahead of decryption should be held back.
const CHUNKS_IN_FLIGHT: usize = 16;

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

    /// Fetches and checks the manifest of an image, following one index to its Wasm entry.
    ///
    /// # Errors
    /// [`ImageError::NotFound`], [`ImageError::Unauthorized`], [`ImageError::Unavailable`],
    /// [`ImageError::DigestMismatch`], [`ImageError::TooLarge`] or [`ImageError::Layout`].
    pub async fn resolve(&self, reference: &ImageReference) -> Result<Manifest, ImageError> {
        self.within_deadline(reference, self.resolve_inner(reference))
            .await
    }

    async fn resolve_inner(&self, reference: &ImageReference) -> Result<Manifest, ImageError> {
        let bytes = self.manifest_bytes(reference).await?;
        let mut manifest = match manifest::parse(&bytes)? {
            Parsed::Image(manifest) => *manifest,
            Parsed::Index(entry) => {
                let pinned = reference.with_digest(entry.digest);
                let mut manifest = Manifest::parse(&self.manifest_bytes(&pinned).await?)?;
                manifest.index_digest = Some(Digest::of(&bytes));
                manifest
            }
        };
        manifest.reference = Some(reference.clone());
        Ok(manifest)
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
        self.within_deadline(reference, self.pull(reference, manifest, Some(unlocked)))
            .await
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
        self.within_deadline(reference, self.pull(reference, manifest, None))
            .await
    }

    async fn pull(
        &self,
        reference: &ImageReference,
        manifest: &Manifest,
        unlocked: Option<Unlocked>,
    ) -> Result<Wasm, ImageError> {
        self.check_config(reference, &manifest.config).await?;
        let limit = self.registry.config().max_layer_bytes;
        let layer = &manifest.layer;
        let what = format!("layer {}", layer.digest);
        if layer.size > limit {
            return Err(ImageError::TooLarge { what, limit });
        }
        let response = self.blob(reference, layer, &what).await?;

        let (sender, receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
        let owned = manifest.clone();
        let worker = tokio::task::spawn_blocking(move || {
            let key = unlocked.as_ref().map(|unlocked| &unlocked.key);
            let opened = layer::open(Channel(receiver), &owned.layer, key, limit)?;
            open::finish(&owned, opened, unlocked, limit)
        });
        feed(response, sender, reference).await;
        worker.await.map_err(|_| ImageError::Internal {
            doing: "opening a layer",
        })?
    }

    /// Fetches the config and checks that it is the one that the manifest names. Nothing in it is
    /// used: what runs is decided by the layer, and what it may do by its policy.
    async fn check_config(
        &self,
        reference: &ImageReference,
        config: &Descriptor,
    ) -> Result<(), ImageError> {
        let what = format!("config {}", config.digest);
        if config.size > MAX_CONFIG_BYTES {
            return Err(ImageError::TooLarge {
                what,
                limit: MAX_CONFIG_BYTES,
            });
        }
        let response = self.blob(reference, config, &what).await?;
        let bytes = registry::read(response, config.size, &what, reference).await?;
        let mismatched = bytes.len() as u64 != config.size;
        if mismatched {
            return Err(ImageError::SizeMismatch {
                what,
                expected: config.size,
                actual: bytes.len() as u64,
            });
        }
        expect_digest(&what, config.digest, Digest::of(&bytes))
    }

    /// Starts to fetch a blob whose announced length, if any, is the descriptor's.
    async fn blob(
        &self,
        reference: &ImageReference,
        descriptor: &Descriptor,
        what: &str,
    ) -> Result<Response, ImageError> {
        let path = format!("blobs/{}", descriptor.digest);
        let response = self.registry.get(reference, &path, "*/*").await?;
        match response.content_length() {
            Some(actual) if actual != descriptor.size => Err(ImageError::SizeMismatch {
                what: what.to_owned(),
                expected: descriptor.size,
                actual,
            }),
            _ => Ok(response),
        }
    }

    /// Fetches a manifest or an index by digest, else by tag, and checks its digest.
    async fn manifest_bytes(&self, reference: &ImageReference) -> Result<Vec<u8>, ImageError> {
        let name = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.to_owned(),
            (None, None) => "latest".to_owned(),
        };
        let accept = [media::IMAGE_MANIFESTS, media::IMAGE_INDEXES]
            .concat()
            .join(", ");
        let response = self
            .registry
            .get(reference, &format!("manifests/{name}"), &accept)
            .await?;
        let announced: Option<Digest> = response
            .headers()
            .get("docker-content-digest")
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.parse().ok());
        let what = format!("manifest of {reference}");
        let bytes = registry::read(response, MAX_MANIFEST_BYTES, &what, reference).await?;
        let actual = Digest::of(&bytes);
        // A registry that contradicts itself is broken, whatever the reference pins.
        for expected in [reference.digest(), announced].into_iter().flatten() {
            expect_digest(&what, expected, actual)?;
        }
        Ok(bytes)
    }

    async fn within_deadline<T>(
        &self,
        reference: &ImageReference,
        work: impl Future<Output = Result<T, ImageError>>,
    ) -> Result<T, ImageError> {
        let deadline = self.registry.config().deadline;
        match tokio::time::timeout(deadline, work).await {
            Ok(result) => result,
            Err(_) => Err(unavailable(
                reference,
                format!(
                    "it took longer than the {} s allowed for one image",
                    deadline.as_secs()
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

/// Passes the body on until it ends, fails, or nobody wants it any more.
async fn feed(
    response: Response,
    sender: mpsc::Sender<Result<Bytes, ImageError>>,
    reference: &ImageReference,
) {
    let mut body = response.bytes_stream();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|e| unavailable(reference, registry::words(e)));
        if sender.send(chunk).await.is_err() {
            return;
        }
    }
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
