//! Encrypted daemons: they run no longer than the key broker releases their key.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use proplet_testkit::{
    broker::Task,
    guests::{GuestName, build},
    kbs::{Endpoint, Fault, Policy},
};

use crate::support::*;

const SECRET: &str = "kbs:///alice/data/secret";
const SECRET_PATH: &str = "alice/data/secret";
const RECIPIENTS: &str = "kbs:///alice/data/readers";
const RECIPIENTS_PATH: &str = "alice/data/readers";

async fn sealed(scene: &Scene, component: &[u8], name: &str) -> Task {
    let image = scene.publish(component, &[name]).await;
    daemon(Task::encrypted(&new_id(), name, &image.to_string()))
}

/// Waits until the release was renewed so many times.
async fn renewed(scene: &Scene, times: u64) {
    let broker = &scene.services.key_broker;
    let released = broker.counts().released;
    while broker.counts().released < released + times {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_is_stopped_leaves_a_sealed_document() {
    let scene = Scene::new("").await;
    let first = sealed(&scene, &spinner(), "spin").await;
    let mut documents = Vec::new();
    // A stop may come before there is evidence to sign with; then it leaves nothing. There is for the next one.
    for _ in 0..20 {
        let task = Task {
            id: new_id(),
            ..first.clone()
        };
        scene.run_daemon(&task).await;
        scene.manager().stop(&task).await.unwrap();
        let outcome = scene.end_of(&task).await;
        assert_eq!(outcome.code(), "stopped");
        documents.extend(Some(outcome).filter(|outcome| !outcome.results.is_empty()));
        if !documents.is_empty() {
            break;
        }
    }
    let outcome = documents.pop().expect("nothing was sealed");
    let opened = scene.open(&outcome.results);
    assert!(opened.failure().is_some());
    let receipt = opened.report.receipt.unwrap();
    // It had none.
    assert!(!receipt.limits.contains_key("wall_clock_ms"));
    assert!(receipt.limits.contains_key("cpu_ms"));
    assert_eq!(receipt.invocation_id, None);
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wall_clock_of_the_policy_is_the_owners_and_holds() {
    let scene = Scene::new("").await;
    let more = "exports = [\"spin\"]\n[limits]\nwall_clock_ms = 300\n";
    let image = scene.publish_with(&spinner(), more).await;
    let task = daemon(Task::encrypted(&new_id(), "spin", &image.to_string()));
    scene.run_daemon(&task).await;
    let outcome = scene.end_of(&task).await;
    assert_eq!(outcome.code(), "limit-wall-clock");
    let receipt = scene.open(&outcome.results).report.receipt.unwrap();
    assert_eq!(receipt.limits["wall_clock_ms"], 300);
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_is_renewed_for_as_long_as_the_key_broker_gives_the_same_key() {
    let scene = Scene::with_short_sessions("").await;
    let task = sealed(&scene, &spinner(), "spin").await;
    scene.run_daemon(&task).await;
    renewed(&scene, 2).await;
    assert!(scene.services.key_broker.counts().attest >= 3);
    assert_eq!(scene.manager().results_so_far(&task.id), 1);
    scene.services.key_broker.set_policy(Policy::DenyAll);
    let outcome = scene.end_of(&task).await;
    assert_eq!(outcome.code(), "kbs-denied");
    assert!(scene.open(&outcome.results).failure().is_some());
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_key_ends_a_daemon() {
    let scene = Scene::with_short_sessions("").await;
    let task = sealed(&scene, &spinner(), "spin").await;
    scene.run_daemon(&task).await;
    // The owner encrypts anew, under the same id.
    scene.publish(&adder(), &["add"]).await;
    assert_eq!(scene.end_of(&task).await.code(), "image-key-mismatch");
    scene.stop().await;
}

/// Whoever has a reference lead to one owner's image first, and to another's then, has no place charged to the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_has_a_place_of_whoever_owns_its_key() {
    let scene = Scene::new("[daemon_tasks]\ntasks = 2\n").await;
    let alices = scene.publish(&spinner(), &["spin"]).await.to_string();
    let registry = scene.services.registry.host();
    let tag = format!("{registry}/module:encrypted");
    for image in [&tag, &alices] {
        let task = daemon(Task::encrypted(&new_id(), "spin", image));
        scene.run_daemon(&task).await;
        scene.manager().stop(&task).await.unwrap();
        scene.end_of(&task).await;
    }
    let mallory = "kbs:///mallory/key/module";
    let exports = "exports = [\"spin\"]\n";
    scene.publish_under(mallory, &spinner(), exports).await;
    for image in [&tag, &tag, &alices] {
        let task = daemon(Task::encrypted(&new_id(), "spin", image));
        scene.run_daemon(&task).await;
    }
    let task = daemon(Task::encrypted(&new_id(), "spin", &tag));
    scene.manager().start(&task).await.unwrap();
    let outcome = scene.manager().result(&task.id).await.unwrap();
    assert_eq!(outcome.code(), "daemon-tasks-full");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_broker_that_says_nothing_ends_a_daemon_with_its_session() {
    let scene = Scene::with_short_sessions("").await;
    let task = sealed(&scene, &spinner(), "spin").await;
    scene.run_daemon(&task).await;
    for endpoint in [Endpoint::Auth, Endpoint::Resource] {
        let down = Fault::Status(503);
        scene.services.key_broker.inject_times(endpoint, down, 1000);
    }
    let outcome = scene.end_of(&task).await;
    assert_eq!(outcome.code(), "session-ended", "{outcome:?}");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_lets_no_daemon_run_past_its_session() {
    let scene = Scene::with_patience().await;
    let task = sealed(&scene, &spinner(), "spin").await;
    scene.run_daemon(&task).await;
    let began = Instant::now();
    for endpoint in [Endpoint::Auth, Endpoint::Attest, Endpoint::Resource] {
        let silence = Fault::Silence;
        scene
            .services
            .key_broker
            .inject_times(endpoint, silence, 1000);
    }
    let outcome = scene.end_of(&task).await;
    assert_eq!(outcome.code(), "session-ended", "{outcome:?}");
    // The key broker is waited for half a minute.
    assert!(began.elapsed() < Duration::from_secs(25));
    scene.stop().await;
}

/// Has the key broker count how often a resource is asked for, and deny it once it is told to.
fn watch(scene: &Scene, path: &'static str) -> (Arc<AtomicU32>, Arc<AtomicBool>) {
    let (asked, denied) = (
        Arc::new(AtomicU32::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let (counter, switch) = (Arc::clone(&asked), Arc::clone(&denied));
    let policy = Policy::predicate(move |request| {
        if request.path != path {
            return true;
        }
        counter.fetch_add(1, Ordering::SeqCst);
        !switch.load(Ordering::SeqCst)
    });
    scene.services.key_broker.set_policy(policy);
    (asked, denied)
}

async fn asked_again(asked: &AtomicU32) {
    let before = asked.load(Ordering::SeqCst).max(1);
    while asked.load(Ordering::SeqCst) <= before {
        // What is waited for wants the processor.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A daemon that holds a secret.
async fn holding(scene: &Scene) -> Task {
    let probe = tokio::task::spawn_blocking(|| build(GuestName::SecretProbe));
    let probe = probe.await.unwrap().unwrap().bytes.clone();
    let secrets = format!("[[secrets]]\nuri = {SECRET:?}\nreveal = true\n");
    let image = scene.publish_with(&probe, &secrets).await;
    let task = Task::encrypted(&new_id(), "hold", &image.to_string());
    daemon(Task {
        inputs: vec![format!("keep {SECRET}")],
        ..task
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_keeps_no_secret_that_is_denied_after_its_session() {
    let scene = Scene::with_short_sessions("").await;
    let broker = &scene.services.key_broker;
    broker.set_resource(&SECRET.parse().unwrap(), b"the secret");
    let (asked, denied) = watch(&scene, SECRET_PATH);
    let task = holding(&scene).await;
    scene.run_daemon(&task).await;
    // It runs on while the secret is released again.
    asked_again(&asked).await;
    asked_again(&asked).await;
    assert_eq!(scene.manager().results_so_far(&task.id), 1);
    denied.store(true, Ordering::SeqCst);
    let outcome = scene.end_of(&task).await;
    assert_eq!(outcome.code(), "kbs-denied", "{outcome:?}");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_secret_ends_a_daemon_that_holds_the_old_one() {
    let scene = Scene::with_short_sessions("").await;
    let broker = &scene.services.key_broker;
    broker.set_resource(&SECRET.parse().unwrap(), b"the secret");
    let (asked, _) = watch(&scene, SECRET_PATH);
    let task = holding(&scene).await;
    scene.run_daemon(&task).await;
    asked_again(&asked).await;
    broker.set_resource(&SECRET.parse().unwrap(), b"the next one");
    let outcome = scene.end_of(&task).await;
    assert_eq!(outcome.code(), "session-ended", "{outcome:?}");
    assert!(outcome.error.unwrap().contains("another one"));
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recipients_that_are_withdrawn_end_a_daemon() {
    let scene = Scene::with_short_sessions("").await;
    let broker = &scene.services.key_broker;
    let set = format!("{{\"keys\":[{}]}}", scene.owner.public().to_jwk());
    broker.set_resource(&RECIPIENTS.parse().unwrap(), set.as_bytes());
    let (asked, denied) = watch(&scene, RECIPIENTS_PATH);
    let policy =
        format!("version = 1\nexports = [\"spin\"]\nrecipients_resource = {RECIPIENTS:?}\n");
    let key = KEY.parse().unwrap();
    let component = spinner();
    let published = scene
        .services
        .publish("module", &component, Some(&policy), key);
    let image = published.await.unwrap().1;
    let task = daemon(Task::encrypted(&new_id(), "spin", &image.to_string()));
    scene.run_daemon(&task).await;
    asked_again(&asked).await;
    denied.store(true, Ordering::SeqCst);
    let outcome = scene.end_of(&task).await;
    assert_eq!(outcome.code(), "kbs-denied", "{outcome:?}");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_is_started_again_as_often_as_the_settings_say() {
    let again = "[daemon_tasks]\nrestart = \"on-failure\"\nrestarts = 3\nrestart_delay_ms = 1\n";
    for (more, runs) in [("", 1), (again, 4)] {
        let scene = Scene::new(more).await;
        let task = sealed(&scene, &failing(), "fail").await;
        scene.manager().start(&task).await.unwrap();
        let last = loop {
            let said = scene.results(&task, 1).await;
            let last = said.last().unwrap().clone();
            if last.error.is_some() {
                break last;
            }
        };
        assert_eq!(last.code(), "guest-trapped");
        // Each run had a receipt of its own, and the last one's is here.
        let receipt = scene.open(&last.results).report.receipt.unwrap();
        assert_eq!(receipt.sequence, runs);
        scene.stop().await;
    }
}
