//! Chains that begin when there is something for them.

use super::*;

const ACCEPTED: Event = Event::Accepted { encrypted: true };

async fn logged() -> (tempfile::TempDir, Audit) {
    let root = tempfile::tempdir().unwrap();
    let audit = open(options(folder(&root.path().join("audit")))).await;
    (root, audit)
}

/// Kind and code of what is on record, behind the line of the boot.
async fn on_record(root: &tempfile::TempDir, audit: &Audit) -> Vec<(String, Option<String>)> {
    audit.flush().await.unwrap();
    let found = files(&root.path().join("audit"));
    assert_eq!(verified(&found, &[audit.head()]).breaks, []);
    let entries = entries(&found).into_iter().skip(1);
    entries.map(|entry| (entry.kind, entry.code)).collect()
}

#[tokio::test]
async fn a_task_that_is_refused_first_leaves_nothing() {
    let (root, audit) = logged().await;
    let task = audit.expect("refused", ACCEPTED);
    assert!(!task.end(Some("queue-full")));
    // It has ended, and nobody is told twice.
    assert!(task.end(Some("queue-full")));
    assert!(on_record(&root, &audit).await.is_empty());
    // What comes of it all the same is the boot's.
    assert_eq!((task.count(), task.entry(0)), (0, None));
    let head = task.record(result("late"));
    assert_ne!(head, audit.head());
    drop(task);
    assert_eq!(
        on_record(&root, &audit).await,
        [("result".to_owned(), None)]
    );
}

#[tokio::test]
async fn a_chain_begins_with_what_was_first_and_then() {
    let (root, audit) = logged().await;
    let task = audit.expect("t", ACCEPTED);
    audit.record(Event::Readiness { refused: None });
    let head = task.record(result("r"));
    assert_eq!((task.count(), task.head()), (2, head));
    assert!(task.end(Some("guest-failed")));
    let of = |kind: &str, code: Option<&str>| (kind.to_owned(), code.map(str::to_owned));
    let expected = [
        of("readiness", None),
        of("task-begun", None),
        of("accepted", None),
        of("result", None),
        of("ended", Some("guest-failed")),
        of("task-ended", Some("guest-failed")),
    ];
    assert_eq!(on_record(&root, &audit).await, expected);
    // It was accepted when it was, and not when that was written.
    let found = entries(&files(&root.path().join("audit")));
    let time = |kind: &str| {
        let entry = found.iter().find(|entry| entry.kind == kind);
        entry.unwrap().untrusted_time.clone()
    };
    assert!(time("accepted") < time("readiness"));
    assert!(time("readiness") < time("task-begun"));
}

#[tokio::test]
async fn whoever_needs_a_chain_has_one() {
    let uses: [fn(&TaskLog); 5] = [
        |task| task.begin(),
        |task| assert_eq!(task.head(), task.head()),
        |task| assert_eq!(task.count(), 1),
        |task| assert!(task.entry(0).is_some()),
        |task| assert_eq!(task.entries().0.len(), 1),
    ];
    for uses in uses {
        let (root, audit) = logged().await;
        let task = audit.expect("t", ACCEPTED);
        uses(&task);
        assert!(task.end(Some("stopped")));
        assert_eq!(on_record(&root, &audit).await.len(), 4);
    }
    // And so has a task that ends well, and one that nobody ends.
    let (root, audit) = logged().await;
    assert!(audit.expect("well", ACCEPTED).end(None));
    drop(audit.expect("lost", ACCEPTED));
    let found = on_record(&root, &audit).await;
    assert_eq!(found.len(), 8);
    assert_eq!(found[7].1.as_deref(), Some("abandoned"));
}
