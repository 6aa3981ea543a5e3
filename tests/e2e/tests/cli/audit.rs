//! `proplet audit`.

use std::sync::Arc;

use proplet_audit::{Audit, Boot, Event, Options, Place, Sealing};
use proplet_hal::TeeProvider;
use proplet_jose::jwk::PublicKey;
use proplet_results::{
    EvidenceBundle, ReceiptKey, claims::Claims, receipt::RunOutcome, receipt::self_signed,
};
use proplet_testkit::tee::FakeSnp;
use proplet_types::{Digest, ExitCode, SystemClock};
use serde_json::Value;

use crate::support::*;

/// Writes a log into `@audit`, with one task, and gives its receipt and evidence.
async fn log(desk: &Desk, reader: &PublicKey, key: &ReceiptKey) -> (String, EvidenceBundle) {
    let (audit, opening) = Audit::open(Options {
        place: Place::Folder {
            path: desk.path("audit"),
            max_file_bytes: 1000,
            max_bytes: None,
        },
        sealing: Sealing::to(vec![reader.clone()]),
        clock: Arc::new(SystemClock),
        patience: std::time::Duration::from_secs(60),
        export: None,
        boot: Boot {
            version: "1".to_owned(),
            settings: Digest::of(b"settings"),
        },
    })
    .unwrap();
    opening.done().await.unwrap();
    let tee = FakeSnp::new();
    audit.record(Event::Host {
        receipt_key: key.thumbprint(),
        attester: Some(tee.attester().to_owned()),
        is_hardware: false,
        is_debug: false,
    });
    let claims = Claims::instance(key, Digest::of(b"settings"), tee.attester()).unwrap();
    let claims = claims.with_audit_head(audit.head());
    let evidence = EvidenceBundle::gather(&tee, &claims).await.unwrap();
    let task = audit.begin("task-1");
    task.record(Event::Accepted { encrypted: true });
    task.record(Event::Secret {
        uri: "kbs:///alice/data/one".parse().unwrap(),
        refused: Some("kbs-denied"),
    });
    let mut claims = receipt_claims(key, &evidence);
    let head = task.record(Event::Result {
        digest: claims.result_digest,
        sequence: claims.sequence,
        completed: claims.outcome == RunOutcome::Completed,
    });
    claims.audit_head = Some(head.to_string());
    task.end(None);
    for n in 0..10 {
        audit.begin(&format!("other-{n}")).end(None);
    }
    audit.record(Event::Stopped);
    audit.flush().await.unwrap();
    (key.sign(&claims).unwrap(), evidence)
}

#[tokio::test]
async fn a_log_is_verified_against_receipt_and_evidence() {
    let desk = Desk::new();
    let reader = desk.keygen("auditor").await;
    let key = ReceiptKey::generate().unwrap();
    let (receipt, evidence) = log(&desk, &reader, &key).await;
    desk.write("receipt.jws", &receipt);
    desk.write("evidence.json", evidence.to_text().unwrap());
    let verify = "audit verify @audit";
    let ended = desk
        .run(&format!(
            "{verify} --receipt @receipt.jws --receipt @evidence.json"
        ))
        .await
        .done();
    let text = String::from_utf8(ended.stdout).unwrap();
    for words in [
        "11 whose chains end",
        "found     receipt of task task-1 in",
        "found     evidence in",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains("without a stop"), "{text}");
    let ended = desk
        .run(&format!("{verify} --receipt @receipt.jws --json"))
        .await
        .done();
    let report: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(report["verified"], true);
    assert_eq!(report["found"][0]["task"], "task-1");
    let boot = &report["boots"][0];
    assert_eq!(boot["stopped"], true);
    let head = boot["head"].as_str().unwrap();
    desk.run(&format!("{verify} --head {head}")).await.done();

    // Another head, another host's receipt of the same line, another result under the same head.
    let none = Digest::of(b"none");
    desk.run(&format!("{verify} --head {none}"))
        .await
        .refused(ExitCode::Failed, "no line of the log has the head");
    let (mut claims, _) = self_signed(&receipt).unwrap();
    let other = ReceiptKey::generate().unwrap();
    desk.write("other.jws", other.sign(&claims).unwrap());
    desk.run(&format!("{verify} --receipt @other.jws"))
        .await
        .refused(ExitCode::Failed, "is of something else");
    claims.result_digest = Digest::of(b"another result");
    desk.write("swapped.jws", key.sign(&claims).unwrap());
    desk.run(&format!("{verify} --receipt @swapped.jws"))
        .await
        .refused(ExitCode::Failed, "is of something else");
    claims.audit_head = None;
    desk.write("old.jws", key.sign(&claims).unwrap());
    desk.run(&format!("{verify} --receipt @old.jws"))
        .await
        .refused(ExitCode::Usage, "names no head");
    let forged = format!("{}AAAA", &receipt[..receipt.len() - 4]);
    desk.write("forged.jws", forged);
    desk.run(&format!("{verify} --receipt @forged.jws"))
        .await
        .refused(ExitCode::Usage, "cannot be believed");
}

#[tokio::test]
async fn what_was_taken_out_is_named_with_its_place() {
    let desk = Desk::new();
    let reader = desk.keygen("auditor").await;
    let (receipt, _) = log(&desk, &reader, &ReceiptKey::generate().unwrap()).await;
    desk.write("receipt.jws", &receipt);
    let file = desk.path("audit").join("audit-00000001.jsonl");
    let whole = std::fs::read_to_string(&file).unwrap();
    let mut lines: Vec<&str> = whole.split_inclusive('\n').collect();
    lines.remove(1);
    std::fs::write(&file, lines.concat()).unwrap();
    let ended = desk.run("audit verify @audit").await;
    assert!(
        ended.stderr.contains("audit-00000001.jsonl line 2: "),
        "{ended:?}"
    );
    ended.refused(ExitCode::Failed, "do not hold");
    desk.run("audit show @audit")
        .await
        .refused(ExitCode::Failed, "does not hold");
    let ended = desk.run("audit verify @audit --json").await;
    let report: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(
        (&report["verified"], &report["breaks"][0]["line"]),
        (&false.into(), &2.into())
    );

    // Who cuts off the end is found out by who has a receipt from there.
    std::fs::write(&file, &whole).unwrap();
    for number in 2.. {
        let next = desk.path("audit").join(format!("audit-{number:08}.jsonl"));
        if std::fs::remove_file(next).is_err() {
            break;
        }
    }
    let cut: String = whole.split_inclusive('\n').take(3).collect();
    std::fs::write(&file, cut).unwrap();
    let ended = desk.run("audit verify @audit").await.done();
    let text = String::from_utf8(ended.stdout).unwrap();
    assert!(text.contains("without a stop"), "{text}");
    desk.run("audit verify @audit --receipt @receipt.jws")
        .await
        .refused(ExitCode::Failed, "no line of the log has the head");
}

#[tokio::test]
async fn what_a_receiver_kept_of_an_export_is_verified_too() {
    let desk = Desk::new();
    let reader = desk.keygen("auditor").await;
    let (receipt, _) = log(&desk, &reader, &ReceiptKey::generate().unwrap()).await;
    desk.write("receipt.jws", &receipt);
    let mut kept = String::new();
    for number in 1.. {
        let file = desk.path("audit").join(format!("audit-{number:08}.jsonl"));
        let Ok(text) = std::fs::read_to_string(file) else {
            break;
        };
        for line in text.lines() {
            kept += &format!("Nov 28 12:00:00 vm proplet-audit[7]: {line}\n");
        }
        kept += "Nov 28 12:00:00 vm proplet-audit-export[7]: 3 entries were not exported\n";
    }
    desk.write("kept.log", &kept);
    let verify = "audit verify --exported --receipt @receipt.jws";
    let ended = desk.run(&format!("{verify} @kept.log")).await.done();
    let text = String::from_utf8(ended.stdout).unwrap();
    assert!(text.contains("receipt.jws: kept.log line "), "{text}");
    let from_stdin = async |line: &str, stdin: &str| {
        let seen = Seen {
            stdin: stdin.as_bytes(),
            terminal: false,
        };
        desk.run_seeing(line, seen).await
    };
    let ended = from_stdin(&format!("{verify} -"), &kept).await.done();
    let text = String::from_utf8(ended.stdout).unwrap();
    assert!(text.contains("receipt.jws: standard input line "), "{text}");
    let notes = kept.lines().filter(|line| line.contains("-export[7]"));
    let others = format!("others    {} lines that are not of this log", notes.count());
    assert!(text.contains(&others), "{text}");
    let ended = from_stdin("audit show --exported --kind result -", &kept)
        .await
        .done();
    let text = String::from_utf8(ended.stdout).unwrap();
    assert!(
        text.lines().count() == 1 && text.contains("task=task-1"),
        "{text}"
    );

    // Lines of other programs, and of another host's log where the boot is named.
    let begin = kept.find("{\"about\":").unwrap();
    let begin: Value = serde_json::from_str(kept[begin..].lines().next().unwrap()).unwrap();
    let boot = begin["chain"].as_str().unwrap();
    let strange = format!("{{\"chain\":\"INPUT\",\"rule\":7}}\n{kept}");
    let other = forged("other", 7, &Digest::of(b"before"), "readiness", "{}");
    let mixed = format!("{other}\n{strange}");
    for (line, stdin) in [
        (format!("{verify} --json -"), &strange),
        (format!("{verify} --boot {boot} --json -"), &mixed),
    ] {
        let ended = from_stdin(&line, stdin).await.done();
        let report: Value = serde_json::from_slice(&ended.stdout).unwrap();
        assert_eq!(report["verified"], true);
        let lines = stdin.lines().count() as u64;
        let counted = ["lines", "others"].map(|name| report[name].as_u64().unwrap());
        assert_eq!(counted.iter().sum::<u64>(), lines);
    }
    let ended = from_stdin("audit show --exported --kind result -", &strange).await;
    assert!(ended.stderr.contains("were passed over"), "{ended:?}");
    from_stdin(&format!("{verify} -"), &mixed)
        .await
        .refused(ExitCode::Failed, "the chain other begins here with entry 7");
    let broken = format!("{kept}{{\"chain\":\"{boot}\",\"rule\":7}}\n");
    from_stdin(&format!("{verify} -"), &broken)
        .await
        .refused(ExitCode::Failed, "do not hold");
    from_stdin("audit verify --exported --boot nobody -", &kept)
        .await
        .refused(ExitCode::Failed, "none of the boots that --boot names");
    desk.run(&format!("audit verify --boot {boot} @kept.log"))
        .await
        .misused("--exported");

    // What holds no line at all is not verified.
    for nothing in [
        "",
        "Nov 28 12:00:00 vm sshd[7]: hello\n",
        "{\"MESSAGE\":\"{\\\"chain\\\":\\\"x\\\"}\"}\n",
    ] {
        from_stdin("audit verify --exported -", nothing)
            .await
            .refused(ExitCode::Failed, "no line of an audit log");
    }

    desk.write("audit-00000009.jsonl", "");
    desk.run("audit verify @audit-00000009.jsonl")
        .await
        .refused(ExitCode::Failed, "no line of an audit log");

    // It is no log without that, and a copy with a gap vouches for nothing.
    desk.run("audit verify @kept.log")
        .await
        .refused(ExitCode::Failed, "do not hold");
    let begins = kept.find("\"kind\":\"accepted\"").unwrap();
    let from = kept[..begins].rfind('\n').unwrap();
    let to = begins + kept[begins..].find('\n').unwrap();
    let gap = format!("{}{}", &kept[..from], &kept[to..]);
    from_stdin(&format!("{verify} -"), &gap)
        .await
        .refused(ExitCode::Failed, "do not hold");
}

/// A line of a chain as a forger writes it: any, but canonical.
fn forged(chain: &str, seq: u64, prev: &Digest, kind: &str, about: &str) -> String {
    format!(
        r#"{{"about":{about},"chain":"{chain}","kind":"{kind}","prev":"{prev}","seq":{seq},"untrusted_time":"2026-01-01T00:00:00Z"}}"#
    )
}

#[tokio::test]
async fn a_receipt_is_refused_where_what_led_to_it_is_not_there() {
    let desk = Desk::new();
    let reader = desk.keygen("auditor").await;
    let (receipt, _) = log(&desk, &reader, &ReceiptKey::generate().unwrap()).await;
    desk.write("receipt.jws", &receipt);
    let mut lines = Vec::new();
    for number in 1.. {
        let file = desk.path("audit").join(format!("audit-{number:08}.jsonl"));
        let Ok(text) = std::fs::read_to_string(file) else {
            break;
        };
        lines.extend(text.lines().map(str::to_owned));
    }
    let at = |kind: &str| {
        let is_it = |line: &String| line.contains(&format!("\"kind\":\"{kind}\""));
        lines.iter().position(is_it).unwrap()
    };
    let (begun, result) = (at("task-begun"), &lines[at("result")]);
    let entry: Value = serde_json::from_str(&lines[begun]).unwrap();
    let boot = entry["chain"].as_str().unwrap();
    let seq = entry["seq"].as_u64().unwrap();
    let head = Digest::of(lines[begun].as_bytes());
    let verify = "audit verify @changed --receipt @receipt.jws";
    let refused = async |lines: &[String], words: &str| {
        desk.write("changed", lines.join("\n") + "\n");
        desk.run(verify).await.refused(ExitCode::Failed, words);
    };

    // Another line of the task, and one that says that what follows it was lost.
    let mut replaced = lines[..=begun].to_vec();
    let task = format!("{boot}/{seq}");
    replaced.push(forged(
        &task,
        0,
        &head,
        "accepted",
        r#"{"encrypted":false}"#,
    ));
    let about = r#"{"format":"proplet-audit-1","lost":3,"part":1}"#;
    replaced.push(forged(boot, seq + 1, &head, "file", about));
    replaced.push(result.clone());
    refused(
        &replaced[..],
        "what led to the head of receipt of task task-1",
    )
    .await;
    refused(&replaced[..], "is not whole: lines before").await;

    // Two lines are no task, whatever they say of earlier files.
    let two = [forged(boot, 99, &head, "file", about), result.clone()];
    refused(
        &two[..],
        "is not all in these files: give the earlier ones too",
    )
    .await;
}

#[tokio::test]
async fn entries_are_shown_and_opened_with_the_key_only() {
    let desk = Desk::new();
    let reader = desk.keygen("auditor").await;
    desk.keygen("somebody").await;
    log(&desk, &reader, &ReceiptKey::generate().unwrap()).await;
    let shown = async |line: &str| {
        let ended = desk.run(line).await.done();
        String::from_utf8(ended.stdout).unwrap()
    };
    let text = shown("audit show @audit --task task-1 --kind secret").await;
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        text.contains("code=kbs-denied (more is sealed: --key)"),
        "{text}"
    );
    let text = shown("audit show @audit --kind secret --key @auditor").await;
    assert!(text.contains("address=kbs:///alice/data/one"), "{text}");
    let text = shown("audit show @audit --kind secret --key @somebody").await;
    assert!(
        text.contains("not_opened=") && !text.contains("alice"),
        "{text}"
    );
    let text = shown("audit show @audit --kind secret --key @auditor --json").await;
    let entry: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(entry["opened"]["address"], "kbs:///alice/data/one");
    let all = shown("audit show @audit").await;
    assert!(all.lines().last().unwrap().contains("stopped"), "{all}");
    for (line, words) in [
        ("audit show @nothing", "nothing"),
        ("audit verify @bin", "bin"),
        ("audit verify", "required"),
        ("audit verify @audit --head x", "--head"),
    ] {
        let ended = desk.run(line).await;
        assert_eq!(ended.exit, ExitCode::Usage, "{line}: {ended:?}");
        assert!(ended.stderr.contains(words), "{line}: {ended:?}");
    }
    std::fs::create_dir(desk.path("empty")).unwrap();
    desk.run("audit verify @empty")
        .await
        .refused(ExitCode::Usage, "no audit-NUMBER.jsonl");
}

#[tokio::test]
async fn folders_that_are_numbered_alike_are_read_one_after_the_other() {
    let desk = Desk::new();
    let reader = desk.keygen("auditor").await;
    let key = ReceiptKey::generate().unwrap();
    for folder in ["one", "two"] {
        log(&desk, &reader, &key).await;
        std::fs::rename(desk.path("audit"), desk.path(folder)).unwrap();
    }
    let both = "audit verify @one @two";
    let report = desk.run(&format!("{both} --json")).await.done().json();
    assert_eq!(report["verified"], true);
    assert_eq!(report["boots"].as_array().unwrap().len(), 2);
    assert_eq!(report["absent"], serde_json::json!([]));
    // What is missing in one is not made up for by the other.
    std::fs::remove_file(desk.path("two").join("audit-00000002.jsonl")).unwrap();
    desk.run(both)
        .await
        .refused(ExitCode::Failed, "are missing");
}
