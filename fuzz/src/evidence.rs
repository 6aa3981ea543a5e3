//! What TEEs, their vendors and the host of a VM hand over.

use std::sync::LazyLock;

use proplet_hal::snp::{
    CertificateTable, EndorsementKeyKind, RevocationLists, SnpReport, SnpTrust, TrustRoots,
    is_signed_by, verify, verify_report,
};
use proplet_hal::tdx::ccel::{EventLog, trim};
use proplet_hal::tdx::provider::quote_in_answer;
use proplet_hal::tdx::{Collateral, Quote, TdxRoot, TdxTrust, verify_quote};

use crate::{results::now, text};

const REPORT: &[u8] = include_bytes!("../../hal/tests/vectors/fake-snp/report.bin");
const VCEK: &[u8] = include_bytes!("../../hal/tests/vectors/fake-snp/vcek.der");
const ROOTS: &[u8] = include_bytes!("../../hal/tests/vectors/fake-snp/roots.pem");
const QUOTE: &[u8] = include_bytes!("../../hal/tests/vectors/fake-tdx/quote.bin");
const COLLATERAL: &[u8] = include_bytes!("../../hal/tests/vectors/fake-tdx/collateral.json");
const TDX_ROOT: &[u8] = include_bytes!("../../hal/tests/vectors/fake-tdx/root.pem");

/// What of a report is signed.
const SIGNED: usize = 0x2a0;
/// What of a quote of version 4 for TDX 1.0 is signed: header and report.
const QUOTE_SIGNED: usize = 48 + 584;

struct Snp {
    trust: SnpTrust,
    roots: TrustRoots,
    report: SnpReport,
}

static SNP: LazyLock<Option<Snp>> = LazyLock::new(|| {
    let roots = TrustRoots::from_pem(ROOTS).ok()?;
    let trust = SnpTrust::new(roots.clone());
    let report = verify_report(REPORT, VCEK, &trust, now()).ok()?;
    Some(Snp {
        trust,
        roots,
        report,
    })
});

fn snp() -> &'static Snp {
    match &*SNP {
        Some(snp) => snp,
        None => panic!("the recorded report does not verify"),
    }
}

/// An SNP report: it verifies as the one that was signed, or not at all.
pub fn snp_report(bytes: &[u8]) -> bool {
    let snp = snp();
    let Ok(report) = verify_report(bytes, VCEK, &snp.trust, now()) else {
        return false;
    };
    assert_eq!(bytes.get(..SIGNED), REPORT.get(..SIGNED));
    assert_eq!(report, snp.report);
    assert!(is_signed_by(bytes, VCEK).is_ok());
    true
}

/// Certificates of AMD's chain, and lists of revoked ones: none but the recorded one vouches for the report.
pub fn snp_certificates(bytes: &[u8]) -> bool {
    let snp = snp();
    let vouches = verify_report(REPORT, bytes, &snp.trust, now()).is_ok();
    if vouches {
        assert_eq!(bytes, VCEK);
    }
    if is_signed_by(REPORT, bytes).is_ok() {
        let _ = TrustRoots::from_der(&[bytes, bytes]);
    }
    let are_roots = TrustRoots::from_pem(bytes).is_ok();
    let mut lists = RevocationLists::default();
    assert!(
        lists.add(bytes, &snp.roots).is_err(),
        "nobody signed this list"
    );
    vouches || are_roots
}

/// SNP evidence as it travels: it verifies as the report that was signed, or not at all.
pub fn snp_evidence(bytes: &[u8]) -> bool {
    let snp = snp();
    if let Ok(evidence) = serde_json::from_slice(bytes)
        && let Ok(report) = verify(&evidence, &snp.trust, now())
    {
        assert_eq!(report, snp.report);
        return true;
    }
    false
}

/// The table of certificates that a host hands over: they lie inside it.
pub fn tsm_table(bytes: &[u8]) -> bool {
    let Ok(table) = CertificateTable::parse(bytes) else {
        return false;
    };
    assert!(table.kinds().count() <= bytes.len());
    for key in [EndorsementKeyKind::Vcek, EndorsementKeyKind::Vlek] {
        if let Some(certificate) = table.endorsement(key) {
            assert!(
                bytes
                    .windows(certificate.len())
                    .any(|window| window == certificate)
            );
        }
    }
    true
}

/// A TDX quote: it verifies as the one that was signed, or not at all.
pub fn tdx_quote(bytes: &[u8]) -> bool {
    static TRUST: LazyLock<Option<TdxTrust>> = LazyLock::new(|| {
        let collateral = Collateral::from_files([("collateral", COLLATERAL)]).ok()?;
        let trust = TdxTrust::new(TdxRoot::from_pem(TDX_ROOT).ok()?).with_collateral(collateral);
        verify_quote(QUOTE, None, &trust, now()).ok()?;
        Some(trust)
    });
    let Some(trust) = &*TRUST else {
        panic!("the recorded quote does not verify");
    };
    let parsed = Quote::parse(bytes);
    if verify_quote(bytes, None, trust, now()).is_ok() {
        assert!(parsed.is_ok());
        assert_eq!(bytes.get(..QUOTE_SIGNED), QUOTE.get(..QUOTE_SIGNED));
    }
    parsed.is_ok()
}

/// An event log: what is sent of it reads as the same.
pub fn event_log(bytes: &[u8]) -> bool {
    let Ok(log) = EventLog::parse(bytes) else {
        return false;
    };
    let _ = log.check(&log.replay());
    for record in &log.records {
        let _ = (
            record.text(),
            record.aael(),
            record.tagged(),
            record.is_measured_data(),
        );
    }
    if let Ok(trimmed) = trim(bytes) {
        assert_eq!(EventLog::parse(&trimmed).ok(), Some(log));
    }
    true
}

/// An answer of the quoting service: the quote is what the answer ends with.
pub fn qgs_frame(bytes: &[u8]) -> bool {
    let Ok(quote) = quote_in_answer(bytes) else {
        return false;
    };
    assert!(!quote.is_empty() && quote.len() < bytes.len() && bytes.ends_with(&quote));
    true
}

/// Collateral of TDX: a file counts as something, and what it counts as can be told.
pub fn collateral(bytes: &[u8]) -> bool {
    let read = Collateral::from_files([("file", bytes)]);
    if let Ok(collateral) = &read {
        let _ = (collateral.parts(), collateral.is_empty());
    }
    if let Some(text) = text(bytes) {
        let _ = proplet_hal::tdx::chain_of_header(text);
    }
    read.is_ok()
}
