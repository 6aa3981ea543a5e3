//! What `open` and `verify` demand of SNP evidence, by options and by reference values.

use std::time::{Duration, SystemTime};

use proplet_testkit::forge::{RevocationList, Signer};
use proplet_testkit::tee::FakeSnp;
use proplet_types::ExitCode;
use serde_json::json;

use super::results::{BARE_OPEN, BARE_VERIFY, OPEN, TEXT, VERIFY, desk, empty, every_demand, put};
use super::support::Ran;

#[tokio::test]
async fn reports_of_version_2_need_the_option_that_their_refusal_names() {
    let (desk, reader) = empty().await;
    let host = FakeSnp::builder().report_version(2).build();
    put(&desk, &Ran::on(&host).gave(b"30", TEXT, &reader).await);
    for line in [OPEN, VERIFY] {
        desk.run(line)
            .await
            .refused(ExitCode::Failed, "--allow-report-v2");
        let ended = desk.run(&format!("{line} --allow-report-v2")).await.done();
        let report = format!("{}{}", ended.stderr, ended.text());
        assert!(report.contains("WARNING: the SNP report is of VERSION 2"));
    }
    // Nothing is warned of where nothing was let through.
    put(
        &desk,
        &Ran::on(&FakeSnp::new()).gave(b"30", TEXT, &reader).await,
    );
    let ended = desk
        .run(&format!("{VERIFY} --allow-report-v2"))
        .await
        .done();
    assert!(!ended.text().contains("VERSION"), "{ended:?}");
}

#[tokio::test]
async fn each_demand_on_snp_evidence_is_checked_by_its_option() {
    let (desk, _) = desk().await;
    let day = Duration::from_secs(24 * 3600);
    let now = SystemTime::now();
    for (name, list) in [
        (
            "revoked.crl",
            RevocationList::empty(now).revoking(Signer::Ask),
        ),
        ("old.crl", RevocationList::empty(now - 20 * day)),
        (
            "other.crl",
            RevocationList::empty(now).signed_by(Signer::Ask),
        ),
    ] {
        desk.write(name, list.der());
    }
    let all = every_demand(&desk);
    let json = desk
        .run(&format!("{VERIFY} {all} --json"))
        .await
        .done()
        .json();
    for check in ["minimum-tcb", "revocation", "chip", "guest-policy"] {
        let made = json!({"name": check, "verified": true});
        assert!(json["checks"].as_array().unwrap().contains(&made), "{json}");
    }
    let text = desk.run(VERIFY).await.done().text().to_owned();
    assert!(
        text.contains("NOT verified  minimum-tcb: no minimal TCB was given"),
        "{text}"
    );
    assert!(!text.contains("id-key"), "there is no ID block: {text}");

    let other = "ab".repeat(48);
    for (option, words) in [
        (
            "--min-tcb snp=25".to_owned(),
            "TCB snp is 24, at least 25 is demanded",
        ),
        (
            "--min-tcb turin:snp=0".to_owned(),
            "none is given for the report's CPU (genoa)",
        ),
        ("--crl @revoked.crl".to_owned(), "SEV-Test was revoked"),
        ("--crl @old.crl".to_owned(), "--at TIME"),
        (
            format!("--chip {}", "09".repeat(64)),
            "none of those that are accepted",
        ),
        (format!("--id-key {other}"), "names no ID key"),
        (format!("--author-key {other}"), "names no author key"),
        (
            "--guest-policy single-socket".to_owned(),
            "`single-socket` (bit 20)",
        ),
        (
            "--min-abi 1.55".to_owned(),
            "firmware interface 0.0, at least 1.55",
        ),
    ] {
        for line in [OPEN, VERIFY] {
            let ended = desk.run(&format!("{line} {option}")).await;
            ended.refused(ExitCode::Failed, words);
        }
    }
    for (option, words) in [
        ("--crl @other.crl", "signature on the revocation list"),
        ("--crl @key", "revocation list"),
    ] {
        let ended = desk.run(&format!("{VERIFY} {option}")).await;
        ended.refused(ExitCode::Usage, words);
    }
    for (option, words) in [
        ("--min-tcb snp", "not a minimal TCB"),
        ("--chip 00", "not the id of a chip"),
        ("--id-key 00", "write 48 bytes"),
        ("--guest-policy smt", "not a rule"),
        ("--min-abi 1", "write two numbers"),
    ] {
        desk.run(&format!("{VERIFY} {option}")).await.misused(words);
    }
}

#[tokio::test]
async fn reference_values_stand_for_many_options_and_give_way_to_each() {
    let (desk, _) = desk().await;
    let measurement = hex::encode(FakeSnp::MEASUREMENT);
    let values = format!(
        "[snp]\nmeasurements = [\"{measurement}\"]\nguest_policy = [\"no-debug\"]\n\
         [[snp.minimum_tcb]]\nsnp = 25\n"
    );
    desk.write("values.toml", values);
    let line = format!("{BARE_VERIFY} --reference-values @values.toml");
    let ended = desk.run(&line).await;
    ended.refused(ExitCode::Failed, "TCB snp is 24, at least 25 is demanded");
    let lower = format!("{line} --min-tcb snp=24 --require measurement,minimum-tcb,guest-policy");
    desk.run(&lower).await.done();
    let other = format!("{lower} --expect-measurement {}", "00".repeat(48));
    desk.run(&other)
        .await
        .refused(ExitCode::Failed, "measurement is");

    let open = format!("{BARE_OPEN} --reference-values @values.toml --min-tcb snp=24");
    assert_eq!(desk.run(&open).await.done().stdout, b"30");

    // Nothing is known of a TEE without a table.
    desk.write("values.toml", format!("[tdx]\nmrtd = [\"{measurement}\"]"));
    desk.run(&line)
        .await
        .refused(ExitCode::Failed, "the TEE `snp`");
    // Without measurements there is none that is expected.
    desk.write("values.toml", "[snp]\nguest_policy = [\"no-debug\"]");
    desk.run(&line)
        .await
        .refused(ExitCode::Failed, "--any-measurement");
    desk.write("values.toml", "[snp]\nmeasurement = []");
    desk.run(&line)
        .await
        .refused(ExitCode::Usage, "did you mean `measurements`?");
}

#[tokio::test]
async fn a_cloud_key_is_verified_and_revoked_as_a_chips_and_shows_no_machine() {
    let (desk, reader) = empty().await;
    let host = FakeSnp::builder().vlek().build();
    put(&desk, &Ran::on(&host).gave(b"30", TEXT, &reader).await);
    let now = SystemTime::now();
    let list = RevocationList::empty(now);
    desk.write("good.crl", list.der());
    desk.write("revoked.crl", list.revoking(Signer::Ask).der());
    for line in [OPEN, VERIFY] {
        desk.run(&format!("{line} --crl @good.crl")).await.done();
        let revoked = desk.run(&format!("{line} --crl @revoked.crl")).await;
        revoked.refused(ExitCode::Failed, "SEV-Test was revoked");
        let chip = format!("{line} --chip {}", "ab".repeat(64));
        let unknown = desk.run(&chip).await;
        unknown.refused(ExitCode::Failed, "a VLEK signed the SNP report");
    }
    let json = desk
        .run(&format!("{VERIFY} --crl @good.crl --json"))
        .await
        .done()
        .json();
    let made = json!({"name": "revocation", "verified": true});
    assert!(json["checks"].as_array().unwrap().contains(&made), "{json}");
}
