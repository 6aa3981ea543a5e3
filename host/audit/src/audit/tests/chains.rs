//! What stands in the chains of a boot and of its tasks.

use proplet_jose::jwk::PrivateKey;
use proplet_types::Code;

use super::*;

#[tokio::test]
async fn what_is_put_on_record_is_in_the_file_and_holds() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("audit");
    let audit = open(options(folder(&path))).await;
    audit.record(Event::Readiness {
        refused: Some(Code::NoTee.as_str()),
    });
    let (one, two) = (audit.begin("one"), audit.begin("two"));
    one.record(Event::Accepted { encrypted: true });
    two.record(Event::Accepted { encrypted: false });
    let head = one.record(result("one"));
    two.end(Some("guest-failed"));
    one.end(None);
    audit.record(Event::Stopped);
    audit.flush().await.unwrap();
    let found = files(&path);
    assert_eq!(
        kinds(&found),
        [
            "boot",
            "readiness",
            "task-begun",
            "task-begun",
            "accepted",
            "accepted",
            "result",
            "ended",
            "task-ended",
            "ended",
            "task-ended",
            "stopped"
        ]
    );
    let report = verified(&found, &[head, audit.head(), Digest::of(b"elsewhere")]);
    assert_eq!(report.breaks, []);
    assert_eq!((report.tasks, report.lines, report.files), (2, 12, 1));
    assert_eq!(report.missing, [Digest::of(b"elsewhere")]);
    assert!(!report.is_whole());
    let entry = &report.found[&head].entry;
    assert_eq!(
        (entry.kind.as_str(), entry.task.as_deref()),
        ("result", Some("one"))
    );
    assert_eq!(report.found[&head].place.line, 7);
    let [boot] = &report.boots[..] else {
        panic!("{:?}", report.boots)
    };
    assert_eq!((boot.head, boot.entries), (audit.head(), 7));
    assert!(boot.stopped && !boot.begins_elsewhere && boot.open_tasks == 0);
    assert_eq!(boot.name, audit.boot());
}

#[tokio::test]
async fn a_task_sees_its_own_chain() {
    let audit =
        Audit::in_memory(Arc::new(Ticking::default()), options(Place::Memory).boot).unwrap();
    assert_eq!(audit.health().borrow().state, State::Memory);
    audit.flush().await.unwrap();
    let (one, two) = (audit.begin("one"), audit.begin("two"));
    let before = one.head();
    assert_eq!(one.entries(), (Vec::new(), before));
    two.record(Event::Accepted { encrypted: true });
    assert_eq!(one.head(), before);
    let head = one.record(Event::Accepted { encrypted: true });
    let (lines, now) = one.clone().entries();
    assert_eq!((lines.len(), now), (1, head));
    assert_eq!(
        (one.count(), one.entry(0), one.entry(1)),
        (1, Some(lines[0].clone()), None)
    );
    let entry = Entry::parse(lines[0].as_bytes()).unwrap();
    assert_eq!((entry.prev, entry.hash), (Some(before), head));
    assert_eq!(entry.chain, format!("{}/1", audit.boot()));
    // After its end, nothing is added to it, and nothing is lost.
    one.end(None);
    let (head, boot) = (one.head(), audit.head());
    one.end(Some("stopped"));
    assert_eq!(audit.head(), boot);
    one.record(result("late"));
    assert_eq!(one.head(), head);
    assert_ne!(audit.head(), boot);
}

#[tokio::test]
async fn a_task_that_nobody_ends_is_ended() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("audit");
    let audit = open(options(folder(&path))).await;
    let task = audit.begin("lost");
    drop(task.clone());
    task.record(Event::Accepted { encrypted: true });
    drop(task);
    audit.flush().await.unwrap();
    let found = files(&path);
    let last = entries(&found).pop().unwrap();
    assert_eq!(
        (last.kind.as_str(), last.code.as_deref()),
        ("task-ended", Some("abandoned"))
    );
    assert!(verified(&found, &[]).is_whole());
}

#[tokio::test]
async fn addresses_are_sealed_or_left_out() {
    let key = PrivateKey::generate_x25519().unwrap();
    let root = tempfile::tempdir().unwrap();
    let uri: proplet_types::ResourceUri = "kbs:///hospital/data/secret-one".parse().unwrap();
    let event = || Event::Component {
        origin: crate::event::Origin::Encrypted,
        component: Digest::of(b"component"),
        image: None,
        policy: None,
        key: Some("kbs:///hospital/key/k".parse().unwrap()),
        recipients: vec!["thumbprint-of-a-reader".to_owned()],
    };
    for (name, recipients) in [("sealed", vec![key.public().clone()]), ("bare", Vec::new())] {
        let path = root.path().join(name);
        let audit = open(Options {
            sealing: Sealing::to(recipients.clone()),
            ..options(folder(&path))
        })
        .await;
        let task = audit.begin("t");
        task.record(event());
        task.record(Event::Secret {
            uri: uri.clone(),
            refused: None,
        });
        let challenge = Digest::of(b"a guest chose it");
        task.record(Event::WorkloadEvidence {
            challenge,
            refused: None,
        });
        task.end(None);
        audit.flush().await.unwrap();
        let found = files(&path);
        assert!(verified(&found, &[]).is_whole());
        let challenge = challenge.to_string();
        for word in ["hospital", "secret-one", "thumbprint-of", &challenge] {
            assert!(!found[0].1.contains(word), "{word}");
        }
        let opened: Vec<_> = entries(&found)
            .iter()
            .filter_map(|entry| entry.open(&key).unwrap())
            .collect();
        if recipients.is_empty() {
            assert_eq!(opened, []);
            continue;
        }
        assert_eq!(opened.len(), 3);
        assert_eq!(opened[2]["challenge"], challenge);
        assert_eq!(opened[0]["key"], "kbs:///hospital/key/k");
        assert_eq!(opened[0]["recipients"][0], "thumbprint-of-a-reader");
        assert_eq!(opened[1]["address"], uri.to_string());
        let other = PrivateKey::generate_x25519().unwrap();
        let sealed = entries(&found)
            .into_iter()
            .find(|entry| entry.sealed.is_some());
        sealed.unwrap().open(&other).unwrap_err();
    }
}

#[tokio::test]
async fn ids_of_tasks_stay_as_they_are() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("audit");
    let audit = open(options(folder(&path))).await;
    let ids = ["a ", " a", "a\u{202e}b", "a\nb", &"\u{e9}".repeat(128)];
    for id in ids {
        audit.begin(id).end(None);
    }
    audit.record(Event::TaskRefused {
        task: format!("{}\u{e9}", "x".repeat(255)),
        code: Code::TaskInvalid,
    });
    audit.flush().await.unwrap();
    let found = files(&path);
    let entries = entries(&found);
    for id in ids {
        let its = entries.iter().filter(|e| e.task.as_deref() == Some(id));
        assert_eq!(its.count(), 3, "{id:?}");
    }
    // No task has a longer one: it was refused.
    let last = entries.last().unwrap().task.as_deref();
    assert_eq!(last, Some("x".repeat(255).as_str()));
    assert!(verified(&found, &[]).is_whole());
}
