use proptest::prelude::*;
use serde_json::{Value, json};

use super::descriptor::EMPTY_TAR;
use super::index::REFERENCE_TYPE;
use super::layer::TITLE;
use super::*;

fn descriptor(media_type: &str) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(b"x"), "size": 1})
}

fn entry(os: &str, architecture: &str, content: &str) -> Value {
    json!({
        "mediaType": media::OCI_MANIFEST,
        "digest": Digest::of(content.as_bytes()),
        "size": 1,
        "platform": {"os": os, "architecture": architecture},
    })
}

fn image_with(layers: Vec<Value>) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": media::OCI_MANIFEST,
        "config": descriptor(media::WASM_CONFIG),
        "layers": layers,
    })
}

fn index_with(manifests: Vec<Value>) -> Value {
    json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": manifests})
}

fn parsed(value: &Value) -> Result<Parsed, ImageError> {
    parse(value.to_string().as_bytes())
}

fn refusal(value: &Value) -> String {
    let error = parsed(value).unwrap_err();
    assert_eq!(error.code(), "image-layout");
    error.to_string()
}

#[test]
fn plain_images_parse() {
    let bytes = image_with(vec![descriptor(media::WASM_LAYER)]).to_string();
    let manifest = Manifest::parse(bytes.as_bytes()).unwrap();
    assert_eq!(manifest.digest, Digest::of(bytes.as_bytes()));
    assert_eq!(manifest.form, LayerForm::Wasm);
    assert_eq!(manifest.encryption, None);
}

#[test]
fn unknown_forms_are_refused_with_reasons() {
    let layer = || descriptor(media::WASM_LAYER);
    assert!(refusal(&image_with(vec![])).contains("0 layers"));
    assert!(refusal(&image_with(vec![layer(), layer()])).contains("2 layers"));
    assert!(refusal(&image_with(vec![descriptor("text/plain")])).contains("text/plain"));
    assert!(
        refusal(&image_with(vec![descriptor("application/wasm+encrypted")]))
            .contains("no org.opencontainers.image.enc annotation")
    );
    let mut annotated = layer();
    annotated["annotations"] = json!({"org.opencontainers.image.enc.pubopts": "x"});
    assert!(refusal(&image_with(vec![annotated])).contains("pubopts"));
    let mut both = image_with(vec![layer()]);
    both["manifests"] = json!([]);
    assert!(refusal(&both).contains("neither"));
    let mut version = image_with(vec![layer()]);
    version["schemaVersion"] = json!(1);
    assert!(refusal(&version).contains("schema version 1"));
    let mut other = image_with(vec![layer()]);
    other["mediaType"] = json!(media::OCI_INDEX);
    assert!(refusal(&other).contains("media type"));
    assert!(refusal(&json!([])).contains("not a manifest"));
}

#[test]
fn annotations_without_the_suffix_are_refused() {
    let kid = "kbs:///default/key/1".parse().unwrap();
    let encrypted = crate::encrypt::encrypt_layer(b"x", &[1; 32], &kid, media::WASM_LAYER).unwrap();
    let mut layer = serde_json::to_value(&encrypted.descriptor).unwrap();
    let manifest = image_with(vec![layer.clone()]).to_string();
    let encryption = Manifest::parse(manifest.as_bytes())
        .unwrap()
        .encryption
        .unwrap();
    assert_eq!(encryption.kid, kid);
    assert_eq!(encryption.wrap, WrapType::A256Gcm);
    layer["mediaType"] = json!(media::WASM_LAYER);
    assert!(refusal(&image_with(vec![layer])).contains("without +encrypted"));
}

#[test]
fn indexes_lead_to_their_wasm_entry() {
    let chosen = |manifests: Vec<Value>| match parsed(&index_with(manifests)).unwrap() {
        Parsed::Index(entry) => entry.digest,
        Parsed::Image(_) => panic!("an image"),
    };
    let linux = entry("linux", "amd64", "l");
    let p1 = entry("wasip1", "wasm", "1");
    let p2 = entry("wasip2", "wasm", "2");
    assert_eq!(
        chosen(vec![linux.clone(), p1.clone(), p2]),
        Digest::of(b"2")
    );
    assert_eq!(chosen(vec![linux, p1]), Digest::of(b"1"));
    assert_eq!(
        chosen(vec![descriptor(media::OCI_MANIFEST)]),
        Digest::of(b"x")
    );
}

#[test]
fn indexes_without_one_wasm_entry_are_refused() {
    let linux = entry("linux", "amd64", "l");
    let arm = entry("linux", "arm64", "a");
    let words = refusal(&index_with(vec![linux, arm]));
    assert!(
        words.contains("linux/amd64") && words.contains("linux/arm64"),
        "{words}"
    );
    assert!(refusal(&index_with(vec![])).contains("no wasm entry"));
    let p1 = entry("wasip1", "wasm", "1");
    assert!(refusal(&index_with(vec![p1.clone(), p1])).contains("several"));
    let index = index_with(vec![entry("wasip2", "wasm", "2")]).to_string();
    assert!(
        Manifest::parse(index.as_bytes())
            .unwrap_err()
            .to_string()
            .contains("index")
    );
}

#[test]
fn what_is_not_used_may_be_anything() {
    let wasm = || entry("wasip2", "wasm", "2");
    let sha512 = format!("sha512:{}", "0".repeat(128));
    let mut siblings = vec![
        json!({"mediaType": media::OCI_MANIFEST, "digest": sha512, "size": 1,
               "platform": {"os": "linux", "architecture": "amd64"}}),
        json!({"mediaType": media::OCI_MANIFEST, "digest": Digest::of(b"s"), "size": 1,
               "platform": {}, "annotations": null}),
        json!({"digest": "", "platform": null, "annotations": {"a": 1, "b": {"c": []}}}),
        json!({"size": -1, "platform": {"os": 7}}),
        json!({}),
        json!(null),
        json!([1, 2]),
    ];
    siblings.push(wasm());
    let mut index = index_with(siblings);
    index["annotations"] = Value::Null;
    index["subject"] = json!({"anything": [null]});
    let Parsed::Index(chosen) = parsed(&index).unwrap() else {
        panic!("an image")
    };
    assert_eq!(chosen.digest, Digest::of(b"2"));

    let mut image = image_with(vec![descriptor(media::WASM_LAYER)]);
    image["annotations"] = Value::Null;
    image["subject"] = Value::Null;
    image["manifests"] = Value::Null;
    image["mediaType"] = json!("");
    image["config"]["annotations"] = json!({"a": null});
    image["config"]["platform"] = Value::Null;
    image["layers"][0]["annotations"] = Value::Null;
    image["layers"][0]["urls"] = Value::Null;
    parsed(&image).unwrap();
}

#[test]
fn what_is_used_must_be_right() {
    let sha512 = format!("sha512:{}", "0".repeat(128));
    let with = |pointer: &str, value: Value| {
        let mut image = image_with(vec![descriptor(media::WASM_LAYER)]);
        *image.pointer_mut(pointer).unwrap() = value;
        refusal(&image)
    };
    assert!(with("/layers/0/digest", json!(sha512)).contains("sha512"));
    assert!(with("/layers/0/digest", Value::Null).contains("digest"));
    assert!(with("/layers/0/size", Value::Null).contains("size"));
    assert!(with("/config/digest", json!(sha512)).contains("sha512"));
    let mut layer = descriptor(media::WASM_LAYER);
    layer["annotations"] = json!({"a": 1});
    assert!(refusal(&image_with(vec![layer])).contains("annotations"));
    let mut wasm = entry("wasip2", "wasm", "2");
    wasm["digest"] = json!(sha512);
    assert!(refusal(&index_with(vec![wasm])).contains("sha512"));
    assert!(
        parse(b" <html>login</html>")
            .unwrap_err()
            .to_string()
            .contains("web page")
    );
}

#[test]
fn a_config_may_lie_in_the_manifest() {
    let mut image = image_with(vec![descriptor(media::WASM_LAYER)]);
    image["config"] = json!({"mediaType": media::EMPTY, "digest": Digest::of(b"{}"), "size": 2,
                             "data": "e30="});
    let bytes = image.to_string();
    let manifest = Manifest::parse(bytes.as_bytes()).unwrap();
    assert_eq!(manifest.config_data.as_deref(), Some(&b"{}"[..]));
    for (data, code) in [
        ("e31=", "image-layout"),
        ("W10=", "image-digest-mismatch"),
        ("", "image-digest-mismatch"),
    ] {
        image["config"]["data"] = json!(data);
        assert_eq!(parsed(&image).unwrap_err().code(), code, "{data}");
    }
    image["config"]["data"] = json!("e30=");
    image["config"]["size"] = json!(3);
    assert_eq!(parsed(&image).unwrap_err().code(), "image-digest-mismatch");
}

#[test]
fn the_layer_that_can_be_meant_is_chosen() {
    let of = |media_type: &str, content: &str, size: u64| json!({"mediaType": media_type, "digest": Digest::of(content.as_bytes()), "size": size});
    let tar = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    let module = || of(tar, "module", 4000);
    let titled = |title: &str, content: &str| {
        let mut layer = of(tar, content, 4000);
        layer["annotations"] = json!({TITLE: title});
        layer
    };
    let mut zeros = of("application/vnd.oci.image.layer.v1.tar", "", 1024);
    zeros["digest"] = json!(EMPTY_TAR);
    for layers in [
        vec![of(tar, "empty", 32), module()],
        vec![module(), of(tar, "empty", 29), of(tar, "empty", 45)],
        // A tiny module under the type of an archive.
        vec![of(tar, "module", 41)],
        vec![
            of("application/vnd.oci.image.layer.v1.tar+zstd", "e", 22),
            module(),
        ],
        vec![zeros, module()],
        vec![of(media::EMPTY, "{}", 2), module()],
        vec![of("text/markdown", "readme", 4000), module()],
        vec![json!(null), module()],
        vec![
            titled("README.md", "readme"),
            titled("module.wasm", "module"),
        ],
        vec![of("application/octet-stream", "module", 4000)],
        vec![
            of(tar, "assets", 9000),
            of("Application/WASM", "module", 4000),
        ],
        vec![of(
            "application/vnd.module.wasm.content.layer.v1+wasm",
            "module",
            40,
        )],
    ] {
        let manifest = image_with(layers.clone()).to_string();
        let manifest = Manifest::parse(manifest.as_bytes()).unwrap();
        assert_eq!(manifest.layer.digest, Digest::of(b"module"), "{layers:?}");
    }
    for (layers, words) in [
        (vec![module(), of(tar, "other", 4000)], "2 layers"),
        (
            vec![titled("a.wasm", "a"), titled("b.wasm", "b")],
            "2 layers",
        ),
        (
            vec![of(media::WASM_LAYER, "a", 9), of(media::WASM_LAYER, "b", 9)],
            "2 layers",
        ),
        (vec![of(tar, "empty", 32), of(tar, "empty", 32)], "2 layers"),
        (vec![of(media::EMPTY, "{}", 2)], "0 layers"),
        (
            vec![of("application/vnd.oci.image.layer.v1.tar+zstd", "z", 4000)],
            "zstd",
        ),
    ] {
        let refused = refusal(&image_with(layers));
        assert!(refused.contains(words), "{refused}");
    }
}

#[test]
fn the_only_entry_of_an_index_is_looked_into() {
    let attestation = json!({
        "mediaType": media::OCI_MANIFEST, "digest": Digest::of(b"a"), "size": 1,
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {REFERENCE_TYPE: "attestation-manifest"},
    });
    let nested = json!({"mediaType": media::OCI_INDEX, "digest": Digest::of(b"x"), "size": 1});
    let mut bare = entry("", "", "x");
    bare["platform"] = json!({});
    for only in [
        nested,
        bare,
        entry("linux", "amd64", "x"),
        entry("wasip9", "wasm", "x"),
    ] {
        let index = index_with(vec![attestation.clone(), only]);
        let Parsed::Index(chosen) = parsed(&index).unwrap() else {
            panic!("an image")
        };
        assert_eq!(chosen.digest, Digest::of(b"x"));
    }
    let two = vec![entry("wasip9", "wasm", "x"), entry("js", "wasm", "y")];
    assert!(refusal(&index_with(two)).contains("several"));
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused(bytes: Vec<u8>) {
        let _ = parse(&bytes);
    }

    #[test]
    fn any_damage_is_survived(at: prop::sample::Index, with: u8) {
        let mut bytes = image_with(vec![descriptor(media::WASM_LAYER)]).to_string().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = with;
        let _ = parse(&bytes);
    }
}
