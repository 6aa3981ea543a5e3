//! The audit log, which is the one thing that the daemon leaves on a disk here: what was done with canaries is in it, and
//! nothing of them.

use std::collections::BTreeSet;
use std::fs;

use proplet_audit::Entry;
use proplet_jose::jwk::PrivateKey;

use crate::errands::{Plain, Secrets};
use crate::world::World;
use crate::{Canary, Observed, Search};

/// The kinds that the errands leave.
const KINDS: [&str; 6] = [
    "key",
    "component",
    "secret",
    "result",
    "ended",
    "task-ended",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_recipients_the_audit_log_holds_no_plaintext() {
    let auditor = PrivateKey::generate_x25519().unwrap();
    let jwk = auditor.public().to_jwk();
    let text = logged(&[jwk["x"].as_str().unwrap()]).await;
    // The addresses are there for whoever may read them: of secrets, whose names are the owner's too.
    let opened = entries(&text).into_iter().filter_map(|entry| {
        let opened = entry.open(&auditor).unwrap()?;
        Some(opened.get("address")?.as_str()?.to_owned())
    });
    let opened: BTreeSet<_> = opened.collect();
    assert!(
        opened.contains("kbs:///default/canary/reveal"),
        "{opened:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_recipients_the_audit_log_holds_no_plaintext() {
    let text = logged(&[]).await;
    assert!(entries(&text).iter().all(|entry| entry.sealed.is_none()));
}

/// Runs all errands on a daemon with an audit log, and gives the log.
async fn logged(recipients: &[&str]) -> String {
    let (world, folder) = World::new("info").await.audited(recipients);
    let (secrets, plain) = (Secrets::new(), Plain::new());
    let mut observed = Observed::of(&world, &secrets, &plain).await;
    assert_eq!(observed.leaks(&secrets, &plain), "");

    // The log is there, and nothing else is.
    let file = folder.join("audit-00000001.jsonl");
    let files = world.home.foreign_files();
    assert!(files.contains(&file), "{files:?}");
    assert!(
        files.iter().all(|file| file.starts_with(&folder)),
        "{files:?}"
    );
    let mut writable = observed.seen.writable.iter();
    assert!(
        writable.all(|file| file.starts_with(&folder)),
        "{:?}",
        observed.seen.writable
    );

    // It says what became of every task, and neither where secrets are nor who reads results.
    let text = fs::read_to_string(&file).unwrap();
    let entries = entries(&text);
    for outcome in &observed.outcomes {
        let is_its = |entry: &&Entry| entry.task.as_ref() == Some(&outcome.task_id);
        assert!(
            entries.iter().any(|entry| is_its(&entry)),
            "{}",
            outcome.task_id
        );
    }
    let kinds: BTreeSet<_> = entries.iter().map(|entry| entry.kind.as_str()).collect();
    assert!(KINDS.iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
    for word in ["kbs:", "canary", &world.reader.public().thumbprint()] {
        assert!(!text.contains(word), "{word}");
    }

    // The same search finds what is put there.
    let planted = Canary::new("planted");
    let place = format!("the file {}", file.display());
    for (name, bytes) in &mut observed.kept.own {
        if *name == place {
            bytes.extend_from_slice(planted.text.as_bytes());
        }
    }
    let search = Search::new([&planted]);
    let own = observed.kept.own.iter();
    let found: BTreeSet<_> = own
        .flat_map(|(name, bytes)| search.in_bytes(name, bytes))
        .map(|leak| leak.place)
        .collect();
    assert_eq!(found, [place].into());
    text
}

fn entries(text: &str) -> Vec<Entry> {
    let lines = text.lines();
    lines
        .map(|line| Entry::parse(line.as_bytes()).unwrap())
        .collect()
}
