//! TDX verification against evidence and collateral of a test PKI, each piece with one fault: every check of the
//! verifier has evidence that it alone refuses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proplet_hal::tdx::{
    BodyType, Collateral, TcbStatus, TdxError, TdxFacts, TdxRoot, TdxTrust, verify_quote,
};
use proplet_hal::verify::{Anchor, AppraisalError, TeeFacts, TeeTrust, TrustPolicy};
use proplet_hal::{ReportData, TeeProvider as _};
use proplet_testkit::tee::{
    self, CollateralFault, ComponentStatus, EventLog, FakeTdx, FakeTdxBuilder, Period, Platform,
    QuoteForm, QuoteTampering, Revoked, TDX_TEST_ROOT_PEM, TdxCollateral, TdxCollateralBuilder,
    TdxPki,
};

const DATA: [u8; 64] = [0xab; 64];
const DAY: Duration = Duration::from_secs(24 * 3600);

/// In 2029.
fn now() -> SystemTime {
    Period::century().from + 10 * 365 * DAY
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

fn collateral() -> TdxCollateralBuilder {
    TdxCollateralBuilder::new(Arc::new(TdxPki::committed()))
}

fn trust_with(collateral: &TdxCollateral) -> TdxTrust {
    let json = collateral.to_json().to_string();
    let collateral = Collateral::from_files([("all.json", json.as_bytes())]).unwrap();
    let root = TdxRoot::from_pem(TDX_TEST_ROOT_PEM.as_bytes()).unwrap();
    TdxTrust::new(root).with_collateral(collateral)
}

fn trust() -> TdxTrust {
    trust_with(&TdxCollateral::committed())
}

fn check_under(tee: FakeTdxBuilder, trust: &TdxTrust) -> Result<TdxFacts, TdxError> {
    let tee = tee.build();
    verify_quote(&tee.quote(&DATA), tee.event_log(), trust, now())
}

fn check(tee: FakeTdxBuilder) -> Result<TdxFacts, TdxError> {
    check_under(tee, &trust())
}

fn refused(tee: FakeTdxBuilder) -> TdxError {
    check(tee).expect_err("it has a fault")
}

/// The kind of an error, without what it says.
fn kind(error: &TdxError) -> String {
    let text = format!("{error:?}");
    let end = text.find([' ', '(', '{']).unwrap_or(text.len());
    text[..end].to_owned()
}

#[test]
fn evidence_without_a_fault_verifies_in_every_form() {
    for (form, body_type) in [
        (QuoteForm::V4, BodyType::Td10),
        (QuoteForm::V5Td10, BodyType::Td10),
        (QuoteForm::V5Td15, BodyType::Td15),
        (QuoteForm::V5Td15Extended, BodyType::Td15Ex),
    ] {
        let facts = check(FakeTdx::builder().form(form).padding(60)).unwrap();
        assert_eq!(facts.report.body_type, body_type);
        assert_eq!(facts.report.mr_td, FakeTdx::MEASUREMENT);
        assert_eq!(facts.report.report_data, DATA);
        assert_eq!(facts.tcb.status, TcbStatus::UpToDate);
        assert_eq!(facts.platform.fmspc, Platform::FMSPC);
        assert_eq!(facts.event_log, None);
    }
}

#[tokio::test]
async fn evidence_of_the_provider_verifies_under_the_given_root_only() {
    let data = ReportData::new(&[7; 64]).unwrap();
    let tee = FakeTdx::builder()
        .init_data(&[3; 32])
        .event_log(EventLog::of_a_boot())
        .build();
    let evidence = tee.evidence(&data).await.unwrap();
    let policy = TrustPolicy::of(TeeTrust::Tdx(Box::new(trust())));
    let verified = proplet_hal::verify::verify(&evidence, &policy, now()).unwrap();
    assert!(verified.binds(&data));
    assert_eq!(verified.anchor, Anchor::Given);
    assert_eq!(verified.measurement, FakeTdx::MEASUREMENT);
    assert_eq!(
        verified.init_data.unwrap()[..33],
        [&[3; 32][..], &[0]].concat()
    );
    let TeeFacts::Tdx(facts) = verified.facts else {
        panic!("another TEE");
    };
    assert!(!facts.event_log.unwrap().records.is_empty());

    let vendor = TdxTrust {
        root: TdxRoot::intel().unwrap(),
        ..trust()
    };
    let policy = TrustPolicy::of(TeeTrust::Tdx(Box::new(vendor)));
    let refused = proplet_hal::verify::verify(&evidence, &policy, now()).unwrap_err();
    let AppraisalError::Tdx(refused) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(kind(&refused), "Chain", "{refused}");
}

#[test]
fn each_broken_link_of_the_quote_is_refused_by_name() {
    let strangers = || Arc::new(TdxPki::strangers());
    let tampered = |tampering| FakeTdx::builder().tampering(tampering);
    for (tee, expected) in [
        (tampered(QuoteTampering::Signature), "QuoteSignature"),
        (tampered(QuoteTampering::Header), "QuoteSignature"),
        (tampered(QuoteTampering::MrTd), "QuoteSignature"),
        (tampered(QuoteTampering::ReportData), "QuoteSignature"),
        (
            tampered(QuoteTampering::AttestationKey),
            "QuotingEnclaveSignature",
        ),
        (
            tampered(QuoteTampering::QeReport),
            "QuotingEnclaveSignature",
        ),
        (
            tampered(QuoteTampering::QeReportSignature),
            "QuotingEnclaveSignature",
        ),
        (
            tampered(QuoteTampering::QeAuthData),
            "QuotingEnclaveSignature",
        ),
        (tampered(QuoteTampering::NoCertificates), "QuoteKind"),
        (
            FakeTdx::builder().qe_signed_by(strangers()),
            "QuotingEnclaveSignature",
        ),
        (FakeTdx::builder().pki(strangers()), "Chain"),
        (FakeTdx::builder().attestation_key_type(3), "QuoteKind"),
        (FakeTdx::builder().qe_mr_signer([1; 32]), "QuotingEnclave"),
        (FakeTdx::builder().qe_product(3), "QuotingEnclave"),
        (
            FakeTdx::builder().qe_attributes([0x13; 16]),
            "QuotingEnclave",
        ),
        (FakeTdx::builder().qe_misc_select(1), "QuotingEnclave"),
        (FakeTdx::builder().qe_vendor_id([0; 16]), "QuotingEnclave"),
        (FakeTdx::builder().pck_validity(past()), "CertificateTime"),
        (FakeTdx::builder().pck_validity(future()), "CertificateTime"),
        (FakeTdx::builder().ca_validity(past()), "CertificateTime"),
    ] {
        let error = refused(tee);
        assert_eq!(kind(&error), expected, "{error}");
    }
}

#[test]
fn each_attribute_that_no_vm_should_have_is_refused_by_name() {
    let sept = 1 << 28;
    let reserved = |what, bits| TdxError::Reserved { what, bits };
    for (tee, expected) in [
        (FakeTdx::builder().sept_ve_disable(false), TdxError::SeptVe),
        (FakeTdx::builder().migratable(true), TdxError::Migratable),
        (
            FakeTdx::builder()
                .form(QuoteForm::V5Td15)
                .mr_service_td([1; 48]),
            TdxError::Migratable,
        ),
        (
            FakeTdx::builder().td_attributes(sept | 2),
            reserved("TD attributes", 2),
        ),
        (
            FakeTdx::builder().td_attributes(sept | 1 << 4),
            reserved("TD attributes", 1 << 4),
        ),
        (
            FakeTdx::builder().td_attributes(sept | 1 << 40),
            reserved("TD attributes", 1 << 40),
        ),
        (
            FakeTdx::builder().xfam(0x6_02e7 | 1 << 10),
            reserved("XFAM", 1 << 10),
        ),
        (FakeTdx::builder().xfam(0x6_02e5), reserved("XFAM", 1 << 1)),
        (
            FakeTdx::builder().seam_attributes([1, 0, 0, 0, 0, 0, 0, 0]),
            reserved("TDX module attributes", 1),
        ),
        (
            FakeTdx::builder().module([6; 48], [7; 48]),
            TdxError::ModuleSigner {
                signer: "07".repeat(48),
            },
        ),
    ] {
        assert_eq!(refused(tee), expected);
    }
}

#[test]
fn a_debuggable_vm_is_a_fact_for_the_caller() {
    let facts = check(FakeTdx::builder().debug(true)).unwrap();
    assert!(facts.report.debug());
    assert!(!check(FakeTdx::builder()).unwrap().report.debug());
}

#[test]
fn each_tcb_status_is_accepted_by_name_only() {
    for status in tee::TcbStatus::ALL {
        let tee = || FakeTdx::builder().status(status);
        let error = match (status, check(tee())) {
            (tee::TcbStatus::UpToDate, verified) => {
                verified.unwrap();
                continue;
            }
            (_, verified) => verified.unwrap_err(),
        };
        if status == tee::TcbStatus::Unknown {
            let fmspc = hex::encode(Platform::FMSPC);
            assert_eq!(error, TdxError::NoTcbLevel { fmspc });
            continue;
        }
        let named: TcbStatus = status.name().parse().unwrap();
        assert!(
            matches!(&error, TdxError::TcbStatus { status, .. } if *status == named),
            "{error:?}"
        );
        let accepting = TdxTrust {
            tcb_statuses: vec![named],
            ..trust()
        };
        let verified = check_under(tee(), &accepting);
        if status == tee::TcbStatus::Revoked {
            assert_eq!(verified.unwrap_err(), error, "revoked platforms never pass");
        } else {
            let facts = verified.unwrap();
            assert_eq!(facts.tcb.status, named);
            assert_eq!(facts.tcb.advisories, Vec::from_iter(status.advisory()));
        }
    }
}

#[test]
fn quoting_enclaves_and_modules_lower_the_status() {
    let old = ComponentStatus::OutOfDate;
    for (tee, expected) in [
        (FakeTdx::builder().qe_status(old), TcbStatus::OutOfDate),
        (FakeTdx::builder().module_status(old), TcbStatus::OutOfDate),
        (
            FakeTdx::builder()
                .form(QuoteForm::V5Td15)
                .module_status(old),
            TcbStatus::TdRelaunchAdvised,
        ),
        (
            FakeTdx::builder().qe_status(ComponentStatus::Revoked),
            TcbStatus::Revoked,
        ),
        (
            FakeTdx::builder().module_status(ComponentStatus::Revoked),
            TcbStatus::Revoked,
        ),
    ] {
        let error = refused(tee);
        assert!(
            matches!(&error, TdxError::TcbStatus { status, .. } if *status == expected),
            "{error:?}"
        );
    }
    for svn in [[1, 1], [5, 9]] {
        let mut tcb = [0; 16];
        tcb[..2].copy_from_slice(&svn);
        tcb[2] = 3;
        let error = refused(FakeTdx::builder().tee_tcb_svn(tcb));
        assert_eq!(kind(&error), "ModuleTcb", "{error}");
    }
}

#[test]
fn advisories_are_denied_and_allowed_by_name() {
    let status = tee::TcbStatus::SwHardeningNeeded;
    let advisory = status.advisory().unwrap().to_owned();
    let with = |denied: &[&str], allowed: Option<&[&str]>| {
        let all = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let trust = TdxTrust {
            tcb_statuses: vec![TcbStatus::SwHardeningNeeded],
            denied_advisories: all(denied),
            allowed_advisories: allowed.map(all),
            ..trust()
        };
        check_under(FakeTdx::builder().status(status), &trust)
    };
    let refused = || {
        Err(TdxError::Advisory {
            advisory: advisory.clone(),
        })
    };
    with(&[], None).unwrap();
    with(&["INTEL-SA-00000"], None).unwrap();
    with(&[], Some(&[&advisory])).unwrap();
    assert_eq!(with(&[&advisory], None), refused());
    assert_eq!(with(&[], Some(&[])), refused());
    assert_eq!(with(&[&advisory], Some(&[&advisory])), refused());
}

#[test]
fn modules_and_machines_are_those_listed() {
    let platform = Platform {
        ppid: [1; 16],
        platform_instance_id: [2; 16],
        ..Platform::default()
    };
    let tee = || {
        FakeTdx::builder()
            .platform(platform.clone())
            .module([6; 48], [0; 48])
    };
    let machines = |platforms: &[[u8; 16]]| {
        let platforms = platforms.to_vec();
        check_under(
            tee(),
            &TdxTrust {
                platforms,
                ..trust()
            },
        )
    };
    assert!(!machines(&[]).unwrap().platform.checked);
    assert!(machines(&[[1; 16]]).unwrap().platform.checked);
    assert!(machines(&[[9; 16], [2; 16]]).unwrap().platform.checked);
    assert_eq!(
        machines(&[[9; 16]]),
        Err(TdxError::Platform {
            ppid: "01".repeat(16),
            instance: "02".repeat(16)
        })
    );
    let modules = |mr_seam: &[[u8; 48]]| {
        let mr_seam = mr_seam.to_vec();
        check_under(tee(), &TdxTrust { mr_seam, ..trust() })
    };
    assert!(!modules(&[]).unwrap().mr_seam_checked);
    assert!(modules(&[[6; 48]]).unwrap().mr_seam_checked);
    let found = "06".repeat(48);
    assert_eq!(modules(&[[7; 48]]), Err(TdxError::Module { found }));
}

#[test]
fn each_fault_of_the_collateral_is_refused_by_name() {
    for fault in CollateralFault::ALL {
        let expected = match fault {
            CollateralFault::RevokedPck
            | CollateralFault::RevokedPlatformCa
            | CollateralFault::RevokedTcbSigner => "CertificateRevoked",
            CollateralFault::ExpiredTcbInfo
            | CollateralFault::FutureTcbInfo
            | CollateralFault::ExpiredQeIdentity
            | CollateralFault::FutureQeIdentity
            | CollateralFault::ExpiredCrls
            | CollateralFault::FutureCrls => "CollateralTime",
            CollateralFault::ExpiredCertificates => "CertificateTime",
            CollateralFault::StrangersTcbInfo => "Chain",
            CollateralFault::OtherFmspc
            | CollateralFault::SgxTcbInfo
            | CollateralFault::SgxQeIdentity => "NoCollateral",
            CollateralFault::TcbInfoSignature | CollateralFault::QeIdentitySignature => {
                "CollateralSignature"
            }
        };
        let bad = fault.collateral(now());
        let error = check_under(FakeTdx::builder(), &trust_with(&bad)).unwrap_err();
        assert_eq!(kind(&error), expected, "{fault:?}: {error}");
    }
    let revoked = |certificate| {
        let bad = collateral().revoke(certificate).build();
        match check_under(FakeTdx::builder(), &trust_with(&bad)) {
            Err(TdxError::CertificateRevoked { what }) => what,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(revoked(Revoked::Pck), "PCK");
    assert_eq!(revoked(Revoked::PlatformCa), "PCK issuer's");
    assert_ne!(revoked(Revoked::TcbSigner), "PCK");
}

#[test]
fn lists_of_revoked_certificates_are_their_issuers_own() {
    // Of the same names, and signed by somebody else: each of the two by itself.
    let good = TdxCollateral::committed();
    let forged = TdxCollateralBuilder::new(Arc::new(TdxPki::strangers())).build();
    for bad in [
        TdxCollateral {
            root_ca_crl: forged.root_ca_crl.clone(),
            ..good.clone()
        },
        TdxCollateral {
            pck_crl: forged.pck_crl.clone(),
            ..good.clone()
        },
    ] {
        let error = check_under(FakeTdx::builder(), &trust_with(&bad)).unwrap_err();
        assert!(
            matches!(&error, TdxError::Chain { .. } | TdxError::Refused { .. }),
            "{error:?}"
        );
    }
    // One that is missing.
    let chains = [&good.pck_crl_issuer_chain, &good.tcb_info_issuer_chain];
    let signed = |member: &str, body: &str, signature: &[u8]| {
        let signature = hex::encode(signature);
        format!("{{\"{member}\":{body},\"signature\":\"{signature}\"}}").into_bytes()
    };
    let tcb = signed("tcbInfo", &good.tcb_info, &good.tcb_info_signature);
    let qe = signed(
        "enclaveIdentity",
        &good.qe_identity,
        &good.qe_identity_signature,
    );
    let parts = [
        tcb.as_slice(),
        &qe,
        chains[0].as_bytes(),
        chains[1].as_bytes(),
        &good.pck_crl,
        &good.root_ca_crl,
    ];
    let with = |left_out: Option<usize>| {
        let files = parts.iter().enumerate();
        let files = files.filter(|(number, _)| Some(*number) != left_out);
        let collateral = Collateral::from_files(files.map(|(_, file)| ("file", *file))).unwrap();
        check_under(FakeTdx::builder(), &trust().with_collateral(collateral))
    };
    with(None).unwrap();
    for left_out in [0, 1, 4, 5] {
        let error = with(Some(left_out)).unwrap_err();
        assert_eq!(kind(&error), "NoCollateral", "{left_out}: {error}");
    }
}

#[test]
fn identities_are_signed_by_intels_signer_each() {
    let strangers = || TdxCollateralBuilder::new(Arc::new(TdxPki::strangers())).build();
    let good = TdxCollateral::committed();
    // The document and its chain of another PKI of the same names, one at a time.
    let other = strangers();
    for bad in [
        TdxCollateral {
            qe_identity: other.qe_identity.clone(),
            qe_identity_signature: other.qe_identity_signature.clone(),
            qe_identity_issuer_chain: other.qe_identity_issuer_chain.clone(),
            ..good.clone()
        },
        TdxCollateral {
            tcb_info: other.tcb_info.clone(),
            tcb_info_signature: other.tcb_info_signature.clone(),
            tcb_info_issuer_chain: other.tcb_info_issuer_chain.clone(),
            ..good.clone()
        },
    ] {
        let error = check_under(FakeTdx::builder(), &trust_with(&bad)).unwrap_err();
        assert_eq!(kind(&error), "Chain", "{error}");
    }
}

#[test]
fn a_platform_is_that_of_its_tcb_info_by_each_id() {
    let other_enclave = Platform {
        pce_id: [7, 7],
        ..Platform::default()
    };
    let error = refused(FakeTdx::builder().platform(other_enclave));
    assert_eq!(kind(&error), "NoCollateral", "{error}");
    let other_kind = Platform {
        fmspc: [9; 6],
        ..Platform::default()
    };
    let error = refused(FakeTdx::builder().platform(other_kind));
    assert_eq!(kind(&error), "NoCollateral", "{error}");
}

#[test]
fn a_quote_is_of_a_kind_and_a_size_that_is_known() {
    let quote = FakeTdx::new().quote(&DATA);
    let changed = |at: usize, value: u8| {
        let mut quote = quote.clone();
        quote[at] = value;
        verify_quote(&quote, None, &trust(), now()).unwrap_err()
    };
    for (at, value) in [(0, 3), (0, 6), (2, 3), (4, 0)] {
        assert_eq!(kind(&changed(at, value)), "QuoteKind", "byte {at}");
    }
    let mut longer = quote.clone();
    longer.resize(proplet_hal::tdx::MAX_QUOTE_LEN + 1, 0);
    let error = verify_quote(&longer, None, &trust(), now()).unwrap_err();
    assert_eq!(kind(&error), "Form", "{error}");
    longer.truncate(proplet_hal::tdx::MAX_QUOTE_LEN);
    verify_quote(&longer, None, &trust(), now()).unwrap();
    *longer.last_mut().unwrap() = 1;
    let error = verify_quote(&longer, None, &trust(), now()).unwrap_err();
    assert_eq!(kind(&error), "Form", "{error}");
}

/// Every refusal that the verifier has a name for is expected by name in this file, or where it is said here.
#[test]
fn every_refusal_is_expected_somewhere() {
    let source = include_str!("../../../hal/src/tdx/error.rs");
    let (_, body) = source.split_once("pub enum TdxError {\n").unwrap();
    let (body, _) = body.split_once("\n}\n").unwrap();
    let here = include_str!("tdx_mutations.rs");
    let mut variants = 0;
    for line in body.lines() {
        let Some(name) = line.strip_prefix("    ") else {
            continue;
        };
        let end = name.find(|letter: char| !letter.is_alphanumeric());
        let name = &name[..end.unwrap_or(name.len())];
        if !name.starts_with(|letter: char| letter.is_ascii_uppercase()) {
            continue;
        }
        variants += 1;
        // Files that are no collateral: hal/tests/tdx.rs.
        let elsewhere = name == "CollateralFile";
        let by_kind = here.contains(&format!("\"{name}\""));
        let by_value = here.contains(&format!("TdxError::{name}"));
        assert!(elsewhere || by_kind || by_value, "{name}");
    }
    assert!(variants > 20, "{variants}");
}

#[test]
fn of_several_collaterals_the_newest_of_the_platforms_kind_counts() {
    let older = Period {
        from: Period::century().from,
        until: now() - DAY,
    };
    let newer = Period {
        from: now() - DAY,
        until: now() + DAY,
    };
    let issued = |period: Period| {
        collateral()
            .tcb_info_issued(period)
            .qe_identity_issued(period)
            .crls_issued(period)
            .build()
            .to_json()
            .to_string()
    };
    let other = collateral().fmspc([9; 6]).build().to_json().to_string();
    let (older, newer) = (issued(older), issued(newer));
    for files in [[&older, &newer, &other], [&other, &newer, &older]] {
        let files = files.map(|file| ("file", file.as_bytes()));
        let collateral = Collateral::from_files(files).unwrap();
        let facts = check_under(FakeTdx::builder(), &trust().with_collateral(collateral)).unwrap();
        assert_eq!(facts.collateral_until, now() + DAY);
    }
}

#[test]
fn an_event_log_has_to_lead_to_the_registers() {
    let log = EventLog::of_a_boot().aael("domain", "operation", "content");
    let facts = check(FakeTdx::builder().event_log(log.clone())).unwrap();
    assert_eq!(facts.report.rtmrs, log.rtmrs());
    let records = facts.event_log.unwrap().records;
    assert_eq!(records.last().unwrap().aael().unwrap().content, "content");

    for register in 0..4 {
        let mut rtmrs = log.rtmrs();
        rtmrs[register][0] ^= 1;
        let tee = FakeTdx::builder().event_log(log.clone()).rtmrs(rtmrs);
        match refused(tee) {
            TdxError::EventLogReplay {
                register: named, ..
            } => assert_eq!(named, register),
            other => panic!("{other:?}"),
        }
    }
    let unlogged = check(FakeTdx::builder().rtmrs([[5; 48]; 4])).unwrap();
    assert_eq!(unlogged.report.rtmrs, [[5; 48]; 4]);

    let quote = FakeTdx::builder()
        .event_log(log.clone())
        .build()
        .quote(&DATA);
    let verify = |log: &[u8]| verify_quote(&quote, Some(log), &trust(), now());
    verify(&log.trimmed()).unwrap();
    let refused = verify(&log.trimmed()[..20]).unwrap_err();
    assert_eq!(kind(&refused), "Form", "{refused}");
}
