//! Invariant 9: everything is on record.

use std::{fs, io::BufReader, path::Path};

use proplet_audit::{
    Entry,
    verify::{Report, Verifier},
};
use proplet_jose::jwk::PrivateKey;
use proplet_results::{ResultDocument, receipt};
use proplet_testkit::{
    broker::{Outcome, Task},
    guests::GuestName,
    kbs::{Endpoint, Fault, Policy},
};
use proplet_types::Digest;

use crate::support::*;

/// A proplet with a log that an auditor may read.
struct Audited {
    scene: Scene,
    folder: tempfile::TempDir,
    auditor: PrivateKey,
}

impl Audited {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let auditor = PrivateKey::generate_x25519().unwrap();
        let jwk = auditor.public().to_jwk();
        let more = format!(
            "[audit]\npath = {:?}\nrequired = true\nrecipients = [{{ kty = \"OKP\", crv = \"X25519\", x = {} }}]\n",
            folder.path().join("audit"),
            jwk["x"]
        );
        Self {
            scene: Scene::with(&more).await,
            folder,
            auditor,
        }
    }

    /// Stops the proplet, and reads what it left.
    async fn log(self) -> Log {
        self.scene.proplet.stop().await.unwrap();
        Log::read(&self.folder.path().join("audit"), &[])
    }
}

struct Log {
    text: String,
    entries: Vec<Entry>,
    report: Report,
}

impl Log {
    /// Verifies a log, and looks for these heads.
    fn read(folder: &Path, heads: &[Digest]) -> Self {
        let mut verifier = Verifier::new();
        heads.iter().for_each(|head| verifier.look_for(*head));
        let text = fs::read_to_string(folder.join("audit-00000001.jsonl")).unwrap();
        let mut entries = Vec::new();
        let reader = BufReader::new(text.as_bytes());
        verifier
            .file("audit-00000001.jsonl", reader, |entry| {
                entries.push(entry.clone())
            })
            .unwrap();
        let report = verifier.finish();
        assert_eq!(report.breaks, []);
        Self {
            text,
            entries,
            report,
        }
    }

    /// The entries of the chain of this task.
    fn of_task(&self, task: &str) -> Vec<&Entry> {
        let is_its =
            |entry: &&Entry| entry.chain.contains('/') && entry.task.as_deref() == Some(task);
        self.entries.iter().filter(is_its).collect()
    }

    fn of_kind(&self, kind: &str) -> Vec<&Entry> {
        self.entries
            .iter()
            .filter(|entry| entry.kind == kind)
            .collect()
    }
}

fn kinds<'a>(entries: &[&'a Entry]) -> Vec<&'a str> {
    entries.iter().map(|entry| entry.kind.as_str()).collect()
}

fn heads(outcome: &Outcome) -> (receipt::ReceiptClaims, Digest, Digest) {
    let document = ResultDocument::from_text(&outcome.results).unwrap();
    let (claims, _) = receipt::self_signed(&document.receipt).unwrap();
    let of_task = claims.audit_head.as_deref().unwrap().parse().unwrap();
    let of_boot = document.evidence.claims().unwrap().audit_head.unwrap();
    (claims, of_task, of_boot)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_led_to_a_result_is_under_the_head_in_its_receipt() {
    let audited = Audited::new().await;
    let probe = guest(GuestName::SecretProbe).await;
    let (workload, image) = audited.scene.publish(&probe, &revealing(&[SECRET])).await;
    let first = task(&image, &[&format!("reveal {SECRET}")]);
    let outcome = audited.scene.run(&first).await;
    let (receipt, of_task, of_boot) = heads(&outcome);
    let second = task(&image, &["secret kbs:///alice/data/none"]);
    let failed = audited.scene.run(&second).await;
    assert_code(&failed, "guest-failed");
    let (_, of_failed, of_boot_again) = heads(&failed);
    // One session, one evidence.
    assert_eq!(of_boot, of_boot_again);

    let (folder, auditor) = (audited.folder, audited.auditor);
    audited.scene.proplet.stop().await.unwrap();
    let log = Log::read(&folder.path().join("audit"), &[of_task, of_failed, of_boot]);
    assert_eq!(log.report.missing, []);
    let boot = &log.report.boots[0];
    assert!(boot.stopped && boot.open_tasks == 0);
    assert_eq!(log.report.tasks, 2);

    let found = &log.report.found[&of_task].entry;
    assert_eq!(found.kind, "result");
    assert_eq!(found.task.as_deref(), Some(first.id.as_str()));
    assert_eq!(
        found.text("result_digest"),
        Some(receipt.result_digest.to_string().as_str())
    );
    assert_eq!(found.number("sequence"), Some(receipt.sequence));
    assert_eq!(log.report.found[&of_boot].entry.chain, boot.name);
    assert_eq!(log.report.found[&of_failed].entry.about["completed"], false);

    let of_first = log.of_task(&first.id);
    assert_eq!(
        kinds(&of_first),
        ["accepted", "key", "component", "secret", "result", "ended"]
    );
    let component = of_first[2];
    let digest = |name: &str| component.text(name).unwrap().to_owned();
    assert_eq!(digest("component"), workload.component_digest().to_string());
    assert_eq!(digest("image"), workload.image_digest().to_string());
    let ended = log.of_task(&second.id).pop().unwrap().clone();
    assert_eq!(ended.code.as_deref(), Some("guest-failed"));
    for (kind, count) in [("attestation", 1), ("instance-evidence", 1), ("key", 1)] {
        let entries = log.of_kind(kind);
        assert_eq!(entries.len(), count, "{kind}");
        assert!(entries.iter().all(|entry| entry.code.is_none()), "{kind}");
    }

    // What is sealed is the auditor's, and nothing of it nor of any content is in clear.
    let opened = of_first[1].open(&auditor).unwrap().unwrap();
    assert_eq!(opened["address"], KEY);
    let opened = of_first[3].open(&auditor).unwrap().unwrap();
    assert_eq!(opened["address"], SECRET);
    let opened = component.open(&auditor).unwrap().unwrap();
    assert_eq!(opened["recipients"][0], receipt.recipients[0]);
    for word in [CANARY, "alice", "kbs:", &receipt.recipients[0]] {
        assert!(!log.text.contains(word), "{word}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_on_record_with_their_codes() {
    let audited = Audited::new().await;
    let scene = &audited.scene;
    scene
        .services
        .key_broker
        .set_policy(Policy::predicate(|_| false));
    let (_, image) = scene.publish(&guest(GuestName::Hostile).await, "").await;
    let denied = task(&image, &["echo x"]);
    assert_code(&scene.run(&denied).await, "kbs-denied");
    let bad = Task {
        cli_args: Some(vec!["--dir=/".to_owned()]),
        ..task(&image, &["echo x"])
    };
    assert_code(&scene.run(&bad).await, "task-arguments");
    let plain = plain_task(&guest(GuestName::Hostile).await, "echo x");
    assert_eq!(scene.run(&plain).await.error, None);

    let log = audited.log().await;
    let of_denied = log.of_task(&denied.id);
    assert_eq!(kinds(&of_denied), ["accepted", "key", "ended"]);
    assert_eq!(of_denied[1].code.as_deref(), Some("kbs-denied"));
    assert_eq!(of_denied[2].code.as_deref(), Some("kbs-denied"));
    let refused = log.of_kind("task-refused");
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].task.as_deref(), Some(bad.id.as_str()));
    assert_eq!(refused[0].code.as_deref(), Some("task-arguments"));
    let of_plain = log.of_task(&plain.id);
    assert_eq!(kinds(&of_plain), ["accepted", "component", "ended"]);
    assert_eq!(of_plain[1].text("origin"), Some("plain"));
}

/// Stops a task while it waits for the key broker.
async fn stop_while_asking(scene: &Scene, task: &Task) -> Outcome {
    let (broker, manager) = (&scene.services.key_broker, &scene.services.manager);
    broker.inject(Endpoint::Resource, Fault::Silence);
    let asked = broker.counts().resources;
    manager.start(task).await.unwrap();
    while broker.counts().resources == asked {
        tokio::task::yield_now().await;
    }
    manager.stop(task).await.unwrap();
    let outcome = manager.result(&task.id).await.unwrap();
    broker.heal();
    assert_code(&outcome, "stopped");
    outcome
}

/// The key broker may have released it, so it is not left out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_asked_for_when_a_task_was_stopped_is_on_record() {
    let audited = Audited::new().await;
    let scene = &audited.scene;
    let probe = guest(GuestName::SecretProbe).await;
    let (_, image) = scene.publish(&probe, &revealing(&[SECRET])).await;
    let unopened = task(&image, &[&format!("reveal {SECRET}")]);
    stop_while_asking(scene, &unopened).await;
    let opened = task(&image, &["secret kbs:///alice/data/none"]);
    assert_code(&scene.run(&opened).await, "guest-failed");
    let asking = task(&image, &[&format!("reveal {SECRET}")]);
    let outcome = stop_while_asking(scene, &asking).await;
    let (_, head, _) = heads(&outcome);

    let log = audited.log().await;
    let of_unopened = log.of_task(&unopened.id);
    assert_eq!(kinds(&of_unopened), ["accepted", "key", "ended"]);
    assert_eq!(of_unopened[1].code.as_deref(), Some("interrupted"));
    assert_eq!(of_unopened[2].code.as_deref(), Some("stopped"));
    let of_asking = log.of_task(&asking.id);
    assert_eq!(
        kinds(&of_asking),
        ["accepted", "component", "secret", "result", "ended"]
    );
    assert_eq!(of_asking[2].code.as_deref(), Some("interrupted"));
    // Its receipt vouches for that.
    assert_eq!(of_asking[3].hash, head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evidence_that_a_component_asks_for_is_on_record() {
    let audited = Audited::new().await;
    let component = guest(GuestName::HelloAttest).await;
    let (_, image) = audited.scene.publish(&component, "").await;
    let task = task(&image, &["nonce-of-bob"]);
    assert_eq!(audited.scene.run(&task).await.error, None);
    let (folder, auditor) = (audited.folder, audited.auditor);
    audited.scene.proplet.stop().await.unwrap();
    let log = Log::read(&folder.path().join("audit"), &[]);
    let evidence = log.of_kind("evidence");
    assert_eq!(evidence.len(), 1);
    assert_eq!(evidence[0].task.as_deref(), Some(task.id.as_str()));
    let challenge = Digest::of(b"nonce-of-bob").to_string();
    // The guest chose it, and a digest of what can be guessed tells it.
    let opened = evidence[0].open(&auditor).unwrap().unwrap();
    assert_eq!(opened["challenge"], challenge);
    for word in ["nonce-of-bob", &challenge] {
        assert!(!log.text.contains(word), "{word}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_reads_the_record_of_its_own_task_and_of_no_other() {
    let audited = Audited::new().await;
    let scene = &audited.scene;
    let probe = guest(GuestName::SecretProbe).await;
    let policy = format!("{}[limits]\nsecret_quota = 2\n", revealing(&[SECRET]));
    let (_, image) = scene.publish(&probe, &policy).await;
    let mut seen = Vec::new();
    for _ in 0..2 {
        let task = task(&image, &[&format!("record {SECRET}")]);
        let outcome = scene.run(&task).await;
        let content = scene.open(&outcome).content.to_vec();
        seen.push((task.id, String::from_utf8(content).unwrap()));
    }
    let log = audited.log().await;
    for (task, text) in seen {
        let (lines, head) = text.rsplit_once('\n').unwrap();
        // Everything of it until then and nothing else, as it stands in the log.
        let of_task = log.of_task(&task);
        let (before, after) = of_task.split_at(of_task.len() - 2);
        assert_eq!(kinds(after), ["result", "ended"]);
        assert_eq!(parsed(lines).iter().collect::<Vec<_>>(), before);
        assert!(lines.lines().all(|line| log.text.contains(line)));
        assert_eq!(before.last().unwrap().hash.to_string(), head);
        // It grows by what the component does, and no further than the component's quotas.
        let secrets = |entry: &&&Entry| entry.kind == "secret";
        assert_eq!(before.iter().filter(secrets).count(), 2);
        for word in [CANARY, "alice", "kbs:"] {
            assert!(!text.contains(word), "{word}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_component_reads_its_record_too() {
    let audited = Audited::new().await;
    let component = guest(GuestName::Hostile).await;
    let mut seen = Vec::new();
    for _ in 0..2 {
        let task = plain_task(&component, "record");
        let outcome = audited.scene.run(&task).await;
        assert_eq!(outcome.error, None);
        seen.push((task.id, outcome.results));
    }
    let log = audited.log().await;
    for (task, text) in seen {
        let of_task = log.of_task(&task);
        assert_eq!(kinds(&of_task), ["accepted", "component", "ended"]);
        assert_eq!(parsed(&text).iter().collect::<Vec<_>>(), of_task[..2]);
    }
}

fn parsed(lines: &str) -> Vec<Entry> {
    let lines = lines.lines();
    lines
        .map(|line| Entry::parse(line.as_bytes()).unwrap())
        .collect()
}
