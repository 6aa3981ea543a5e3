//! Two owners at one key broker: `alice`, who has a secret, and `mallory`, who wants it and can have her
//! own components encrypted, pushed and started.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proplet_component::{Component, Policy};
use proplet_image::{
    Artifact, ImageReference, WrapType,
    ocicrypt::{AnnotationPacket, OcicryptError},
    push::push,
};
use proplet_jose::jwk::PrivateKey;
use proplet_lab::{
    Services,
    workload::{EncryptedComponent, registry_over_http, with_recipients},
};
use proplet_results::verify::Expectations;
use proplet_testkit::{broker::Task, guests::GuestName, kbs::Counts};
use serde_json::{Value, json};

use crate::support::*;

const MALLORYS_KEY: &str = "kbs:///mallory/key/module";
const MALLORYS_SECRET: &str = "kbs:///mallory/data/own";
/// Everything that the probe can do with a secret.
const WORDS: [&str; 7] = [
    "secret", "reveal", "hoard", "publish", "print", "fail", "panic",
];

/// What the key broker was asked for, beyond the key of the component itself.
fn asked(scene: &Scene) -> Counts {
    scene.services.key_broker.counts()
}

/// Nothing of the secret went anywhere.
fn assert_kept(scene: &Scene) {
    assert!(!scene.was_told(CANARY));
    assert!(!scene.was_told(&STANDARD.encode(CANARY)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_component_is_refused_at_its_imports() {
    let scene = Scene::new().await;
    for name in [GuestName::SecretProbe, GuestName::SecretHolder] {
        let component = guest(name).await;
        for word in WORDS {
            let input = match name {
                GuestName::SecretProbe => format!("{word} {SECRET}"),
                _ => SECRET.to_owned(),
            };
            let outcome = scene.run(&plain_task(&component, &input)).await;
            assert_refused(&outcome, "import-not-granted");
            let error = outcome.error.unwrap();
            assert!(error.contains("propeller:confidential/secrets"), "{error}");
        }
    }
    assert_eq!(asked(&scene), Counts::default());
    assert_kept(&scene);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_component_cannot_grant_itself_anything() {
    let scene = Scene::new().await;
    let policy = scene.policy(&revealing(&[SECRET]));
    let probe = guest(GuestName::SecretProbe).await;
    let component = Policy::embed(&probe, policy.as_bytes()).unwrap();
    let input = format!("reveal {SECRET}");
    // In the start message, and as an image.
    let outcome = scene.run(&plain_task(&component, &input)).await;
    assert_refused(&outcome, "import-not-granted");
    let host = scene.services.registry.host();
    let reference: ImageReference = format!("{host}/plain:v1").parse().unwrap();
    let artifact = Artifact::wasm(component.into()).unwrap();
    push(&registry_over_http(&host), &reference, &artifact)
        .await
        .unwrap();
    let plain = Task {
        encrypted: false,
        ..task(&reference, &[&input])
    };
    assert_refused(&scene.run(&plain).await, "import-not-granted");
    assert_eq!(asked(&scene), Counts::default());
    assert_kept(&scene);
    // A policy that restricts does not count either: there is nobody whose word it is.
    let closed = Policy::embed(
        &guest(GuestName::Hostile).await,
        b"version = 1\nexports = []\n",
    );
    let outcome = scene.run(&plain_task(&closed.unwrap(), "echo x")).await;
    assert_eq!(outcome.error, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_under_its_own_key_reaches_its_own_repository_only() {
    let scene = Scene::new().await;
    let mine = b"of-mallory-herself";
    scene
        .services
        .key_broker
        .set_resource(&uri(MALLORYS_SECRET), mine);
    let policy = scene.policy(&revealing(&[SECRET, MALLORYS_SECRET]));
    let probe = guest(GuestName::SecretProbe).await;
    let (_, image) = scene.publish_as(&probe, &policy, MALLORYS_KEY).await;
    assert_eq!(
        scene
            .ask(&image, &format!("reveal {MALLORYS_SECRET}"))
            .await,
        mine
    );
    let before = asked(&scene);
    for word in WORDS {
        let input = format!("{word} {SECRET}");
        let failure = scene.ask_in_vain(&image, &input, "guest-failed").await;
        assert!(failure.error.contains("repository"), "{}", failure.error);
        assert!(!format!("{} {}", failure.error, failure.stderr).contains(CANARY));
    }
    let holder = guest(GuestName::SecretHolder).await;
    let (_, image) = scene.publish_as(&holder, &policy, MALLORYS_KEY).await;
    scene.ask_in_vain(&image, SECRET, "guest-failed").await;
    // The holder's image key, and alice's repository never.
    assert_eq!(asked(&scene).resources, before.resources + 1);
    assert_eq!(asked(&scene).released, before.released + 1);
    assert_kept(&scene);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_host_keeps_for_one_owner_is_not_there_for_another() {
    let scene = Scene::new().await;
    let policy = scene.policy(&revealing(&[SECRET]));
    let probe = guest(GuestName::SecretProbe).await;
    let input = format!("reveal {SECRET}");
    let (_, alices) = scene.publish_as(&probe, &policy, KEY).await;
    assert_eq!(scene.ask(&alices, &input).await, CANARY.as_bytes());
    // The very same bytes, and so the same digest and the same compiled code, under another key.
    let (_, mallorys) = scene.publish_as(&probe, &policy, MALLORYS_KEY).await;
    let failure = scene.ask_in_vain(&mallorys, &input, "guest-failed").await;
    assert!(failure.error.contains("repository"), "{}", failure.error);
    assert_eq!(scene.ask(&alices, &input).await, CANARY.as_bytes());
    assert_kept(&scene);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_cannot_be_twisted() {
    let scene = Scene::new().await;
    let probe = guest(GuestName::SecretProbe).await;
    let policy = scene.policy(&revealing(&[MALLORYS_SECRET]));
    let (_, image) = scene.publish_as(&probe, &policy, MALLORYS_KEY).await;
    scene
        .ask_in_vain(&image, &format!("reveal {SECRET}"), "guest-failed")
        .await;
    let before = asked(&scene);
    for address in [
        SECRET,
        "kbs:///mallory/../alice/data/secret",
        "kbs:///mallory/data/own/../../../alice/data/secret",
        "kbs:///mallory%2f..%2falice/data/secret",
        "kbs:///mallory/data/own?x=/alice/data/secret",
        "kbs:///mallory/data/own#/alice/data/secret",
        "kbs://mallory/alice/data/secret",
        "kbs:////alice/data/secret",
        "KBS:///alice/data/secret",
        "kbs:///alice/data/secret\0",
        "alice/data/secret",
        "",
    ] {
        scene
            .ask_in_vain(&image, &format!("reveal {address}"), "guest-failed")
            .await;
        // Nor can a policy name such a thing, but for the one that is an address.
        let policy = revealing(&[address]);
        let valid = Policy::parse(format!("version = 1\n{policy}").as_bytes()).is_ok();
        assert_eq!(valid, address == SECRET, "{address}");
    }
    assert_eq!(asked(&scene), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owners_key_id_is_not_the_owners_key() {
    // Mallory says that her component is encrypted under alice's key, which would make it alice's.
    let scene = Scene::new().await;
    let probe = guest(GuestName::SecretProbe).await;
    let (alices, _) = scene.publish(&probe, &revealing(&[SECRET])).await;
    let policy = scene.policy(&revealing(&[SECRET]));
    let forged = EncryptedComponent::encrypt(&probe, Some(&policy), uri(KEY)).unwrap();
    assert_ne!(alices.key, forged.key);
    let host = scene.services.registry.host();
    let reference = format!("{host}/forged:v1").parse().unwrap();
    let image = forged
        .push(&registry_over_http(&host), &reference)
        .await
        .unwrap();
    let outcome = scene
        .run(&task(&image, &[&format!("reveal {SECRET}")]))
        .await;
    assert_refused(&outcome, "image-key-mismatch");
    assert_kept(&scene);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_in_a_nested_part_does_not_count() {
    let scene = Scene::new().await;
    let policy = scene.policy(&revealing(&[SECRET]));
    let inner = Policy::embed(&guest(GuestName::SecretProbe).await, policy.as_bytes()).unwrap();
    // A component that is nothing but another one inside.
    let mut outer = b"\0asm\x0d\0\x01\0\x04".to_vec();
    let mut length = inner.len();
    while length >= 0x80 {
        outer.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    outer.push(length as u8);
    outer.extend(inner);
    assert_eq!(Component::of(outer.clone()).policy(), Ok(None));
    let published = scene
        .services
        .publish("nested", &outer, None, uri(MALLORYS_KEY));
    let (_, image) = published.await.unwrap();
    let outcome = scene
        .run(&task(&image, &[&format!("reveal {SECRET}")]))
        .await;
    // Its recipients do not count either.
    assert_refused(&outcome, "no-recipients");
}

/// The same image with its key wrapped in A256CTR. GCM encrypts in counter mode from a block that
/// ends in 2, so whoever can write to the registry can take the tag away, without the key.
fn downgraded(workload: &EncryptedComponent) -> Result<Value, OcicryptError> {
    const PACKET: &str = "org.opencontainers.image.enc.keys.provider.attestation-agent";
    let mut manifest: Value = serde_json::from_slice(workload.image.manifest_bytes()).unwrap();
    let annotation = &mut manifest["layers"][0]["annotations"][PACKET];
    let json = STANDARD.decode(annotation.as_str().unwrap()).unwrap();
    let packet = AnnotationPacket::from_json(&json)?;
    let wrapped = packet.wrapped()[..packet.wrapped().len() - 16].to_vec();
    let iv = [packet.iv(), &[0, 0, 0, 2]].concat();
    let packet = AnnotationPacket::new(packet.kid().clone(), wrapped, iv, WrapType::A256Ctr)?;
    *annotation = json!(STANDARD.encode(packet.to_json()?));
    Ok(manifest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_under_an_unauthenticated_wrap_does_not_count() {
    let fallback = PrivateKey::generate_p256().unwrap();
    let named = with_recipients("", &[fallback.public().clone()]);
    for allowed in [false, true] {
        let services = Services::start().await.unwrap();
        let more = format!("[confidential]\nallow_a256ctr = {allowed}\n{named}");
        let scene = Scene::among(services, &more).await;
        let probe = guest(GuestName::SecretProbe).await;
        let (workload, honest) = scene.publish(&probe, &revealing(&[SECRET])).await;
        let registry = &scene.services.registry;
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = downgraded(&workload).unwrap().to_string();
        let digest = registry.insert_manifest("module", "downgraded", media_type, manifest);
        let image = format!("{}/module@{digest}", registry.host())
            .parse()
            .unwrap();
        let input = format!("reveal {SECRET}");
        let outcome = scene.run(&task(&image, &[&input])).await;
        if allowed {
            assert_code(&outcome, "import-not-granted");
            // Sealed to the settings' recipient: the policy's is nobody.
            let expected = Expectations::of_any_measurement();
            let failure = open_with(&fallback, &outcome, &expected).failure().unwrap();
            assert!(failure.error.contains("secrets"), "{}", failure.error);
            assert_eq!(asked(&scene).released, 1, "the key");
        } else {
            assert_refused(&outcome, "image-wrap-refused");
            assert_eq!(asked(&scene).auth, 0);
        }
        assert_kept(&scene);
        // The owner's own image is what it was.
        assert_eq!(scene.ask(&honest, &input).await, CANARY.as_bytes());
    }
}
