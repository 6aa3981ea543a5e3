//! What `proplet detect` tells the operator of such a machine.

use std::process::Output;

use proplet_hal::hardware::HardwareKind;
use proplet_testkit::tee::{FakeSnp, FakeTdx, Platform, TsmFault};
use serde_json::{Value, json};

use crate::machine::Machine;

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

/// Runs `detect` twice, for people and for programs, with the settings and these arguments.
fn detect(machine: &Machine, arguments: &[&str]) -> (Output, String, Value) {
    let settings = machine.settings();
    let arguments = [&["--config", &settings, "detect"], arguments].concat();
    let shown = machine.run(&arguments);
    let of_programs = machine.run(&[&["--json"][..], &arguments].concat());
    assert_eq!(shown.status, of_programs.status, "{shown:?}");
    let (text, json) = (text(&shown), json_of(&of_programs));
    (shown, text, json)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root, /dev/fuse and the commands mount and unshare; .ci/run runs it"]
async fn an_snp_guest_is_told_whole() {
    let machine = Machine::new(HardwareKind::Snp).await;
    let roots = machine.roots();
    let (ended, text, json) = detect(&machine, &["--evidence", "--roots", &roots]);
    assert!(ended.status.success(), "{ended:?}");
    for words in [
        "TEE: snp",
        "- configfs-tsm: works, ",
        "certificates of the host: VCEK",
        "- sev-guest: tee-unreachable after ",
        &hex::encode(FakeSnp::MEASUREMENT),
        "  reported TCB: bootloader ",
        "  firmware: ",
        "Settings: the settings are bound to this VM",
        "Evidence: made and verified",
        "with it: VCEK",
        "  checked: signature: the given roots vouch",
        "  NOT checked: minimum-tcb",
        "  NOT checked: revocation",
        "Encrypted tasks: attested by snp",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(json["way"], "configfs-tsm");
    assert!(json["ways"][0]["latency_ms"].is_number());
    assert_eq!(json["ways"][0]["certificates"][0], "VCEK");
    assert_eq!(json["ways"][1]["code"], "tee-unreachable");
    assert_eq!(json["settings_bound"], true);
    assert!(json["versions"]["reported_tcb"].is_string());
    let measurement = json!([hex::encode(FakeSnp::MEASUREMENT)]);
    assert_eq!(
        json["reference_values"]["snp_launch_measurement"],
        measurement
    );
    assert!(json["reference_values"]["snp_microcode"][0].is_number());
    assert_eq!(json["evidence"]["verified"], true);
    assert_eq!(json["evidence"]["certificate"], "VCEK");
    assert!(json["evidence"]["platform"]["chip"].is_string());

    // Under AMD's own roots it is worth nothing, and the command says so.
    let (ended, text, json) = detect(&machine, &["--evidence"]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(text.contains("does not verify"), "{text}");
    assert_eq!(json["evidence"]["code"], "not-verified");

    // A host that gives no certificate.
    machine.tree.inject(TsmFault::Certificates(Vec::new()));
    let (ended, text, _) = detect(&machine, &["--evidence", "--roots", &roots]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(text.contains("certificates of the host: none"), "{text}");
    let next = "MISSING: no certificate of the key that signs reports: have the host give one";
    assert!(text.contains(next), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root, /dev/fuse and the commands mount and unshare; .ci/run runs it"]
async fn a_tdx_guest_is_told_whole() {
    let machine = Machine::new(HardwareKind::Tdx).await;
    let (roots, collateral) = (machine.roots(), machine.collateral());
    let whole = ["--evidence", "--roots", &roots, "--collateral", &collateral];
    let (ended, text, json) = detect(&machine, &whole);
    assert!(ended.status.success(), "{ended:?}");
    for words in [
        "TEE: tdx",
        "- quoting-service: tee-unreachable after ",
        "- configfs-tsm: works, ",
        "not held against the TDX module: /dev/tdx_guest cannot be opened",
        &hex::encode(FakeTdx::MEASUREMENT),
        "  TEE TCB SVN: ",
        "  TDX module: ",
        "Settings: the settings are bound to this VM",
        "Evidence: made and verified",
        "with it: PCK, no event log",
        "  TCB status: UpToDate",
        "  checked: signature: the given roots vouch",
        "  checked: revocation: ",
        "  NOT checked: event log",
        "  NOT checked: tdx-platform",
        "Encrypted tasks: attested by tdx",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let fmspc = hex::encode(Platform::FMSPC);
    assert_eq!(json["way"], "configfs-tsm");
    assert_eq!(json["ways"][1]["compared_with_tdx_module"], false);
    assert!(json["versions"]["tee_tcb_svn"].is_string());
    assert_eq!(json["settings_bound"], true);
    assert_eq!(json["evidence"]["verified"], true);
    assert_eq!(json["evidence"]["event_log"], false);
    assert_eq!(json["evidence"]["platform"]["tcb_status"], "UpToDate");
    assert_eq!(json["evidence"]["platform"]["fmspc"], fmspc);

    // Without collateral: what was not checked, and where it is to be had.
    let (ended, text, json) = detect(&machine, &["--evidence", "--roots", &roots]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    for words in [
        "Evidence: the evidence was made and was not verified",
        "  NOT checked: the signature of the quote",
        "  NOT checked: whether Intel revoked",
        "  NOT checked: the TCB status",
        "MISSING: the TDX quote cannot be verified without collateral",
        &format!("proplet collateral fetch URL --fmspc {fmspc} --out DIR"),
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(json["evidence"]["verified"], false);
    assert_eq!(json["evidence"]["code"], "not-verified");
    assert_eq!(json["evidence"]["not_checked"].as_array().unwrap().len(), 3);

    // A fault is told by its code, whatever was asked.
    machine.tree.inject(TsmFault::OtherReportData);
    let (ended, _, json) = detect(&machine, &whole);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert_eq!(json["evidence"]["code"], "tee-not-trusted");
    assert_eq!(json["evidence"]["checked"], json!([]));
}
