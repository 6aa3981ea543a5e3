//! Plugins of the operator, and rounds of federated learning.

use std::time::{Duration, Instant};

use proplet_jose::jwk::PrivateKey;
use proplet_lab::{KEY_ID, owner::open_result, workload::with_recipients};
use proplet_results::verify::Expectations;
use proplet_testkit::{
    broker::Outcome,
    guests::{GuestName, build},
    tee::FakeSnp,
};
use proplet_types::Digest;
use serde_json::json;

use super::*;

/// The table of the settings that names the test plugin.
async fn table() -> String {
    let plugin = tokio::task::spawn_blocking(|| build(GuestName::PolicyPlugin).unwrap());
    let plugin = plugin.await.unwrap();
    let path = plugin.path.display().to_string();
    let digest = Digest::of(&plugin.bytes);
    format!("[[plugins]]\npath = {path:?}\ndigest = \"{digest}\"\n")
}

/// A component that gives its environment, as a command does.
async fn says_its_environment() -> Vec<u8> {
    let built = tokio::task::spawn_blocking(|| build(GuestName::Hostile).unwrap());
    built.await.unwrap().bytes.clone()
}

fn named(name: &str, component: Vec<u8>, inputs: &[&str]) -> Task {
    Task {
        inputs: inputs.iter().map(|input| (*input).to_owned()).collect(),
        cli_args: Some(vec![
            "--invoke".into(),
            if inputs.len() == 2 { "add" } else { "run" }.into(),
        ]),
        proplet_id: PROPLET.into(),
        ..Task::plain(name, name, component)
    }
}

async fn run(scene: &Scene, task: &Task) -> Outcome {
    scene.services.manager.start(task).await.unwrap();
    scene.services.manager.result(&task.id).await.unwrap()
}

fn assert_code(outcome: &Outcome, code: &str, words: &str) {
    let error = outcome.error.as_deref().unwrap_or_default();
    assert!(error.starts_with(&format!("{code}: ")), "{error}");
    assert!(error.contains(words), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_decides_and_one_that_misbehaves_says_no() {
    let scene = Scene::set(None, HashMap::new(), "", &table().await).await;
    let add = |name: &str| named(name, adder(), &["10", "20"]);
    assert_eq!(run(&scene, &add("allowed")).await.results, "30");
    assert_code(
        &run(&scene, &add("denied")).await,
        "plugin-denied",
        "on the list",
    );
    for word in ["trap", "memory", "spin", "sleep"] {
        let began = Instant::now();
        let outcome = run(&scene, &add(word)).await;
        assert_code(&outcome, "plugin-failed", "policy_plugin");
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{word}: {:?}",
            began.elapsed()
        );
    }
    // What fails later adds nothing, and the task runs.
    for word in ["trap-later", "memory-later", "spin-later", "sleep-later"] {
        assert_eq!(run(&scene, &add(word)).await.results, "30", "{word}");
    }
    scene.end().await;
}

/// A plugin that spins keeps its own task, and no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_spins_keeps_no_other_task() {
    let scene = Scene::set(None, HashMap::new(), "", &table().await).await;
    let manager = &scene.services.manager;
    manager
        .start(&named("sleep", adder(), &["1", "2"]))
        .await
        .unwrap();
    let outcome = run(&scene, &named("allowed", adder(), &["10", "20"])).await;
    assert_eq!(outcome.results, "30");
    assert_code(
        &manager.result("sleep").await.unwrap(),
        "plugin-failed",
        "5 seconds",
    );
    let answers = manager.on("control/proplet/results");
    let order: Vec<_> = answers.iter().map(|answer| &answer["task_id"]).collect();
    assert_eq!(order, ["allowed", "sleep"]);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_adds_to_plain_tasks_and_is_told_ids_of_encrypted_ones() {
    let provider: Arc<dyn TeeProvider> = Arc::new(FakeSnp::new());
    let scene = Scene::set(Some(provider), HashMap::new(), "", &table().await).await;
    let component = says_its_environment().await;
    let plain = Task {
        env: [("SITE".to_owned(), "the sender's".to_owned())].into(),
        ..named("plain", component.clone(), &["env"])
    };
    let bytes = run(&scene, &plain).await.results;
    let bytes = bytes.trim_start_matches("ok([").trim_end_matches("])");
    let bytes = bytes.split(", ").map(|byte| byte.parse::<u8>().unwrap());
    let said = String::from_utf8(bytes.collect()).unwrap();
    assert!(
        said.contains("SITE=plant-7") && said.contains("KNOWN=SITE"),
        "{said}"
    );

    let reader = PrivateKey::generate_p256().unwrap();
    let policy = with_recipients("version = 1\n", &[reader.public().clone()]);
    let key_id = KEY_ID.parse().unwrap();
    let published = scene
        .services
        .publish("team/env", &component, Some(&policy), key_id);
    let (_, image) = published.await.unwrap();
    let encrypted = |id: &str| Task {
        name: "denied".into(),
        inputs: vec!["env".into()],
        cli_args: Some(vec!["--invoke".into(), "run".into()]),
        env: [("PATIENT".to_owned(), "4711".to_owned())].into(),
        proplet_id: PROPLET.into(),
        ..Task::encrypted(id, "denied", &image.to_string())
    };
    // The plugin would say no to the name, and to being told it.
    let outcome = run(&scene, &encrypted("sealed")).await;
    assert_eq!(outcome.error, None);
    let expected = Expectations::of_any_measurement();
    let opened = open_result(&reader, &outcome.results, &expected).unwrap();
    assert_eq!(opened.content[..], *b"PATIENT=4711");
    assert_code(
        &run(&scene, &encrypted("denied")).await,
        "plugin-denied",
        "on the list",
    );
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_is_asked_about_daemons_latent_tasks_and_each_invocation() {
    let scene = Scene::set(None, HashMap::new(), "", &table().await).await;
    let manager = &scene.services.manager;
    for denied in [
        Task {
            daemon: true,
            ..named("denied", adder(), &["1", "2"])
        },
        Task {
            id: "denied-latent".into(),
            latent: true,
            ..named("denied", adder(), &["1", "2"])
        },
    ] {
        assert_code(&run(&scene, &denied).await, "plugin-denied", "on the list");
    }
    // It is asked anew for each invocation, and adds to its environment.
    let latent = Task {
        latent: true,
        env: [("SITE".to_owned(), "the sender's".to_owned())].into(),
        ..named("latent", says_its_environment().await, &["env"])
    };
    manager.start(&latent).await.unwrap();
    let outcome = loop {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let id = format!("invocation-{number}");
        manager.invoke(&latent, &id, None).await.unwrap();
        let outcome = manager.invoked(&id).await.unwrap();
        match &outcome.error {
            Some(error) if error.contains("has not been precompiled") => {}
            _ => break outcome,
        }
    };
    assert_eq!(outcome.error, None);
    let bytes = outcome.results.trim_start_matches("ok([");
    let bytes = bytes.trim_end_matches("])").split(", ");
    let said = String::from_utf8(bytes.map(|byte| byte.parse().unwrap()).collect()).unwrap();
    assert!(said.contains("SITE=plant-7"), "{said}");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_of_federated_learning_has_its_own_form_of_results() {
    let scene = Scene::set(None, HashMap::new(), "", "").await;
    let manager = &scene.services.manager;
    let env = |samples: &str| {
        let pairs = [("ROUND_ID", "r-1"), ("FL_NUM_SAMPLES", samples)];
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    let task = Task {
        env: env("32").into(),
        ..named("fl-round-1", adder(), &["10", "20"])
    };
    manager.start(&task).await.unwrap();
    let results = manager
        .messages("control/proplet/results", 1)
        .await
        .unwrap();
    assert_eq!(
        results[0],
        json!({
            "task_id": "fl-round-1",
            "results": {"task_id": "fl-round-1", "round_id": "r-1", "proplet_id": PROPLET, "num_samples": 32,
                        "update_b64": "MzA=", "format": "f32-delta", "metrics": {}},
            "error": null,
        })
    );
    let fails = Task {
        env: env("32").into(),
        ..named("fl-round-2", spinner(), &["10", "20"])
    };
    assert_code(&run(&scene, &fails).await, "export-not-found", "add");
    scene.end().await;
}
