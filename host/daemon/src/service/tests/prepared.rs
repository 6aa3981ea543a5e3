//! Latent tasks that are prepared and nothing more.

use proplet_types::Digest;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_component_of_a_latent_task_is_on_record_if_nobody_invokes_it() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("audit");
    let mut scene = Scene::new(&format!("[audit]\npath = {folder:?}\n"), bounds(100));
    let wat = "(module (func (export \"seven\") (result i32) i32.const 7))";
    prepare(&mut scene, start("a", "seven", wat)).await;
    let stop = message("stop", &json!({"id": "a", "proplet_id": ENTITY}));
    scene.receive(stop).await;
    assert_eq!(code(&scene.answer().await), "stopped");
    scene.service.record.stopped().await;

    let of = |kind: &str, code: &str| [kind, "a", code].map(str::to_owned).into();
    let expected = [
        of("accepted", ""),
        of("component", ""),
        of("ended", ""),
        of("task-refused", "stopped"),
    ];
    let kinds = ["accepted", "component", "ended", "task-refused"];
    assert_eq!(on_record(&folder, &kinds), expected);
    let text = std::fs::read_to_string(folder.join("audit-00000001.jsonl")).unwrap();
    let digest = Digest::of(&wat::parse_str(wat).unwrap()).to_string();
    let mut lines = text
        .lines()
        .filter(|line| line.contains("\"kind\":\"component\""));
    assert!(lines.next().unwrap().contains(&digest), "{text}");
    assert_eq!(lines.next(), None);
}
