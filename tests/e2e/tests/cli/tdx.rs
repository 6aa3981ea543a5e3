//! `verify` and `open` of TDX evidence, `collateral fetch`, and what `--explain` and `--html` show.

use proplet_results::ResultDocument;
use proplet_testkit::pccs::{Mirrored, Pccs};
use proplet_testkit::tee::{
    EventLog, FakeSnp, FakeTdx, FakeTdxBuilder, Platform, TDX_TEST_ROOT_PEM, TEST_ROOTS_PEM,
    TcbStatus, TdxCollateral,
};
use proplet_types::ExitCode;
use serde_json::Value;

use super::support::{Desk, Ended, Ran, Seen};

const VERIFY: &str =
    "verify @result.json --roots @roots.pem --collateral @collateral.json --any-measurement";

/// A desk with a result of this host, the test roots of both TEEs, and collateral in one file.
async fn desk(tee: FakeTdxBuilder) -> (Desk, ResultDocument) {
    let desk = Desk::new();
    let reader = desk.keygen("key").await;
    let tee = tee.build();
    let result = Ran::on(&tee).gave(b"30", "text/plain", &reader).await;
    desk.write("result.json", result.to_text().unwrap());
    desk.write("roots.pem", format!("{TEST_ROOTS_PEM}{TDX_TEST_ROOT_PEM}"));
    let collateral = TdxCollateral::committed().to_json();
    desk.write("collateral.json", collateral.to_string());
    (desk, result)
}

async fn plain() -> Desk {
    desk(FakeTdx::builder()).await.0
}

fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["name"] == name);
    &found.unwrap_or_else(|| panic!("no check {name}"))["verified"]
}

#[tokio::test]
async fn a_result_of_a_tdx_host_verifies_and_opens() {
    let desk = plain().await;
    let report = desk.run(&format!("{VERIFY} --json")).await.done().json();
    assert_eq!(report["tee"], "tdx");
    assert_eq!(report["anchor"], "given");
    assert_eq!(report["measurement"], hex::encode(FakeTdx::MEASUREMENT));
    assert_eq!(check(&report, "tcb-status"), true);
    for name in [
        "rtmr0",
        "rtmr3",
        "mr-owner",
        "event-log",
        "tdx-module",
        "tdx-platform",
    ] {
        assert_eq!(check(&report, name), false, "{name}");
    }
    let opened = VERIFY.replacen("verify", "open", 1);
    let ended = desk.run(&format!("{opened} --key @key")).await.done();
    assert_eq!(ended.stdout, b"30");
}

#[tokio::test]
async fn without_collateral_the_error_says_how_to_get_some() {
    let desk = plain().await;
    let bare = VERIFY.replace("--collateral @collateral.json ", "");
    desk.run(&bare).await.refused(
        ExitCode::Failed,
        &format!(
            "proplet collateral fetch URL --fmspc {} --out DIR",
            hex::encode(Platform::FMSPC)
        ),
    );
    let vendors = VERIFY.replace("--roots @roots.pem ", "");
    desk.run(&vendors)
        .await
        .refused(ExitCode::Failed, "pinned TDX root");
    let snp_only = desk.write("snp.pem", TEST_ROOTS_PEM);
    let other = VERIFY.replace("@roots.pem", snp_only.to_str().unwrap());
    desk.run(&other)
        .await
        .refused(ExitCode::Failed, "pinned TDX root");
    desk.run(&format!("{VERIFY} --at 2001-01-01"))
        .await
        .refused(ExitCode::Failed, "--at TIME");
}

#[tokio::test]
async fn a_root_of_one_vendor_leaves_the_others_as_they_are() {
    let desk = Desk::new();
    let reader = desk.keygen("key").await;
    let snp = FakeSnp::new();
    let result = Ran::on(&snp).gave(b"30", "text/plain", &reader).await;
    desk.write("result.json", result.to_text().unwrap());
    desk.write("tdx.pem", TDX_TEST_ROOT_PEM);
    desk.run("verify @result.json --roots @tdx.pem --any-measurement")
        .await
        .refused(ExitCode::Failed, "pinned ASKs");
    desk.write("two.pem", format!("{TDX_TEST_ROOT_PEM}{TDX_TEST_ROOT_PEM}"));
    desk.run("verify @result.json --roots @two.pem --any-measurement")
        .await
        .refused(ExitCode::Usage, "there are several");
}

#[tokio::test]
async fn expectations_of_tdx_hold_or_fail() {
    let log = EventLog::of_a_boot();
    let tee = FakeTdx::builder()
        .event_log(log.clone())
        .mr_owner([5; 48])
        .module([6; 48], [0; 48]);
    let (desk, _) = desk(tee).await;
    let rtmrs = log.rtmrs().map(hex::encode);
    let owner = hex::encode([5; 48]);
    let module = hex::encode([6; 48]);
    let ppid = hex::encode(Platform::default().ppid);
    let all = format!(
        "--expect-rtmr0 {} --expect-rtmr1 {} --expect-rtmr2 {} --expect-rtmr3 {} --expect-mr-owner {owner} \
         --expect-mr-seam {module} --expect-platform {ppid}",
        rtmrs[0], rtmrs[1], rtmrs[2], rtmrs[3]
    );
    let checks = "rtmr0,rtmr1,rtmr2,rtmr3,mr-owner,event-log,tcb-status,tdx-module,tdx-platform";
    desk.run(&format!("{VERIFY} {all} --require {checks}"))
        .await
        .done();
    let other = hex::encode([9; 48]);
    for option in ["rtmr0", "rtmr1", "rtmr2", "rtmr3", "mr-owner"] {
        let line = format!("{VERIFY} --expect-{option} {other}");
        desk.run(&line)
            .await
            .refused(ExitCode::Failed, &format!("the {option} is"));
        let line = format!("{VERIFY} --require {option}");
        desk.run(&line)
            .await
            .refused(ExitCode::Failed, "no expected");
    }
    desk.run(&format!("{VERIFY} --expect-mr-seam {other}"))
        .await
        .refused(ExitCode::Failed, "not among the expected ones");
    desk.run(&format!(
        "{VERIFY} --expect-platform {}",
        hex::encode([9; 16])
    ))
    .await
    .refused(ExitCode::Failed, "relayed from elsewhere");
    desk.run(&format!("{VERIFY} --expect-rtmr0 00"))
        .await
        .misused("write 48 bytes");
}

#[tokio::test]
async fn the_measurement_of_firmware_alone_shows_no_host() {
    let log = EventLog::of_a_boot();
    let (desk, _) = desk(FakeTdx::builder().event_log(log.clone())).await;
    let rtmrs = log.rtmrs().map(hex::encode);
    let measurement = hex::encode(FakeTdx::MEASUREMENT);
    let line = VERIFY.replace(
        "--any-measurement",
        &format!("--expect-measurement {measurement}"),
    );
    for (more, missing) in [
        (String::new(), "no expected rtmr1"),
        (format!("--expect-rtmr1 {}", rtmrs[1]), "no expected rtmr2"),
        (format!("--expect-rtmr2 {}", rtmrs[2]), "--expect-rtmr1 HEX"),
    ] {
        desk.run(&format!("{line} {more}"))
            .await
            .refused(ExitCode::Failed, missing);
    }
    let both = format!("--expect-rtmr1 {} --expect-rtmr2 {}", rtmrs[1], rtmrs[2]);
    desk.run(&format!("{line} {both}")).await.done();
}

#[tokio::test]
async fn expectations_of_tdx_fail_with_evidence_of_another_tee() {
    let desk = Desk::new();
    let reader = desk.keygen("key").await;
    let result = Ran::on(&FakeSnp::new())
        .gave(b"30", "text/plain", &reader)
        .await;
    desk.write("result.json", result.to_text().unwrap());
    desk.write("roots.pem", TEST_ROOTS_PEM);
    let line = "verify @result.json --roots @roots.pem --any-measurement";
    desk.run(line).await.done();
    desk.run(&format!("{line} --expect-rtmr2 {}", hex::encode([0; 48])))
        .await
        .refused(ExitCode::Failed, "not said by evidence of this TEE");
}

#[tokio::test]
async fn reference_values_hold_for_their_own_tee() {
    let log = EventLog::of_a_boot();
    let tee = FakeTdx::builder()
        .event_log(log.clone())
        .mr_config_id([4; 48]);
    let (desk, _) = desk(tee).await;
    let values = |rtmr: &[u8; 48], config: u8| {
        format!(
            "[tdx]\nmrtd = [\"{}\"]\nrtmr1 = [\"{}\"]\nrtmr2 = [\"{}\"]\nmrconfigid = [\"{}\"]\n[snp]\nmeasurements = [\"{}\"]\n",
            hex::encode(FakeTdx::MEASUREMENT),
            hex::encode(rtmr),
            hex::encode(log.rtmrs()[2]),
            hex::encode([config; 48]),
            hex::encode(FakeSnp::MEASUREMENT),
        )
    };
    let line = VERIFY.replace("--any-measurement", "--reference-values @values.toml");
    desk.write("values.toml", values(&log.rtmrs()[1], 4));
    desk.run(&format!("{line} --require measurement,rtmr1,init-data"))
        .await
        .done();
    let reader = desk.keygen("snp-key").await;
    let result = Ran::on(&FakeSnp::new())
        .gave(b"30", "text/plain", &reader)
        .await;
    desk.write("snp.json", result.to_text().unwrap());
    desk.run(&line.replace("@result.json", "@snp.json"))
        .await
        .done();

    desk.write("values.toml", values(&[9; 48], 4));
    desk.run(&line)
        .await
        .refused(ExitCode::Failed, "the rtmr1 is");
    desk.write("values.toml", values(&log.rtmrs()[1], 9));
    desk.run(&line)
        .await
        .refused(ExitCode::Failed, "the init-data is");
    desk.write(
        "values.toml",
        format!("[snp]\nmeasurements = [\"{}\"]\n", "05".repeat(48)),
    );
    desk.run(&line).await.refused(ExitCode::Failed, "`tdx`");
}

#[tokio::test]
async fn statuses_and_advisories_are_accepted_by_name() {
    let status = TcbStatus::SwHardeningNeeded;
    let (desk, _) = desk(FakeTdx::builder().status(status)).await;
    let accepted = format!("{VERIFY} --allow-tcb-status {}", status.name());
    desk.run(VERIFY)
        .await
        .refused(ExitCode::Failed, "--allow-tcb-status STATUS");
    desk.run(&accepted).await.done();
    let advisory = status.advisory().unwrap();
    desk.run(&format!("{accepted} --allow-advisory {advisory}"))
        .await
        .done();
    for refusing in [
        format!("--deny-advisory INTEL-SA-00000,{advisory}"),
        "--allow-advisory INTEL-SA-00000".to_owned(),
    ] {
        desk.run(&format!("{accepted} {refusing}"))
            .await
            .refused(ExitCode::Failed, advisory);
    }
    desk.run(&format!("{VERIFY} --allow-tcb-status Fine"))
        .await
        .misused("not a TCB status");
}

#[tokio::test]
async fn a_debuggable_vm_is_refused_unless_allowed() {
    let (desk, _) = desk(FakeTdx::builder().debug(true)).await;
    desk.run(VERIFY)
        .await
        .refused(ExitCode::Failed, "may debug");
    let ended = desk.run(&format!("{VERIFY} --allow-debug")).await.done();
    assert!(ended.text().contains("DEBUGGABLE"));
}

/// What a mirror has of this collateral.
fn mirrored(collateral: &TdxCollateral) -> Mirrored {
    let signed = |member: &str, body: &str, signature: &[u8]| {
        format!(
            "{{\"{member}\":{body},\"signature\":\"{}\"}}",
            hex::encode(signature)
        )
    };
    Mirrored {
        fmspc: hex::encode(Platform::FMSPC),
        tcb_info: signed(
            "tcbInfo",
            &collateral.tcb_info,
            &collateral.tcb_info_signature,
        ),
        qe_identity: signed(
            "enclaveIdentity",
            &collateral.qe_identity,
            &collateral.qe_identity_signature,
        ),
        signer_chain: collateral.tcb_info_issuer_chain.clone(),
        pck_crl: collateral.pck_crl.clone(),
        pck_crl_chain: collateral.pck_crl_issuer_chain.clone(),
        root_crl: collateral.root_ca_crl.clone(),
    }
}

async fn fetch(desk: &Desk, pccs: &Pccs, options: &str) -> Ended {
    desk.write("ca.pem", pccs.ca_pem());
    let line = format!(
        "collateral fetch {} --ca @ca.pem --out @collateral {options}",
        pccs.url()
    );
    desk.run(&line).await
}

#[tokio::test]
async fn what_is_fetched_from_a_mirror_verifies() {
    let pccs = Pccs::start(mirrored(&TdxCollateral::committed()))
        .await
        .unwrap();
    let (desk, result) = desk(FakeTdx::builder()).await;
    let fmspc = hex::encode(Platform::FMSPC);
    let ended = fetch(&desk, &pccs, &format!("--fmspc {fmspc}"))
        .await
        .done();
    assert!(
        ended
            .text()
            .contains(&format!("TCB info TDX of FMSPC {fmspc}")),
        "{ended:?}"
    );
    assert_eq!(
        pccs.asked(),
        [
            format!("/tdx/certification/v4/tcb?fmspc={fmspc}").as_str(),
            "/tdx/certification/v4/qe/identity",
            "/sgx/certification/v4/pckcrl?ca=platform&encoding=der",
            "/sgx/certification/v4/pckcrl?ca=processor&encoding=der",
            "/sgx/certification/v4/rootcacrl",
        ]
    );
    let from_folder = VERIFY.replace("@collateral.json", "@collateral");
    desk.run(&from_folder).await.done();

    // The same by the evidence itself, by a quote, and over files that are there.
    let quote = result.evidence.to_evidence().evidence["quote"].clone();
    let quote = base64::Engine::decode(
        &base64::engine::general_purpose::STANDARD,
        quote.as_str().unwrap(),
    );
    desk.write("quote.bin", quote.unwrap());
    for file in ["@result.json", "@quote.bin"] {
        fetch(&desk, &pccs, &format!("--quote {file}")).await.done();
        desk.run(&from_folder).await.done();
    }
    let json = fetch(&desk, &pccs, &format!("--fmspc {fmspc} --json"))
        .await
        .done()
        .json();
    assert_eq!(json["files"].as_array().unwrap().len(), 9);
    assert_eq!(json["collateral"][0]["expired"], false);
}

#[tokio::test]
async fn a_mirror_in_trouble_is_asked_again_and_one_that_knows_nothing_is_not() {
    let pccs = Pccs::start(mirrored(&TdxCollateral::committed()))
        .await
        .unwrap();
    let desk = plain().await;
    let fmspc = hex::encode(Platform::FMSPC);
    pccs.fail_with(&[503]);
    fetch(&desk, &pccs, &format!("--fmspc {fmspc}"))
        .await
        .done();
    assert_eq!(pccs.asked().len(), 6);

    fetch(&desk, &pccs, "--fmspc 010203040506")
        .await
        .refused(ExitCode::Unavailable, "404");
    assert_eq!(pccs.asked().len(), 7);
    pccs.fail_with(&[400]);
    fetch(&desk, &pccs, &format!("--fmspc {fmspc}"))
        .await
        .refused(ExitCode::Unavailable, "check the FMSPC");

    let stranger = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    desk.write("other.pem", stranger.cert.pem());
    let line = format!(
        "collateral fetch {} --ca @other.pem --out @collateral --fmspc {fmspc}",
        pccs.url()
    );
    desk.run(&line)
        .await
        .refused(ExitCode::Unavailable, "certificate");
}

#[tokio::test]
async fn a_mirror_that_takes_too_long_is_given_up_with_what_it_said_last() {
    let pccs = Pccs::start(mirrored(&TdxCollateral::committed()))
        .await
        .unwrap();
    let desk = plain().await;
    let fmspc = hex::encode(Platform::FMSPC);
    pccs.fail_with(&[503; 1000]);
    let ended = fetch(&desk, &pccs, &format!("--fmspc {fmspc} --timeout 3"))
        .await
        .refused(
            ExitCode::Unavailable,
            "took longer than --timeout allows, 3 s; last of all, ",
        );
    assert!(ended.stderr.contains("answered 503"), "{ended:?}");

    // One that says nothing has not said anything last.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let line = format!(
        "collateral fetch http://{} --http --out @collateral --fmspc {fmspc} --timeout 1",
        silent.local_addr().unwrap()
    );
    let ended = desk.run(&line).await.refused(
        ExitCode::Unavailable,
        "took longer than --timeout allows, 1 s",
    );
    assert!(!ended.stderr.contains("last of all"), "{ended:?}");
}

#[tokio::test]
async fn what_is_no_collateral_is_not_written() {
    let good = mirrored(&TdxCollateral::committed());
    let fmspc = hex::encode(Platform::FMSPC);
    for (bad, words) in [
        (
            Mirrored {
                tcb_info: "<html>".to_owned(),
                ..good.clone()
            },
            "gave no collateral",
        ),
        (
            Mirrored {
                tcb_info: good.qe_identity.clone(),
                ..good.clone()
            },
            "another kind of platform",
        ),
        (
            Mirrored {
                root_crl: b"nothing".to_vec(),
                ..good.clone()
            },
            "gave no collateral",
        ),
        (
            Mirrored {
                signer_chain: String::new(),
                ..good.clone()
            },
            "gave no collateral",
        ),
    ] {
        let pccs = Pccs::start(bad).await.unwrap();
        let desk = plain().await;
        fetch(&desk, &pccs, &format!("--fmspc {fmspc}"))
            .await
            .refused(ExitCode::Failed, words);
        assert!(!desk.path("collateral").exists());
    }
}

#[tokio::test]
async fn what_cannot_be_fetched_from_is_refused_before() {
    let desk = plain().await;
    for (line, words) in [
        (
            "collateral fetch http://localhost --fmspc 010203040506 --out @c",
            "--http",
        ),
        (
            "collateral fetch ftp://localhost --fmspc 010203040506 --out @c",
            "https",
        ),
        (
            "collateral fetch https://localhost --quote @roots.pem --out @c",
            "TDX quote",
        ),
    ] {
        desk.run(line).await.refused(ExitCode::Usage, words);
    }
    desk.run("collateral fetch https://localhost --out @c")
        .await
        .misused("--fmspc");
    desk.run("collateral fetch https://localhost --fmspc 01 --out @c")
        .await
        .misused("write 6 bytes");
}

#[tokio::test]
async fn the_tree_says_what_was_checked_against_what() {
    let log = EventLog::of_a_boot().aael("domain", "operation", "content");
    let (desk, _) = desk(
        FakeTdx::builder()
            .event_log(log.clone())
            .mr_config_id([4; 48]),
    )
    .await;
    let rtmr = hex::encode(log.rtmrs()[0]);
    let line = format!("{VERIFY} --explain --expect-rtmr0 {rtmr}");
    let ended = desk.run(&line).await.done();
    let text = ended.text();
    for expected in [
        "? Verdict: what was checked holds",
        "! ANY MEASUREMENT",
        "+ receipt-signature: holds",
        &format!("+ rtmr0: holds: it is the expected {rtmr}"),
        "? measurement: NOT CHECKED: any launch measurement was accepted",
        "? tdx-platform: NOT CHECKED",
        &format!("MRCONFIGID (init-data): {}", "04".repeat(48)),
        "MROWNER: unset (zeros)",
        "TCB status: UpToDate",
        &format!("FMSPC: {}", hex::encode(Platform::FMSPC)),
        "measured: domain operation content",
        "! root: GIVEN",
        "task id: task-1",
    ] {
        assert!(text.contains(expected), "no {expected:?} in\n{text}");
    }

    let desk = Desk::new();
    let reader = desk.keygen("key").await;
    let result = Ran::on(&FakeSnp::new())
        .gave(b"30", "text/plain", &reader)
        .await;
    desk.write("result.json", result.to_text().unwrap());
    desk.write("roots.pem", TEST_ROOTS_PEM);
    let measurement = hex::encode(FakeSnp::MEASUREMENT);
    let line = format!(
        "verify @result.json --roots @roots.pem --explain --expect-measurement {measurement}"
    );
    let ended = desk.run(&line).await.done();
    for expected in [
        format!("+ measurement: holds: it is the expected {measurement}"),
        "the hypervisor may debug it: no".to_owned(),
        "reported TCB: bootloader".to_owned(),
        "+ VCEK: signed the report".to_owned(),
    ] {
        assert!(
            ended.text().contains(&expected),
            "no {expected:?} in\n{}",
            ended.text()
        );
    }
}

#[tokio::test]
async fn the_page_holds_what_the_tree_does_and_no_words_of_strangers_as_markup() {
    let desk = Desk::new();
    let reader = desk.keygen("key").await;
    let tee = FakeTdx::builder().event_log(EventLog::of_a_boot()).build();
    let mut ran = Ran::on(&tee);
    "<script>alert(1)</script>".clone_into(&mut ran.task_id);
    let result = ran.gave(b"30", "text/plain", &reader).await;
    desk.write("result.json", result.to_text().unwrap());
    desk.write("roots.pem", TDX_TEST_ROOT_PEM);
    desk.write(
        "collateral.json",
        TdxCollateral::committed().to_json().to_string(),
    );
    let ended = desk
        .run(&format!("{VERIFY} --html @page.html"))
        .await
        .done();
    assert!(ended.text().contains("verified      receipt-signature"));
    let page = std::fs::read_to_string(desk.path("page.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
    assert!(!page.contains("<script"));
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(page.contains(&hex::encode(FakeTdx::MEASUREMENT)));
    assert!(page.contains("ANY MEASUREMENT"));
    desk.run(&format!("{VERIFY} --html @page.html"))
        .await
        .refused(ExitCode::Usage, "is not overwritten");
    let seen = Seen {
        terminal: true,
        ..Seen::default()
    };
    let ended = desk
        .run_seeing(&format!("{VERIFY} --explain"), seen)
        .await
        .done();
    assert!(ended.text().contains("task id: <script>alert(1)</script>"));
}

/// The page as a browser has it after it was loaded.
fn browsed(desk: &Desk, page: &str) -> String {
    let profile = desk.path("profile");
    let shown = std::process::Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("file://{}", desk.path(page).display()))
        .output()
        .expect("chromium is installed");
    assert!(shown.status.success(), "{shown:?}");
    String::from_utf8(shown.stdout).unwrap()
}

#[tokio::test]
#[ignore = "needs chromium; .ci/run installs it"]
async fn a_browser_shows_the_page_and_runs_nothing_of_strangers() {
    let desk = Desk::new();
    let reader = desk.keygen("key").await;
    let tee = FakeTdx::builder().event_log(EventLog::of_a_boot()).build();
    let script = "<script>document.title = 'theirs'</script>";
    let mut ran = Ran::on(&tee);
    script.clone_into(&mut ran.task_id);
    let result = ran.gave(b"30", "text/plain", &reader).await;
    desk.write("result.json", result.to_text().unwrap());
    desk.write("roots.pem", TDX_TEST_ROOT_PEM);
    desk.write(
        "collateral.json",
        TdxCollateral::committed().to_json().to_string(),
    );
    desk.run(&format!("{VERIFY} --html @page.html"))
        .await
        .done();
    let page = browsed(&desk, "page.html");
    assert!(page.contains("<title>Verification of "), "{page}");
    assert!(
        page.contains("&lt;script&gt;document.title = 'theirs'"),
        "{page}"
    );
    assert!(page.contains(&hex::encode(FakeTdx::MEASUREMENT)));
    // Whoever would get markup in still could not run anything: the page forbids it.
    let written = std::fs::read_to_string(desk.path("page.html")).unwrap();
    desk.write(
        "marked.html",
        written.replace("</body>", &format!("{script}</body>")),
    );
    let page = browsed(&desk, "marked.html");
    assert!(page.contains("<title>Verification of "), "{page}");
    desk.write("free.html", format!("<title>ours</title>{script}"));
    assert!(browsed(&desk, "free.html").contains("<title>theirs</title>"));
}
