//! `secrets` and `reveal`, as a component meets them: each answer that they can give.

use proplet_testkit::{
    guests::GuestName,
    kbs::{Endpoint, Fault, Policy},
};

use crate::support::*;

/// Secrets that the policy grants, and what is wrong with each.
const MISSING: &str = "kbs:///alice/data/missing";
const DENIED: &str = "kbs:///alice/data/denied";
const LARGE: &str = "kbs:///alice/data/large";
const OPAQUE: &str = "kbs:///alice/data/opaque";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_granted_secret_is_given() {
    let scene = Scene::new().await;
    let probe = guest(GuestName::SecretProbe).await;
    let (_, image) = scene.publish(&probe, &revealing(&[SECRET])).await;
    assert_eq!(
        scene.ask(&image, &format!("secret {SECRET}")).await,
        SECRET.as_bytes()
    );
    assert_eq!(
        scene.ask(&image, &format!("reveal {SECRET}")).await,
        CANARY.as_bytes()
    );
    assert_eq!(
        scene.ask(&image, &format!("publish {SECRET}")).await,
        CANARY.as_bytes()
    );
    // One request for the key, one for the secret; the others are served from memory.
    assert_eq!(scene.services.key_broker.counts().resources, 2);
    assert!(!scene.was_told(CANARY));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refusal_of_a_secret_has_its_own_words() {
    let scene = Scene::with("[limits]\nhandles = 20\n").await;
    let broker = &scene.services.key_broker;
    broker.set_resource(&uri(DENIED), CANARY.as_bytes());
    broker.set_resource(&uri(LARGE), &vec![7; (1 << 20) + 1]);
    broker.set_policy(Policy::predicate(|request| {
        request.path != "alice/data/denied"
    }));
    let probe = guest(GuestName::SecretProbe).await;
    let granted = revealing(&[SECRET, MISSING, DENIED, LARGE]);
    let (_, image) = scene.publish(&probe, &granted).await;
    for (input, words) in [
        ("secret https://alice/data/secret".to_owned(), "kbs:///"),
        ("secret kbs:///alice/data".to_owned(), "three"),
        (format!("secret {OPAQUE}"), "does not grant this secret"),
        (
            format!("secret {DENIED}"),
            "refuses the secret to this host",
        ),
        (format!("secret {MISSING}"), "no such secret"),
        (format!("secret {LARGE}"), "larger than 1048576 bytes"),
        (format!("hoard {SECRET}"), "20: the task holds 20"),
    ] {
        let failure = scene.ask_in_vain(&image, &input, "guest-failed").await;
        assert!(failure.error.contains(words), "{input}: {}", failure.error);
        assert!(!failure.error.contains(CANARY));
    }
    // The key broker has said its last word on these, and is not asked again and again.
    let asked = broker.counts();
    for address in [DENIED, MISSING, LARGE] {
        let input = format!("secret {address}");
        scene.ask_in_vain(&image, &input, "guest-failed").await;
    }
    assert_eq!(broker.counts(), asked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_cannot_keep_the_key_broker_busy() {
    let scene = Scene::with("[limits]\nsecret_quota = 3\n").await;
    let probe = guest(GuestName::SecretProbe).await;
    let granted = revealing(&[MISSING]);
    let input = format!("insist {MISSING}");
    // A policy lowers the quota and does not raise it.
    for (limits, quota) in [
        ("", 3),
        ("[limits]\nsecret_quota = 1\n", 1),
        ("[limits]\nsecret_quota = 9\n", 3),
        ("[limits]\nsecret_quota = 0\n", 0),
    ] {
        let (_, image) = scene.publish(&probe, &format!("{granted}{limits}")).await;
        for _ in 0..2 {
            let before = scene.services.key_broker.counts().resources;
            let failure = scene.ask_in_vain(&image, &input, "guest-failed").await;
            let words = format!("{quota}: this task has asked for secrets {quota} times");
            assert!(failure.error.contains(&words), "{}", failure.error);
            // The key of the component, and what the quota lets through.
            let asked = scene.services.key_broker.counts().resources - before;
            assert!(asked <= 1 + quota, "{quota}: {asked}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_broker_that_does_not_answer_is_told_from_one_that_refuses() {
    let scene = Scene::new().await;
    let probe = guest(GuestName::SecretProbe).await;
    let granted = revealing(&[SECRET, OPAQUE]);
    scene
        .services
        .key_broker
        .set_resource(&uri(OPAQUE), b"there");
    let (_, image) = scene.publish(&probe, &granted).await;
    scene.ask(&image, &format!("reveal {SECRET}")).await;
    for (fault, words) in [
        (Fault::Status(503), "did not answer"),
        (Fault::Tampered, "no secret"),
        (Fault::Garbage, "no secret"),
    ] {
        scene
            .services
            .key_broker
            .inject(Endpoint::Resource, fault.clone());
        let input = format!("secret {OPAQUE}");
        let failure = scene.ask_in_vain(&image, &input, "guest-failed").await;
        assert!(
            failure.error.contains(words),
            "{fault:?}: {}",
            failure.error
        );
        scene.services.key_broker.heal();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_are_shown_only_where_the_policy_says_so() {
    let scene = Scene::new().await;
    scene
        .services
        .key_broker
        .set_resource(&uri(OPAQUE), CANARY.as_bytes());
    let opaque = format!("[[secrets]]\nuri = {OPAQUE:?}\n");
    let probe = guest(GuestName::SecretProbe).await;
    // Some secret may be seen, so `reveal` is linked; this one may not.
    let both = format!("{opaque}{}", revealing(&[SECRET]));
    let (_, image) = scene.publish(&probe, &both).await;
    assert_eq!(
        scene.ask(&image, &format!("secret {OPAQUE}")).await,
        OPAQUE.as_bytes()
    );
    let failure = scene
        .ask_in_vain(&image, &format!("reveal {OPAQUE}"), "guest-failed")
        .await;
    assert!(
        failure.error.contains("`reveal` is not set"),
        "{}",
        failure.error
    );
    // No secret may be seen: a component that could look is refused, one that cannot is not.
    let (_, image) = scene.publish(&probe, &opaque).await;
    let failure = scene
        .ask_in_vain(&image, &format!("secret {OPAQUE}"), "import-not-granted")
        .await;
    assert!(failure.error.contains("reveal"), "{}", failure.error);
    let holder = guest(GuestName::SecretHolder).await;
    let (_, image) = scene.publish(&holder, &opaque).await;
    assert_eq!(scene.ask(&image, OPAQUE).await, OPAQUE.as_bytes());
    assert!(!scene.was_told(CANARY));
}
