//! Plain daemons.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use proplet_lab::PROPLET;
use proplet_testkit::broker::Task;

use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_runs_until_it_is_stopped_and_holds_up_nobody() {
    let limits = "[limits]\ntasks = 1\nwall_clock_ms = 200\n";
    let scene = Scene::new(limits).await;
    let task = working();
    scene.run_daemon(&task).await;
    // An ordinary task has its place, and a wall clock.
    let once = Task {
        daemon: false,
        ..working()
    };
    scene.manager().start(&once).await.unwrap();
    let outcome = scene.manager().result(&once.id).await.unwrap();
    assert_eq!(outcome.code(), "limit-wall-clock");
    // The daemon has none, and a second start of it is none of its own.
    scene.manager().start(&task).await.unwrap();
    assert_eq!(scene.manager().results_so_far(&task.id), 1);
    scene.manager().stop(&task).await.unwrap();
    assert_eq!(scene.end_of(&task).await.code(), "stopped");
    // It can be started again.
    scene.manager().start(&task).await.unwrap();
    assert_eq!(scene.results(&task, 3).await[2].error, None);
    scene.stop().await;
    let said = scene.results(&task, 4).await;
    assert_eq!(said[3].code(), "proplet-stopping");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_limits_end_a_daemon() {
    let scene = Scene::new("[limits]\ncpu_ms = 100\n").await;
    let task = working();
    scene.run_daemon(&task).await;
    assert_eq!(scene.end_of(&task).await.code(), "limit-cpu");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_ends_well_has_a_result() {
    let scene = Scene::new("").await;
    let task = daemon(Task {
        inputs: vec!["3".into(), "4".into()],
        ..Task::plain(&new_id(), "add", adder())
    });
    scene.manager().start(&task).await.unwrap();
    // That it runs may have been overtaken by its end, and is not said then.
    let last = loop {
        let said = scene.results(&task, 1).await;
        if said.last().unwrap().results == "7" {
            break said;
        }
    };
    assert!(
        last.iter().all(|outcome| outcome.error.is_none()),
        "{last:?}"
    );
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_prepared_or_has_no_place_is_never_said_to_run() {
    let scene = Scene::new("[daemon_tasks]\ntasks = 1\n").await;
    for (component, name, wanted) in [
        (b"\0asm junk".to_vec(), "spin", "component-invalid"),
        (spinner(), "other", "export-not-found"),
    ] {
        let task = daemon(Task::plain(&new_id(), name, component));
        scene.manager().start(&task).await.unwrap();
        let outcome = scene.manager().result(&task.id).await.unwrap();
        assert_eq!(outcome.code(), wanted);
        assert_eq!(scene.manager().results_so_far(&task.id), 1);
    }
    let (first, second) = (working(), working());
    scene.run_daemon(&first).await;
    scene.manager().start(&second).await.unwrap();
    let outcome = scene.manager().result(&second.id).await.unwrap();
    assert_eq!(outcome.code(), "daemon-tasks-full");
    scene.manager().stop(&first).await.unwrap();
    scene.end_of(&first).await;
    // There is a place again.
    scene.manager().start(&second).await.unwrap();
    assert_eq!(scene.results(&second, 2).await[1].error, None);
    scene.stop().await;

    let scene = Scene::new("[daemon_tasks]\ntasks = 0\n").await;
    scene.manager().start(&first).await.unwrap();
    let outcome = scene.manager().result(&first.id).await.unwrap();
    assert_eq!(outcome.code(), "daemon-tasks-full");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_is_not_daemon_and_latent() {
    let scene = Scene::new("").await;
    let task = latent(working());
    scene.manager().start(&task).await.unwrap();
    let outcome = scene.manager().result(&task.id).await.unwrap();
    assert_eq!(outcome.code(), "task-invalid");
    scene.stop().await;
}

/// A stop that comes while a daemon waits to be started again ends it then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_waits_to_be_started_again_can_be_stopped() {
    let restart = "[daemon_tasks]\nrestart = \"on-failure\"\nrestart_delay_ms = 60000\n";
    let scene = Scene::new(restart).await;
    let task = daemon(Task::plain(&new_id(), "fail", failing()));
    scene.run_daemon(&task).await;
    scene.manager().stop(&task).await.unwrap();
    let outcome = scene.end_of(&task).await;
    assert!(
        ["stopped", "guest-trapped"].contains(&outcome.code()),
        "{outcome:?}"
    );
    scene.stop().await;
}

/// A daemon in a process of its own.
fn process(folder: &Path, settings: &str) -> Child {
    let path = folder.join("proplet.toml");
    std::fs::write(&path, settings).unwrap();
    Command::new(env!("CARGO_BIN_EXE_lab-daemon"))
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_of_a_process_that_was_killed_is_told_and_not_run_again() {
    let scene = Scene::new("").await;
    scene.stop().await;
    let folder = tempfile::tempdir().unwrap();
    let outbox = format!(
        "[outbox]\npath = \"{}\"\n",
        folder.path().join("outbox").display()
    );
    let settings = scene.services.settings(&outbox);
    let manager = &scene.services.manager;
    let created = manager.on("control/proplet/create").len();
    let mut child = process(folder.path(), &settings);
    let present = manager.messages("control/proplet/create", created + 1);
    present.await.unwrap();
    let task = working();
    manager.start(&task).await.unwrap();
    assert_eq!(manager.result(&task.id).await.unwrap().error, None);
    child.kill().unwrap();
    child.wait().unwrap();
    let mut child = process(folder.path(), &settings);
    let said = loop {
        let all = manager
            .messages("control/proplet/results", 2)
            .await
            .unwrap();
        let ours: Vec<_> = all
            .into_iter()
            .filter(|message| message["task_id"] == task.id)
            .collect();
        if ours.len() >= 2 {
            break ours;
        }
    };
    assert_eq!(said[1]["proplet_id"], PROPLET);
    assert_eq!(code(said[1]["error"].as_str()), "interrupted");
    // It may be told before tasks can arrive.
    let present = manager.messages("control/proplet/create", created + 2);
    present.await.unwrap();
    // What comes after it has its answer, and the daemon has no other.
    let once = Task {
        inputs: vec!["1".into(), "1".into()],
        proplet_id: PROPLET.into(),
        ..Task::plain(&new_id(), "add", adder())
    };
    manager.start(&once).await.unwrap();
    assert_eq!(manager.result(&once.id).await.unwrap().results, "2");
    assert_eq!(manager.results_so_far(&task.id), 2);
    child.kill().unwrap();
    child.wait().unwrap();
}
