//! Invariant 5: what is asked is what runs.

use proplet_image::{Artifact, ImageReference, push::push};
use proplet_lab::workload::{EncryptedComponent, registry_over_http};
use proplet_testkit::{
    broker::Task,
    guests::GuestName,
    registry::{Fault, Target},
};
use proplet_types::Digest;
use serde_json::{Value, json};

use crate::support::*;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

async fn push_plain(scene: &Scene, component: &[u8]) -> ImageReference {
    let host = scene.services.registry.host();
    let reference: ImageReference = format!("{host}/plain:v1").parse().unwrap();
    let artifact = Artifact::wasm(component.to_vec().into()).unwrap();
    let digest = push(&registry_over_http(&host), &reference, &artifact)
        .await
        .unwrap();
    reference.with_digest(digest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_image_is_no_encrypted_task_and_the_reverse() {
    let scene = Scene::new().await;
    let component = guest(GuestName::HelloAttest).await;
    let plain = push_plain(&scene, &component).await;
    assert_refused(
        &scene.run(&task(&plain, &["x"])).await,
        "image-not-encrypted",
    );
    let (_, encrypted) = scene.publish(&component, "").await;
    let as_plain = Task {
        encrypted: false,
        ..task(&encrypted, &["x"])
    };
    assert_refused(&scene.run(&as_plain).await, "image-encrypted");
    assert_eq!(scene.services.key_broker.counts().auth, 0);
    assert_eq!(scene.tee.evidence_calls(), 0, "neither component began");
    // A component inside the start message is no encrypted one either.
    let mut inside = plain_task(&component, "x");
    inside.encrypted = true;
    assert_refused(&scene.run(&inside).await, "task-invalid");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_expected_key_must_be_the_images() {
    let scene = Scene::new().await;
    let (_, image) = scene
        .publish(&guest(GuestName::HelloAttest).await, "")
        .await;
    let with = |path: &str| Task {
        kbs_resource_path: path.into(),
        ..task(&image, &["x"])
    };
    assert_refused(
        &scene.run(&with("alice/key/other")).await,
        "image-key-mismatch",
    );
    assert_eq!(scene.services.key_broker.counts().auth, 0);
    assert_eq!(scene.run(&with("alice/key/module")).await.error, None);
    // Also when everything is warm.
    assert_refused(
        &scene.run(&with("mallory/key/module")).await,
        "image-key-mismatch",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_of_manifest_config_or_layer_is_refused() {
    let scene = Scene::new().await;
    let (workload, image) = scene
        .publish(&guest(GuestName::HelloAttest).await, "")
        .await;
    let manifest = workload.image.manifest().unwrap();
    let registry = &scene.services.registry;
    let layer = Target::Blob(manifest.layer.digest.to_string());
    let middle = workload.image.layer().len() * 4;
    for (target, fault) in [
        (Target::Manifests, Fault::FlipBit(801)),
        (
            Target::Blob(manifest.config.digest.to_string()),
            Fault::FlipBit(9),
        ),
        (layer.clone(), Fault::FlipBit(0)),
        (layer.clone(), Fault::FlipBit(middle)),
        (layer, Fault::FlipBit(middle * 2 - 1)),
    ] {
        registry.inject(target.clone(), fault);
        let outcome = scene.run(&task(&image, &["x"])).await;
        assert_refused(&outcome, "image-digest-mismatch");
        registry.heal();
    }
    // The host's own evidence for the key broker, and no component's.
    assert_eq!(scene.tee.evidence_calls(), 1);
    scene.ask(&image, "x").await;
}

/// Pushes the workload with changes to the manifest and the layer, under correct digests: whoever can
/// write to the registry can do that.
fn forge(
    scene: &Scene,
    workload: &EncryptedComponent,
    change: impl FnOnce(&mut Value, &mut Vec<u8>),
) -> ImageReference {
    let registry = &scene.services.registry;
    let mut manifest: Value = serde_json::from_slice(workload.image.manifest_bytes()).unwrap();
    let mut layer = workload.image.layer().to_vec();
    change(&mut manifest, &mut layer);
    manifest["layers"][0]["digest"] = json!(registry.insert_blob(layer.clone()));
    manifest["layers"][0]["size"] = json!(layer.len());
    let digest = registry.insert_manifest("module", "forged", MANIFEST, manifest.to_string());
    format!("{}/module@{digest}", registry.host())
        .parse()
        .unwrap()
}

fn annotation(manifest: &mut Value, name: &str) -> String {
    let annotations = &manifest["layers"][0]["annotations"];
    let name = format!("org.opencontainers.image.enc.{name}");
    annotations[&name].as_str().unwrap().to_owned()
}

fn set_annotation(manifest: &mut Value, name: &str, value: String) {
    manifest["layers"][0]["annotations"][format!("org.opencontainers.image.enc.{name}")] =
        value.into();
}

const PUBLIC: &str = "pubopts";
const PACKET: &str = "keys.provider.attestation-agent";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_can_write_to_the_registry_cannot_change_what_runs() {
    let scene = Scene::new().await;
    let component = guest(GuestName::HelloAttest).await;
    let (workload, _) = scene.publish(&component, "").await;
    // Another image of the same owner, under the same key-encryption key.
    let plain = Artifact::wasm(guest(GuestName::Hostile).await.into()).unwrap();
    let key_id = workload.key_id.clone();
    let other = proplet_image::encrypt::encrypt(&plain, workload.key.as_ref(), &key_id).unwrap();
    let mut other_manifest: Value = serde_json::from_slice(other.manifest_bytes()).unwrap();
    let other_packet = annotation(&mut other_manifest, PACKET);
    let other_public = annotation(&mut other_manifest, PUBLIC);

    let forged = [
        // One bit of ciphertext.
        (
            forge(&scene, &workload, |_, layer| layer[1000] ^= 1),
            "image-hmac-mismatch",
        ),
        // A layer cut short.
        (
            forge(&scene, &workload, |_, layer| layer.truncate(1000)),
            "image-hmac-mismatch",
        ),
        // Another layer with this image's key.
        (
            forge(&scene, &workload, |_, layer| {
                *layer = other.layer().to_vec()
            }),
            "image-hmac-mismatch",
        ),
        // The key of another layer.
        (
            forge(&scene, &workload, |manifest, _| {
                set_annotation(manifest, PACKET, other_packet.clone());
            }),
            "image-hmac-mismatch",
        ),
        // The HMAC of another layer.
        (
            forge(&scene, &workload, |manifest, _| {
                set_annotation(manifest, PUBLIC, other_public.clone());
            }),
            "image-hmac-mismatch",
        ),
        // In clear, with the encrypted image's annotations.
        (
            forge(&scene, &workload, |_, layer| *layer = component.clone()),
            "image-hmac-mismatch",
        ),
        // In clear, and said to be.
        (
            forge(&scene, &workload, |manifest, layer| {
                *layer = component.clone();
                manifest["layers"][0]["mediaType"] = json!("application/wasm");
                manifest["layers"][0]["annotations"] = json!({});
            }),
            "image-not-encrypted",
        ),
    ];
    for (number, (image, code)) in forged.iter().enumerate() {
        let outcome = scene.run(&task(image, &["x"])).await;
        assert_eq!(outcome.results, "", "forgery {number}");
        assert_code(&outcome, code);
    }
    assert_eq!(scene.tee.evidence_calls(), 1, "no component began");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrapped_key_with_another_plaintext_digest_is_refused() {
    // The owner of the key swore to a digest that the plaintext does not have.
    let scene = Scene::new().await;
    let component = guest(GuestName::HelloAttest).await;
    let (workload, _) = scene.publish(&component, "").await;
    let lied = forge(&scene, &workload, |manifest, _| {
        let packet = rewrapped(&annotation(manifest, PACKET), &workload);
        set_annotation(manifest, PACKET, packet);
    });
    let outcome = scene.run(&task(&lied, &["x"])).await;
    assert_refused(&outcome, "image-plain-digest-mismatch");
}

/// The packet with another plaintext digest in it, wrapped with A256GCM under the same key.
fn rewrapped(packet: &str, workload: &EncryptedComponent) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use proplet_image::ocicrypt::{AnnotationPacket, PrivateOptions, unwrap_options, wrap_options};
    let packet = AnnotationPacket::from_json(&STANDARD.decode(packet).unwrap()).unwrap();
    let options = unwrap_options(&packet, workload.key.as_ref()).unwrap();
    let mut members: Value = serde_json::from_slice(&options.to_json()).unwrap();
    members["digest"] = json!(Digest::of(b"something else").to_string());
    let options = PrivateOptions::from_json(members.to_string().as_bytes()).unwrap();
    let packet = wrap_options(&options, workload.key.as_ref(), uri(KEY)).unwrap();
    STANDARD.encode(packet.to_json().unwrap())
}
