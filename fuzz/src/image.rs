//! What a registry sends, and what stands beside its address.

use std::collections::BTreeMap;

use proplet_image::ocicrypt::{
    AnnotationPacket, LayerEncryption, MAX_KEY_PACKETS, PrivateOptions, PublicOptions,
};
use proplet_image::{Credentials, HelperAnswer, ImageReference, Manifest, fuzzing, inspect};
use proplet_types::Digest;
use serde_json::Value;

use crate::text;

/// The most bytes that a module may have here.
const MAX_MODULE: u64 = 1 << 16;

/// An image manifest: its digest is over its bytes, and its layer is one of those that it lists.
pub fn manifest(bytes: &[u8]) -> bool {
    let Ok(manifest) = Manifest::parse(bytes) else {
        return false;
    };
    assert_eq!(manifest.digest, Digest::of(bytes));
    let listed = fuzzing::layer_digests(bytes);
    assert!(listed.contains(&manifest.layer.digest.to_string()));
    if let Some(config) = &manifest.config_data {
        assert_eq!(Digest::of(config), manifest.config.digest);
    }
    assert!(fuzzing::index(bytes).is_none());
    assert!(!inspect::inspect(&manifest).to_string().is_empty());
    true
}

/// An image index: what is pulled next is an entry of it, and it is no manifest at the same time.
pub fn image_index(bytes: &[u8]) -> bool {
    let Some(entry) = fuzzing::index(bytes) else {
        return false;
    };
    // Members that mean nothing here are passed over, also when they are not UTF-8.
    let index: Value = serde_json::from_str(&String::from_utf8_lossy(bytes)).unwrap_or_default();
    let digest = Value::from(entry.digest.to_string());
    let listed = index.get("manifests").and_then(Value::as_array);
    let listed = listed.into_iter().flatten();
    assert!(
        listed
            .filter_map(|entry| entry.get("digest"))
            .any(|listed| *listed == digest)
    );
    assert!(Manifest::parse(bytes).is_err());
    true
}

/// The annotations of an encrypted layer, an object of strings.
pub fn annotations(bytes: &[u8]) -> bool {
    let Ok(annotations) = serde_json::from_slice::<BTreeMap<String, String>>(bytes) else {
        return false;
    };
    let Ok(Some(layer)) = LayerEncryption::from_annotations(&annotations) else {
        return false;
    };
    assert!(layer.packets().count() <= MAX_KEY_PACKETS);
    assert!(layer.packets().any(|packet| packet == layer.preferred()));
    if let Ok(written) = layer.to_annotations() {
        assert_eq!(LayerEncryption::from_annotations(&written), Ok(Some(layer)));
    }
    true
}

/// A key packet.
pub fn packet(bytes: &[u8]) -> bool {
    let Ok(packet) = AnnotationPacket::from_json(bytes) else {
        return false;
    };
    assert_eq!(packet.iv().len(), packet.wrap().iv_len());
    if let Ok(written) = packet.to_json() {
        assert_eq!(AnnotationPacket::from_json(written.as_bytes()), Ok(packet));
    }
    true
}

/// The public options of an encrypted layer.
pub fn public_options(bytes: &[u8]) -> bool {
    let Ok(options) = PublicOptions::from_json(bytes) else {
        return false;
    };
    assert_eq!(
        PublicOptions::from_json(options.to_json().as_bytes()),
        Ok(options)
    );
    true
}

/// The private options of an encrypted layer, as whoever knows the key could write them.
pub fn private_options(bytes: &[u8]) -> bool {
    PrivateOptions::from_json(bytes).is_ok()
}

/// The archive in a layer: the module is one, is no larger than allowed, and has the digest that it is handed on with.
pub fn tar(bytes: &[u8]) -> bool {
    let Ok((module, digest)) = fuzzing::unpack(bytes, MAX_MODULE) else {
        return false;
    };
    assert_eq!(digest, Digest::of(&module));
    assert!(module.starts_with(b"\0asm"));
    assert!(bytes == module || module.len() as u64 <= MAX_MODULE);
    true
}

/// `WWW-Authenticate`: a scope is for pulling one repository and nothing else.
pub fn challenge(bytes: &[u8]) -> bool {
    let Some((_, scope)) = text(bytes).and_then(fuzzing::challenge) else {
        return false;
    };
    if !scope.is_empty() {
        assert!(scope.starts_with("repository:") && scope.ends_with(":pull"));
        assert!(!scope.contains([' ', ',', '*', '&', '=', '\n']));
    }
    true
}

/// A docker `config.json`, and a credential helper's answer.
pub fn docker_config(bytes: &[u8]) -> bool {
    let Ok(credentials) = Credentials::from_docker_config(bytes) else {
        return false;
    };
    for registry in ["docker.io", "registry.example", "registry.example:5000"] {
        let found = credentials
            .find(registry, "a/b")
            .is_ok_and(|found| found.is_some());
        if let Some(helper) = credentials.helper(registry, "a/b") {
            assert!(!found);
            if let Ok(program) = helper.program() {
                assert!(program.starts_with("docker-credential-") && !program.contains('/'));
            }
            if let Ok(HelperAnswer::NotFound) = helper.answer(true, bytes) {
                let without = credentials.clone().resolve(registry, None);
                assert!(matches!(without.find(registry, "a/b"), Ok(None)));
            }
        }
    }
    true
}

/// The reference of an image, from a start message.
pub fn reference(bytes: &[u8]) -> bool {
    let Some(Ok(reference)) = text(bytes).map(str::parse::<ImageReference>) else {
        return false;
    };
    let Ok(again) = reference.to_string().parse::<ImageReference>() else {
        panic!("{reference} is not read again");
    };
    assert_eq!(again.digest(), reference.digest());
    assert_eq!(again.registry(), reference.registry());
    assert_eq!(again.repository(), reference.repository());
    assert_eq!(again.tag(), reference.tag());
    true
}
