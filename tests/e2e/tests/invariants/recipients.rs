//! Invariant 7: recipients are the data owner's choice.

use proplet_image::ImageReference;
use proplet_jose::jwk::{PrivateKey, PublicKey};
use proplet_lab::{Services, workload::with_recipients};
use proplet_results::{ResultDocument, verify::Expectations};
use proplet_testkit::{broker::Outcome, guests::GuestName, kbs::Policy};
use serde_json::json;

use crate::support::*;

const RESOURCE: &str = "kbs:///alice/recipients/all";

fn key() -> PrivateKey {
    PrivateKey::generate_p256().unwrap()
}

/// Settings that name a recipient.
fn fallback(recipient: &PublicKey) -> String {
    with_recipients("", std::slice::from_ref(recipient)).replacen(
        "recipients",
        "[confidential]\nrecipients",
        1,
    )
}

/// Asserts that one key opens the result and the others do not.
fn assert_only(outcome: &Outcome, reader: &PrivateKey, others: &[&PrivateKey]) {
    assert_eq!(outcome.error, None);
    let only = Expectations {
        recipients: Some(vec![reader.public().thumbprint()]),
        ..Expectations::of_any_measurement()
    };
    open_with(reader, outcome, &only);
    let document = ResultDocument::from_text(&outcome.results).unwrap();
    for other in others {
        assert!(document.jwe.decrypt(other).is_err());
        assert!(!outcome.results.contains(&other.public().thumbprint()));
    }
}

async fn scene_with_fallback(recipient: &PrivateKey) -> Scene {
    let services = Services::start().await.unwrap();
    Scene::among(services, &fallback(recipient.public())).await
}

fn store(scene: &Scene, address: &str, keys: &[&PrivateKey]) {
    let keys: Vec<_> = keys.iter().map(|key| key.public().to_jwk()).collect();
    let set = json!({ "keys": keys }).to_string();
    scene
        .services
        .key_broker
        .set_resource(&uri(address), set.as_bytes());
}

async fn publish(scene: &Scene, policy: &str) -> ImageReference {
    let component = guest(GuestName::HelloAttest).await;
    scene.publish_as(&component, policy, KEY).await.1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_that_names_somebody_decides_alone() {
    let (policy, resource, settings) = (key(), key(), key());
    let scene = scene_with_fallback(&settings).await;
    store(&scene, RESOURCE, &[&resource]);
    let named = policy_for(policy.public(), "");
    let outcome = scene
        .run(&task(&publish(&scene, &named).await, &["x"]))
        .await;
    assert_only(&outcome, &policy, &[&resource, &settings]);

    let by_resource = format!("version = 1\nrecipients_resource = {RESOURCE:?}\n");
    let outcome = scene
        .run(&task(&publish(&scene, &by_resource).await, &["x"]))
        .await;
    assert_only(&outcome, &resource, &[&policy, &settings]);

    let outcome = scene
        .run(&task(&publish(&scene, "version = 1\n").await, &["x"]))
        .await;
    assert_only(&outcome, &settings, &[&policy, &resource]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_start_message_has_no_say() {
    let (owner, settings, manager) = (key(), key(), key());
    let scene = scene_with_fallback(&settings).await;
    store(&scene, "kbs:///alice/recipients/manager", &[&manager]);
    for (policy, reader) in [
        (policy_for(owner.public(), ""), &owner),
        ("version = 1\n".to_owned(), &settings),
    ] {
        let image = publish(&scene, &policy).await;
        let task = task(&image, &["x"]);
        let mut message = task.start_message();
        let jwk = manager.public().to_jwk();
        message["recipients"] = json!([jwk]);
        message["recipient"] = jwk.clone();
        message["recipients_resource"] = json!("kbs:///alice/recipients/manager");
        message["confidential"] = json!({ "recipients": [jwk] });
        message["env"]["recipients"] = json!(jwk.to_string());
        message["env"]["PROPLET_RECIPIENTS"] = json!(jwk.to_string());
        let text = message.to_string();
        scene
            .services
            .manager
            .send("control/manager/start", &text)
            .await
            .unwrap();
        let outcome = scene.services.manager.result(&task.id).await.unwrap();
        assert_only(&outcome, reader, &[&manager]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_recipient_a_component_does_not_begin() {
    let scene = Scene::new().await;
    let other = key();
    store(&scene, "kbs:///mallory/recipients/all", &[&other]);
    store(&scene, "kbs:///alice/recipients/none", &[]);
    let broker = &scene.services.key_broker;
    broker.set_resource(
        &uri("kbs:///alice/recipients/text"),
        b"-----BEGIN PUBLIC KEY-----",
    );
    let resource = |path: &str| format!("version = 1\nrecipients_resource = \"kbs:///{path}\"\n");
    // It would attest itself and ask for its secret as soon as it began.
    let component = guest(GuestName::ConfidentialInference).await;
    for (policy, code) in [
        ("version = 1\n".to_owned(), "no-recipients"),
        (resource("alice/recipients/none"), "recipients-invalid"),
        (resource("alice/recipients/text"), "recipients-invalid"),
        (resource("alice/recipients/missing"), "kbs-not-found"),
        (resource("mallory/recipients/all"), "recipients-invalid"),
    ] {
        let policy = format!("{policy}{}", revealing(&["kbs:///default/model/iris"]));
        let (_, image) = scene.publish_as(&component, &policy, KEY).await;
        let before = (scene.tee.evidence_calls(), broker.counts());
        assert_refused(&scene.run(&task(&image, &["{}"])).await, code);
        let after = (scene.tee.evidence_calls(), broker.counts());
        // One handshake, the first time; neither the instance nor a component attested.
        assert!(after.0 <= before.0.max(1), "{code}");
        // The key, and the recipients if they were asked for.
        let asked = after.1.resources - before.1.resources;
        let recipients = u64::from(policy.contains("kbs:///alice/recipients"));
        assert_eq!(asked, 1 + recipients, "{policy}");
    }
    assert_eq!(scene.tee.evidence_calls(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_is_told_who_the_recipients_are_and_cannot_add_one() {
    let scene = Scene::new().await;
    let component = guest(GuestName::Hostile).await;
    let (first, second) = (key(), key());
    let keys = [first.public().clone(), second.public().clone()];
    let policy = with_recipients("version = 1\n", &keys);
    let (_, image) = scene.publish_as(&component, &policy, KEY).await;
    let outcome = scene.run(&task(&image, &["recipients"])).await;
    let thumbprints: Vec<String> = keys.iter().map(PublicKey::thumbprint).collect();
    let expected = Expectations {
        recipients: Some(thumbprints.clone()),
        ..Expectations::of_any_measurement()
    };
    for reader in [&first, &second] {
        let opened = open_with(reader, &outcome, &expected);
        assert_eq!(opened.content[..], *thumbprints.join("\n").as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clear_error_does_not_say_where_the_policy_looks_for_recipients() {
    let scene = Scene::new().await;
    let broker = &scene.services.key_broker;
    broker.set_resource(&uri("kbs:///alice/canary-type/text"), b"canary-text");
    broker.set_resource(&uri("kbs:///alice/canary-type/denied"), b"{}");
    broker.set_policy(Policy::predicate(|request| {
        request.path != "alice/canary-type/denied"
    }));
    let component = guest(GuestName::HelloAttest).await;
    for (path, code) in [
        ("alice/canary-type/missing", "kbs-not-found"),
        ("alice/canary-type/denied", "kbs-denied"),
        ("alice/canary-type/text", "recipients-invalid"),
        ("canary/canary-type/all", "recipients-invalid"),
        ("alice/key/canary", "recipients-invalid"),
    ] {
        let policy = format!("version = 1\nrecipients_resource = \"kbs:///{path}\"\n");
        let (_, image) = scene.publish_as(&component, &policy, KEY).await;
        let outcome = scene.run(&task(&image, &["x"])).await;
        assert_refused(&outcome, code);
        let error = outcome.error.unwrap();
        assert!(!error.contains("canary"), "{error}");
    }
    assert!(!scene.was_told("canary"));
}
