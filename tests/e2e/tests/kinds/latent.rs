//! Latent plain tasks.

use proplet_testkit::{
    broker::Task,
    guests::{GuestName, build},
};
use serde_json::json;

use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_invocations_in_parallel_have_an_instance_and_an_answer_each() {
    let scene = Scene::new("").await;
    let task = adding();
    scene.prepare(&task).await;
    let numbers: Vec<String> = (0..10).map(|number| number.to_string()).collect();
    let ids: Vec<String> = numbers.iter().map(|_| new_id()).collect();
    for (id, number) in ids.iter().zip(&numbers) {
        let inputs = [number.as_str(), "100"];
        let sent = scene.manager().invoke(&task, id, Some(&inputs));
        sent.await.unwrap();
    }
    for (id, number) in ids.iter().zip(100..) {
        let outcome = scene.manager().invoked(id).await.unwrap();
        assert_eq!(
            (outcome.results, outcome.error),
            (number.to_string(), None),
            "{id}"
        );
    }
    // Of the start, nothing is said.
    assert_eq!(scene.manager().results_so_far(&task.id), 0);
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_invocation_does_not_say_is_as_in_the_start() {
    let scene = Scene::new("").await;
    let task = Task {
        inputs: vec!["3".into(), "4".into()],
        ..adding()
    };
    scene.prepare(&task).await;
    assert_eq!(scene.invoke(&task, None).await.results, "7");
    assert_eq!(scene.invoke(&task, Some(&["5", "6"])).await.results, "11");
    // None is none.
    let outcome = scene.invoke(&task, Some(&[])).await;
    assert_eq!(outcome.code(), "arguments-invalid");
    assert_eq!(scene.invoke(&task, None).await.results, "7");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_prepared_is_told_in_the_words_that_the_manager_looks_for() {
    let scene = Scene::new("").await;
    let unknown = scene.invoke(&adding(), None).await;
    assert_eq!(unknown.code(), "not-precompiled");
    assert!(unknown.is_not_precompiled(), "{unknown:?}");
    // A task that ran once is none that can be invoked.
    let once = Task {
        latent: false,
        inputs: vec!["1".into(), "2".into()],
        ..adding()
    };
    scene.manager().start(&once).await.unwrap();
    assert_eq!(scene.manager().result(&once.id).await.unwrap().results, "3");
    assert!(scene.invoke(&once, None).await.is_not_precompiled());
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_prepared_is_answered_at_the_start() {
    let scene = Scene::new("").await;
    let server = tokio::task::spawn_blocking(|| build(GuestName::WebServer).unwrap());
    let server = server.await.unwrap().bytes.clone();
    for (component, name, wanted) in [
        (b"\0asm junk".to_vec(), "add", "component-invalid"),
        (adder(), "subtract", "export-not-found"),
        (server, "serve", "task-unsupported"),
    ] {
        let task = latent(Task::plain(&new_id(), name, component));
        scene.manager().start(&task).await.unwrap();
        let outcome = scene.manager().result(&task.id).await.unwrap();
        assert_eq!(code(outcome.error.as_deref()), wanted, "{outcome:?}");
        assert!(scene.invoke(&task, None).await.is_not_precompiled());
    }
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_what_runs_and_forgets_what_was_prepared() {
    let scene = Scene::new("").await;
    let task = spinning();
    scene.prepare(&task).await;
    let ids = [new_id(), new_id(), new_id(), new_id()];
    for id in &ids {
        scene.manager().invoke(&task, id, None).await.unwrap();
    }
    scene.manager().stop(&task).await.unwrap();
    for id in &ids {
        let outcome = scene.manager().invoked(id).await.unwrap();
        assert_eq!(outcome.code(), "stopped", "{outcome:?}");
    }
    // The start was not answered before, and is now.
    let outcome = scene.manager().result(&task.id).await.unwrap();
    assert_eq!(code(outcome.error.as_deref()), "stopped");
    assert!(scene.invoke(&task, None).await.is_not_precompiled());
    // It can be started again.
    scene.prepare(&task).await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_one_that_was_used_longest_ago_makes_room() {
    let scene = Scene::new("[latent_tasks]\ntasks = 2\n").await;
    let tasks = [adding(), adding(), adding()];
    scene.prepare(&tasks[0]).await;
    scene.prepare(&tasks[1]).await;
    let inputs: Option<&[&str]> = Some(&["1", "1"]);
    assert_eq!(scene.invoke(&tasks[0], inputs).await.results, "2");
    scene.prepare(&tasks[2]).await;
    assert_eq!(scene.invoke(&tasks[0], inputs).await.results, "2");
    assert!(scene.invoke(&tasks[1], inputs).await.is_not_precompiled());
    // What the Manager does then.
    scene.prepare(&tasks[1]).await;
    assert_eq!(scene.invoke(&tasks[1], inputs).await.results, "2");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_larger_than_all_that_is_kept_is_refused() {
    let scene = Scene::new("[latent_tasks]\nbytes = 1000\n").await;
    let task = adding();
    scene.manager().start(&task).await.unwrap();
    let outcome = scene.manager().result(&task.id).await.unwrap();
    assert_eq!(code(outcome.error.as_deref()), "component-too-large");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_runs_too_long_is_ended_and_answered_in_time() {
    let scene = Scene::new("[limits]\ntasks = 1\n[latent_tasks]\ninvocation_ms = 4000\n").await;
    let (spins, adds) = (spinning(), adding());
    scene.prepare(&spins).await;
    scene.prepare(&adds).await;
    let (first, waits) = (new_id(), new_id());
    scene.manager().invoke(&spins, &first, None).await.unwrap();
    scene.manager().invoke(&spins, &waits, None).await.unwrap();
    for id in [&first, &waits] {
        let outcome = scene.manager().invoked(id).await.unwrap();
        assert_eq!(outcome.code(), "invocation-timeout", "{outcome:?}");
    }
    // Its place is free again, and it can be invoked again.
    assert_eq!(scene.invoke(&adds, Some(&["1", "1"])).await.results, "2");
    assert_eq!(
        scene.invoke(&spins, None).await.code(),
        "invocation-timeout"
    );
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_invocation_has_one_answer() {
    let scene = Scene::new("").await;
    let task = spinning();
    scene.prepare(&task).await;
    let id = new_id();
    for _ in 0..3 {
        scene.manager().invoke(&task, &id, None).await.unwrap();
    }
    let unreadable = json!({"id": task.id, "invocation_id": id, "inputs": true}).to_string();
    let sent = scene.manager().send("control/manager/invoke", unreadable);
    sent.await.unwrap();
    scene.manager().stop(&task).await.unwrap();
    assert_eq!(
        scene.manager().invoked(&id).await.unwrap().code(),
        "stopped"
    );
    // What comes after all of them has its answer, so what has none will get none.
    assert!(scene.invoke(&task, None).await.is_not_precompiled());
    assert_eq!(scene.manager().answers_so_far(&id), 1);
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_bounded_and_each_of_it_is_answered() {
    let scene = Scene::new("[limits]\ntasks = 1\nqueue = 4\n").await;
    let task = spinning();
    scene.prepare(&task).await;
    let ids: Vec<String> = (0..40).map(|_| new_id()).collect();
    for id in &ids {
        scene.manager().invoke(&task, id, None).await.unwrap();
    }
    for id in &ids[5..] {
        let outcome = scene.manager().invoked(id).await.unwrap();
        assert_eq!(outcome.code(), "queue-full", "{outcome:?}");
    }
    scene.manager().stop(&task).await.unwrap();
    for id in &ids[..5] {
        assert_eq!(scene.manager().invoked(id).await.unwrap().code(), "stopped");
    }
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_answers_what_runs_and_leaves_nothing_to_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = format!(
        "[outbox]\npath = \"{}\"\n",
        folder.path().join("outbox").display()
    );
    let scene = Scene::new(&outbox).await;
    let task = spinning();
    scene.prepare(&task).await;
    let id = new_id();
    scene.manager().invoke(&task, &id, None).await.unwrap();
    // Obeyed once a later message is.
    assert!(scene.invoke(&adding(), None).await.is_not_precompiled());
    scene.stop().await;
    let outcome = scene.manager().invoked(&id).await.unwrap();
    assert_eq!(outcome.code(), "proplet-stopping");

    scene.start(&outbox).await;
    assert!(scene.invoke(&task, None).await.is_not_precompiled());
    // It was prepared, so it was not interrupted.
    assert_eq!(scene.manager().results_so_far(&task.id), 0);
    scene.stop().await;
}
