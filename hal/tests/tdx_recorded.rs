//! TDX verification against a recorded quote of the test kit's, and which of several certificates signed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, SystemTime};

use proplet_hal::tdx::{
    Collateral, Quote, TcbStatus, TdxError, TdxFacts, TdxRoot, TdxTrust, verify_quote,
};
use serde_json::Value;

const QUOTE: &[u8] = include_bytes!("vectors/fake-tdx/quote.bin");
const COLLATERAL: &str = include_str!("vectors/fake-tdx/collateral.json");
const ROOT: &[u8] = include_bytes!("vectors/fake-tdx/root.pem");

fn check(files: &[&str]) -> Result<TdxFacts, TdxError> {
    let files = files.iter().map(|contents| ("file", contents.as_bytes()));
    let root = TdxRoot::from_pem(ROOT).unwrap();
    let trust = TdxTrust::new(root).with_collateral(Collateral::from_files(files).unwrap());
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    verify_quote(QUOTE, None, &trust, now)
}

/// The recorded collateral, with one member changed.
fn changed(name: &str, change: impl FnOnce(&str) -> String) -> String {
    let mut bundle: Value = serde_json::from_str(COLLATERAL).unwrap();
    let member = bundle.get_mut(name).unwrap();
    let new = change(member.as_str().unwrap());
    assert_ne!(member.as_str().unwrap(), new);
    *member = Value::String(new);
    bundle.to_string()
}

/// A certificate that is no authority and signed nothing of the collateral: the quote's own.
fn another_signer() -> String {
    let chain = Quote::parse(QUOTE).unwrap().pck_chain;
    let end = "-----END CERTIFICATE-----\n";
    let (first, _) = chain.split_once(end).unwrap();
    format!("{first}{end}")
}

#[test]
fn the_recorded_quote_verifies() {
    let facts = check(&[COLLATERAL]).unwrap();
    assert_eq!(facts.quote_version, 4);
    assert_eq!(facts.report.mr_config_id, [0x42; 48]);
    assert_eq!(facts.tcb.status, TcbStatus::UpToDate);
    let fmspc = Quote::parse(QUOTE).unwrap().fmspc().unwrap();
    assert_eq!(fmspc, facts.platform.fmspc);
}

#[test]
fn of_several_certificates_the_one_that_signed_is_taken() {
    let other = another_signer();
    let facts = check(&[COLLATERAL]);
    assert_eq!(check(&[&other, COLLATERAL]), facts);
    assert_eq!(check(&[COLLATERAL, &other]), facts);
}

#[test]
fn documents_that_nobody_signed_are_refused_by_name() {
    let other = another_signer();
    let spaced = |text: &str| text.replacen('{', "{ ", 1);
    for (name, refused) in [
        ("tcb_info", "TCB info"),
        ("qe_identity", "quoting enclave's identity"),
    ] {
        let changed = changed(name, spaced);
        for files in [&[&changed[..]][..], &[&other, &changed]] {
            let expected = TdxError::CollateralSignature { what: refused };
            assert_eq!(check(files).unwrap_err(), expected);
        }
    }
}

#[test]
fn a_signer_that_the_root_did_not_issue_is_refused() {
    let other = another_signer();
    let tcb = changed("tcb_info_issuer_chain", |_| other.clone());
    let mut bundle: Value = serde_json::from_str(&tcb).unwrap();
    *bundle.get_mut("qe_identity_issuer_chain").unwrap() = Value::String(other);
    let refused = check(&[&bundle.to_string()]).unwrap_err();
    assert!(matches!(refused, TdxError::Chain { .. }), "{refused}");
    let root = std::str::from_utf8(ROOT).unwrap().to_owned();
    for chain in ["tcb_info_issuer_chain", "qe_identity_issuer_chain"] {
        *bundle.get_mut(chain).unwrap() = Value::String(root.clone());
    }
    let refused = check(&[&bundle.to_string()]).unwrap_err();
    let expected = TdxError::CollateralSignature { what: "TCB info" };
    assert_eq!(refused, expected);
}
