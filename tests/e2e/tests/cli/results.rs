//! `open` and `verify`.

use std::time::SystemTime;

use proplet_hal::Flavour;
use proplet_jose::jwk::PublicKey;
use proplet_results::ResultDocument;
use proplet_testkit::forge::RevocationList;
use proplet_testkit::tee::{FakeSnp, Sample, TEST_ROOTS_PEM, Tampering};
use proplet_types::{Digest, ExitCode};
use serde_json::{Value, json};

use super::support::{Desk, Ran, Seen, mode};

pub(super) const TEXT: &str = "text/plain; charset=utf-8";
pub(super) const OPEN: &str = "open @result.json --key @key --roots @roots.pem --any-measurement";
pub(super) const VERIFY: &str = "verify @result.json --roots @roots.pem --any-measurement";
/// Without saying anything about the measurement.
pub(super) const BARE_OPEN: &str = "open @result.json --key @key --roots @roots.pem";
pub(super) const BARE_VERIFY: &str = "verify @result.json --roots @roots.pem";

/// A desk with a key, the test roots and a result that says `30`.
pub(super) async fn desk() -> (Desk, PublicKey) {
    let (desk, reader) = empty().await;
    put(
        &desk,
        &Ran::on(&FakeSnp::new()).gave(b"30", TEXT, &reader).await,
    );
    (desk, reader)
}

pub(super) async fn empty() -> (Desk, PublicKey) {
    let desk = Desk::new();
    let reader = desk.keygen("key").await;
    desk.write("roots.pem", TEST_ROOTS_PEM);
    (desk, reader)
}

pub(super) fn put(desk: &Desk, document: &ResultDocument) {
    desk.write("result.json", document.to_text().unwrap());
}

fn altered(desk: &Desk, change: impl FnOnce(&mut Value)) {
    let text = std::fs::read(desk.path("result.json")).unwrap();
    let mut value: Value = serde_json::from_slice(&text).unwrap();
    change(&mut value);
    desk.write("result.json", value.to_string());
}

/// Options that demand of the evidence what that of a [`FakeSnp`] has.
pub(super) fn every_demand(desk: &Desk) -> String {
    desk.write("list.crl", RevocationList::empty(SystemTime::now()).der());
    let chip = "proplet test chip: no hardware stands behind this report. (fake)";
    format!(
        "--min-tcb genoa:bootloader=4,tee=1,snp=24,microcode=219 --crl @list.crl --chip {} \
         --guest-policy no-debug,no-migration-agent",
        hex::encode(chip)
    )
}

/// Options that expect exactly what the documents of [`Ran`] say.
pub(super) fn everything(reader: &PublicKey) -> String {
    let digest = |text: &str| Digest::of(text.as_bytes());
    format!(
        "--expect-component {} --expect-image {} --expect-policy {} --expect-settings {} \
         --expect-measurement {} --expect-measurement {} --expect-task task-1 \
         --expect-no-invocation --expect-export run \
         --expect-recipient {} --inputs @inputs.json --expect-arguments {} --expect-environment {}",
        digest("component"),
        digest("image"),
        digest("policy"),
        digest("settings"),
        hex::encode([0; 48]),
        hex::encode(FakeSnp::MEASUREMENT),
        reader.thumbprint(),
        digest("[]"),
        digest("{}"),
    )
}

#[tokio::test]
async fn a_result_is_verified_and_opened() {
    let (desk, reader) = desk().await;
    let ended = desk.run(OPEN).await.done();
    assert_eq!(ended.stdout, b"30");
    for words in [
        "WARNING: ",
        "fake-snp",
        "verified      receipt-key",
        "NOT verified  measurement",
    ] {
        assert!(ended.stderr.contains(words), "{words}: {ended:?}");
    }
    let seen = Seen {
        terminal: true,
        ..Seen::default()
    };
    assert_eq!(desk.run_seeing(OPEN, seen).await.done().text(), "30\n");

    let json = desk.run(&format!("{OPEN} --json")).await.done();
    assert_eq!(json.json()["text"], "30");
    assert_eq!(json.json()["report"]["verified"], false);
    assert_eq!(
        json.json()["report"]["receipt"]["recipients"][0],
        reader.thumbprint()
    );
    assert_eq!(json.stderr, "");

    let ended = desk.run(&format!("{OPEN} --out @content")).await.done();
    assert!(ended.stdout.is_empty());
    assert_eq!(std::fs::read(desk.path("content")).unwrap(), b"30");
    assert_eq!(mode(&desk.path("content")), 0o600);
    let again = desk.run(&format!("{OPEN} --out @content")).await;
    again.refused(ExitCode::Usage, "is not overwritten");
}

#[tokio::test]
async fn a_result_is_found_where_it_may_stand() {
    let (desk, _) = desk().await;
    let text = std::fs::read_to_string(desk.path("result.json")).unwrap();
    let message = json!({"task_id": "task-1", "proplet_id": "p", "results": text, "error": null});
    let task = json!({"id": "task-1", "name": "n", "state": 3, "results": text});
    let parsed = json!({"results": serde_json::from_str::<Value>(&text).unwrap()});
    for source in [message, task, parsed] {
        desk.write("result.json", source.to_string());
        assert_eq!(desk.run(OPEN).await.done().stdout, b"30");
    }
    let seen = Seen {
        stdin: text.as_bytes(),
        ..Seen::default()
    };
    let line = OPEN.replace("@result.json", "-");
    assert_eq!(desk.run_seeing(&line, seen).await.done().stdout, b"30");
}

#[tokio::test]
async fn keys_in_pem_open_too() {
    let (desk, _) = empty().await;
    // The test vector of RFC 8410 has no X25519 key; this is RFC 7748's, section 6.1, in PKCS#8.
    let pem = "-----BEGIN PRIVATE KEY-----\n\
               MC4CAQAwBQYDK2VuBCIEIHcHbQpzGKV9PBbBclGyZkXfTC+H68CZKrF3+6UduSwq\n\
               -----END PRIVATE KEY-----\n";
    let reader = proplet_jose::jwk::PrivateKey::from_pkcs8_pem(pem).unwrap();
    put(
        &desk,
        &Ran::on(&FakeSnp::new())
            .gave(b"30", TEXT, reader.public())
            .await,
    );
    desk.write("pem", pem);
    assert_eq!(
        desk.run(&OPEN.replace("@key", "@pem")).await.done().stdout,
        b"30"
    );
}

#[tokio::test]
async fn bytes_go_to_pipes_and_files_not_to_terminals() {
    let (desk, reader) = empty().await;
    let host = FakeSnp::new();
    for (content, media_type) in [
        (b"\0\xff".as_slice(), "application/octet-stream"),
        (b"harmless", "application/octet-stream"),
        (b"\xff", TEXT),
        (b"\x1b[2J", TEXT),
    ] {
        put(
            &desk,
            &Ran::on(&host).gave(content, media_type, &reader).await,
        );
        assert_eq!(desk.run(OPEN).await.done().stdout, content);
        let seen = Seen {
            terminal: true,
            ..Seen::default()
        };
        let ended = desk
            .run_seeing(OPEN, seen)
            .await
            .refused(ExitCode::Failed, "--out");
        assert!(ended.stdout.is_empty());
    }
    put(
        &desk,
        &Ran::on(&host)
            .gave(b"\0\xff", "application/octet-stream", &reader)
            .await,
    );
    let json = desk.run(&format!("{OPEN} --json")).await.done().json();
    assert_eq!(json["base64"], "AP8=");
}

#[tokio::test]
async fn what_does_not_verify_is_not_opened() {
    let (desk, reader) = desk().await;
    // Nobody but tests trusts the test roots.
    let amd = "open @result.json --key @key --any-measurement";
    let ended = desk
        .run(amd)
        .await
        .refused(ExitCode::Failed, "anybody can seal");
    assert!(ended.stdout.is_empty());
    desk.run("verify @result.json --any-measurement")
        .await
        .refused(ExitCode::Failed, "does not verify");
    let error = desk
        .run("verify @result.json --any-measurement --json")
        .await;
    assert_eq!(error.error()["code"], "not-verified");

    let host = FakeSnp::new();
    let first = Ran::on(&host).gave(b"30", TEXT, &reader).await;
    let other = Ran::on(&host).gave(b"31", TEXT, &reader).await;
    let swapped = [
        ResultDocument {
            jwe: other.jwe.clone(),
            ..first.clone()
        },
        ResultDocument {
            receipt: other.receipt.clone(),
            ..first.clone()
        },
        ResultDocument {
            evidence: other.evidence.clone(),
            ..first.clone()
        },
    ];
    for document in swapped {
        put(&desk, &document);
        let ended = desk.run(OPEN).await.refused(ExitCode::Failed, "not opened");
        assert!(ended.stdout.is_empty());
        desk.run(VERIFY).await.refused(ExitCode::Failed, "");
    }
    for tampering in [
        Tampering::Signature,
        Tampering::Measurement,
        Tampering::ReportData,
    ] {
        let host = FakeSnp::builder().tampering(tampering).build();
        put(&desk, &Ran::on(&host).gave(b"30", TEXT, &reader).await);
        desk.run(OPEN).await.refused(ExitCode::Failed, "not opened");
    }
}

#[tokio::test]
async fn a_result_without_a_receipt_is_not_opened() {
    let (desk, _) = desk().await;
    altered(&desk, |document| {
        drop(document.as_object_mut().unwrap().remove("receipt"))
    });
    desk.run(OPEN).await.refused(ExitCode::Usage, "receipt");
    let (desk, _) = self::desk().await;
    altered(&desk, |document| document["receipt"] = json!("a.b.c"));
    desk.run(OPEN).await.refused(ExitCode::Failed, "not opened");
    let (desk, _) = self::desk().await;
    altered(&desk, |document| {
        document["jwe"]["ciphertext"] = json!("AAAA")
    });
    desk.run(OPEN).await.refused(ExitCode::Failed, "not opened");
}

#[tokio::test]
async fn another_key_does_not_open_a_result() {
    let (desk, reader) = desk().await;
    let other = desk.keygen("other").await;
    let line = OPEN.replace("@key", "@other");
    let ended = desk
        .run(&line)
        .await
        .refused(ExitCode::Failed, &reader.thumbprint());
    assert!(ended.stderr.contains(&other.thumbprint()));
    desk.run(&OPEN.replace("@key", "@key.pub"))
        .await
        .refused(ExitCode::Usage, "private key");
    desk.run(&OPEN.replace("@key", "@roots.pem"))
        .await
        .refused(ExitCode::Usage, "roots.pem");
    desk.run(&OPEN.replace("@key", "@missing"))
        .await
        .refused(ExitCode::Usage, "missing");
    desk.run(&OPEN.replace("@roots.pem", "@key"))
        .await
        .refused(ExitCode::Usage, "roots");
    desk.run(&OPEN.replace("@result.json", "@none"))
        .await
        .refused(ExitCode::Usage, "none");
    desk.run("open @result.json").await.misused("--key");
}

#[tokio::test]
async fn what_is_no_sealed_result_says_what_it_is() {
    let (desk, _) = desk().await;
    let task = |members: Value| {
        desk.write("result.json", members.to_string());
    };
    task(json!({"id": "t", "results": "42"}));
    desk.run(OPEN).await.refused(ExitCode::Failed, "not sealed");
    task(json!({"id": "t", "error": "no-tee: there is none"}));
    desk.run(OPEN).await.refused(ExitCode::Failed, "no-tee");
    task(json!({"id": "t", "results": null}));
    desk.run(OPEN).await.refused(ExitCode::Failed, "no result");
    task(json!(["nothing"]));
    desk.run(OPEN).await.refused(ExitCode::Usage, "result.json");
    let bundle = Ran::on(&FakeSnp::new()).evidence(b"c").await;
    desk.write("result.json", bundle.to_text().unwrap());
    desk.run(OPEN)
        .await
        .refused(ExitCode::Usage, "proplet verify");
}

#[tokio::test]
async fn a_sealed_failure_is_shown_as_one() {
    let (desk, reader) = empty().await;
    let host = FakeSnp::new();
    let failed = Ran::on(&host)
        .failed("wrong\n\u{1b}[31m", "line 1\nline 2\n", &reader)
        .await;
    put(&desk, &failed);
    let ended = desk
        .run(OPEN)
        .await
        .refused(ExitCode::Failed, "the component failed: wrong");
    assert!(
        ended.stdout.is_empty() && ended.stderr.contains("  line 1\n  line 2"),
        "{ended:?}"
    );
    assert!(!ended.stderr.contains('\u{1b}'), "{ended:?}");
    let ended = desk.run(&format!("{OPEN} --out @content")).await;
    ended.refused(ExitCode::Failed, "the component failed");
    assert!(!desk.path("content").exists());
    let ended = desk.run(&format!("{OPEN} --json")).await;
    assert_eq!(ended.exit, ExitCode::Failed);
    assert_eq!(ended.json()["failure"]["stderr"], "line 1\nline 2\n");
    assert_eq!(ended.error()["code"], "component-failed");
    // Verifying needs no key, and a failure verifies like a result.
    desk.run(VERIFY).await.done();

    put(&desk, &Ran::on(&host).failed_strangely(&reader).await);
    let ended = desk
        .run(OPEN)
        .await
        .refused(ExitCode::Failed, "not a failure");
    assert!(ended.stdout.is_empty(), "{ended:?}");
}

#[tokio::test]
async fn nothing_verifies_without_an_expected_measurement() {
    let (desk, _) = desk().await;
    let bundle = Ran::on(&FakeSnp::new()).evidence(b"c").await;
    desk.write("evidence.json", bundle.to_text().unwrap());
    let found = hex::encode(FakeSnp::MEASUREMENT);
    let evidence = BARE_VERIFY.replace("@result.json", "@evidence.json");
    for line in [BARE_OPEN, BARE_VERIFY, &evidence] {
        for more in ["", " --require component", " --require all"] {
            let ended = desk
                .run(&format!("{line}{more}"))
                .await
                .refused(ExitCode::Failed, "--any-measurement");
            assert!(ended.stdout.is_empty(), "{ended:?}");
            assert!(ended.stderr.contains(&found), "{ended:?}");
        }
        let ended = desk.run(&format!("{line} --json")).await;
        assert!(ended.stdout.is_empty(), "{ended:?}");
        assert_eq!(ended.error()["code"], "not-verified");

        let ended = desk.run(&format!("{line} --any-measurement")).await.done();
        let report = format!("{}{}", ended.stderr, ended.text());
        for words in ["WARNING: ANY MEASUREMENT", "NOT verified  measurement"] {
            assert!(report.contains(words), "{words}: {report}");
        }
        desk.run(&format!("{line} --any-measurement --require measurement"))
            .await
            .refused(ExitCode::Failed, "any launch measurement was accepted");
        desk.run(&format!(
            "{line} --any-measurement --expect-measurement {found}"
        ))
        .await
        .misused("cannot be used with");
    }
}

/// Nothing fails: whoever expects the measurement of a debug image gets what he asked for, and is told what that is.
#[tokio::test]
async fn the_debug_flavour_is_warned_of() {
    let (desk, reader) = empty().await;
    let host = FakeSnp::new();
    let ran = Ran {
        flavour: Flavour::Debug,
        ..Ran::on(&host)
    };
    put(&desk, &ran.gave(b"30", TEXT, &reader).await);
    for line in [BARE_VERIFY, BARE_OPEN] {
        let line = format!("{line} --any-measurement");
        let ended = desk.run(&line).await.done();
        let report = format!("{}{}", ended.stderr, ended.text());
        assert!(report.contains("DEBUG FLAVOUR"), "{report}");
        assert!(report.contains("WARNING: the host is of the"), "{report}");
        let json = desk.run(&format!("{line} --json")).await.done().json();
        let report = json.get("report").unwrap_or(&json);
        assert_eq!(report["verified"], false, "{report}");
        assert_eq!(report["receipt"]["flavour"], "debug", "{report}");
        assert_eq!(report["claims"]["flavour"], "debug", "{report}");
        desk.run(&format!("{line} --require all"))
            .await
            .refused(ExitCode::Failed, "");
    }
    let explained = format!("{BARE_VERIFY} --any-measurement --explain");
    let explained = desk.run(&explained).await.done();
    assert!(explained.text().contains("debug"), "{}", explained.text());
}

#[tokio::test]
async fn json_says_verified_only_when_nothing_is_left_to_ask() {
    let (desk, reader) = empty().await;
    desk.write("inputs.json", r#"[10, "twenty"]"#);
    let host = FakeSnp::builder().host_data([7; 32]).build();
    put(&desk, &Ran::on(&host).gave(b"30", TEXT, &reader).await);
    let all = format!(
        "{} --expect-init-data {} {}",
        everything(&reader),
        "07".repeat(32),
        every_demand(&desk)
    );
    // Every check is made, but the evidence is of a fake.
    for line in [BARE_VERIFY, BARE_OPEN] {
        let json = desk.run(&format!("{line} {all} --json")).await.done();
        let json = json.json();
        let report = json.get("report").unwrap_or(&json);
        assert_eq!(report["not_verified"], json!([]), "{report}");
        assert_eq!(report["warnings"].as_array().unwrap().len(), 2, "{report}");
        assert_eq!(report["verified"], false, "{report}");
        let ended = desk.run(&format!("{line} {all} --require all")).await;
        ended.refused(ExitCode::Failed, "is a FAKE");
    }
    let json = desk.run(&format!("{VERIFY} --json")).await.done().json();
    assert_eq!(json["verified"], false);
}

#[tokio::test]
async fn expectations_are_checked_one_by_one() {
    let (desk, reader) = desk().await;
    desk.write("inputs.json", r#"[10, "twenty"]"#);
    let all = everything(&reader);
    let ended = desk
        .run(&format!("{BARE_VERIFY} {all} --require all"))
        .await;
    ended.refused(ExitCode::Failed, "init-data");
    let names = "component,image,policy,settings,measurement,task-id,invocation-id,export,\
                 recipients,inputs,arguments,environment,receipt-key,evidence";
    desk.run(&format!("{BARE_VERIFY} {all} --require {names}"))
        .await
        .done();
    desk.run(&format!("{BARE_OPEN} {all} --require {names}"))
        .await
        .done();
    desk.write(
        "inputs.json",
        r#"{"id": "task-1", "inputs": ["10", "twenty"]}"#,
    );
    desk.run(&format!("{BARE_VERIFY} {all}")).await.done();

    desk.write("other.json", r#"["10"]"#);
    let other = Digest::of(b"other");
    for (option, name) in [
        (format!("--expect-component {other}"), "component"),
        (format!("--expect-image {other}"), "image"),
        (format!("--expect-policy {other}"), "policy"),
        (format!("--expect-settings {other}"), "settings"),
        (format!("--expect-arguments {other}"), "arguments"),
        (format!("--expect-environment {other}"), "environment"),
        (
            format!("--expect-measurement {}", "00".repeat(48)),
            "measurement",
        ),
        (
            format!("--expect-init-data {}", "07".repeat(32)),
            "init-data",
        ),
        ("--expect-task task-2".to_owned(), "task-id"),
        ("--expect-invocation 1".to_owned(), "invocation-id"),
        ("--expect-export other".to_owned(), "export"),
        (
            format!("--expect-recipient -{}", "A".repeat(42)),
            "recipients",
        ),
        ("--inputs @other.json".to_owned(), "inputs"),
        ("--expect-challenge 00".to_owned(), "challenge"),
    ] {
        let words = format!("the {name} is ");
        let (verify, open) = if name == "measurement" {
            (BARE_VERIFY, BARE_OPEN)
        } else {
            (VERIFY, OPEN)
        };
        desk.run(&format!("{verify} {option}"))
            .await
            .refused(ExitCode::Failed, &words);
        let ended = desk
            .run(&format!("{open} {option}"))
            .await
            .refused(ExitCode::Failed, &words);
        assert!(ended.stdout.is_empty(), "{option}");
    }
    desk.run(&format!("{VERIFY} --expect-component other"))
        .await
        .misused("sha256:");
    desk.run(&format!("{VERIFY} --expect-recipient other"))
        .await
        .misused("thumbprint");
    desk.run(&format!("{BARE_VERIFY} --expect-measurement 0"))
        .await
        .misused("hexadecimal");
    desk.run(&format!("{VERIFY} --inputs @roots.pem"))
        .await
        .refused(ExitCode::Usage, "roots.pem");
}

#[tokio::test]
async fn the_answer_to_one_invocation_is_no_answer_to_another() {
    let (desk, reader) = empty().await;
    let host = FakeSnp::new();
    let ran = Ran {
        invocation_id: Some("1".to_owned()),
        ..Ran::on(&host)
    };
    put(&desk, &ran.gave(b"30", TEXT, &reader).await);
    for (line, is_open) in [(VERIFY, false), (OPEN, true)] {
        let ended = desk.run(line).await.done();
        let report = if is_open { &ended.stderr } else { ended.text() };
        assert!(report.contains("NOT verified  invocation-id"), "{report}");
        let required = format!("{line} --require invocation-id");
        desk.run(&required)
            .await
            .refused(ExitCode::Failed, "invocation-id (no expected");
        let right = format!("{required} --expect-invocation 1");
        desk.run(&right).await.done();
        for wrong in ["--expect-invocation 2", "--expect-no-invocation"] {
            let ended = desk.run(&format!("{line} {wrong}")).await;
            let words = "the invocation-id is \"1\", expected ";
            let ended = ended.refused(ExitCode::Failed, words);
            assert!(ended.stdout.is_empty(), "{ended:?}");
        }
        desk.run(&format!("{right} --expect-no-invocation"))
            .await
            .misused("cannot be used with");
    }
    let explained = format!("{VERIFY} --explain --expect-invocation 1");
    let explained = desk.run(&explained).await.done();
    let holds = "+ invocation-id: holds: it is the expected 1";
    assert!(explained.text().contains(holds), "{explained:?}");
}

#[tokio::test]
async fn what_is_required_must_have_been_checked() {
    let (desk, _) = desk().await;
    let ended = desk.run(&format!("{OPEN} --require measurement")).await;
    let ended = ended.refused(
        ExitCode::Failed,
        "measurement (any launch measurement was accepted)",
    );
    assert!(ended.stdout.is_empty());
    let ended = desk
        .run(&format!("{VERIFY} --require measurement,component --json"))
        .await;
    assert_eq!(ended.exit, ExitCode::Failed);
    assert_eq!(ended.json()["verified"], false);
    let message = ended.error()["message"].to_string();
    assert!(
        message.contains("measurement") && message.contains("component"),
        "{message}"
    );
    // Applies to evidence alone.
    desk.run(&format!("{VERIFY} --require challenge"))
        .await
        .refused(ExitCode::Failed, "apply");
    desk.run(&format!("{VERIFY} --require colour"))
        .await
        .refused(ExitCode::Usage, "receipt-key");
}

#[tokio::test]
async fn evidence_is_verified_without_a_result() {
    let (desk, _) = empty().await;
    let host = FakeSnp::builder().host_data([7; 32]).build();
    let bundle = Ran::on(&host).evidence(b"challenge").await;
    desk.write("result.json", bundle.to_text().unwrap());
    let line = format!(
        "{BARE_VERIFY} --expect-challenge {} --expect-component {} --expect-init-data {} \
         --expect-measurement {} --expect-settings {} --expect-task task-1",
        hex::encode("challenge"),
        Digest::of(b"component"),
        "07".repeat(32),
        hex::encode(FakeSnp::MEASUREMENT),
        Digest::of(b"settings"),
    );
    let json = desk.run(&format!("{line} --json")).await.done().json();
    // The test roots and the fake attester are warned of, and two digests were not asked for.
    assert_eq!(json["verified"], false);
    let left_out = json!([
        "minimum-tcb",
        "revocation",
        "chip",
        "guest-policy",
        "image",
        "policy"
    ]);
    assert_eq!(json["not_verified"], left_out);
    assert_eq!(json["claims"]["kind"], "workload");
    assert_eq!(json["anchor"], "given");
    let ended = desk.run(&line).await.done();
    assert!(
        ended.text().contains("verified      challenge"),
        "{ended:?}"
    );
    assert!(ended.text().contains("NOT verified  image"), "{ended:?}");
    let wrong = format!("{VERIFY} --expect-challenge 00");
    desk.run(&wrong)
        .await
        .refused(ExitCode::Failed, "challenge");
    // Evidence says nothing about inputs, and a pass would look as if it did.
    desk.write("inputs.json", "[]");
    let asked = format!("{VERIFY} --inputs @inputs.json");
    desk.run(&asked)
        .await
        .refused(ExitCode::Failed, "not said by evidence");
    altered(&desk, |bundle| {
        bundle["claims"]["task_id"] = json!("task-2")
    });
    desk.run(VERIFY)
        .await
        .refused(ExitCode::Failed, "does not sign these claims");
}

#[tokio::test]
async fn samples_and_debuggable_vms_are_refused_unless_allowed() {
    let (desk, reader) = empty().await;
    put(
        &desk,
        &Ran::on(&Sample::new()).gave(b"30", TEXT, &reader).await,
    );
    desk.run(OPEN).await.refused(ExitCode::Failed, "not opened");
    let ended = desk.run(&format!("{OPEN} --accept-sample")).await.done();
    assert!(ended.stderr.contains("SAMPLE EVIDENCE"), "{ended:?}");
    assert_eq!(ended.stdout, b"30");
    let ended = desk
        .run(&format!("{OPEN} --accept-sample --require evidence"))
        .await;
    ended.refused(ExitCode::Failed, "anybody can write it");

    let host = FakeSnp::builder().debug(true).build();
    put(&desk, &Ran::on(&host).gave(b"30", TEXT, &reader).await);
    desk.run(VERIFY).await.refused(ExitCode::Failed, "debug");
    desk.run(OPEN).await.refused(ExitCode::Failed, "debug");
    let ended = desk.run(&format!("{VERIFY} --allow-debug")).await.done();
    assert!(ended.text().contains("NOT verified  debug"), "{ended:?}");
    desk.run(&format!("{VERIFY} --allow-debug --require debug"))
        .await
        .refused(ExitCode::Failed, "debug");
}

#[tokio::test]
async fn certificates_are_judged_as_of_the_time_that_is_asked_for() {
    let (desk, _) = desk().await;
    for line in [OPEN, VERIFY] {
        // The certificates of the test PKI live from 2020 on.
        let ended = desk.run(&format!("{line} --at 2018-01-01")).await;
        let ended = ended.refused(ExitCode::Failed, "--at TIME");
        assert!(ended.stderr.contains("not yet valid"), "{ended:?}");
        let ended = desk
            .run(&format!("{line} --at 2030-01-01T12:00:00+01:00"))
            .await
            .done();
        let report = format!("{}{}", ended.stderr, ended.text());
        assert!(
            report.contains("WARNING: JUDGED AS OF 2030-01-01T11:00:00Z"),
            "{report}"
        );
        let json = desk.run(&format!("{line} --at 2030-01-01 --json")).await;
        let json = json.done().json();
        let report = json.get("report").unwrap_or(&json);
        let warnings = report["warnings"].to_string();
        assert!(warnings.contains("JUDGED AS OF"), "{warnings}");
        desk.run(&format!("{line} --at yesterday"))
            .await
            .misused("2026-01-31");
    }
}

#[tokio::test]
async fn key_files_are_recognized() {
    let (desk, _) = desk().await;
    let key = std::fs::read_to_string(desk.path("key")).unwrap();
    let mut members: Value = serde_json::from_str(&key).unwrap();
    members["alg"] = json!("ECDH-ES");
    for file in [format!("\u{feff}{key}"), members.to_string()] {
        desk.write("other", file);
        let ended = desk.run(&OPEN.replace("@key", "@other")).await.done();
        assert_eq!(ended.stdout, b"30");
    }
    for (file, words) in [
        (vec![7; 32], "the key of an image"),
        (b"ssh-ed25519 AAAA".to_vec(), "an OpenSSH public key"),
        (TEST_ROOTS_PEM.into(), "PEM with several blocks"),
        (
            json!({"kty": "RSA"}).to_string().into_bytes(),
            "an RSA key: results are sealed to P-256",
        ),
    ] {
        desk.write("other", file);
        desk.run(&OPEN.replace("@key", "@other"))
            .await
            .refused(ExitCode::Usage, words);
    }
}

#[tokio::test]
async fn every_check_of_a_report_can_be_required() {
    let (desk, _) = desk().await;
    let result = desk.run(&format!("{VERIFY} --json")).await.done().json();
    let bundle = Ran::on(&FakeSnp::new()).evidence(b"c").await;
    desk.write("result.json", bundle.to_text().unwrap());
    let evidence = desk.run(&format!("{VERIFY} --json")).await.done().json();
    for report in [result, evidence] {
        for check in report["checks"].as_array().unwrap() {
            let name = check["name"].as_str().unwrap();
            let ended = desk.run(&format!("{VERIFY} --require {name}")).await;
            assert_ne!(ended.exit, ExitCode::Usage, "{name}: {ended:?}");
        }
    }
}
