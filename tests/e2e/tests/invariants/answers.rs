//! Invariant 8: every start gets an answer, here for encrypted tasks. What needs no TEE, and the ways
//! of the broker, are tested in `mqtt.rs`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use proplet_executor::{Host, harden::SwapRule};
use proplet_lab::{RunningProplet, Services};
use proplet_settings::{Settings, environment::Environment};
use proplet_testkit::{
    broker::Task,
    guests::GuestName,
    kbs::{Endpoint, Fault},
    tee::{FakeSnp, HookedTee},
};
use proplet_types::Clock;
use serde_json::json;

use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_cannot_be_read_is_answered_when_it_has_an_id() {
    let scene = Scene::new().await;
    let manager = &scene.services.manager;
    for (id, message, code) in [
        (
            "cut",
            r#"{"id":"cut","encrypted":true,"image_url":"#.to_owned(),
            "task-invalid",
        ),
        (
            "types",
            json!({"id": "types", "name": "n", "encrypted": "yes"}).to_string(),
            "task-invalid",
        ),
        (
            "inputs",
            json!({"id": "inputs", "name": "n", "inputs": [{}]}).to_string(),
            "task-invalid",
        ),
        (
            "no-image",
            json!({"id": "no-image", "name": "n", "encrypted": true}).to_string(),
            "task-invalid",
        ),
        (
            "bad-image",
            json!({"id": "bad-image", "name": "n", "encrypted": true, "image_url": "::"})
                .to_string(),
            "image-reference",
        ),
    ] {
        manager
            .send("control/manager/start", &message)
            .await
            .unwrap();
        assert_refused(&manager.result(id).await.unwrap(), code);
    }
    assert_eq!(scene.services.key_broker.counts().auth, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_to_end_badly_is_answered_with_its_code() {
    let scene = Scene::new().await;
    let component = guest(GuestName::Hostile).await;
    let (_, image) = scene.publish(&component, "").await;
    for (word, code) in [
        ("fail", "guest-failed"),
        ("panic", "guest-trapped"),
        ("trap", "guest-trapped"),
        ("exit 3", "guest-failed"),
        ("recurse", "guest-trapped"),
        ("publish-then-fail", "guest-failed"),
        ("publish-then-trap", "guest-trapped"),
        ("no-such-word", "guest-failed"),
    ] {
        scene.ask_in_vain(&image, word, code).await;
    }
    // An export that is not there, and one that may not be invoked.
    let invoke = |name: &str| Task {
        cli_args: Some(vec!["--invoke".into(), name.into()]),
        ..task(&image, &["echo x"])
    };
    let outcome = scene.run(&invoke("secret-name-of-an-export")).await;
    assert_code(&outcome, "export-not-found");
    assert!(scene.open(&outcome).failure().is_some());
    let (_, closed) = scene.publish(&component, "exports = []\n").await;
    scene
        .ask_in_vain(&closed, "echo x", "export-not-allowed")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_encrypted_task_is_answered() {
    let scene = Scene::new().await;
    let (_, image) = scene.publish(&guest(GuestName::Hostile).await, "").await;
    let spinning = task(&image, &["spin"]);
    let manager = &scene.services.manager;
    manager.start(&spinning).await.unwrap();
    manager.stop(&spinning).await.unwrap();
    assert_code(&manager.result(&spinning.id).await.unwrap(), "stopped");
    // Also while it waits for a key broker that does not answer.
    scene
        .services
        .key_broker
        .inject(Endpoint::Resource, Fault::Silence);
    let (_, other) = scene
        .publish_as(
            &guest(GuestName::Hostile).await,
            &scene.policy("exports = [\"run\"]\n"),
            "kbs:///alice/key/other",
        )
        .await;
    let waiting = task(&other, &["spin"]);
    manager.start(&waiting).await.unwrap();
    manager.stop(&waiting).await.unwrap();
    assert_refused(&manager.result(&waiting.id).await.unwrap(), "stopped");
    scene.services.key_broker.heal();
    scene.ask(&image, "echo x").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_and_a_shutdown_are_answers_too() {
    let scene = Scene::with("[limits]\ntasks = 1\nqueue = 1\n").await;
    let (_, image) = scene.publish(&guest(GuestName::Hostile).await, "").await;
    let tasks: Vec<Task> = (0..3).map(|_| task(&image, &["spin"])).collect();
    for task in &tasks {
        scene.services.manager.start(task).await.unwrap();
    }
    let refused = scene.services.manager.result(&tasks[2].id).await.unwrap();
    assert_refused(&refused, "queue-full");
    scene.proplet.stop().await.unwrap();
    for task in &tasks[..2] {
        let outcome = scene.services.manager.result(&task.id).await.unwrap();
        assert_code(&outcome, "proplet-stopping");
    }
    for task in &tasks {
        assert_eq!(scene.services.manager.results_so_far(&task.id), 1);
    }
}

/// A clock that breaks down once.
#[derive(Default)]
struct BrittleClock(AtomicBool);

impl Clock for BrittleClock {
    fn now(&self) -> SystemTime {
        assert!(!self.0.swap(false, Ordering::Relaxed), "breaks down");
        SystemTime::now()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_breakdown_of_a_task_is_answered_and_ends_that_task() {
    let services = Services::start().await.unwrap();
    let settings = Settings::parse(Some(&services.settings("")), &Environment::default()).unwrap();
    let clock = Arc::new(BrittleClock::default());
    let tee = Arc::new(FakeSnp::new());
    let mut host = Host::new(Arc::new(settings), Some(tee.clone()));
    host.swap_rule = SwapRule::Warn;
    host.clock = clock.clone();
    let scene = Scene::of(services, RunningProplet::on(host).unwrap(), tee).await;
    let (_, image) = scene.publish(&guest(GuestName::Hostile).await, "").await;
    clock.0.store(true, Ordering::Relaxed);
    let broken = scene.run(&task(&image, &["echo x"])).await;
    assert_refused(&broken, "host-failed");
    assert_eq!(scene.ask(&image, "echo x").await, b"x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_breakdown_of_the_tee_is_answered_and_ends_one_task() {
    let services = Services::start().await.unwrap();
    let settings = services.settings("");
    // The first call is the key broker's handshake.
    let tee = HookedTee::new(Arc::new(FakeSnp::new()), |call| async move {
        assert_ne!(call, 1, "breaks down");
    });
    let proplet = RunningProplet::start(&settings, Some(Arc::new(tee))).unwrap();
    let scene = Scene::of(services, proplet, Arc::new(FakeSnp::new())).await;
    let (_, image) = scene.publish(&guest(GuestName::Hostile).await, "").await;
    let broken = scene.run(&task(&image, &["echo x"])).await;
    assert_refused(&broken, "evidence-unavailable");
    assert_eq!(scene.ask(&image, "echo x").await, b"x");
}
