//! Bad images: from the registry, or from whoever can push to it.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use proplet_image::{Artifact, media};
use proplet_testkit::broker::Task;
use proplet_testkit::registry::{Fault, Target};
use proplet_types::Digest;
use serde_json::{Value, json};

use crate::scene::{Scene, adder};

const LAYOUT: &str = "image-layout";
const MISMATCH: &str = "image-digest-mismatch";
const TOO_LARGE: &str = "image-too-large";
const UNAVAILABLE: &str = "registry-unavailable";
const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
const TAR_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn plain(scene: &Scene, image: &str) -> Task {
    Task {
        image_url: image.into(),
        inputs: vec!["10".into(), "20".into()],
        ..Task {
            id: scene.fresh("plain"),
            name: "add".into(),
            ..Task::default()
        }
    }
}

/// The manifest of a good plain image, and its blobs.
fn good_image() -> (Value, Artifact) {
    let artifact = Artifact::wasm(adder().into()).unwrap();
    (
        serde_json::from_slice(artifact.manifest_bytes()).unwrap(),
        artifact,
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_misbehaving_registry_spoils_one_task_only() {
    let scene = Scene::set("").await;
    let (manifest, artifact) = good_image();
    let plain_image = scene.put(&manifest, &[artifact.config(), artifact.layer()]);
    let host = scene.services.registry.host();
    let (name, digest) = plain_image.split_once('@').unwrap();
    let path = name.trim_start_matches(&host);
    let loops = format!("http://{host}/v2{path}/manifests/{digest}");
    for (target, fault, expected) in [
        (Target::Manifests, Fault::FlipBit(100), MISMATCH),
        (Target::Manifests, Fault::Truncate(100), MISMATCH),
        (Target::Manifests, Fault::Longer(1), MISMATCH),
        (Target::Manifests, Fault::Break(50), UNAVAILABLE),
        (Target::Manifests, Fault::ContentLength(1 << 50), TOO_LARGE),
        (Target::Manifests, Fault::Endless, TOO_LARGE),
        (Target::Manifests, Fault::Silence, UNAVAILABLE),
        (Target::Manifests, Fault::Status(500), UNAVAILABLE),
        (Target::Manifests, Fault::Status(200), MISMATCH),
        (Target::Manifests, Fault::Status(401), "image-unauthorized"),
        (Target::Manifests, Fault::Status(404), "image-not-found"),
        (Target::Manifests, Fault::Redirect(loops), UNAVAILABLE),
        (
            Target::Manifests,
            Fault::Redirect("file:///etc/passwd".into()),
            UNAVAILABLE,
        ),
        (Target::Blobs, Fault::FlipBit(64), MISMATCH),
        (Target::Blobs, Fault::Truncate(8), MISMATCH),
        (Target::Blobs, Fault::Break(8), UNAVAILABLE),
        (Target::Blobs, Fault::Endless, TOO_LARGE),
        (Target::Blobs, Fault::Silence, UNAVAILABLE),
        (Target::Blobs, Fault::Status(503), UNAVAILABLE),
        (
            Target::Blobs,
            Fault::Redirect("http://127.0.0.1:1/".into()),
            UNAVAILABLE,
        ),
    ] {
        let what = format!("{target:?} {fault:?}");
        let encrypted_image = scene.publish(&adder(), None).await;
        scene.services.registry.inject(target, fault);
        scene
            .refused(&what, &plain(&scene, &plain_image), expected)
            .await;
        let task = Task::encrypted(&scene.fresh("encrypted"), "add", &encrypted_image);
        scene.refused(&what, &task, expected).await;
        scene.services.registry.heal();
        assert_eq!(
            scene.run(&plain(&scene, &plain_image)).await.results,
            "30",
            "{what}"
        );
        assert_eq!(scene.served(&what, &encrypted_image).await, b"30", "{what}");
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn manifests_that_say_something_else_are_refused() {
    let scene = Scene::set("").await;
    let (good, artifact) = good_image();
    let blobs: [&[u8]; 2] = [artifact.config(), artifact.layer()];
    let nothing = Digest::of(b"nowhere").to_string();
    let long = "x".repeat(100_000);
    for (pointer, value, expected) in [
        ("/schemaVersion", json!(1), LAYOUT),
        ("/schemaVersion", json!("2"), LAYOUT),
        (
            "/mediaType",
            json!("application/vnd.oci.image.index.v1+json"),
            LAYOUT,
        ),
        ("/mediaType", json!("text/html"), LAYOUT),
        ("/config", json!(null), LAYOUT),
        ("/config/digest", json!(nothing), "image-not-found"),
        (
            "/config/digest",
            json!("sha256:../../../etc/passwd"),
            LAYOUT,
        ),
        ("/config/size", json!(1), MISMATCH),
        ("/config/size", json!(1_u64 << 40), TOO_LARGE),
        ("/config/size", json!(-1), LAYOUT),
        ("/layers", json!([]), LAYOUT),
        (
            "/layers",
            json!([good["layers"][0], good["layers"][0]]),
            LAYOUT,
        ),
        ("/layers", json!(vec![&good["layers"][0]; 5000]), LAYOUT),
        ("/layers/0/digest", json!(nothing), "image-not-found"),
        (
            "/layers/0/digest",
            json!("md5:d41d8cd98f00b204e9800998ecf8427e"),
            LAYOUT,
        ),
        ("/layers/0/digest", json!("sha256:0"), LAYOUT),
        (
            "/layers/0/digest",
            good["config"]["digest"].clone(),
            MISMATCH,
        ),
        ("/layers/0/size", json!(10), MISMATCH),
        ("/layers/0/size", json!(1_000_000), MISMATCH),
        ("/layers/0/size", json!(1_u64 << 60), TOO_LARGE),
        ("/layers/0/size", json!(1e300), LAYOUT),
        ("/layers/0/mediaType", json!("text/plain"), LAYOUT),
        ("/layers/0/mediaType", json!(""), LAYOUT),
        ("/layers/0/mediaType", json!(long), LAYOUT),
        (
            "/layers/0/mediaType",
            json!("application/vnd.oci.image.layer.v1.tar+zstd"),
            LAYOUT,
        ),
        (
            "/layers/0/mediaType",
            json!("application/wasm+encrypted"),
            LAYOUT,
        ),
        (
            "/layers/0/annotations",
            json!({"org.opencontainers.image.enc.pubopts": "e30="}),
            LAYOUT,
        ),
    ] {
        let mut manifest = good.clone();
        match manifest.pointer_mut(pointer) {
            Some(member) => *member = value,
            None => manifest["layers"][0]["annotations"] = value,
        }
        let what = format!("{pointer} = {manifest:.300}");
        let image = scene.put(&manifest, &blobs);
        scene.refused(&what, &plain(&scene, &image), expected).await;
    }

    let host = scene.services.registry.host();
    let entry = |digest: &str, size: u64| {
        json!({
            "mediaType": media::OCI_MANIFEST, "digest": digest, "size": size,
            "platform": {"architecture": "wasm", "os": "wasip2"}
        })
    };
    let index = |entries: Value| {
        json!({
            "schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": entries
        })
    };
    let inner = scene.put(&index(json!([entry(&nothing, 5)])), &[]);
    let inner = inner.split_once('@').unwrap().1.to_owned();
    let both = json!({
        "schemaVersion": 2, "config": good["config"], "layers": good["layers"], "manifests": []
    });
    for (what, manifest, expected) in [
        ("an index of nothing", index(json!([])), LAYOUT),
        (
            "an index of an image that is not there",
            index(json!([entry(&nothing, 5)])),
            "image-not-found",
        ),
        (
            "an index of a manifest in another repository",
            index(json!([entry(&inner, 5)])),
            "image-not-found",
        ),
        (
            "two images for one platform",
            index(json!([entry(&nothing, 5), entry(&inner, 5)])),
            LAYOUT,
        ),
        (
            "an index of a giant that is not there",
            index(json!([entry(&nothing, 1 << 60)])),
            "image-not-found",
        ),
        ("both image and index", both, LAYOUT),
        ("neither", json!({"schemaVersion": 2}), LAYOUT),
        ("a list", json!([1, 2, 3]), LAYOUT),
    ] {
        let image = scene.put(&manifest, &blobs);
        scene.refused(what, &plain(&scene, &image), expected).await;
    }

    // An index cannot hold its own digest, but indexes can lie one in the other. That is followed, to
    // a depth that no tool needs.
    let registry = &scene.services.registry;
    let mut next = entry(&nothing, 5);
    for depth in 1..=8 {
        let text = index(json!([next])).to_string();
        let size = text.len() as u64;
        let tag = format!("index-{depth}");
        let digest = registry.insert_manifest("nested", &tag, media::OCI_INDEX, text);
        next = entry(&digest, size);
        let expected = if depth <= 4 {
            "image-not-found"
        } else {
            LAYOUT
        };
        let task = plain(&scene, &format!("{host}/nested:{tag}"));
        let what = format!("{depth} indexes one in the other");
        scene.refused(&what, &task, expected).await;
    }

    for (what, bytes, expected) in [
        ("no JSON", vec![0xfe; 64], LAYOUT),
        ("nothing", Vec::new(), LAYOUT),
        (
            "nested without end",
            "[".repeat(100_000).into_bytes(),
            LAYOUT,
        ),
        ("a long manifest", vec![b' '; 5 << 20], TOO_LARGE),
    ] {
        registry.insert_manifest("raw", "bad", media::OCI_MANIFEST, bytes);
        let task = plain(&scene, &format!("{host}/raw:bad"));
        scene.refused(what, &task, expected).await;
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layers_that_hold_something_else_are_refused() {
    let scene = Scene::set("").await;
    let wasm = adder();
    let bomb = gzip(&vec![0; 64 << 20]);
    assert!(bomb.len() < 100_000, "it is small until it is unpacked");
    let stuffed = gzip(&archive(&[("zero.wasm", &vec![0; 40 << 20])]));
    let beside = gzip(&archive(&[
        ("readme", &vec![0; 40 << 20]),
        ("m.wasm", &wasm),
    ]));
    let mut cut = archive(&[("m.wasm", &wasm)]);
    cut.truncate(512 + 10);
    let mut half = gzip(&archive(&[("m.wasm", &wasm)]));
    half.truncate(half.len() / 2);
    for (what, media_type, layer, expected) in [
        ("text", media::WASM_LAYER, b"(module)".to_vec(), LAYOUT),
        ("nothing", media::WASM_LAYER, Vec::new(), LAYOUT),
        (
            "the magic only",
            media::WASM_LAYER,
            b"\0asm".to_vec(),
            "component-invalid",
        ),
        (
            "a truncated module",
            media::WASM_LAYER,
            wasm[..wasm.len() - 3].to_vec(),
            "component-invalid",
        ),
        (
            "a module of tomorrow",
            media::WASM_LAYER,
            b"\0asm\x63\0\0\0".to_vec(),
            "component-invalid",
        ),
        ("gzip as Wasm", media::WASM_LAYER, gzip(&wasm), LAYOUT),
        ("a bomb", TAR_GZIP, bomb, LAYOUT),
        ("a bomb in an archive", TAR_GZIP, stuffed, TOO_LARGE),
        ("a bomb beside the module", TAR_GZIP, beside, TOO_LARGE),
        ("half a gzip", TAR_GZIP, half, LAYOUT),
        ("a truncated archive", TAR, cut, LAYOUT),
        ("an empty archive", TAR, archive(&[]), LAYOUT),
        ("no module", TAR, archive(&[("readme", b"hello")]), LAYOUT),
        (
            "two modules",
            TAR,
            archive(&[("a.wasm", &wasm), ("b.wasm", &wasm)]),
            LAYOUT,
        ),
        ("a link", TAR, link("m.wasm", "/etc/passwd"), LAYOUT),
        (
            "text in an archive",
            TAR,
            archive(&[("m.wasm", b"#!/bin/sh")]),
            LAYOUT,
        ),
    ] {
        let image = image_of(&scene, media_type, &layer);
        scene.refused(what, &plain(&scene, &image), expected).await;
    }
    // Where a module lies in its archive is nothing but a name: nothing is ever unpacked to a disk.
    for path in [
        "../../../../tmp/evil.wasm",
        "/etc/evil.wasm",
        "a/./b//m.wasm",
    ] {
        let image = image_of(&scene, TAR, &archive(&[(path, &wasm)]));
        assert_eq!(
            scene.run(&plain(&scene, &image)).await.results,
            "30",
            "{path}"
        );
    }
    assert!(!std::path::Path::new("/tmp/evil.wasm").exists());
    scene.end().await;
}

/// An image of one layer.
fn image_of(scene: &Scene, media_type: &str, layer: &[u8]) -> String {
    let (mut manifest, artifact) = good_image();
    manifest["layers"][0] = json!({
        "mediaType": media_type, "digest": Digest::of(layer).to_string(), "size": layer.len()
    });
    scene.put(&manifest, &[artifact.config(), layer])
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        // Written by hand, since the builder refuses the paths that this is about.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn link(path: &str, target: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, path, target).unwrap();
    builder.into_inner().unwrap()
}
