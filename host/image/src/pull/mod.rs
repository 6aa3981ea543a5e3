//! Pulling images from a registry.

mod channel;
mod feed;

use std::sync::Arc;

use proplet_types::Digest;
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::channel::Channel;
use crate::error::ImageError;
use crate::keys::KeySource;
use crate::layer;
use crate::manifest::{self, Descriptor, MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES, Manifest, Parsed};
use crate::media;
use crate::open::{self, PullPolicy, Unlocked, Wasm};
use crate::reference::ImageReference;
use crate::registry::{RegistryClient, RegistryConfig, Request, Whole, told, unavailable};
use crate::unpack::Abandoned;

/// Chunks of the network that may wait for the decrypting threads. More would only use memory: a
/// download that is ahead of decryption should be held back.
const CHUNKS_IN_FLIGHT: usize = 16;
/// The most indexes that may lie one in the other.
const MAX_INDEXES: usize = 4;

/// Pulls images. Cheap to clone; clones share connections and tokens.
#[derive(Clone)]
pub struct Puller {
    registry: Arc<RegistryClient>,
}

impl Puller {
    /// A puller with these settings. Makes ring the process's TLS provider if there is none yet.
    ///
    /// # Errors
    /// [`ImageError::Settings`] when the credentials file or the CA cannot be used.
    pub fn new(config: RegistryConfig) -> Result<Self, ImageError> {
        Ok(Self {
            registry: Arc::new(RegistryClient::new(config)?),
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
            let whole = self.manifest_bytes(&at, deadline).await?;
            let bytes = &whole.bytes;
            let parsed = manifest::parse(bytes)
                .map_err(|error| told(reference, whole.foreign.as_deref(), error))?;
            match parsed {
                Parsed::Image(mut manifest) => {
                    manifest.reference = Some(reference.clone());
                    manifest.index_digest = index_digest;
                    return Ok(*manifest);
                }
                Parsed::Index(entry) => {
                    index_digest = index_digest.or_else(|| Some(Digest::of(bytes)));
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
        let given_up = Abandoned::default();
        let _waiting = given_up.when_dropped();
        let worker = tokio::task::spawn_blocking(move || {
            let key = unlocked.as_ref().map(|unlocked| &unlocked.key);
            let opened = layer::open(Channel(receiver), &owned.layer, key, limit)?;
            open::finish(&owned, opened, unlocked, limit, &given_up)
        });
        let request = blob(reference, layer, deadline);
        let foreign = self.feed(&request, layer, &what, sender).await;
        let opened = worker.await.map_err(|_| ImageError::Internal {
            doing: "opening a layer",
        })?;
        opened.map_err(|error| match error {
            // What passes these is what the manifest names.
            ImageError::SizeMismatch { .. } | ImageError::DigestMismatch { .. } => {
                told(reference, foreign.as_deref(), error)
            }
            error => error,
        })
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
        let Whole { bytes, foreign, .. } = self.registry.read(&request, config.size, &what).await?;
        let checked = if bytes.len() as u64 == config.size {
            expect_digest(&what, config.digest, Digest::of(&bytes))
        } else {
            Err(size_mismatch(&what, config, bytes.len() as u64))
        };
        checked.map_err(|error| told(reference, foreign.as_deref(), error))
    }

    /// Fetches a manifest or an index by digest, else by tag, and checks its digest.
    async fn manifest_bytes(
        &self,
        reference: &ImageReference,
        deadline: Instant,
    ) -> Result<Whole, ImageError> {
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
        let whole = self
            .registry
            .read(&request, MAX_MANIFEST_BYTES, &what)
            .await?;
        let announced: Option<Digest> = whole
            .headers
            .get("docker-content-digest")
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.parse().ok());
        let actual = Digest::of(&whole.bytes);
        // A registry that contradicts itself is broken, whatever the reference pins.
        for expected in [reference.digest(), announced].into_iter().flatten() {
            expect_digest(&what, expected, actual)
                .map_err(|error| told(reference, whole.foreign.as_deref(), error))?;
        }
        Ok(whole)
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
