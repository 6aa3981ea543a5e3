//! `verify` of reports and quotes that real machines made.
//!
//! They are third-party material and stay outside the repository. They were made over other things than claims
//! of a host, so the furthest that one of them can come is that its evidence verifies and is then refused as not
//! signing the claims beside it; each other one is refused before that, for the reason that it is there for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proplet_hal::snp::EndorsementKeyKind;
use proplet_hal::{Evidence, TeeName};
use proplet_results::claims::Claims;
use proplet_results::{EvidenceBundle, ReceiptKey};
use proplet_types::{Digest, ExitCode};
use serde_json::json;

use super::support::Desk;

/// What is said of evidence that verifies.
const GENUINE: &str = "the evidence does not sign these claims";
/// When the collateral of the samples holds.
const UP_TO_DATE: &str = "2025-06-20T10:16:03Z";
const OUTDATED: &str = "2026-03-01T00:00:00Z";

fn folder() -> PathBuf {
    let vectors = std::env::var_os("PROPLET_VECTORS").expect("PROPLET_VECTORS names the vectors");
    Path::new(&vectors).join("evidence")
}

/// The samples, and which of them were read.
struct Samples {
    desk: Desk,
    read: BTreeSet<String>,
}

impl Samples {
    fn new() -> Self {
        Self {
            desk: Desk::new(),
            read: BTreeSet::new(),
        }
    }

    fn read(&mut self, name: &str) -> Vec<u8> {
        self.read.insert(name.to_owned());
        std::fs::read(folder().join(name)).unwrap()
    }

    /// Copies a sample to the desk, as `@name`.
    fn copy(&mut self, name: &str, to: &str) {
        let content = self.read(name);
        self.desk.write(to, content);
    }

    fn snp(&mut self, report: &str, vcek: &str) -> Evidence {
        let report = match report.ends_with(".hex") {
            true => hex::decode(self.read(report).trim_ascii()).unwrap(),
            false => self.read(report),
        };
        let vcek = self.read(vcek);
        Evidence::from_snp_report(&report, Some((EndorsementKeyKind::Vcek, &vcek))).unwrap()
    }

    fn tdx(&mut self, quote: &str, log: Option<&str>) -> Evidence {
        let quote = self.read(quote);
        let log = log.map(|log| self.read(log));
        Evidence::from_tdx_quote(&quote, log.as_deref()).unwrap()
    }

    /// What `verify` says of evidence, with claims of some host beside it.
    async fn refused(&self, evidence: &Evidence, options: &str, words: &str) {
        let key = ReceiptKey::generate().unwrap();
        let claims = Claims::instance(&key, Digest::of(b"settings"), "sample").unwrap();
        let bundle = EvidenceBundle::new(evidence.clone(), &claims);
        self.desk.write("evidence.json", bundle.to_text().unwrap());
        let line = format!("verify @evidence.json --any-measurement {options}");
        let ended = self.desk.run(&line).await;
        ended.refused(ExitCode::Failed, words);
    }
}

/// The files below a folder of the samples, by their paths in it.
fn all() -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for kind in ["snp", "tdx", "eventlog"] {
        for entry in std::fs::read_dir(folder().join(kind)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            files.insert(format!("{kind}/{name}"));
        }
    }
    files
}

#[tokio::test]
#[ignore = "reads third-party vectors from $PROPLET_VECTORS; .ci/run runs it"]
async fn each_sample_of_real_machines_comes_out_for_its_own_reason() {
    let mut samples = Samples::new();

    // Two chips of the generation Milan, under AMD's own roots and under the same ones given.
    samples.copy("snp/cert_chain_milan.pem", "milan.pem");
    let milan = samples.snp("snp/report_milan.hex", "snp/vcek_milan.der");
    let other = samples.snp("snp/test-report.bin", "snp/test-vcek.der");
    for evidence in [&milan, &other] {
        samples.refused(evidence, "", "--allow-report-v2").await;
        let v2 = "--allow-report-v2";
        samples.refused(evidence, v2, GENUINE).await;
        let given = "--allow-report-v2 --roots @milan.pem";
        samples.refused(evidence, given, GENUINE).await;
        let late = "--allow-report-v2 --at 2040-01-01";
        samples.refused(evidence, late, "is expired").await;
        // The floor of a firmware that came later, and a machine that is not this one.
        let floor = "--allow-report-v2 --min-tcb snp=255";
        samples.refused(evidence, floor, "TCB snp is").await;
        let chip = format!("--allow-report-v2 --chip {}", "ab".repeat(64));
        samples.refused(evidence, &chip, "is of the chip").await;
    }
    // The certificate of another chip, and one that AMD did not sign.
    let v2 = "--allow-report-v2";
    let crossed = samples.snp("snp/report_milan.hex", "snp/test-vcek.der");
    samples
        .refused(
            &crossed,
            v2,
            "the signature on the SNP report does not verify",
        )
        .await;
    let invalid = samples.snp("snp/test-report.bin", "snp/test-vcek-invalid-new.der");
    samples
        .refused(&invalid, v2, "the signature on the VCEK certificate")
        .await;

    // A platform with its collateral, without it, and after it ran out.
    samples.copy("tdx/dcap-qvl.tdx_quote_collateral.json", "good.json");
    let good = samples.tdx("tdx/dcap-qvl.tdx_quote", None);
    let with = format!("--collateral @good.json --at {UP_TO_DATE}");
    samples.refused(&good, &with, GENUINE).await;
    samples
        .refused(&good, "", "--fmspc b0c06f000000 --out DIR")
        .await;
    let later = "--collateral @good.json --at 2026-01-01";
    samples.refused(&good, later, "is expired").await;
    // One below every TCB level that Intel lists, and one of its kind.
    samples.copy(
        "tdx/dcap-qvl.tdx_quote_outdated_collateral.json",
        "old.json",
    );
    let outdated = samples.tdx("tdx/dcap-qvl.tdx_quote_outdated", None);
    let with_old = format!("--collateral @old.json --at {OUTDATED}");
    let below = "below every TCB level that Intel lists for FMSPC 90c06f000000";
    samples.refused(&outdated, &with_old, below).await;
    let version_5 = samples.tdx("tdx/tdx_quote_5.dat", None);
    samples.refused(&version_5, &with_old, below).await;
    // Platforms that nobody has collateral of here.
    for (name, fmspc) in [
        ("tdx/tdx_quote_4.dat", "50806f000000"),
        ("tdx/tdx_quote_5.dat", "90c06f000000"),
    ] {
        let unknown = samples.tdx(name, None);
        let words = format!("proplet collateral fetch URL --fmspc {fmspc}");
        samples.refused(&unknown, &with, &words).await;
    }
    // Logs of other machines do not lead to the registers of this one.
    for log in ["eventlog/CCEL_data_ovmf", "eventlog/CCEL_AAEL_alibabacloud"] {
        let logged = samples.tdx("tdx/dcap-qvl.tdx_quote", Some(log));
        let words = "the event log does not belong to the TDX quote";
        samples.refused(&logged, &with, words).await;
    }

    assert_eq!(samples.read, all(), "samples that nothing is said of");
}

#[tokio::test]
#[ignore = "reads third-party vectors from $PROPLET_VECTORS; .ci/run runs it"]
async fn one_bit_of_a_real_report_or_quote_is_enough() {
    let mut samples = Samples::new();
    let mut report = samples.snp("snp/report_milan.hex", "snp/vcek_milan.der");
    let measured = &mut report.evidence["attestation_report"]["measurement"][0];
    *measured = json!(measured.as_u64().unwrap() ^ 1);
    let words = "the signature on the SNP report does not verify";
    samples.refused(&report, "--allow-report-v2", words).await;

    samples.copy("tdx/dcap-qvl.tdx_quote_collateral.json", "good.json");
    let mut quote = samples.read("tdx/dcap-qvl.tdx_quote");
    // MRTD.
    quote[48 + 136] ^= 1;
    let quote = Evidence::from_tdx_quote(&quote, None).unwrap();
    assert_eq!(quote.tee, TeeName::TDX);
    let with = format!("--collateral @good.json --at {UP_TO_DATE}");
    let words = "the signature on the TDX quote does not verify";
    samples.refused(&quote, &with, words).await;
}
