//! What a Manager that shows metrics receives: of the proplet, and of a task as either generation asks for it.

use serde_json::{Value, json};

use super::*;

/// Waits for a message about a task.
async fn told(manager: &proplet_testkit::broker::Manager, id: &str) -> Value {
    let topic = "control/proplet/task_metrics";
    let mut count = 1;
    loop {
        let messages = manager.messages(topic, count).await.unwrap();
        count = messages.len() + 1;
        if let Some(message) = messages.into_iter().find(|m| m["task_id"] == id) {
            return message;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_proplet_and_of_a_task_in_the_profiles_of_both_generations() {
    let more = "[limits]\ntasks = 4\n[metrics]\ninterval_seconds = 1\n";
    let scene = Scene::set(None, HashMap::new(), "", more).await;
    let manager = &scene.services.manager;
    let every = json!({
        "enabled": true, "interval": 1_000_000_000, "collect_cpu": true, "collect_memory": true,
        "collect_disk_io": true, "collect_threads": true, "collect_file_descriptors": true,
        "export_to_mqtt": true, "retain_history": true, "history_size": 100,
    });
    let without_history = json!({"enabled": true, "interval": 1, "retain_history": false});
    let of = |id: &str, profile: &Value| Task {
        monitoring_profile: Some(profile.clone()),
        proplet_id: PROPLET.into(),
        ..Task::plain(id, "spin", spinner())
    };
    let (today, early) = (of("today", &every), of("early", &without_history));
    manager.start(&today).await.unwrap();
    let message = early.start_message_of_early_2026().to_string();
    let sent = manager.send("control/manager/start", message);
    sent.await.unwrap();

    assert_eq!(
        told(manager, "today").await["aggregated"]["sample_count"],
        1
    );
    assert_eq!(told(manager, "early").await["aggregated"], Value::Null);
    manager
        .messages("control/proplet/metrics", 1)
        .await
        .unwrap();
    for task in [&today, &early] {
        manager.stop(task).await.unwrap();
        let error = manager.result(&task.id).await.unwrap().error.unwrap();
        assert!(error.starts_with("stopped: "), "{error}");
    }
    scene.end().await;
}
