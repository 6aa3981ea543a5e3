//! Pushing to registries of all kinds: what they may do differently, and what they must not get.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::path::Path;
use std::time::{Duration, Instant};

use proplet_image::{Artifact, ImageError, ImageReference, Puller, RegistryConfig, layout, push};
use proplet_testkit::registry::{Access, Fault, Quirk, Registry, Target};
use proplet_types::Digest;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

const USER: &str = "robot";
const PASSWORD: &str = "hunter2-hunter2";

fn token_access() -> Access {
    Access::Token {
        username: USER.to_owned(),
        password: PASSWORD.to_owned(),
    }
}

fn basic_access() -> Access {
    Access::Basic {
        username: USER.to_owned(),
        password: PASSWORD.to_owned(),
    }
}

/// Large enough for clients that send in parts to need several.
fn image() -> Artifact {
    let mut wasm = b"\0asm\x0d\0\x01\0".to_vec();
    wasm.extend((0..6_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 9) as u8));
    Artifact::wasm(wasm.into()).unwrap()
}

fn small() -> Artifact {
    Artifact::wasm(b"\0asm\x0d\0\x01\0".to_vec().into()).unwrap()
}

fn settings(registry: &Registry) -> RegistryConfig {
    RegistryConfig {
        http_hosts: vec![registry.host()],
        retry_delay: Duration::from_millis(5),
        ..RegistryConfig::default()
    }
}

fn over_tls(registry: &Registry) -> RegistryConfig {
    RegistryConfig {
        http_hosts: Vec::new(),
        private_hosts: vec![registry.host()],
        ca_pem: registry.ca_pem().map(|pem| pem.as_bytes().to_vec()),
        ..settings(registry)
    }
}

fn with_password(config: RegistryConfig, host: &str, folder: &Path) -> RegistryConfig {
    let path = folder.join("config.json");
    let entry = serde_json::json!({"username": USER, "password": PASSWORD});
    let file = serde_json::json!({"auths": {host: entry}});
    std::fs::write(&path, file.to_string()).unwrap();
    RegistryConfig {
        auth_file: Some(path),
        ..config
    }
}

fn named(registry: &Registry, rest: &str) -> ImageReference {
    format!("{}/team/module{rest}", registry.host())
        .parse()
        .unwrap()
}

async fn is_pulled(config: &RegistryConfig, reference: &ImageReference, image: &Artifact) {
    let puller = Puller::new(config.clone()).unwrap();
    let manifest = puller.resolve(reference).await.unwrap();
    let wasm = puller.pull_plain(&manifest).await.unwrap();
    assert!(wasm.component.bytes() == image.layer());
}

async fn refused(config: &RegistryConfig, registry: &Registry, image: &Artifact) -> ImageError {
    push::push(config, &named(registry, ":v1"), image)
        .await
        .expect_err("it was pushed")
}

#[tokio::test]
async fn a_token_service_on_plain_http_is_told_no_password() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let realm = format!("http://{}/token", listener.local_addr().unwrap());
    let registry = Registry::start_tls_with(token_access()).await.unwrap();
    registry.challenge_with(format!("Bearer realm=\"{realm}\",service=\"testkit\""));
    let config = over_tls(&registry);
    let config = with_password(config, &registry.host(), folder.path());
    let error = refused(&config, &registry, &small()).await;
    assert_eq!(error.code(), "registry-unavailable");
    assert!(error.to_string().contains("plain http"), "{error}");

    // Nobody came by to say a word.
    let heard = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.unwrap();
        String::from_utf8_lossy(&heard).into_owned()
    };
    let heard = tokio::time::timeout(Duration::from_millis(200), heard).await;
    assert!(heard.is_err(), "{heard:?}");
}

#[tokio::test]
async fn every_way_of_naming_the_upload_is_followed() {
    let registry = Registry::start().await.unwrap();
    let config = settings(&registry);
    let host = registry.host();
    for (number, address) in [
        "/v2/team/module/blobs/uploads/{id}".to_owned(),
        "{id}".to_owned(),
        "./{id}?state=a%2Bb%3D&digest_hint=x".to_owned(),
        format!("http://{host}/v2/team/module/blobs/uploads/{{id}}"),
        format!("http://{host}/v2/team/module/blobs/uploads/{{id}}?_state=REW%2FsxQ%3D%3D"),
        format!("//{host}/v2/team/module/blobs/uploads/{{id}}?a=b&c"),
    ]
    .into_iter()
    .enumerate()
    {
        registry.heal();
        registry.behave(Quirk::UploadAddress(Some(address.clone())));
        let wasm = [b"\0asm\x0d\0\x01\0".as_slice(), &[number as u8]].concat();
        let image = Artifact::wasm(wasm.into()).unwrap();
        let reference = named(&registry, ":v1");
        push::push(&config, &reference, &image).await.unwrap();
        is_pulled(&config, &reference, &image).await;
        assert_eq!(
            registry.counts().blobs_written,
            2 * (number as u64 + 1),
            "{address}"
        );
    }
}

#[tokio::test]
async fn a_registry_behind_a_proxy_may_call_itself_http() {
    let registry = Registry::start_tls().await.unwrap();
    let config = over_tls(&registry);
    for address in [
        format!(
            "http://{}/v2/team/module/blobs/uploads/{{id}}",
            registry.host()
        ),
        "http://127.0.0.1/v2/team/module/blobs/uploads/{id}".to_owned(),
    ] {
        registry.heal();
        registry.behave(Quirk::UploadAddress(Some(address)));
        let reference = named(&registry, ":v1");
        push::push(&config, &reference, &small()).await.unwrap();
        is_pulled(&config, &reference, &small()).await;
    }
    // Another host on plain http stays refused.
    registry.heal();
    registry.behave(Quirk::UploadAddress(Some(
        "http://localhost/{id}".to_owned(),
    )));
    let image = Artifact::wasm(b"\0asm\x0d\0\x01\0\0\x01\0".to_vec().into()).unwrap();
    let error = refused(&config, &registry, &image).await;
    assert!(error.to_string().contains("plain http"), "{error}");
}

#[tokio::test]
async fn an_upload_without_an_address_is_an_error_in_words() {
    let registry = Registry::start().await.unwrap();
    let config = settings(&registry);
    for (address, words) in [
        (None, "no address"),
        (Some("http://".to_owned()), "not a URL"),
        (Some("ftp://127.0.0.1/{id}".to_owned()), "127.0.0.1"),
    ] {
        registry.heal();
        registry.behave(Quirk::UploadAddress(address));
        let error = refused(&config, &registry, &small()).await;
        assert_eq!(error.code(), "registry-unavailable");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_stored_manifest_needs_no_address() {
    let registry = Registry::start().await.unwrap();
    registry.behave(Quirk::NoManifestAddress);
    let config = settings(&registry);
    let digest = small().digest();
    for rest in [
        ":v1".to_owned(),
        format!("@{digest}"),
        format!(":v2@{digest}"),
    ] {
        let reference = named(&registry, &rest);
        let pushed = push::push(&config, &reference, &small()).await.unwrap();
        assert_eq!(pushed, digest);
        is_pulled(&config, &reference, &small()).await;
    }
    // A tag beside a digest is a tag.
    is_pulled(&config, &named(&registry, ":v2"), &small()).await;
    let other = image().digest();
    let error = push::push(&config, &named(&registry, &format!("@{other}")), &small())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "image-reference");
}

#[tokio::test]
async fn layers_without_a_module_are_pushed_too() {
    let registry = Registry::start().await.unwrap();
    let config = settings(&registry);
    let (image, empty) = (small(), vec![0; 1024]);
    let manifest = image.manifest().unwrap();
    let mut layers = vec![serde_json::to_value(&manifest.layer).unwrap()];
    layers.insert(
        0,
        serde_json::json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": Digest::of(&empty),
            "size": empty.len(),
        }),
    );
    let text = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": manifest.config,
        "layers": layers,
    });
    // As `skopeo copy … dir:` writes it.
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("manifest.json", text.to_string().as_bytes());
    for blob in [image.config().as_ref(), image.layer(), &empty] {
        write(&Digest::of(blob).hex(), blob);
    }
    let read = || layout::read(folder.path(), None, 1 << 20);
    let reference = named(&registry, ":v1");
    push::push(&config, &reference, &read().unwrap())
        .await
        .unwrap();
    assert_eq!(registry.counts().blobs_written, 3);
    is_pulled(&config, &reference, &image).await;

    // It can be looked at without them, but not pushed.
    std::fs::remove_file(folder.path().join(Digest::of(&empty).hex())).unwrap();
    let error = push::push(&config, &reference, &read().unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "image-layout");
    assert!(
        error.to_string().contains(&Digest::of(&empty).to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn uploads_in_parts_are_not_needed() {
    for quirk in [
        Quirk::LastPartOnly,
        Quirk::NoParts(404),
        Quirk::NoParts(405),
        Quirk::NoParts(416),
    ] {
        let registry = Registry::start().await.unwrap();
        registry.behave(quirk);
        let config = settings(&registry);
        let reference = named(&registry, ":v1");
        push::push(&config, &reference, &image()).await.unwrap();
        is_pulled(&config, &reference, &image()).await;
    }
}

#[tokio::test]
async fn what_was_not_stored_as_it_was_sent_is_noticed() {
    let registry = Registry::start().await.unwrap();
    registry.behave(Quirk::Cut(1000));
    let error = refused(&settings(&registry), &registry, &image()).await;
    assert_eq!(error.code(), "registry-unavailable");
    let digest = image().manifest().unwrap().layer.digest.to_string();
    assert!(error.to_string().contains(&digest), "{error}");

    let registry = Registry::start().await.unwrap();
    registry.behave(Quirk::Reformat);
    let error = refused(&settings(&registry), &registry, &small()).await;
    assert_eq!(error.code(), "image-digest-mismatch");

    let registry = Registry::start().await.unwrap();
    registry.inject(Target::Manifests, Fault::Status(404));
    let error = refused(&settings(&registry), &registry, &small()).await;
    assert_eq!(error.code(), "image-not-found");
}

#[tokio::test]
async fn hiccups_are_waited_for() {
    for (status, retry_after) in [
        (429, Some(Duration::from_secs(1))),
        (429, None),
        (502, None),
        (503, Some(Duration::from_secs(0))),
    ] {
        let registry = Registry::start().await.unwrap();
        registry.behave(Quirk::Busy {
            status,
            times: 2,
            retry_after,
        });
        let config = settings(&registry);
        let reference = named(&registry, ":v1");
        let start = Instant::now();
        push::push(&config, &reference, &small()).await.unwrap();
        if let Some(wait) = retry_after {
            assert!(start.elapsed() >= 2 * wait);
        }
        is_pulled(&config, &reference, &small()).await;
    }
}

#[tokio::test]
async fn trouble_that_stays_is_told() {
    for (status, code, retried) in [
        (503, "registry-unavailable", true),
        (500, "registry-unavailable", true),
        (400, "registry-unavailable", false),
        (404, "registry-unavailable", false),
        (413, "registry-unavailable", false),
        (401, "image-unauthorized", false),
        (403, "image-unauthorized", false),
        (307, "registry-unavailable", false),
    ] {
        let registry = Registry::start().await.unwrap();
        let times = 100;
        registry.behave(Quirk::Busy {
            status,
            times,
            retry_after: Some(Duration::ZERO),
        });
        let error = refused(&settings(&registry), &registry, &small()).await;
        assert_eq!(error.code(), code, "{status}: {error}");
        if code == "registry-unavailable" {
            let words = error.to_string();
            assert!(
                words.contains(&status.to_string()) && words.contains("BUSY"),
                "{words}"
            );
        }
        let asked = registry.counts().busy;
        assert_eq!(asked > 1, retried, "{status}: {asked}");
    }
}

#[tokio::test]
async fn uploads_to_other_hosts_are_not_shown_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start_with(basic_access()).await.unwrap();
    for access in [Access::Anonymous, basic_access()] {
        let wants_password = access == basic_access();
        let elsewhere = Registry::start_with(access).await.unwrap();
        let config = RegistryConfig {
            http_hosts: vec![registry.host(), elsewhere.host()],
            ..settings(&registry)
        };
        let config = with_password(config, &registry.host(), folder.path());
        registry.heal();
        let address = format!("http://{}/v2/a/blobs/uploads/{{id}}", elsewhere.host());
        registry.behave(Quirk::UploadAddress(Some(address)));
        refused(&config, &registry, &small()).await;
        assert_eq!(elsewhere.counts().refused > 0, wants_password);
    }
}

#[tokio::test]
async fn tokens_are_asked_for_with_the_right_to_push() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start_with(token_access()).await.unwrap();
    let config = with_password(settings(&registry), &registry.host(), folder.path());
    push::push(&config, &named(&registry, ":v1"), &small())
        .await
        .unwrap();
    let queries = registry.token_queries();
    let scope = "scope=repository%3Ateam%2Fmodule%3Apull%2Cpush";
    assert!(!queries.is_empty());
    assert!(
        queries.iter().all(|query| query.contains(scope)),
        "{queries:?}"
    );
}

#[tokio::test]
async fn progress_is_told() {
    let registry = Registry::start().await.unwrap();
    let mut last = None;
    push::push_watched(
        &settings(&registry),
        &named(&registry, ":v1"),
        &image(),
        &mut |progress| {
            assert!(progress.sent <= progress.total);
            last = Some(progress.total);
        },
    )
    .await
    .unwrap();
    // A fast upload may end before anybody looked.
    assert!(last.is_none_or(|total| total >= small().config().len() as u64));
}
