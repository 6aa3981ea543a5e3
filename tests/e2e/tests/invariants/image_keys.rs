//! Keys of images and secrets are separate name spaces: what was ever shown to somebody decrypts nothing,
//! and what decrypts is shown to nobody.

use proplet_component::Policy;
use proplet_image::{Artifact, ImageReference, encrypt::encrypt, push::push};
use proplet_lab::workload::registry_over_http;
use proplet_testkit::guests::GuestName;

use crate::support::*;

/// A secret of alice's that mallory knows: a component revealed it, or it never was one.
const KNOWN: &str = "kbs:///alice/data/known";
const KNOWN_BYTES: [u8; 32] = [0x5a; 32];

/// Encrypts the probe under any key and key id, with a policy that lets it see alice's secret.
async fn encrypted_under(scene: &Scene, key: &[u8], key_id: &str) -> ImageReference {
    let policy = scene.policy(&revealing(&[SECRET]));
    let probe = guest(GuestName::SecretProbe).await;
    let component = Policy::embed(&probe, policy.as_bytes()).unwrap();
    let image = encrypt(
        &Artifact::wasm(component.into()).unwrap(),
        key,
        &uri(key_id),
    )
    .unwrap();
    let host = scene.services.registry.host();
    let reference: ImageReference = format!("{host}/forged:v1").parse().unwrap();
    let digest = push(&registry_over_http(&host), &reference, &image).await;
    reference.with_digest(digest.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_known_secret_cannot_pass_for_an_image_key() {
    let scene = Scene::new().await;
    let broker = &scene.services.key_broker;
    for key_id in [
        KNOWN,
        "kbs:///alice/keys/known",
        "kbs:///alice/KEY/known",
        "kbs:///key/data/key",
    ] {
        broker.set_resource(&uri(key_id), &KNOWN_BYTES);
        let image = encrypted_under(&scene, &KNOWN_BYTES, key_id).await;
        let mut task = task(&image, &[&format!("reveal {SECRET}")]);
        for expected in ["", uri(key_id).path()] {
            task.id = new_id();
            expected.clone_into(&mut task.kbs_resource_path);
            assert_refused(&scene.run(&task).await, "image-key-type");
        }
    }
    assert_eq!(broker.counts(), Default::default(), "nobody was asked");
    assert_eq!(scene.tee.evidence_calls(), 0);
    assert!(!scene.was_told(CANARY));

    // The same image under a key that is one, which shows that the refusal was about the type.
    let key_id = "kbs:///alice/key/known";
    broker.set_resource(&uri(key_id), &KNOWN_BYTES);
    let image = encrypted_under(&scene, &KNOWN_BYTES, key_id).await;
    let shown = scene.ask(&image, &format!("reveal {SECRET}")).await;
    assert_eq!(shown, CANARY.as_bytes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_key_is_given_to_no_component_whatever_its_policy_says() {
    let scene = Scene::new().await;
    let broker = &scene.services.key_broker;
    let others = ["kbs:///alice/key/other", "kbs:///alice/KEY/other"];
    for other in others {
        broker.set_resource(&uri(other), CANARY.as_bytes());
    }
    let granted = [KEY, others[0], others[1], SECRET];
    let probe = guest(GuestName::SecretProbe).await;
    let (_, image) = scene.publish(&probe, &revealing(&granted)).await;
    scene.ask(&image, &format!("secret {SECRET}")).await;
    let before = broker.counts();
    for key in [KEY, others[0], others[1]] {
        for word in ["secret", "reveal"] {
            let input = format!("{word} {key}");
            let failure = scene.ask_in_vain(&image, &input, "guest-failed").await;
            assert!(failure.error.contains("decrypt images"), "{failure:?}");
        }
    }
    assert_eq!(broker.counts(), before, "nobody was asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recipients_are_not_read_from_an_image_key() {
    let scene = Scene::new().await;
    let broker = &scene.services.key_broker;
    let readers = "kbs:///alice/key/readers";
    let set = serde_json::json!({ "keys": [scene.owner.public().to_jwk()] });
    broker.set_resource(&uri(readers), set.to_string().as_bytes());
    let policy = format!("version = 1\nrecipients_resource = {readers:?}\n");
    let component = guest(GuestName::HelloAttest).await;
    let (_, image) = scene.publish_as(&component, &policy, KEY).await;
    assert_refused(
        &scene.run(&task(&image, &["x"])).await,
        "recipients-invalid",
    );
    assert_eq!(broker.counts().resources, 1, "the key of the image");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_settings_name_the_types_that_decrypt_images() {
    let scene = Scene::with("[confidential]\nimage_key_types = [\"image\"]\n").await;
    let broker = &scene.services.key_broker;
    let ours = "kbs:///alice/image/module";
    broker.set_resource(&uri(ours), &KNOWN_BYTES);
    broker.set_resource(&uri(KEY), &KNOWN_BYTES);
    let image = encrypted_under(&scene, &KNOWN_BYTES, ours).await;
    let shown = scene.ask(&image, &format!("reveal {SECRET}")).await;
    assert_eq!(shown, CANARY.as_bytes());
    let image = encrypted_under(&scene, &KNOWN_BYTES, KEY).await;
    let outcome = scene.run(&task(&image, &["x"])).await;
    assert_refused(&outcome, "image-key-type");
    let error = outcome.error.unwrap();
    assert!(error.contains("`image`"), "{error}");
    assert!(error.contains("image_key_types"), "{error}");
}

/// What lets a host in elsewhere: whatever an owner's policy says, no component sees it, and no image is opened with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_of_a_host_is_given_to_no_component_and_opens_no_image() {
    let scene = Scene::new().await;
    let broker = &scene.services.key_broker;
    let credentials = [
        "kbs:///alice/host-credential/mqtt",
        "kbs:///alice/Host-Credential/mqtt",
    ];
    for credential in credentials {
        broker.set_resource(&uri(credential), &KNOWN_BYTES);
    }
    let granted = [credentials[0], credentials[1], SECRET];
    let probe = guest(GuestName::SecretProbe).await;
    let (_, image) = scene.publish(&probe, &revealing(&granted)).await;
    scene.ask(&image, &format!("secret {SECRET}")).await;
    let before = broker.counts();
    for credential in credentials {
        for word in ["secret", "reveal"] {
            let input = format!("{word} {credential}");
            let failure = scene.ask_in_vain(&image, &input, "guest-failed").await;
            assert!(failure.error.contains("let hosts in"), "{failure:?}");
        }
    }
    let policy = format!("version = 1\nrecipients_resource = {:?}\n", credentials[0]);
    let component = guest(GuestName::HelloAttest).await;
    let (_, readers) = scene.publish_as(&component, &policy, KEY).await;
    let outcome = scene.run(&task(&readers, &["x"])).await;
    assert_refused(&outcome, "recipients-invalid");
    let asked = broker.counts().resources - before.resources;
    assert_eq!(asked, 1, "the key of the image");

    for credential in credentials {
        let image = encrypted_under(&scene, &KNOWN_BYTES, credential).await;
        let before = broker.counts();
        let outcome = scene.run(&task(&image, &["x"])).await;
        assert_refused(&outcome, "image-key-type");
        assert_eq!(broker.counts(), before, "nobody was asked");
    }
}
