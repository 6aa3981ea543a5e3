//! The daemon with servers that other people wrote: Debian's mosquitto and docker-registry.
//!
//! Broker and registry are child processes on free loopback ports with their files in temporary
//! folders. The TEE is the fake one and the key broker the development one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod docker_registry;
mod mosquitto;
mod process;
mod scene;
mod session;

use std::sync::Arc;

use proplet_daemon::Daemon;
use proplet_image::ImageError;
use proplet_lab::Addresses;
use proplet_testkit::tee::HookedTee;
use tokio::sync::watch;

use docker_registry::Access;
use mosquitto::Guests;
use scene::{Layout, Road, Scene, fake_snp, host, task};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs mosquitto and docker-registry; .ci/run installs and runs them"]
async fn an_encrypted_task_by_tag_and_by_digest() {
    let scene = Scene::set(Access::Anonymous).await;
    let order = scene.publish(Layout::Cncf).await;
    let manager = scene.manager().await;
    let settings = scene.settings(Road::Plain);
    let proplet = scene.proplet(&settings, &manager).await;
    for (id, image) in [("by-tag", &order.by_tag), ("by-digest", &order.by_digest)] {
        let task = task(id, image);
        manager.start(&task).await.unwrap();
        let outcome = manager.result(id).await.unwrap();
        scene.check(&order, &settings, &task, &outcome);
    }
    assert_eq!(scene.key_broker.counts().attested, 1);
    proplet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs mosquitto and docker-registry; .ci/run installs and runs them"]
async fn a_registry_with_passwords_and_a_broker_with_tls() {
    let scene = Scene::set(Access::Basic).await;
    let order = scene.publish(Layout::Cncf).await;
    let manager = scene.manager().await;
    let settings = scene.settings(Road::Tls);
    let proplet = scene.proplet(&settings, &manager).await;
    for (id, image) in [("by-digest", &order.by_digest), ("by-tag", &order.by_tag)] {
        let task = task(id, image);
        manager.start(&task).await.unwrap();
        let outcome = manager.result(id).await.unwrap();
        scene.check(&order, &settings, &task, &outcome);
    }
    proplet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs mosquitto and docker-registry; .ci/run installs and runs them"]
async fn what_wasm_to_oci_makes_is_stored_pulled_and_run() {
    let scene = Scene::set(Access::Anonymous).await;
    let order = scene.publish(Layout::WasmToOci).await;
    let manager = scene.manager().await;
    let settings = scene.settings(Road::Plain);
    let proplet = scene.proplet(&settings, &manager).await;
    let task = task("wasm-to-oci", &order.by_tag);
    manager.start(&task).await.unwrap();
    let outcome = manager.result("wasm-to-oci").await.unwrap();
    scene.check(&order, &settings, &task, &outcome);
    proplet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs mosquitto and docker-registry; .ci/run installs and runs them"]
async fn what_the_registry_refuses_or_lacks_has_its_code() {
    let scene = Scene::set(Access::Basic).await;
    let order = scene.publish(Layout::Cncf).await;
    let mut anonymous = scene.registry.config();
    anonymous.auth_file = None;
    let refused = order.workload.push(&anonymous, &order.by_tag).await;
    assert!(
        matches!(refused, Err(ImageError::Unauthorized { .. })),
        "{refused:?}"
    );

    let with_password = scene.settings(Road::Plain);
    let without = scene.parse(&Addresses {
        broker: scene.mosquitto.url(),
        broker_ca: None,
        registry: scene.registry.host(),
        registry_auth: None,
        key_broker: scene.key_broker.url(),
        key_broker_timeout: Addresses::KEY_BROKER_TIMEOUT,
    });
    let missing = format!("{}/team/inference:v2", scene.registry.host())
        .parse()
        .unwrap();
    for (settings, image, code) in [
        (without, &order.by_digest, "image-unauthorized: "),
        (with_password, &missing, "image-not-found: "),
    ] {
        let manager = scene.manager().await;
        let proplet = scene.proplet(&settings, &manager).await;
        manager.start(&task(code, image)).await.unwrap();
        let error = manager.result(code).await.unwrap().error.unwrap();
        assert!(error.starts_with(code), "{error}");
        proplet.stop().await.unwrap();
    }
    assert_eq!(scene.key_broker.counts().auth, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs mosquitto and docker-registry; .ci/run installs and runs them"]
async fn a_result_made_during_an_outage_arrives_after_it() {
    let mut scene = Scene::set(Access::Anonymous).await;
    let order = scene.publish(Layout::Cncf).await;
    let manager = scene.manager().await;
    let settings = scene.settings(Road::Tls);
    let (asked, mut attesting) = watch::channel(false);
    let (gate, open) = watch::channel(false);
    let provider = HookedTee::new(fake_snp(&settings), move |_| {
        asked.send_replace(true);
        let mut open = open.clone();
        async move {
            open.wait_for(|open| *open).await.unwrap();
        }
    });
    let daemon = Daemon::new(host(&settings, Arc::new(provider))).unwrap();
    let outbox = daemon.outbox();
    let mut changes = outbox.changes();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(daemon.run(async { drop(stopped.await) }));
    manager.messages("control/proplet/alive", 1).await.unwrap();

    let before = task("before", &order.by_digest);
    manager.start(&before).await.unwrap();
    attesting.wait_for(|asked| *asked).await.unwrap();
    scene.mosquitto.kill();
    gate.send_replace(true);
    changes
        .wait_for(|_| !outbox.tasks().is_empty())
        .await
        .unwrap();

    // The proplet is let in only when somebody listens: a broker without memory drops the rest.
    scene.mosquitto.restart(Guests::ManagerOnly).await;
    let manager = scene.manager().await;
    assert_eq!(outbox.tasks(), ["before"]);
    scene.mosquitto.admit(Guests::Both);
    let outcome = manager.result("before").await.unwrap();
    scene.check(&order, &settings, &before, &outcome);

    manager.messages("control/proplet/create", 1).await.unwrap();
    let after = task("after", &order.by_digest);
    manager.start(&after).await.unwrap();
    let outcome = manager.result("after").await.unwrap();
    scene.check(&order, &settings, &after, &outcome);
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    assert_eq!(manager.results_so_far("before"), 1);
}
