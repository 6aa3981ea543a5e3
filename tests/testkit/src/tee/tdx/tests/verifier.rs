//! The fake against a verifier that this project did not write, with the test root.

use std::sync::Arc;
use std::time::Duration;

use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::verify::{QuoteVerifier, VerifiedReport};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::*;

const DATA: [u8; 64] = [0xab; 64];
const DAY: Duration = Duration::from_secs(24 * 3600);

/// In 2030.
fn now() -> std::time::SystemTime {
    Period::century().from + 10 * 365 * DAY
}

fn root(pem: &str) -> Vec<u8> {
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    STANDARD.decode(base64).unwrap()
}

fn verified(quote: &[u8], collateral: &TdxCollateral) -> Result<VerifiedReport, String> {
    let collateral: QuoteCollateralV3 = serde_json::from_value(collateral.to_json()).unwrap();
    let now = now().duration_since(std::time::UNIX_EPOCH).unwrap();
    QuoteVerifier::new(root(ROOT_PEM))
        .verify(quote, &collateral, now.as_secs())
        .map_err(|error| format!("{error:#}"))
}

fn refused(tee: FakeTdxBuilder, collateral: &TdxCollateral) -> String {
    verified(&tee.build().quote(&DATA), collateral).unwrap_err()
}

/// Over before now, and from after now on.
fn past() -> Period {
    Period {
        until: now() - DAY,
        ..Period::century()
    }
}

fn future() -> Period {
    Period {
        from: now() + DAY,
        ..Period::century()
    }
}

#[test]
fn every_form_verifies_under_the_test_root() {
    for form in QuoteForm::ALL {
        let tee = FakeTdx::builder().form(form).padding(32).build();
        let report = verified(&tee.quote(&DATA), &TdxCollateral::committed()).unwrap();
        assert_eq!(report.status, "UpToDate", "{form:?}");
        assert!(report.advisory_ids.is_empty());
        let body = report.report.as_td10().unwrap();
        assert_eq!(body.report_data, DATA);
        assert_eq!(body.mr_td, FakeTdx::MEASUREMENT);
        let extended = matches!(form, QuoteForm::V5Td15 | QuoteForm::V5Td15Extended);
        assert_eq!(report.report.as_td15().is_some(), extended, "{form:?}");
    }
}

#[test]
fn intels_root_refuses_it() {
    let quote = FakeTdx::new().quote(&DATA);
    let collateral: QuoteCollateralV3 =
        serde_json::from_value(TdxCollateral::committed().to_json()).unwrap();
    let now = now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let refusal = dcap_qvl::verify::verify(&quote, &collateral, now.as_secs()).unwrap_err();
    let refusal = format!("{refusal:#}");
    assert!(
        refusal.contains("InvalidCrlSignatureForPublicKey"),
        "{refusal}"
    );
}

#[test]
fn what_it_is_told_to_report_is_what_it_reports() {
    let log = EventLog::of_a_boot().aael("domain", "operation", "content");
    let tee = FakeTdx::builder()
        .measurement([1; 48])
        .mr_config_id([2; 48])
        .mr_owner([3; 48])
        .mr_owner_config([4; 48])
        .event_log(log.clone())
        .xfam(0x2e7)
        .module([6; 48], [0; 48])
        .build();
    let report = verified(&tee.quote(&DATA), &TdxCollateral::committed()).unwrap();
    let body = *report.report.as_td10().unwrap();
    assert_eq!(
        (
            body.mr_td,
            body.mr_config_id,
            body.mr_owner,
            body.mr_owner_config,
            body.mr_seam
        ),
        ([1; 48], [2; 48], [3; 48], [4; 48], [6; 48])
    );
    assert_eq!(
        [body.rt_mr0, body.rt_mr1, body.rt_mr2, body.rt_mr3],
        log.rtmrs()
    );
    assert_eq!(u64::from_le_bytes(body.xfam), 0x2e7);
    assert_eq!(tee.event_log(), Some(&log.trimmed()[..]));
}

#[test]
fn the_platforms_certificate_says_what_intels_do() {
    let platform = Platform {
        ppid: [1; 16],
        pce_svn: 300,
        fmspc: [2; 6],
        platform_instance_id: [3; 16],
        dynamic: true,
        smt: false,
        ..Platform::default()
    };
    let chain = TdxPki::committed().pck_chain(&platform, Period::century(), Period::century());
    let read = dcap_qvl::intel::parse_pck_extension_from_pem(chain.as_bytes()).unwrap();
    assert_eq!(read.ppid, [1; 16]);
    assert_eq!(read.cpu_svn, platform.cpu_svn);
    assert_eq!(
        (read.pce_svn, read.pce_id, read.fmspc),
        (300, vec![0, 0], [2; 6])
    );
    assert_eq!(read.sgx_type, 1);
    assert_eq!(read.platform_instance_id, Some(vec![3; 16]));
    assert_eq!(
        (read.dynamic_platform, read.cached_keys, read.smt_enabled),
        (Some(true), Some(false), Some(false))
    );
}

#[test]
fn each_status_comes_out_by_its_name() {
    for status in TcbStatus::ALL {
        let quote = FakeTdx::builder().status(status).build().quote(&DATA);
        let verified = verified(&quote, &TdxCollateral::committed());
        match status {
            TcbStatus::Revoked => assert!(verified.unwrap_err().contains("Revoked")),
            TcbStatus::Unknown => {
                assert!(verified.unwrap_err().contains("No matching TCB level"));
            }
            _ => {
                let report = verified.unwrap();
                assert_eq!(report.status, status.name());
                assert_eq!(report.advisory_ids, Vec::from_iter(status.advisory()));
            }
        }
    }
}

#[test]
fn components_lower_the_status_too() {
    let status = |tee: FakeTdxBuilder| {
        verified(&tee.build().quote(&DATA), &TdxCollateral::committed()).map(|report| report.status)
    };
    let old = ComponentStatus::OutOfDate;
    let revoked = ComponentStatus::Revoked;
    assert_eq!(
        status(FakeTdx::builder().qe_status(old)).unwrap(),
        "OutOfDate"
    );
    assert_eq!(
        status(FakeTdx::builder().module_status(old)).unwrap(),
        "OutOfDate"
    );
    for tee in [
        FakeTdx::builder().qe_status(revoked),
        FakeTdx::builder().module_status(revoked),
    ] {
        assert!(status(tee).unwrap_err().contains("Revoked"));
    }
    let updated = FakeTdx::builder()
        .form(QuoteForm::V5Td15)
        .module_status(old);
    assert_eq!(status(updated.clone()).unwrap(), "TDRelaunchAdvised");
    assert_eq!(
        status(updated.status(TcbStatus::ConfigurationNeeded)).unwrap(),
        "TDRelaunchAdvisedConfigurationNeeded"
    );
}

#[test]
fn each_tampering_breaks_its_own_link() {
    let good = TdxCollateral::committed();
    for (tampering, reason) in [
        (
            QuoteTampering::Signature,
            "ISV enclave report signature is invalid",
        ),
        (
            QuoteTampering::Header,
            "ISV enclave report signature is invalid",
        ),
        (
            QuoteTampering::MrTd,
            "ISV enclave report signature is invalid",
        ),
        (
            QuoteTampering::ReportData,
            "ISV enclave report signature is invalid",
        ),
        (QuoteTampering::AttestationKey, "QE report hash mismatch"),
        (
            QuoteTampering::QeReport,
            "Signature is invalid for qe_report",
        ),
        (
            QuoteTampering::QeReportSignature,
            "Signature is invalid for qe_report",
        ),
        (QuoteTampering::QeAuthData, "QE report hash mismatch"),
        (
            QuoteTampering::NoCertificates,
            "Unsupported DCAP PCK cert format",
        ),
    ] {
        for form in QuoteForm::ALL {
            let refusal = refused(FakeTdx::builder().form(form).tampering(tampering), &good);
            assert!(refusal.contains(reason), "{tampering:?}: {refusal}");
        }
    }
    for (tampering, signed) in [
        (QuoteTampering::OtherReportData, 0xaa),
        (QuoteTampering::ZeroReportData, 0),
    ] {
        let quote = FakeTdx::builder().tampering(tampering).build().quote(&DATA);
        let report = verified(&quote, &good).unwrap();
        assert_eq!(report.report.as_td10().unwrap().report_data[0], signed);
    }
}

#[test]
fn each_wrong_field_is_refused_for_its_own_reason() {
    let good = TdxCollateral::committed();
    let strangers = Arc::new(TdxPki::strangers());
    let other_fmspc = Platform {
        fmspc: [9; 6],
        ..Platform::default()
    };
    let fake = FakeTdx::builder;
    for (tee, reason) in [
        (fake().debug(true), "Debug mode is enabled"),
        (fake().migratable(true), "TD migration is enabled"),
        (
            fake().sept_ve_disable(false),
            "SEPT_VE_DISABLE is not enabled",
        ),
        (fake().td_attributes(1 << 28 | 2), "Reserved bits"),
        (
            fake().module([6; 48], [7; 48]),
            "TDX module MRSIGNER mismatch",
        ),
        (fake().seam_attributes([1; 8]), "SEAMATTRIBUTES mismatch"),
        (
            fake().tee_tcb_svn([1, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            "below minimum",
        ),
        (
            fake().tee_tcb_svn([5, 9, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            "TDX_09",
        ),
        (
            fake().form(QuoteForm::V5Td15).mr_service_td([1; 48]),
            "Invalid MR service TD",
        ),
        (fake().qe_mr_signer([1; 32]), "QE MRSIGNER mismatch"),
        (fake().qe_product(3), "QE ISVPRODID mismatch"),
        (fake().qe_attributes([0x13; 16]), "Debug mode is enabled"),
        (fake().qe_misc_select(1), "QE MISCSELECT mismatch"),
        (
            fake().attestation_key_type(3),
            "Unsupported DCAP attestation key type",
        ),
        (fake().qe_vendor_id([0; 16]), "Unknown QE vendor ID"),
        (fake().platform(other_fmspc), "Fmspc mismatch"),
        (fake().pck_validity(past()), "CertExpired"),
        (fake().pck_validity(future()), "CertNotValidYet"),
        (fake().ca_validity(past()), "CertExpired"),
        (
            fake().pki(strangers.clone()),
            "InvalidSignatureForPublicKey",
        ),
        (
            fake().qe_signed_by(strangers),
            "Signature is invalid for qe_report",
        ),
    ] {
        let refusal = refused(tee, &good);
        assert!(refusal.contains(reason), "no {reason:?} in {refusal:?}");
    }
}

#[test]
fn each_fault_of_the_collateral_is_refused_for_its_own_reason() {
    for fault in CollateralFault::ALL {
        let reason = match fault {
            CollateralFault::RevokedPck
            | CollateralFault::RevokedPlatformCa
            | CollateralFault::RevokedTcbSigner => "CertRevoked",
            CollateralFault::ExpiredTcbInfo => "TCBInfo expired",
            CollateralFault::FutureTcbInfo => "TCBInfo issue date is in the future",
            CollateralFault::ExpiredQeIdentity => "QE Identity expired",
            CollateralFault::FutureQeIdentity => "QE Identity issue date",
            CollateralFault::ExpiredCrls => "CrlExpired",
            // This verifier does not ask when a list was issued.
            CollateralFault::FutureCrls => continue,
            CollateralFault::ExpiredCertificates => "CertExpired",
            CollateralFault::StrangersTcbInfo => "InvalidSignatureForPublicKey",
            CollateralFault::OtherFmspc => "Fmspc mismatch",
            CollateralFault::SgxTcbInfo => "non-TDX TCB info",
            CollateralFault::SgxQeIdentity => "Unsupported QE Identity",
            CollateralFault::TcbInfoSignature => "Signature is invalid for tcb_info",
            CollateralFault::QeIdentitySignature => "Signature is invalid for qe_identity",
        };
        let refusal = refused(FakeTdx::builder(), &fault.collateral(now()));
        assert!(refusal.contains(reason), "no {reason:?} in {refusal:?}");
    }
}
