//! Images as tools and registries make them.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use super::*;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, *content).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

fn described(registry: &Registry, media_type: &str, bytes: &[u8]) -> Value {
    let digest = registry.insert_blob(bytes.to_vec());
    json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
}

/// Puts a manifest there, and an entry for it that an index can have.
fn insert(registry: &Registry, tag: &str, media_type: &str, manifest: &Value) -> Value {
    let bytes = manifest.to_string();
    let size = bytes.len();
    let digest = registry.insert_manifest("team/module", tag, media_type, bytes);
    json!({"mediaType": media_type, "digest": digest, "size": size})
}

fn image(registry: &Registry, layers: Vec<Value>) -> Value {
    let config = described(registry, "application/vnd.oci.image.config.v1+json", b"{}");
    json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers})
}

#[tokio::test]
async fn the_module_is_found_under_every_name_that_tools_give_it() {
    let registry = Registry::start().await.unwrap();
    let wasm = module(3000);
    let empty = {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&[0; 1024]).unwrap();
        encoder.finish().unwrap()
    };
    let packed = archive(&[("plugin.wasm", &wasm), ("runtime-config.json", b"{}")]);
    let layer = |media_type: &str, bytes: &[u8]| described(&registry, media_type, bytes);
    for (name, layers) in [
        ("octets", vec![layer("application/octet-stream", &wasm)]),
        (
            "octets-packed",
            vec![layer("application/octet-stream", &packed)],
        ),
        (
            "wasme",
            vec![layer(
                "application/vnd.module.wasm.content.layer.v1+wasm",
                &wasm,
            )],
        ),
        (
            "runwasi",
            vec![layer(
                "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
                &wasm,
            )],
        ),
        ("case", vec![layer("Application/WASM", &wasm)]),
        (
            "docker",
            vec![layer(DOCKER_LAYER, &empty), layer(DOCKER_LAYER, &packed)],
        ),
        (
            "readme",
            vec![
                layer("text/markdown", b"# Module"),
                layer("application/wasm", &wasm),
            ],
        ),
    ] {
        insert(&registry, name, MANIFEST, &image(&registry, layers));
        let result = pull_plain(&settings(&registry), &named(&registry, &format!(":{name}"))).await;
        let pulled = result.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(pulled.component.bytes() == wasm, "{name}");
        assert_eq!(pulled.component.digest(), Digest::of(&wasm));
    }
    for (name, layer, words) in [
        (
            "zstd",
            layer("application/vnd.oci.image.layer.v1.tar+zstd", &packed),
            "zstd layers are not read",
        ),
        (
            "zstd-inside",
            layer("application/octet-stream", b"\x28\xb5\x2f\xfd...."),
            "zstd",
        ),
        ("text", layer("text/plain", &wasm), "text/plain"),
    ] {
        insert(&registry, name, MANIFEST, &image(&registry, vec![layer]));
        let error = pull_plain(&settings(&registry), &named(&registry, &format!(":{name}")))
            .await
            .unwrap_err();
        assert_eq!(error.code(), "image-layout");
        assert!(error.to_string().contains(words), "{name}: {error}");
    }
}

#[tokio::test]
async fn an_index_is_followed_whatever_stands_beside() {
    let registry = Registry::start().await.unwrap();
    let wasm = module(3000);
    let layer = described(&registry, "application/wasm", &wasm);
    let mut manifest = image(&registry, vec![layer]);
    // A config that is nowhere but in the manifest.
    manifest["config"] = json!({
        "mediaType": "application/vnd.oci.empty.v1+json", "size": 2, "data": "e30=",
        "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    });
    manifest["annotations"] = Value::Null;
    let mut entry = insert(&registry, "image", MANIFEST, &manifest);
    entry["annotations"] = Value::Null;
    entry["platform"] = json!({"os": "wasip2", "architecture": "wasm", "variant": null});
    let siblings = [
        json!({"mediaType": MANIFEST, "digest": format!("sha512:{}", "0".repeat(128)), "size": 3,
               "platform": {"os": "linux", "architecture": "amd64"}}),
        json!({"mediaType": MANIFEST, "digest": Digest::of(b"s"), "size": 1, "platform": {}}),
        json!({"mediaType": MANIFEST, "digest": Digest::of(b"a"), "size": 1,
               "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
               "platform": {"os": "unknown", "architecture": "unknown"}}),
    ];
    let manifests: Vec<&Value> = siblings.iter().chain([&entry]).collect();
    let index = json!({"schemaVersion": 2, "manifests": manifests, "annotations": null});
    let mut entry = insert(&registry, "index-0", INDEX, &index);
    let outer = |entry: &Value| json!({"schemaVersion": 2, "manifests": [entry]});
    for depth in 0..5 {
        let reference = named(&registry, &format!(":index-{depth}"));
        let result = pull_plain(&settings(&registry), &reference).await;
        if depth < 4 {
            let pulled = result.unwrap_or_else(|error| panic!("{depth}: {error}"));
            assert!(pulled.component.bytes() == wasm);
        } else {
            let error = result.unwrap_err();
            assert_eq!(error.code(), "image-layout");
            assert!(error.to_string().contains("indexes"), "{error}");
        }
        entry = insert(
            &registry,
            &format!("index-{}", depth + 1),
            INDEX,
            &outer(&entry),
        );
    }
}
