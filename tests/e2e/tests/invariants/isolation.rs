//! Invariant 6: tasks cannot reach the host.

use proplet_testkit::{
    broker::{PATIENCE, Task},
    guests::GuestName,
};
use tokio::{net::TcpListener, time::timeout};

use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runtime_flags_of_the_manager_are_refused() {
    let scene = Scene::new().await;
    let component = guest(GuestName::Hostile).await;
    let (_, image) = scene.publish(&component, "").await;
    for flags in [
        &["--dir=/"][..],
        &["--dir", "/"],
        &["--env", "A=B"],
        &["-S", "inherit-network"],
        &["-Sinherit-env=y"],
        &["-W", "max-memory-size=1"],
        &["--invoke"],
        &["--invoke="],
        &["--invoke", "run", "--invoke", "other"],
        &["--invoke=run", "--dir=/"],
        &["run"],
        &["--"],
        &[""],
    ] {
        let flags = Some(flags.iter().map(|flag| (*flag).to_owned()).collect());
        let encrypted = task(&image, &["echo x"]);
        let plain = plain_task(&component, "echo x");
        for task in [encrypted, plain] {
            let task = Task {
                cli_args: flags.clone(),
                ..task
            };
            assert_refused(&scene.run(&task).await, "task-arguments");
        }
    }
    assert_eq!(scene.services.key_broker.counts().auth, 0);
    let known = Task {
        cli_args: Some(vec!["--invoke".into(), "run".into()]),
        ..task(&image, &["echo x"])
    };
    assert_eq!(scene.open(&scene.run(&known).await).content[..], *b"x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_the_host_is_in_a_tasks_environment() {
    let scene = Scene::new().await;
    assert!(
        std::env::var_os("PATH").is_some(),
        "there is something to inherit"
    );
    let component = guest(GuestName::Hostile).await;
    let (_, image) = scene.publish(&component, "").await;
    assert_eq!(scene.ask(&image, "env").await, b"");
    let named = Task {
        env: [("COLOUR".to_owned(), "green".to_owned())].into(),
        ..task(&image, &["env"])
    };
    assert_eq!(
        scene.open(&scene.run(&named).await).content[..],
        *b"COLOUR=green"
    );
    assert_eq!(scene.ask(&image, "args").await, b"job");
    // What upstream's guests look for, and no more.
    let outcome = scene.run(&plain_task(&component, "env")).await;
    let expected = format!("PROPLET_ID={}", proplet_lab::PROPLET);
    assert_eq!(text_of(&outcome.results), expected);
}

/// The text in a plain task's list of bytes.
fn text_of(wave: &str) -> String {
    let list = wave.trim_start_matches("ok([").trim_end_matches("])");
    let bytes = list.split(", ").map(|byte| byte.parse::<u8>().unwrap());
    String::from_utf8(bytes.collect()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_file_of_the_host_can_be_reached() {
    let scene = Scene::new().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, CANARY).unwrap();
    let component = guest(GuestName::Hostile).await;
    let (_, image) = scene.publish(&component, "").await;
    let inside = folder.path().display();
    for input in [
        format!("read {}", file.display()),
        "read /etc/passwd".into(),
        "read ../../../../etc/passwd".into(),
        "read /proc/self/environ".into(),
        "list /".into(),
        "list .".into(),
        format!("write {inside}/new"),
        "write new".into(),
    ] {
        let failure = scene.ask_in_vain(&image, &input, "guest-failed").await;
        assert!(!failure.error.contains(CANARY));
        assert_code(
            &scene.run(&plain_task(&component, &input)).await,
            "guest-failed",
        );
    }
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(names.len(), 1);
    assert!(!scene.was_told(CANARY));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_wants_the_network_gets_none() {
    let scene = Scene::new().await;
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let component = guest(GuestName::Dialler).await;
    let (_, image) = scene.publish(&component, "").await;
    let address = server.local_addr().unwrap();
    for word in ["connect", "listen", "send-udp"] {
        let input = format!("{word} {address}");
        scene.ask_in_vain(&image, &input, "guest-failed").await;
        assert_refused(
            &scene.run(&plain_task(&component, &input)).await,
            "guest-failed",
        );
    }
    let request = scene.ask(&image, &format!("request {address}")).await;
    let request = String::from_utf8(request).unwrap();
    assert!(request.contains("HttpRequestDenied"), "{request}");
    // A connection of the test's own is the first that the server sees.
    let own = tokio::net::TcpStream::connect(server.local_addr().unwrap())
        .await
        .unwrap();
    let (_, peer) = timeout(PATIENCE, server.accept()).await.unwrap().unwrap();
    assert_eq!(peer, own.local_addr().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_limit_ends_a_task_with_its_code() {
    let limits = "[limits]\nmemory_bytes = 8388608\noutput_bytes = 65536\n";
    let scene = Scene::with(limits).await;
    let component = guest(GuestName::Hostile).await;
    let more = "[limits]\nwall_clock_ms = 3000\n";
    let (_, slow) = scene.publish(&component, more).await;
    let policy = scene.policy("[limits]\ncpu_ms = 300\n");
    let (_, busy) = scene
        .publish_as(&component, &policy, "kbs:///alice/key/busy")
        .await;
    for (image, input, code) in [
        (&busy, "spin", "limit-cpu"),
        (&slow, "sleep 100000", "limit-wall-clock"),
        (&busy, "flood-stdout 100000", "limit-output"),
        (&busy, "flood-stderr 100000", "limit-output"),
        (&busy, "return 100000", "limit-output"),
        (&busy, "allocate 100000000", "limit-memory"),
        (&busy, "recurse", "guest-trapped"),
    ] {
        scene.ask_in_vain(image, input, code).await;
    }
    // After all of that the next task has all of its own.
    assert_eq!(scene.ask(&busy, "return 60000").await.len(), 60000);
    assert_eq!(
        scene.ask(&slow, "allocate 4000000").await,
        b"holds 4000000 bytes"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_cannot_raise_a_limit() {
    let scene = Scene::with("[limits]\noutput_bytes = 1000\n").await;
    let component = guest(GuestName::Hostile).await;
    let (_, image) = scene
        .publish(&component, "[limits]\noutput_bytes = 100000\n")
        .await;
    scene
        .ask_in_vain(&image, "return 2000", "limit-output")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_run_at_once_share_no_handles_and_no_limits() {
    const AT_ONCE: usize = 8;
    let scene = Scene::with("[limits]\ntasks = 8\nhandles = 20\noutput_bytes = 4000\n").await;
    let probe = guest(GuestName::SecretProbe).await;
    let (_, image) = scene.publish(&probe, &revealing(&[SECRET])).await;
    // Each holds as many handles as it may, all of them at the same time.
    let hoard = format!("hoard {SECRET}");
    let tasks: Vec<Task> = (0..AT_ONCE).map(|_| task(&image, &[&hoard])).collect();
    let manager = &scene.services.manager;
    for task in &tasks {
        manager.start(task).await.unwrap();
    }
    for task in &tasks {
        let outcome = manager.result(&task.id).await.unwrap();
        assert_code(&outcome, "guest-failed");
        let failure = scene.open(&outcome).failure().unwrap();
        assert!(
            failure.error.contains("\"20: the task holds 20"),
            "{}",
            failure.error
        );
    }
    // Each gets its own inputs, its own identity and its own room for output.
    let (_, image) = scene.publish(&guest(GuestName::Hostile).await, "").await;
    let tasks: Vec<(Task, &str)> = (0..AT_ONCE)
        .map(|number| match number % 2 {
            0 => (task(&image, &["identity"]), "identity"),
            _ => (task(&image, &["return 3900"]), "return"),
        })
        .collect();
    for (task, _) in &tasks {
        manager.start(task).await.unwrap();
    }
    for (task, word) in &tasks {
        let outcome = manager.result(&task.id).await.unwrap();
        assert_eq!(outcome.error, None);
        let opened = scene.open(&outcome);
        assert_eq!(opened.report.receipt.unwrap().task_id, task.id);
        if *word == "identity" {
            let own = format!("task_id: {:?}", task.id);
            assert!(contains(&opened.content, own.as_bytes()));
        } else {
            assert_eq!(opened.content.len(), 3900);
        }
    }
}
