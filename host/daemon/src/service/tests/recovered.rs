//! What is found in the outbox at the start, by whoever put it there.

use proplet_outbox::{Options, Rerun, Sealing};
use tokio::task::JoinSet;

use super::*;

/// Entries that somebody put into the store.
const FORGED: usize = 10_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_a_disk_made_up_do_not_fill_the_log() {
    let root = tempfile::tempdir().unwrap();
    let options = || Options {
        path: root.path().join("outbox"),
        max_bytes: 1 << 30,
        rerun: Rerun::Allowed,
        sealing: Sealing::Clear,
        patience: LONG,
    };
    let (journal, opening) = Journal::open(options()).unwrap();
    opening.done().await.unwrap();
    let mut accepted = JoinSet::new();
    for number in 0..FORGED {
        let journal = journal.clone();
        accepted.spawn(async move { journal.accept(&number.to_string()).await.map(drop) });
    }
    for accepted in accepted.join_all().await {
        accepted.unwrap();
    }
    drop(journal);

    let folder = root.path().join("audit");
    let mut scene = Scene::new(&format!("[audit]\npath = {folder:?}\n"), bounds(100));
    let (_journal, opening) = Journal::open(options()).unwrap();
    let mut recovered = opening.done().await.unwrap();
    for _ in 0..FORGED {
        let found = timeout(LONG, recovered.recv()).await.unwrap().unwrap();
        scene.service.recover(found);
    }
    // Each is answered.
    assert_eq!(scene.outbox.tasks().len(), FORGED);
    scene.service.record.stopped().await;
    let listed = on_record(&folder, &["task-interrupted"]).len();
    assert_eq!(listed, 1024);
    let text = std::fs::read_to_string(folder.join("audit-00000001.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let counted = lines
        .filter(|line: &Value| line["kind"] == "tasks-interrupted")
        .map(|line| usize::try_from(line["about"]["count"].as_u64().unwrap()).unwrap());
    assert_eq!(counted.collect::<Vec<_>>(), [FORGED - listed]);
}
