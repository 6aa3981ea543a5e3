//! Latent encrypted tasks: sealed each, and no longer in use than their session.

use proplet_testkit::{broker::Task, kbs::Policy};

use crate::support::*;

async fn sealed(scene: &Scene, component: &[u8], name: &str) -> Task {
    let image = scene.publish(component, &[name]).await;
    latent(Task::encrypted(&new_id(), name, &image.to_string()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_ten_in_parallel_is_sealed_and_has_a_receipt_that_names_it() {
    let scene = Scene::new("").await;
    let task = sealed(&scene, &adder(), "add").await;
    scene.prepare(&task).await;
    let ids: Vec<String> = (0..10).map(|_| new_id()).collect();
    for (id, number) in ids.iter().zip(0..) {
        let number = number.to_string();
        let inputs = [number.as_str(), "100"];
        let sent = scene.manager().invoke(&task, id, Some(&inputs));
        sent.await.unwrap();
    }
    let mut sequences = Vec::new();
    for (id, number) in ids.iter().zip(100..) {
        let outcome = scene.manager().invoked(id).await.unwrap();
        assert_eq!(outcome.error, None, "{id}");
        let opened = scene.open_invocation(&outcome.results, id).unwrap();
        assert_eq!(&**opened.content, number.to_string().as_bytes());
        // It passes for no other one.
        assert!(scene.open_invocation(&outcome.results, &task.id).is_err());
        let receipt = opened.report.receipt.unwrap();
        assert_eq!(receipt.task_id, task.id);
        assert_eq!(receipt.invocation_id.as_deref(), Some(id.as_str()));
        sequences.push(receipt.sequence);
    }
    sequences.sort_unstable();
    sequences.dedup();
    assert_eq!(sequences.len(), 10);
    // Prepared once: the key was released once, to one attestation.
    let counts = scene.services.key_broker.counts();
    assert_eq!((counts.attest, counts.released), (1, 1));
    assert_eq!(scene.manager().results_so_far(&task.id), 0);
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_not_invoked_has_no_invocation_in_its_receipt() {
    let scene = Scene::new("").await;
    let task = Task {
        latent: false,
        inputs: vec!["1".into(), "2".into()],
        ..sealed(&scene, &adder(), "add").await
    };
    scene.manager().start(&task).await.unwrap();
    let outcome = scene.manager().result(&task.id).await.unwrap();
    let receipt = scene.open(&outcome.results).report.receipt.unwrap();
    assert_eq!(receipt.invocation_id, None);
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_session_the_key_broker_decides_anew_and_a_denial_drops_it() {
    let scene = Scene::with_short_sessions("").await;
    let task = sealed(&scene, &adder(), "add").await;
    let inputs: Option<&[&str]> = Some(&["1", "2"]);
    scene.prepare(&task).await;
    // The next invocation attests again, and the same key is released.
    let broker = &scene.services.key_broker;
    let attested = broker.counts().attest;
    while broker.counts().attest == attested {
        let outcome = scene.invoke(&task, inputs).await;
        // Where the session ended between the two.
        assert!(
            ["", "session-ended"].contains(&outcome.code()),
            "{outcome:?}"
        );
    }
    assert!(broker.counts().released >= 2);
    broker.set_policy(Policy::DenyAll);
    let denied = loop {
        let outcome = scene.invoke(&task, inputs).await;
        if !["", "session-ended"].contains(&outcome.code()) {
            break outcome;
        }
    };
    assert_eq!((denied.code(), denied.results.as_str()), ("kbs-denied", ""));
    // It is not kept for a change of mind: who wants it starts it again.
    broker.set_policy(Policy::Default);
    assert!(scene.invoke(&task, inputs).await.is_not_precompiled());
    scene.prepare(&task).await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_key_under_the_same_id_opens_nothing() {
    let scene = Scene::with_short_sessions("").await;
    let task = sealed(&scene, &adder(), "add").await;
    scene.prepare(&task).await;
    // The owner encrypts anew.
    scene.publish(&spinner(), &["spin"]).await;
    let outcome = loop {
        let outcome = scene.invoke(&task, Some(&["1", "2"])).await;
        if !["", "session-ended"].contains(&outcome.code()) {
            break outcome;
        }
    };
    assert_eq!(outcome.code(), "image-key-mismatch");
    assert!(scene.invoke(&task, None).await.is_not_precompiled());
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_policy_does_not_list_is_not_invoked() {
    let scene = Scene::new("").await;
    let image = scene.publish(&adder(), &["subtract"]).await;
    let task = latent(Task::encrypted(&new_id(), "add", &image.to_string()));
    scene.manager().start(&task).await.unwrap();
    let outcome = loop {
        let outcome = scene.invoke(&task, Some(&["1", "2"])).await;
        if !outcome.is_not_precompiled() {
            break outcome;
        }
    };
    assert_eq!(outcome.code(), "export-not-allowed");
    let opened = scene.open(&outcome.results);
    assert!(opened.failure().is_some());
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_compile_says_why_to_its_recipients_only() {
    let scene = Scene::new("").await;
    let mut broken = adder();
    // Still a module for the reader of policies, and none that can be compiled.
    let at = broken.iter().rposition(|byte| *byte == 0x6a).unwrap();
    broken[at] = 0x01;
    let task = sealed(&scene, &broken, "add").await;
    scene.manager().start(&task).await.unwrap();
    let outcome = scene.manager().result(&task.id).await.unwrap();
    assert_eq!(code(outcome.error.as_deref()), "component-invalid");
    assert!(scene.open(&outcome.results).failure().is_some());
    assert!(scene.invoke(&task, None).await.is_not_precompiled());
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_ended_in_time_is_sealed_all_the_same() {
    let scene = Scene::new("[latent_tasks]\ninvocation_ms = 3000\n").await;
    let task = sealed(&scene, &spinner(), "spin").await;
    scene.prepare(&task).await;
    let outcome = scene.invoke(&task, None).await;
    assert_eq!(outcome.code(), "invocation-timeout");
    let opened = scene.open(&outcome.results);
    assert!(opened.failure().is_some());
    let receipt = opened.report.receipt.unwrap();
    assert_eq!(receipt.invocation_id, Some(outcome.invocation_id));
    scene.stop().await;
}
