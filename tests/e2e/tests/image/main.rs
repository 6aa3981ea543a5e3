//! Images through a real registry over the network: pushed, pulled, decrypted, and refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod addresses;
mod forms;
mod hiccups;
mod tokens;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proplet_image::{
    Artifact, ImageError, ImageReference, KeySource, KeySourceError, PullPolicy, Puller,
    RegistryConfig, Wasm, WrapType, encrypt, layout, push,
};
use proplet_testkit::registry::{Access, Fault, Registry, Target};
use proplet_types::{Code, Digest, ResourceUri};
use zeroize::Zeroizing;

const KID: &str = "kbs:///default/key/module";
const KEK: [u8; 32] = [42; 32];

struct Keys {
    keys: HashMap<String, Vec<u8>>,
    asked: AtomicU64,
}

impl Keys {
    fn one(kid: &str, key: &[u8]) -> Self {
        Self {
            keys: HashMap::from([(kid.into(), key.to_vec())]),
            asked: AtomicU64::new(0),
        }
    }
}

#[async_trait]
impl KeySource for Keys {
    async fn key_encryption_key(
        &self,
        kid: &ResourceUri,
    ) -> Result<Zeroizing<Vec<u8>>, KeySourceError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match self.keys.get(&kid.to_string()) {
            Some(key) => Ok(Zeroizing::new(key.clone())),
            None => Err(KeySourceError::new(Code::KbsNotFound, "no such resource")),
        }
    }
}

fn settings(registry: &Registry) -> RegistryConfig {
    RegistryConfig {
        http_hosts: vec![registry.host()],
        max_layer_bytes: 8 << 20,
        ..RegistryConfig::default()
    }
}

fn module(length: usize) -> Vec<u8> {
    let mut wasm = b"\0asm\x0d\0\x01\0".to_vec();
    wasm.extend((0..length as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 9) as u8));
    wasm
}

fn plain(length: usize) -> Artifact {
    Artifact::wasm(module(length).into()).unwrap()
}

fn encrypted(length: usize) -> Artifact {
    encrypt::encrypt(&plain(length), &KEK, &KID.parse().unwrap()).unwrap()
}

fn named(registry: &Registry, rest: &str) -> ImageReference {
    format!("{}/team/module{rest}", registry.host())
        .parse()
        .unwrap()
}

async fn pull(
    puller: &Puller,
    reference: &ImageReference,
    keys: &Keys,
) -> Result<Wasm, ImageError> {
    let manifest = puller.resolve(reference).await?;
    puller
        .pull_encrypted(&manifest, keys, &PullPolicy::default())
        .await
}

async fn pull_plain(
    config: &RegistryConfig,
    reference: &ImageReference,
) -> Result<Wasm, ImageError> {
    let puller = Puller::new(config.clone()).unwrap();
    let manifest = puller.resolve(reference).await?;
    puller.pull_plain(&manifest).await
}

#[tokio::test]
async fn plain_images_are_pushed_and_pulled_by_tag_and_by_digest() {
    let registry = Registry::start().await.unwrap();
    let config = settings(&registry);
    let image = plain(300_000);
    let digest = push::push(&config, &named(&registry, ":v1"), &image)
        .await
        .unwrap();
    assert_eq!(digest, image.digest());

    for reference in [
        ":v1".to_owned(),
        format!("@{digest}"),
        format!(":other@{digest}"),
    ] {
        let wasm = pull_plain(&config, &named(&registry, &reference))
            .await
            .unwrap();
        assert!(wasm.component.bytes() == module(300_000));
        assert_eq!(wasm.image_digest, digest);
        assert_eq!(wasm.component.digest(), Digest::of(&module(300_000)));
        assert_eq!(wasm.key_id, None);
    }
    let counts = registry.counts();
    assert_eq!((counts.blobs_written, counts.manifests_written), (2, 1));

    push::push(&config, &named(&registry, ":v2"), &image)
        .await
        .unwrap();
    assert_eq!(
        registry.counts().blobs_written,
        2,
        "blobs that are there are not sent again"
    );
    registry.shutdown().await;
}

#[tokio::test]
async fn encrypted_images_are_decrypted_as_they_arrive() {
    let registry = Registry::start().await.unwrap();
    let config = settings(&registry);
    let keys = Keys::one(KID, &KEK);
    let puller = Puller::new(config.clone()).unwrap();
    for length in [10, 5_000_000] {
        let image = encrypted(length);
        let reference = named(&registry, ":secret");
        push::push(&config, &reference, &image).await.unwrap();
        let wasm = pull(&puller, &reference, &keys).await.unwrap();
        assert!(wasm.component.bytes() == module(length));
        assert_eq!(wasm.key_id.unwrap().to_string(), KID);
        assert_eq!(wasm.wrap, Some(WrapType::A256Gcm));
        let stored = registry
            .blob(&image.manifest().unwrap().layer.digest.to_string())
            .unwrap();
        // Not the four bytes of the magic number alone: they stand by chance in so much ciphertext now and then.
        let start = &module(0)[..];
        assert!(
            !stored.windows(start.len()).any(|window| window == start),
            "plaintext in the registry"
        );
    }
}

#[tokio::test]
async fn recordings_of_the_real_key_provider_are_pulled() {
    let registry = Registry::start().await.unwrap();
    let puller = Puller::new(settings(&registry)).unwrap();
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../host/image/tests/vectors");
    for case in [
        "cncf_native-large",
        "cncf_relabel_tar-small",
        "tgz-small",
        "w2o_native-small",
    ] {
        let image = layout::read(&vectors.join(case).join("oci"), None, 1 << 20).unwrap();
        registry.insert_blob(image.config().clone());
        registry.insert_blob(image.layer().clone());
        registry.insert_manifest(
            "team/module",
            case,
            "application/vnd.oci.image.manifest.v1+json",
            image.manifest_bytes().clone(),
        );
        let key = std::fs::read(vectors.join(case).join("key.bin")).unwrap();
        let keys = Keys::one("kbs:///default/key/propeller-wasm", &key);
        let wasm = pull(&puller, &named(&registry, &format!(":{case}")), &keys)
            .await
            .unwrap();
        let expected = std::fs::read(vectors.join(case).join("module.wasm")).unwrap();
        assert!(wasm.component.bytes() == expected, "{case}");
    }
}

#[tokio::test]
async fn an_index_leads_to_its_wasm_image() {
    let registry = Registry::start().await.unwrap();
    let config = settings(&registry);
    let image = plain(100);
    push::push(&config, &named(&registry, ":one"), &image)
        .await
        .unwrap();
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [
        {"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 3,
         "digest": Digest::of(b"abc"), "platform": {"os": "linux", "architecture": "amd64"}},
        {"mediaType": "application/vnd.oci.image.manifest.v1+json",
         "size": image.manifest_bytes().len(), "digest": image.digest(),
         "platform": {"os": "wasip2", "architecture": "wasm"}},
    ]})
    .to_string();
    let media_type = "application/vnd.oci.image.index.v1+json";
    let digest = registry.insert_manifest("team/module", "many", media_type, index);
    let puller = Puller::new(config).unwrap();
    for reference in [":many".to_owned(), format!("@{digest}")] {
        let manifest = puller.resolve(&named(&registry, &reference)).await.unwrap();
        assert_eq!(manifest.digest, image.digest());
        assert_eq!(manifest.index_digest.unwrap().to_string(), digest);
        let wasm = puller.pull_plain(&manifest).await.unwrap();
        assert_eq!(wasm.image_digest, image.digest());
    }
}

#[tokio::test]
async fn plain_and_encrypted_are_never_mistaken_for_each_other() {
    let registry = Registry::start().await.unwrap();
    let config = settings(&registry);
    push::push(&config, &named(&registry, ":plain"), &plain(100))
        .await
        .unwrap();
    push::push(&config, &named(&registry, ":secret"), &encrypted(100))
        .await
        .unwrap();
    let puller = Puller::new(config).unwrap();
    let keys = Keys::one(KID, &KEK);
    let error = pull(&puller, &named(&registry, ":plain"), &keys)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "image-not-encrypted");
    let secret = puller.resolve(&named(&registry, ":secret")).await.unwrap();
    assert_eq!(
        puller.pull_plain(&secret).await.unwrap_err().code(),
        "image-encrypted"
    );
    assert_eq!(registry.counts().blobs_read, 0);
}

#[tokio::test]
async fn keys_are_asked_for_only_when_the_policy_allows_them() {
    let registry = Registry::start().await.unwrap();
    let config = settings(&registry);
    push::push(&config, &named(&registry, ":secret"), &encrypted(100))
        .await
        .unwrap();
    let foreign: ResourceUri = "kbs://evil.example/default/key/module".parse().unwrap();
    let foreign = encrypt::encrypt(&plain(100), &KEK, &foreign).unwrap();
    push::push(&config, &named(&registry, ":foreign"), &foreign)
        .await
        .unwrap();

    let puller = Puller::new(config).unwrap();
    let keys = Keys::one(KID, &KEK);
    let manifest = puller.resolve(&named(&registry, ":secret")).await.unwrap();
    let other = PullPolicy {
        expected_key: Some("kbs:///default/key/other".parse().unwrap()),
        ..PullPolicy::default()
    };
    let error = puller
        .pull_encrypted(&manifest, &keys, &other)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "image-key-mismatch");
    let error = pull(&puller, &named(&registry, ":foreign"), &keys)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "image-key-mismatch");
    assert!(error.to_string().contains("evil.example"));
    assert_eq!(keys.asked.load(Ordering::Relaxed), 0);

    let none = Keys::one("kbs:///default/key/none", &KEK);
    let error = pull(&puller, &named(&registry, ":secret"), &none)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "kbs-not-found");
    let wrong = Keys::one(KID, &[0; 32]);
    let error = pull(&puller, &named(&registry, ":secret"), &wrong)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "image-key-mismatch");
    assert_eq!(
        registry.counts().blobs_read,
        0,
        "nothing is downloaded without its key"
    );
}

#[tokio::test]
async fn credentials_come_from_the_docker_config() {
    let (username, password) = ("robot".to_owned(), "hunter2-hunter2".to_owned());
    for access in [
        Access::Basic {
            username: username.clone(),
            password: password.clone(),
        },
        Access::Token {
            username: username.clone(),
            password: password.clone(),
        },
    ] {
        let registry = Registry::start_with(access.clone()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let with = |password: &str| {
            let path = folder.path().join(format!("{password}.json"));
            let auth = STANDARD.encode(format!("{username}:{password}"));
            let file = serde_json::json!({"auths": {registry.host(): {"auth": auth}}});
            std::fs::write(&path, file.to_string()).unwrap();
            RegistryConfig {
                auth_file: Some(path),
                ..settings(&registry)
            }
        };
        let reference = named(&registry, ":v1");
        push::push(&with(&password), &reference, &plain(100))
            .await
            .unwrap();
        pull_plain(&with(&password), &reference).await.unwrap();

        for config in [with("wrong"), settings(&registry)] {
            let error = pull_plain(&config, &reference).await.unwrap_err();
            assert_eq!(error.code(), "image-unauthorized", "{access:?}: {error}");
            let error = push::push(&config, &reference, &plain(1))
                .await
                .unwrap_err();
            assert_eq!(error.code(), "image-unauthorized", "{access:?}: {error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
    }
}

#[tokio::test]
async fn an_identity_token_is_exchanged() {
    let access = |token: &str| Access::Identity {
        token: token.to_owned(),
    };
    let registry = Registry::start_with(access("hunter2")).await.unwrap();
    let image = plain(100);
    for blob in [image.config(), image.layer()] {
        registry.insert_blob(blob.clone());
    }
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let bytes = image.manifest_bytes().clone();
    registry.insert_manifest("team/module", "v1", media_type, bytes);

    // As Azure's login writes it: the name is a zero GUID, the password empty.
    let folder = tempfile::tempdir().unwrap();
    let auth = STANDARD.encode("00000000-0000-0000-0000-000000000000:");
    let with = |token: &str| {
        let path = folder.path().join(format!("{token}.json"));
        let entry = serde_json::json!({"auth": auth, "identitytoken": token});
        let file = serde_json::json!({"auths": {registry.host(): entry}});
        std::fs::write(&path, file.to_string()).unwrap();
        RegistryConfig {
            auth_file: Some(path),
            ..settings(&registry)
        }
    };
    let reference = named(&registry, ":v1");
    pull_plain(&with("hunter2"), &reference).await.unwrap();
    assert_eq!(registry.counts().tokens, 1);
    let error = pull_plain(&with("other"), &reference).await.unwrap_err();
    assert_eq!(error.code(), "image-unauthorized", "{error}");

    // A registry that wants a name and a password has no use for it, and is not sent an empty one.
    let access = Access::Basic {
        username: "00000000-0000-0000-0000-000000000000".to_owned(),
        password: String::new(),
    };
    let registry = Registry::start_with(access).await.unwrap();
    let path = folder.path().join("basic.json");
    let entry = serde_json::json!({"auth": auth, "identitytoken": "hunter2"});
    let file = serde_json::json!({"auths": {registry.host(): entry}});
    std::fs::write(&path, file.to_string()).unwrap();
    let config = RegistryConfig {
        auth_file: Some(path),
        ..settings(&registry)
    };
    let error = pull_plain(&config, &named(&registry, ":v1"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "image-settings");
    assert!(error.to_string().contains(&registry.host()), "{error}");
}

#[tokio::test]
async fn what_a_credentials_file_says_of_others_does_not_matter() {
    let (username, password) = ("robot".to_owned(), "hunter2-hunter2".to_owned());
    let access = Access::Token {
        username: username.clone(),
        password: password.clone(),
    };
    let registry = Registry::start_with(access).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let with = |file: serde_json::Value| {
        std::fs::write(&path, file.to_string()).unwrap();
        RegistryConfig {
            auth_file: Some(path.clone()),
            ..settings(&registry)
        }
    };
    let reference = named(&registry, ":v1");
    let config = with(serde_json::json!({
        "auths": {
            registry.host(): {"username": username, "password": password},
            "stored.example": {},
            "bad.example": {"auth": "!"},
        },
        "credHelpers": {"cloud.example": "gcloud"},
        "credsStore": "desktop",
    }));
    push::push(&config, &reference, &plain(100)).await.unwrap();
    pull_plain(&config, &reference).await.unwrap();

    // The registry's own entry is used or named, and a store that was not asked is named too.
    for (file, words) in [
        (
            serde_json::json!({"auths": {registry.host(): {"auth": "!"}}}),
            "not base64",
        ),
        (
            serde_json::json!({"credHelpers": {registry.host(): "gcloud"}}),
            "gcloud",
        ),
        (
            serde_json::json!({"auths": {registry.host(): {}}, "credsStore": "desktop"}),
            "desktop",
        ),
        (serde_json::json!({"credsStore": "desktop"}), "desktop"),
    ] {
        let error = pull_plain(&with(file), &reference).await.unwrap_err();
        assert_eq!(error.code(), "image-settings", "{error}");
        let error = error.to_string();
        assert!(error.contains(words), "{error}");
        assert!(error.contains(&registry.host()), "{error}");
    }
}

#[tokio::test]
async fn credentials_do_not_follow_redirects() {
    let (username, password) = ("robot".to_owned(), "hunter2-hunter2".to_owned());
    let access = Access::Basic {
        username: username.clone(),
        password: password.clone(),
    };
    let registry = Registry::start_with(access.clone()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let file = serde_json::json!({"auths": {registry.host(): {
        "username": username, "password": password,
    }}});
    std::fs::write(&path, file.to_string()).unwrap();

    let image = plain(100);
    let layer = image.manifest().unwrap().layer.digest.to_string();
    for (access, code) in [
        (Access::Anonymous, None),
        // What the other host says about credentials is not told.
        (access, Some("registry-unavailable")),
    ] {
        let elsewhere = Registry::start_with(access).await.unwrap();
        elsewhere.insert_blob(image.layer().clone());
        let config = RegistryConfig {
            auth_file: Some(path.clone()),
            http_hosts: vec![registry.host(), elsewhere.host()],
            ..RegistryConfig::default()
        };
        push::push(&config, &named(&registry, ":v1"), &image)
            .await
            .unwrap();
        let url = format!("http://{}/v2/store/blobs/{layer}", elsewhere.host());
        registry.heal();
        registry.inject(Target::Blob(layer.clone()), Fault::Redirect(url));
        let result = pull_plain(&config, &named(&registry, ":v1")).await;
        assert_eq!(
            result.as_ref().err().map(|error| error.code().as_str()),
            code
        );

        let strict = RegistryConfig {
            http_hosts: vec![registry.host()],
            ..config
        };
        let error = pull_plain(&strict, &named(&registry, ":v1"))
            .await
            .unwrap_err();
        assert_eq!(error.code(), "registry-unavailable");
        assert!(error.to_string().contains("sent on to"), "{error}");
    }
}

#[tokio::test]
async fn plain_http_needs_to_be_allowed() {
    let registry = Registry::start().await.unwrap();
    let config = settings(&registry);
    push::push(&config, &named(&registry, ":v1"), &plain(100))
        .await
        .unwrap();
    let strict = RegistryConfig {
        http_hosts: Vec::new(),
        private_hosts: vec![registry.host()],
        ..config
    };
    let before = registry.counts();
    let error = pull_plain(&strict, &named(&registry, ":v1"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "registry-unavailable");
    assert_eq!(registry.counts(), before);
}

#[tokio::test]
async fn over_tls_the_authority_of_the_settings_decides() {
    let registry = Registry::start_tls().await.unwrap();
    let other = Registry::start_tls().await.unwrap();
    let trusting = |ca: &Registry| RegistryConfig {
        http_hosts: Vec::new(),
        private_hosts: vec![registry.host()],
        ca_pem: ca.ca_pem().map(|pem| pem.as_bytes().to_vec()),
        ..settings(&registry)
    };
    let reference = named(&registry, ":v1");
    push::push(&trusting(&registry), &reference, &plain(100))
        .await
        .unwrap();
    pull_plain(&trusting(&registry), &reference).await.unwrap();

    let error = pull_plain(&trusting(&other), &reference).await.unwrap_err();
    assert_eq!(error.code(), "registry-unavailable");
    let error = push::push(&trusting(&other), &reference, &plain(1))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "registry-unavailable");
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let registry = Registry::start().await.unwrap();
    let config = settings(&registry);
    let error = pull_plain(&config, &named(&registry, ":none"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "image-not-found");
    let image = plain(100);
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let bytes = image.manifest_bytes().clone();
    registry.insert_manifest("team/module", "hollow", media_type, bytes);
    let error = pull_plain(&config, &named(&registry, ":hollow"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "image-not-found");
    let gone = RegistryConfig {
        http_hosts: vec!["127.0.0.1:1".into()],
        ..config
    };
    let reference = "127.0.0.1:1/a:b".parse().unwrap();
    let error = pull_plain(&gone, &reference).await.unwrap_err();
    assert_eq!(error.code(), "registry-unavailable");
}

#[tokio::test]
async fn a_misbehaving_registry_is_told_by_its_faults() {
    let registry = Registry::start().await.unwrap();
    let config = RegistryConfig {
        // Only the silent registry is waited for that long.
        read_timeout: Duration::from_millis(300),
        retry_delay: Duration::from_millis(1),
        ..settings(&registry)
    };
    let image = encrypted(2_000_000);
    let manifest = image.manifest().unwrap();
    let digest = push::push(&config, &named(&registry, ":v1"), &image)
        .await
        .unwrap();
    let layer = || Target::Blob(manifest.layer.digest.to_string());
    let configuration = || Target::Blob(manifest.config.digest.to_string());
    let size = image.layer().len();
    let mismatch = "image-digest-mismatch";
    let unavailable = "registry-unavailable";
    for (target, fault, code) in [
        (Target::Manifests, Fault::FlipBit(100), mismatch),
        (Target::Manifests, Fault::Truncate(100), mismatch),
        (Target::Manifests, Fault::Longer(1), mismatch),
        (Target::Manifests, Fault::Break(100), unavailable),
        (
            Target::Manifests,
            Fault::ContentLength(1 << 40),
            "image-too-large",
        ),
        (Target::Manifests, Fault::Endless, "image-too-large"),
        (Target::Manifests, Fault::Status(500), unavailable),
        (Target::Manifests, Fault::Status(403), "image-unauthorized"),
        (Target::Manifests, Fault::Silence, unavailable),
        (configuration(), Fault::FlipBit(9), mismatch),
        (configuration(), Fault::Truncate(9), mismatch),
        (configuration(), Fault::Longer(1), "image-too-large"),
        (configuration(), Fault::Endless, "image-too-large"),
        (configuration(), Fault::Status(404), "image-not-found"),
        (layer(), Fault::FlipBit(size * 8 - 1), mismatch),
        (layer(), Fault::Truncate(size - 1), mismatch),
        (layer(), Fault::Longer(1), mismatch),
        (layer(), Fault::Endless, mismatch),
        (layer(), Fault::ContentLength(size as u64 + 1), mismatch),
        (layer(), Fault::Break(size / 2), unavailable),
        (layer(), Fault::Status(503), unavailable),
        (layer(), Fault::Silence, unavailable),
    ] {
        registry.heal();
        registry.inject(target.clone(), fault.clone());
        for reference in [":v1".to_owned(), format!("@{digest}")] {
            let puller = Puller::new(config.clone()).unwrap();
            let keys = Keys::one(KID, &KEK);
            let result = pull(&puller, &named(&registry, &reference), &keys).await;
            let error = result.expect_err("a fault went unnoticed");
            assert_eq!(
                error.code(),
                code,
                "{target:?} {fault:?} {reference}: {error}"
            );
        }
    }
    registry.heal();
    let puller = Puller::new(config).unwrap();
    pull(&puller, &named(&registry, ":v1"), &Keys::one(KID, &KEK))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_flipped_bit_of_a_pinned_manifest_is_refused() {
    let registry = Registry::start().await.unwrap();
    let config = settings(&registry);
    let digest = push::push(&config, &named(&registry, ":v1"), &encrypted(100))
        .await
        .unwrap();
    let puller = Puller::new(config).unwrap();
    let length = registry.manifest("team/module", "v1").unwrap().len();
    for bit in (0..length * 8).step_by(61) {
        registry.heal();
        registry.inject(Target::Manifests, Fault::FlipBit(bit));
        let error = puller
            .resolve(&named(&registry, &format!("@{digest}")))
            .await
            .unwrap_err();
        assert_eq!(error.code(), "image-digest-mismatch", "{bit}");
        assert!(error.to_string().contains("manifest"), "{error}");
    }
}

#[tokio::test]
async fn large_layers_are_refused_before_they_are_read() {
    let registry = Registry::start().await.unwrap();
    let config = settings(&registry);
    let image = encrypted(5000);
    push::push(&config, &named(&registry, ":v1"), &image)
        .await
        .unwrap();
    let layer = image.manifest().unwrap().layer;
    for (limit, right) in [(layer.size, true), (layer.size - 1, false)] {
        let small = RegistryConfig {
            max_layer_bytes: limit,
            ..config.clone()
        };
        let puller = Puller::new(small).unwrap();
        let before = registry.counts().blobs_read;
        let result = pull(&puller, &named(&registry, ":v1"), &Keys::one(KID, &KEK)).await;
        assert_eq!(result.is_ok(), right);
        if let Err(error) = result {
            assert_eq!(error.code(), "image-too-large");
            assert_eq!(registry.counts().blobs_read, before + 1, "the config only");
        }
    }
}

#[tokio::test]
async fn a_pull_that_is_given_up_ends() {
    let registry = Registry::start().await.unwrap();
    let config = settings(&registry);
    let image = encrypted(2_000_000);
    push::push(&config, &named(&registry, ":v1"), &image)
        .await
        .unwrap();
    let layer = image.manifest().unwrap().layer.digest.to_string();
    registry.inject(Target::Blob(layer), Fault::Silence);
    let config = RegistryConfig {
        deadline: Duration::from_millis(300),
        ..config
    };
    let puller = Puller::new(config).unwrap();
    let error = pull(&puller, &named(&registry, ":v1"), &Keys::one(KID, &KEK))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "registry-unavailable");
    assert!(error.to_string().contains("longer than"), "{error}");
}
