//! Debian 13's skopeo encrypts with `proplet keyprovider`, and decrypts with a host's key provider.
//!
//! `$PROPLET_SKOPEO` names it, for machines of which the own skopeo is too old for key providers (Debian 12's).

use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use proplet_agent::{KeyUnwrapper, Listener};
use proplet_image::{
    Artifact, KeySource, KeySourceError, NamedKbs, PullPolicy, layout, media, open_encrypted,
    open_plain,
};
use proplet_types::{Code, Digest, ResourceUri};
use serde_json::json;
use tokio::process::Command;
use zeroize::Zeroizing;

use super::keyprovider::providing;
use super::support::Desk;

const MAX: u64 = 1 << 20;
const KEY_ID: &str = "kbs:///default/key/skopeo";
const KEY: [u8; 32] = [5; 32];
/// An empty component.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// A plain image as a container tool makes one: the component in a tar layer.
fn plain() -> Artifact {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(COMPONENT.len() as u64);
    header.set_mode(0o644);
    archive
        .append_data(&mut header, "plugin.wasm", COMPONENT)
        .unwrap();
    let layer = archive.into_inner().unwrap();
    let config = json!({
        "architecture": "wasm",
        "os": "wasip2",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(&layer).to_string()] },
    })
    .to_string()
    .into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media::OCI_MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": Digest::of(&config).to_string(),
            "size": config.len(),
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": Digest::of(&layer).to_string(),
            "size": layer.len(),
        }],
    });
    let manifest = manifest.to_string().into_bytes();
    Artifact::new(manifest.into(), config.into(), layer.into()).unwrap()
}

/// Releases the key that the image was encrypted with.
struct TheKey;

#[async_trait]
impl KeySource for TheKey {
    async fn key_encryption_key(
        &self,
        kid: &ResourceUri,
    ) -> Result<Zeroizing<Vec<u8>>, KeySourceError> {
        if kid.to_string() == KEY_ID {
            return Ok(Zeroizing::new(KEY.to_vec()));
        }
        Err(KeySourceError::new(Code::KbsNotFound, "no such resource"))
    }
}

fn policy() -> PullPolicy {
    PullPolicy {
        kbs: NamedKbs::Any,
        ..PullPolicy::default()
    }
}

/// `skopeo copy` with a key provider at this address.
async fn copy(desk: &Desk, provider: &str, option: &str, from: &str, to: &str) -> Output {
    let config = json!({ "key-providers": { "attestation-agent": { "grpc": provider } } });
    let config = desk.write("ocicrypt.conf", config.to_string());
    let skopeo = std::env::var_os("PROPLET_SKOPEO").unwrap_or_else(|| "skopeo".into());
    let layout = |name: &str| format!("oci:{}:latest", desk.path(name).display());
    let running = Command::new(skopeo)
        .args(["--insecure-policy", "copy"])
        .args(option.split(' '))
        .args([layout(from), layout(to)])
        .env("OCICRYPT_KEYPROVIDER_CONFIG", config)
        .kill_on_drop(true)
        .output();
    let running = tokio::time::timeout(Duration::from_secs(60), running);
    running.await.unwrap().unwrap()
}

fn written(desk: &Desk, name: &str) -> Artifact {
    layout::read(&desk.path(name), Some("latest"), MAX).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Debian 13's skopeo (PROPLET_SKOPEO); .ci/run fetches and runs it"]
async fn skopeo_encrypts_and_decrypts_with_us() {
    let desk = Desk::new();
    let key = desk.write("key", KEY);
    layout::write(&desk.path("plain"), "latest", &plain()).unwrap();
    let with = |parameters: &str| {
        format!("--encryption-key provider:attestation-agent:{parameters}::keyid={KEY_ID}")
    };
    let keypath = |path: &Path| with(&format!("keypath={}", path.display()));
    providing(&desk, "", async |address, _| {
        let provider = address.to_string();
        let done = copy(&desk, &provider, &keypath(&key), "plain", "encrypted").await;
        assert!(done.status.success(), "{done:?}");
        let refused = copy(&desk, &provider, &with("sample=true"), "plain", "sample").await;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success());
        assert!(said.contains("everybody knows the sample key"), "{said}");
    })
    .await;

    // What it made is what `image` opens.
    let encrypted = written(&desk, "encrypted");
    let manifest = encrypted.manifest().unwrap();
    assert!(manifest.layer.media_type.ends_with("+encrypted"));
    let opened = open_encrypted(&encrypted, &TheKey, &policy(), MAX)
        .await
        .unwrap();
    assert_eq!(opened.component.digest(), Digest::of(COMPONENT));
    desk.run("image inspect @encrypted --key @key").await.done();

    // And the other way round, by a host's key provider.
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let unwrapper = KeyUnwrapper::new(Arc::new(TheKey), policy());
    let serving = listener.serve(Arc::new(unwrapper), Duration::from_secs(60));
    let decrypt = "--decryption-key provider:attestation-agent:any";
    let provider = serving.address().to_string();
    let done = copy(&desk, &provider, decrypt, "encrypted", "decrypted").await;
    assert!(done.status.success(), "{done:?}");
    let decrypted = open_plain(&written(&desk, "decrypted"), MAX).unwrap();
    assert_eq!(decrypted.component.digest(), Digest::of(COMPONENT));

    // Ours goes the same way.
    desk.write("component.wasm", COMPONENT);
    let line = format!("image encrypt @component.wasm --key-id {KEY_ID} --key @key --layout @ours");
    desk.run(&line).await.done();
    let done = copy(&desk, &provider, decrypt, "ours", "ours-decrypted").await;
    assert!(done.status.success(), "{done:?}");
    let decrypted = open_plain(&written(&desk, "ours-decrypted"), MAX).unwrap();
    assert_eq!(decrypted.component.digest(), Digest::of(COMPONENT));
    serving.stop().await;
}
