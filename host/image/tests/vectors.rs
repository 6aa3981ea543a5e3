//! Images of the real key provider open to their module, and with any bit changed they do not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::path::{Path, PathBuf};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use proplet_image::{
    Artifact, ImageError, KeySource, KeySourceError, PullPolicy, Wasm, WrapType, inspect, layer,
    layout, open_encrypted, open_plain,
};
use proplet_types::{Code, Digest, ResourceUri};
use serde_json::Value;
use zeroize::Zeroizing;

const CASES: [&str; 4] = [
    "cncf_native-large",
    "cncf_relabel_tar-small",
    "tgz-small",
    "w2o_native-small",
];
const SMALL: [&str; 3] = ["cncf_relabel_tar-small", "tgz-small", "w2o_native-small"];
const KID: &str = "kbs:///default/key/propeller-wasm";
const PROVIDER: &str = "org.opencontainers.image.enc.keys.provider.attestation-agent";
const PUBOPTS: &str = "org.opencontainers.image.enc.pubopts";
const MAX: u64 = 1 << 20;

/// Releases one key under one id.
struct OneKey(Vec<u8>);

#[async_trait]
impl KeySource for OneKey {
    async fn key_encryption_key(
        &self,
        kid: &ResourceUri,
    ) -> Result<Zeroizing<Vec<u8>>, KeySourceError> {
        if kid.to_string() == KID {
            Ok(Zeroizing::new(self.0.clone()))
        } else {
            Err(KeySourceError::new(Code::KbsNotFound, "no such resource"))
        }
    }
}

fn folder(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors")
        .join(case)
}

fn file(case: &str, name: &str) -> Vec<u8> {
    std::fs::read(folder(case).join(name)).unwrap()
}

fn artifact(case: &str) -> Artifact {
    layout::read(&folder(case).join("oci"), None, MAX).unwrap()
}

fn open(artifact: &Artifact, key: &[u8], policy: &PullPolicy) -> Result<Wasm, ImageError> {
    let keys = OneKey(key.to_vec());
    let opening = std::pin::pin!(open_encrypted(artifact, &keys, policy, MAX));
    // The key is there at once, so nothing is ever waited for.
    match opening.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("opening waited"),
    }
}

/// Every case of the folder, those that are not copied here included.
#[test]
#[ignore = "reads third-party vectors from $PROPLET_VECTORS; .ci/run runs it"]
fn every_recording_in_the_vectors_folder_opens_to_its_module() {
    let vectors = std::env::var_os("PROPLET_VECTORS").expect("set PROPLET_VECTORS");
    let mut opened = 0;
    for case in std::fs::read_dir(Path::new(&vectors).join("ocicrypt")).unwrap() {
        let case = case.unwrap().path();
        let meta = std::fs::read(case.join("meta.json")).unwrap();
        let meta: Value = serde_json::from_slice(&meta).unwrap();
        let key = std::fs::read(case.join("key.bin")).unwrap();
        let artifact = layout::read(&case.join("oci"), None, 64 << 20).unwrap();
        let packet = &meta["layers"][0]["key_packet"];
        let policy = PullPolicy {
            allow_a256ctr: packet["wrap_type"] == "A256CTR",
            ..PullPolicy::default()
        };
        let wasm =
            open(&artifact, &key, &policy).unwrap_or_else(|error| panic!("{case:?}: {error}"));
        let module = std::fs::read(case.join("module.wasm")).unwrap();
        assert!(
            wasm.component.bytes() == module,
            "{case:?} opened to something else"
        );
        opened += 1;
    }
    assert!(opened >= CASES.len(), "only {opened} cases in {vectors:?}");
}

fn refusal(artifact: Result<Artifact, ImageError>, key: &[u8]) -> ImageError {
    artifact
        .and_then(|artifact| open(&artifact, key, &PullPolicy::default()))
        .expect_err("a changed image opened")
}

/// The artifact with another manifest, as whoever controls the registry could serve it under a tag.
fn with_manifest(original: &Artifact, manifest: &Value) -> Result<Artifact, ImageError> {
    Artifact::new(
        Bytes::from(manifest.to_string()),
        original.config().clone(),
        original.layer().clone(),
    )
}

fn manifest_of(artifact: &Artifact) -> Value {
    serde_json::from_slice(artifact.manifest_bytes()).unwrap()
}

/// The text with one bit flipped, when it is a text then.
fn flipped(text: &str, bit: usize) -> Option<String> {
    let mut bytes = text.as_bytes().to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    String::from_utf8(bytes).ok()
}

#[test]
fn every_case_opens_to_its_module() {
    for case in CASES {
        let artifact = artifact(case);
        let module = file(case, "module.wasm");
        let policy = PullPolicy {
            expected_key: Some(KID.parse().unwrap()),
            ..PullPolicy::default()
        };
        let wasm = open(&artifact, &file(case, "key.bin"), &policy).unwrap();
        assert!(wasm.component.bytes() == module, "{case}");
        assert_eq!(wasm.component.digest(), Digest::of(&module));
        assert_eq!(wasm.key_id.unwrap().to_string(), KID);
        assert_eq!(wasm.wrap, Some(WrapType::A256Gcm));

        let meta: Value = serde_json::from_slice(&file(case, "meta.json")).unwrap();
        assert_eq!(
            wasm.image_digest.to_string(),
            meta["manifest_digest"].as_str().unwrap()
        );
        let inspection = inspect::inspect(&artifact.manifest().unwrap());
        assert_eq!(inspection.keys[0].kid, KID);
        assert_eq!(inspection.layer_media_type, meta["layers"][0]["media_type"]);
    }
}

#[test]
fn the_images_before_encryption_open_too() {
    for case in ["cncf_relabel_tar-small", "tgz-small"] {
        let plain = layout::read(&folder(case).join("oci-plain"), None, MAX).unwrap();
        let wasm = open_plain(&plain, MAX).unwrap();
        assert_eq!(wasm.component.bytes(), file(case, "module.wasm"));
        assert_eq!(wasm.wrap, None);
        let error = open(&plain, &file(case, "key.bin"), &PullPolicy::default()).unwrap_err();
        assert_eq!(error.code(), "image-not-encrypted");
    }
}

#[test]
fn encrypted_images_are_not_taken_for_plain_ones() {
    for case in CASES {
        assert_eq!(
            open_plain(&artifact(case), MAX).unwrap_err().code(),
            "image-encrypted"
        );
    }
}

#[test]
fn wrong_keys_and_wrong_paths_are_refused() {
    let artifact = artifact("w2o_native-small");
    let key = file("w2o_native-small", "key.bin");
    let code = |key: &[u8], policy: &PullPolicy| open(&artifact, key, policy).unwrap_err().code();
    let policy = PullPolicy::default();
    assert_eq!(code(&[0; 32], &policy), "image-key-mismatch");
    assert_eq!(code(&key[..31], &policy), "image-key-mismatch");
    assert_eq!(
        code(STANDARD.encode(&key).as_bytes(), &policy),
        "image-key-mismatch"
    );
    let other = PullPolicy {
        expected_key: Some("kbs:///default/key/x".parse().unwrap()),
        ..policy
    };
    assert_eq!(code(&key, &other), "image-key-mismatch");
}

#[test]
fn every_bit_of_the_folders_blobs_counts() {
    for case in SMALL {
        let copy = tempfile::tempdir().unwrap();
        let original = artifact(case);
        layout::write(copy.path(), "latest", &original).unwrap();
        let blobs = [
            ("manifest", original.manifest_bytes()),
            ("config", original.config()),
            ("layer", original.layer()),
        ];
        for (what, bytes) in blobs {
            let path = copy
                .path()
                .join("blobs/sha256")
                .join(Digest::of(bytes).hex());
            for bit in 0..bytes.len() * 8 {
                let mut changed = bytes.to_vec();
                changed[bit / 8] ^= 1 << (bit % 8);
                std::fs::write(&path, &changed).unwrap();
                let error = layout::read(copy.path(), None, MAX).unwrap_err();
                assert_eq!(error.code(), "image-digest-mismatch", "{case} {what} {bit}");
                assert!(error.to_string().starts_with(what), "{error}");
            }
            std::fs::write(&path, bytes).unwrap();
        }
        layout::read(copy.path(), None, MAX).unwrap();
    }
}

#[test]
fn every_bit_of_the_ciphertext_counts_even_under_a_matching_manifest() {
    for case in SMALL {
        let original = artifact(case);
        let key = file(case, "key.bin");
        for bit in 0..original.layer().len() * 8 {
            let mut changed = original.layer().to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            let mut manifest = manifest_of(&original);
            manifest["layers"][0]["digest"] = Digest::of(&changed).to_string().into();
            let changed = Artifact::new(
                Bytes::from(manifest.to_string()),
                original.config().clone(),
                changed.into(),
            );
            assert_eq!(
                refusal(changed, &key).code(),
                "image-hmac-mismatch",
                "{case} {bit}"
            );
        }
    }
}

#[test]
fn every_bit_of_the_annotations_counts() {
    for case in SMALL {
        let original = artifact(case);
        let key = file(case, "key.bin");
        for name in [PROVIDER, PUBOPTS] {
            let mut manifest = manifest_of(&original);
            let text = manifest["layers"][0]["annotations"][name]
                .as_str()
                .unwrap()
                .to_owned();
            for bit in 0..text.len() * 8 {
                let Some(changed) = flipped(&text, bit) else {
                    continue;
                };
                manifest["layers"][0]["annotations"][name] = changed.into();
                let error = refusal(with_manifest(&original, &manifest), &key);
                assert_names(&error, name, &format!("{case} {name} {bit}"));
            }
        }
    }
}

#[test]
fn every_bit_of_the_json_in_the_annotations_counts() {
    for case in SMALL {
        let original = artifact(case);
        let key = file(case, "key.bin");
        for name in [PROVIDER, PUBOPTS] {
            let mut manifest = manifest_of(&original);
            let text = manifest["layers"][0]["annotations"][name]
                .as_str()
                .unwrap()
                .to_owned();
            let json = String::from_utf8(STANDARD.decode(text).unwrap()).unwrap();
            for bit in 0..json.len() * 8 {
                let Some(changed) = flipped(&json, bit) else {
                    continue;
                };
                manifest["layers"][0]["annotations"][name] = STANDARD.encode(changed).into();
                let error = refusal(with_manifest(&original, &manifest), &key);
                assert_names(&error, name, &format!("{case} {name} {bit}"));
            }
        }
    }
}

/// A change of the key packet shows as a malformed packet, as another key id, or as options that do
/// not open; one of the public options as malformed ones or as another HMAC.
fn assert_names(error: &ImageError, annotation: &str, context: &str) {
    let text = error.to_string();
    let (codes, words): (&[&str], &[&str]) = if annotation == PROVIDER {
        (
            &[
                "image-layout",
                "image-key-mismatch",
                "image-key-type",
                "kbs-not-found",
            ],
            &[
                "not of type",
                "key packet",
                "annotation",
                "key id",
                "wrapped options",
                "not released",
            ],
        )
    } else {
        (&["image-layout", "image-hmac-mismatch"], &["pubopts"])
    };
    assert!(
        codes.contains(&error.code().as_str()),
        "{context}: {} {text}",
        error.code()
    );
    assert!(
        words.iter().any(|word| text.contains(word)),
        "{context}: {text}"
    );
}

#[test]
fn names_of_the_annotations_count() {
    for case in SMALL {
        let original = artifact(case);
        let key = file(case, "key.bin");
        for name in [PROVIDER, PUBOPTS] {
            for bit in 0..name.len() * 8 {
                let Some(changed) = flipped(name, bit) else {
                    continue;
                };
                // The provider's own name is free: any provider's packet is read.
                if changed.starts_with("org.opencontainers.image.enc.keys.provider.") {
                    continue;
                }
                let mut manifest = manifest_of(&original);
                let annotations = manifest["layers"][0]["annotations"]
                    .as_object_mut()
                    .unwrap();
                let value = annotations.remove(name).unwrap();
                annotations.insert(changed, value);
                let error = refusal(with_manifest(&original, &manifest), &key);
                assert_eq!(error.code(), "image-layout", "{case} {name} {bit}: {error}");
            }
        }
    }
}

#[test]
fn the_large_layer_is_checked_like_the_small_ones() {
    let original = artifact("cncf_native-large");
    let key = file("cncf_native-large", "key.bin");
    let descriptor = original.manifest().unwrap().layer;
    let size = original.layer().len();
    for at in (0..size).step_by(size / 64) {
        let mut changed = original.layer().to_vec();
        changed[at] ^= 0x80;
        let changed = Bytes::from(changed);
        let as_named = layer::decrypt_layer(changed.clone(), &descriptor, &key, MAX);
        assert_eq!(as_named.err().unwrap().code(), "image-digest-mismatch");
        let mut renamed = descriptor.clone();
        renamed.digest = Digest::of(&changed);
        let renamed = layer::decrypt_layer(changed, &renamed, &key, MAX);
        assert_eq!(renamed.err().unwrap().code(), "image-hmac-mismatch");
    }
}
