//! Bad answers of the key broker, and bad tokens: from whoever stands in its place.

use std::time::Duration;

use proplet_testkit::broker::Task;
use proplet_testkit::kbs::{Endpoint, Fault, Policy};

use crate::scene::{Scene, adder};

const PROTOCOL: &str = "kbs-protocol";
const UNAVAILABLE: &str = "kbs-unavailable";
const REJECTED: &str = "kbs-evidence-rejected";

fn encrypted(scene: &Scene, image: &str) -> Task {
    Task::encrypted(&scene.fresh("encrypted"), "add", image)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_endpoint_can_misbehave_in_every_way() {
    let scene = Scene::set("").await;
    let broker = &scene.services.key_broker;
    let elsewhere = format!("{}/kbs/v0/auth", broker.url());
    use Endpoint::{Attest, Auth, Resource};
    let mut cases = Vec::new();
    for endpoint in [Auth, Attest, Resource] {
        for (fault, expected) in [
            (Fault::Drop, UNAVAILABLE),
            (Fault::Truncate, UNAVAILABLE),
            (Fault::Silence, UNAVAILABLE),
            (Fault::Status(500), UNAVAILABLE),
            (Fault::Status(503), UNAVAILABLE),
            (Fault::Status(413), UNAVAILABLE),
            (Fault::Status(404), UNAVAILABLE),
            (Fault::Status(401), PROTOCOL),
            (Fault::Status(418), PROTOCOL),
            (Fault::Status(204), PROTOCOL),
            (Fault::Garbage, PROTOCOL),
            (Fault::Redirect(elsewhere.clone()), PROTOCOL),
            (Fault::Redirect("file:///etc/passwd".into()), PROTOCOL),
            (Fault::Refuse("NobodyKnowsThis"), PROTOCOL),
            (Fault::Refuse("HTTPFailed"), UNAVAILABLE),
            (Fault::Refuse("JweError"), PROTOCOL),
        ] {
            cases.push((endpoint, fault, expected));
        }
    }
    cases.extend([
        (Auth, Fault::Oversize(8 << 20), PROTOCOL),
        (Attest, Fault::Oversize(8 << 20), PROTOCOL),
        (Resource, Fault::Oversize(8 << 20), "kbs-too-large"),
        (Auth, Fault::Refuse("AttestationError"), REJECTED),
        (Attest, Fault::Refuse("AttestationError"), REJECTED),
        (Resource, Fault::Refuse("PolicyDeny"), "kbs-denied"),
        (
            Resource,
            Fault::Refuse("PluginInternalError"),
            "kbs-not-found",
        ),
        (
            Resource,
            Fault::Refuse("TokenVerifierError"),
            "kbs-token-refused",
        ),
        (
            Resource,
            Fault::Refuse("TokenNotFound"),
            "kbs-token-refused",
        ),
        (Resource, Fault::Algorithm("none"), PROTOCOL),
        (Resource, Fault::Algorithm("dir"), PROTOCOL),
        (Resource, Fault::Algorithm("RSA1_5"), PROTOCOL),
        (Resource, Fault::Tampered, PROTOCOL),
    ]);
    for (endpoint, fault, expected) in cases {
        let what = format!("{endpoint:?} {:.60}", format!("{fault:?}"));
        let image = scene.publish(&adder(), None).await;
        // No session and no token is left, so the whole handshake is due.
        broker.forget_sessions();
        broker.replace_signing_key().unwrap();
        broker.inject(endpoint, fault);
        scene
            .refused(&what, &encrypted(&scene, &image), expected)
            .await;
        broker.heal();
        assert_eq!(scene.served(&what, &image).await, b"30", "{what}");
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_and_sessions_that_are_no_longer_good_are_replaced() {
    let scene = Scene::set("").await;
    let broker = &scene.services.key_broker;
    let first = scene.publish(&adder(), None).await;
    assert_eq!(scene.served("the first", &first).await, b"30");
    let attested = broker.counts().attest;
    let image = scene.publish(&adder(), None).await;
    assert_eq!(scene.served("with the same token", &image).await, b"30");
    assert_eq!(broker.counts().attest, attested);
    for what in ["another signing key", "a refused token", "no session"] {
        let image = scene.publish(&adder(), None).await;
        match what {
            "another signing key" => broker.replace_signing_key().unwrap(),
            "no session" => broker.forget_sessions(),
            _ => broker.inject_times(Endpoint::Resource, Fault::Refuse("TokenVerifierError"), 1),
        }
        assert_eq!(scene.served(what, &image).await, b"30", "{what}");
    }
    assert_eq!(broker.counts().attest, attested + 2);
    // A refusal by policy is not a question of the token, and is not asked again.
    let image = scene.publish(&adder(), None).await;
    broker.set_policy(Policy::DenyAll);
    let attested = broker.counts().attest;
    scene
        .refused("denied", &encrypted(&scene, &image), "kbs-denied")
        .await;
    assert_eq!(broker.counts().attest, attested);
    broker.set_policy(Policy::Default);
    assert_eq!(scene.served("allowed again", &image).await, b"30");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_broker_that_goes_away_is_missed_by_encrypted_tasks_only() {
    let scene = Scene::set("").await;
    let image = scene.publish(&adder(), None).await;
    for endpoint in [Endpoint::Auth, Endpoint::Attest] {
        scene.services.key_broker.inject(endpoint, Fault::Silence);
    }
    // Several wait at once; each is answered in time, and plain tasks do not wait with them.
    let waiting: Vec<_> = (0..4).map(|_| encrypted(&scene, &image)).collect();
    for task in &waiting {
        scene.services.manager.start(task).await.unwrap();
    }
    let started = std::time::Instant::now();
    for task in &waiting {
        let outcome = scene.answer(&task.id).await;
        assert_eq!(crate::scene::code("silence", &outcome), UNAVAILABLE);
    }
    assert!(started.elapsed() < Duration::from_secs(30));
    scene.services.key_broker.heal();
    assert_eq!(scene.served("healed", &image).await, b"30");
    scene.end().await;
}
