//! TDX verification against recorded quotes of real machines: what passes, and that nothing else does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::time::{Duration, SystemTime};

use proplet_hal::tdx::{
    BodyType, Collateral, MAX_COLLATERAL_FILE_LEN, TcbStatus, TdxError, TdxFacts, TdxRoot,
    TdxTrust, verify, verify_quote,
};
use proplet_hal::verify::{Anchor, AppraisalError, TeeFacts, TeeTrust, TrustPolicy};
use proplet_hal::{Evidence, FormError, TeeName};
use proptest::prelude::*;
use serde_json::{Value, json};

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn files_that_are_no_collateral_are_refused_by_name() {
    for contents in [
        &b""[..],
        b"nonsense",
        b"{}",
        b"{\"tcbInfo\":{},\"signature\":\"00\"}",
        b"{\"tcbInfo\":{\"id\":\"TDX\",\"fmspc\":\"zz\",\"issueDate\":\"2026-01-31T12:00:00Z\",\
          \"nextUpdate\":\"2026-01-31T12:00:00Z\"},\"signature\":\"00\"}",
        b"{\"tcbInfo\":{\"id\":\"TDX\",\"fmspc\":\"\",\"issueDate\":\"yesterday\",\
          \"nextUpdate\":\"2026-01-31T12:00:00Z\"},\"signature\":\"00\"}",
        b"{\"enclaveIdentity\":{\"id\":\"TD_QE\"},\"signature\":\"00\"}",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN%20CERTIFICATE-----%",
        b"00ff",
        &[0x30, 0x82],
    ] {
        match Collateral::from_files([("tcb.json", contents)]) {
            Err(TdxError::CollateralFile { name, .. }) => assert_eq!(name, "tcb.json"),
            other => panic!("{}: {other:?}", String::from_utf8_lossy(contents)),
        }
    }
    let large = vec![b'a'; MAX_COLLATERAL_FILE_LEN + 1];
    assert!(matches!(
        Collateral::from_files([("large", &large[..])]),
        Err(TdxError::CollateralFile {
            error: FormError::TooLarge { .. },
            ..
        })
    ));
    assert!(Collateral::from_files([]).unwrap().is_empty());
}

#[test]
fn evidence_of_another_form_is_refused() {
    let trust = TdxTrust::intel().unwrap();
    for evidence in [
        json!(null),
        json!({}),
        json!({"quote": 7}),
        json!({"quote": "no base64"}),
        json!({"quote": "AAAA"}),
        json!({"quote": "AAAA", "cc_eventlog": 7}),
        json!({"quote": "A".repeat(100_000)}),
    ] {
        let refused = verify(&evidence, &trust, at(0));
        assert!(matches!(refused, Err(TdxError::Form(_))), "{evidence}");
    }
}

proptest! {
    #[test]
    fn any_file_is_refused_or_read_without_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        text in "[-{}:\"a-zA-Z0-9% \n]{0,80}",
    ) {
        for contents in [&bytes[..], text.as_bytes()] {
            let _ = Collateral::from_files([("file", contents)]);
        }
    }
}

/// Quotes and collateral of real machines, see the vectors' own README.
mod real {
    use super::*;

    /// When the first sample's collateral holds.
    const NOW: u64 = 1_750_414_563;

    fn vector(name: &str) -> Vec<u8> {
        let folder =
            std::env::var_os("PROPLET_VECTORS").expect("PROPLET_VECTORS names the vectors");
        let path = std::path::Path::new(&folder).join("evidence/tdx");
        std::fs::read(path.join(name)).unwrap()
    }

    fn quote() -> Vec<u8> {
        vector("dcap-qvl.tdx_quote")
    }

    fn bundle() -> Value {
        serde_json::from_slice(&vector("dcap-qvl.tdx_quote_collateral.json")).unwrap()
    }

    fn collateral_of(bundle: &Value) -> Collateral {
        Collateral::from_files([("bundle", bundle.to_string().as_bytes())]).unwrap()
    }

    fn trust() -> TdxTrust {
        TdxTrust::intel()
            .unwrap()
            .with_collateral(collateral_of(&bundle()))
    }

    fn check(trust: &TdxTrust) -> Result<TdxFacts, TdxError> {
        verify_quote(&quote(), None, trust, at(NOW))
    }

    #[test]
    #[ignore = "reads third-party vectors from $PROPLET_VECTORS; .ci/run runs it"]
    fn a_quote_with_its_collateral_verifies_under_intels_root() {
        let facts = check(&trust()).unwrap();
        assert_eq!(facts.quote_version, 4);
        assert_eq!(facts.report.body_type, BodyType::Td10);
        assert_eq!(facts.tcb.status, TcbStatus::UpToDate);
        assert_eq!(facts.tcb.advisories, Vec::<String>::new());
        assert_eq!(hex::encode(facts.platform.fmspc), "b0c06f000000");
        assert_eq!(facts.platform.ppid.len(), 16);
        assert!(facts.collateral_from <= at(NOW) && at(NOW) <= facts.collateral_until);
        assert!(!facts.platform.checked && !facts.mr_seam_checked);

        let evidence = Evidence::from_tdx_quote(&quote(), None).unwrap();
        let policy = TrustPolicy::hardware()
            .unwrap()
            .and(TeeTrust::Tdx(Box::new(trust())));
        let verified = proplet_hal::verify::verify(&evidence, &policy, at(NOW)).unwrap();
        assert_eq!(verified.tee(), TeeName::TDX);
        assert_eq!(verified.anchor, Anchor::Vendor);
        assert_eq!(verified.measurement, facts.report.mr_td);
        assert_eq!(verified.init_data, None);
        assert!(!verified.debug && !verified.migratable);
        assert_eq!(verified.facts, TeeFacts::Tdx(Box::new(facts)));
    }

    #[test]
    #[ignore = "reads third-party vectors from $PROPLET_VECTORS; .ci/run runs it"]
    fn collateral_is_read_in_every_form() {
        let bundle = bundle();
        let text = |name: &str| bundle[name].as_str().unwrap().to_owned();
        let signed = |member: &str, name: &str| {
            let signature = text(&format!("{name}_signature"));
            format!(
                "{{\"{member}\":{},\"signature\":\"{signature}\"}}",
                text(name)
            )
        };
        let encoded: String = text("tcb_info_issuer_chain")
            .bytes()
            .map(|byte| match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' => char::from(byte).to_string(),
                other => format!("%{other:02X}"),
            })
            .collect();
        let root_crl = hex::decode(text("root_ca_crl")).unwrap();
        let files = [
            ("tcb", signed("tcbInfo", "tcb_info").into_bytes()),
            (
                "identity",
                signed("enclaveIdentity", "qe_identity").into_bytes(),
            ),
            ("chain", encoded.into_bytes()),
            ("pck", text("pck_crl").into_bytes()),
            ("root", root_crl),
        ];
        let files: Vec<_> = files.iter().map(|(name, c)| (*name, &c[..])).collect();
        let collateral = Collateral::from_files(files.clone()).unwrap();
        let trust = TdxTrust::intel().unwrap().with_collateral(collateral);
        let facts = check(&trust).unwrap();
        assert_eq!(facts, check(&self::trust()).unwrap());

        for left_out in 0..files.len() {
            let mut files = files.clone();
            let (name, _) = files.remove(left_out);
            let collateral = Collateral::from_files(files).unwrap();
            let refused = check(&trust.clone().with_collateral(collateral));
            match (name, refused) {
                ("chain", Err(TdxError::CollateralSignature { what: "TCB info" })) => {}
                (_, Err(error @ TdxError::NoCollateral { .. })) if name != "chain" => {
                    let words = error.to_string();
                    assert!(words.contains("proplet collateral fetch URL --fmspc b0c06f000000"));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    #[ignore = "reads third-party vectors from $PROPLET_VECTORS; .ci/run runs it"]
    fn quotes_without_collateral_are_refused_with_what_to_fetch() {
        for (name, fmspc) in [
            ("tdx_quote_4.dat", "50806f000000"),
            ("tdx_quote_5.dat", "90c06f000000"),
            ("dcap-qvl.tdx_quote", "b0c06f000000"),
        ] {
            for trust in [TdxTrust::intel().unwrap(), trust()] {
                let refused = verify_quote(&vector(name), None, &trust, at(NOW));
                match refused {
                    Err(TdxError::NoCollateral { fmspc: named, .. }) => assert_eq!(named, fmspc),
                    Ok(_) if name == "dcap-qvl.tdx_quote" && !trust.collateral.is_empty() => {}
                    other => panic!("{name}: {other:?}"),
                }
            }
        }
    }

    #[test]
    #[ignore = "reads third-party vectors from $PROPLET_VECTORS; .ci/run runs it"]
    fn platforms_below_every_tcb_level_are_refused() {
        let bundle: Value =
            serde_json::from_slice(&vector("dcap-qvl.tdx_quote_outdated_collateral.json")).unwrap();
        let collateral = collateral_of(&bundle);
        let trust = TdxTrust::intel().unwrap().with_collateral(collateral);
        for name in ["dcap-qvl.tdx_quote_outdated", "tdx_quote_5.dat"] {
            let refused = verify_quote(&vector(name), None, &trust, at(OUTDATED));
            let fmspc = "90c06f000000".to_owned();
            assert_eq!(refused, Err(TdxError::NoTcbLevel { fmspc }), "{name}");
        }
    }

    /// When the collateral of the outdated sample holds.
    const OUTDATED: u64 = 1_772_323_200;

    #[test]
    #[ignore = "reads third-party vectors from $PROPLET_VECTORS; .ci/run runs it"]
    fn collateral_holds_for_its_time_and_no_longer() {
        let month = 31 * 24 * 3600;
        for (now, expected) in [
            (NOW + month, "expired"),
            (NOW - month, "not yet valid"),
            (0, "not yet valid"),
        ] {
            let refused = verify_quote(&quote(), None, &trust(), at(now));
            match refused {
                Err(TdxError::CollateralTime { state, .. }) => assert_eq!(state, expected),
                other => panic!("{now}: {other:?}"),
            }
        }
    }

    #[test]
    #[ignore = "reads third-party vectors from $PROPLET_VECTORS; .ci/run runs it"]
    fn one_flipped_bit_anywhere_in_a_real_quote_is_refused() {
        let trust = trust();
        let whole = quote();
        let end = whole.iter().rposition(|byte| *byte != 0).unwrap();
        for at_byte in 0..=end {
            let mut changed = whole.clone();
            changed[at_byte] ^= 1 << (at_byte % 8);
            // Line ends and blanks of the chain's PEM say nothing.
            if let Ok(facts) = verify_quote(&changed, None, &trust, at(NOW)) {
                assert_eq!(facts, check(&trust).unwrap(), "byte {at_byte}");
                assert!(
                    at_byte > 48 + 584 + 4 + 128 + 6 + 384 + 64 + 2 + 32,
                    "byte {at_byte}"
                );
            }
        }
    }

    #[test]
    #[ignore = "reads third-party vectors from $PROPLET_VECTORS; .ci/run runs it"]
    fn changed_collateral_is_refused() {
        let changed = |name: &str, from: &str, to: &str| {
            let mut bundle = bundle();
            let text = bundle[name].as_str().unwrap();
            assert!(text.contains(from), "{name}");
            bundle[name] = json!(text.replacen(from, to, 1));
            check(
                &TdxTrust::intel()
                    .unwrap()
                    .with_collateral(collateral_of(&bundle)),
            )
        };
        let signature = |what| Err(TdxError::CollateralSignature { what });
        assert_eq!(
            changed("tcb_info", "OutOfDate", "UpToDate"),
            signature("TCB info")
        );
        assert_eq!(
            changed("qe_identity", "\"isvprodid\":2", "\"isvprodid\":3"),
            signature("quoting enclave's identity")
        );
    }

    #[test]
    #[ignore = "reads third-party vectors from $PROPLET_VECTORS; .ci/run runs it"]
    fn a_real_machine_is_unknown_to_another_root() {
        let ark = include_bytes!("vectors/fake-snp/roots.pem");
        let text = std::str::from_utf8(ark).unwrap();
        let end = text.find("-----END CERTIFICATE-----\n").unwrap() + 26;
        let root = TdxRoot::from_pem(&text.as_bytes()[..end]).unwrap();
        assert_eq!(root.anchor(), Anchor::Given);
        let refused = check(&TdxTrust { root, ..trust() });
        assert!(
            matches!(refused, Err(TdxError::Chain { .. })),
            "{refused:?}"
        );
    }

    #[test]
    #[ignore = "reads third-party vectors from $PROPLET_VECTORS; .ci/run runs it"]
    fn what_the_relying_party_demands_is_checked() {
        let facts = check(&trust()).unwrap();
        let other_status = TdxTrust {
            tcb_statuses: vec![TcbStatus::OutOfDate],
            ..trust()
        };
        assert!(matches!(
            check(&other_status),
            Err(TdxError::TcbStatus {
                status: TcbStatus::UpToDate,
                ..
            })
        ));
        let module = |mr_seam| TdxTrust {
            mr_seam: vec![[7; 48], mr_seam],
            ..trust()
        };
        assert!(
            check(&module(facts.report.mr_seam))
                .unwrap()
                .mr_seam_checked
        );
        assert!(matches!(
            check(&module([8; 48])),
            Err(TdxError::Module { .. })
        ));

        let platforms = |platform| TdxTrust {
            platforms: vec![[7; 16], platform],
            ..trust()
        };
        let ppid: [u8; 16] = facts.platform.ppid.clone().try_into().unwrap();
        assert!(check(&platforms(ppid)).unwrap().platform.checked);
        let instance = facts.platform.instance_id.unwrap();
        assert!(check(&platforms(instance)).unwrap().platform.checked);
        assert!(matches!(
            check(&platforms([8; 16])),
            Err(TdxError::Platform { .. })
        ));
    }

    #[test]
    #[ignore = "reads third-party vectors from $PROPLET_VECTORS; .ci/run runs it"]
    fn another_machines_event_log_is_refused() {
        let folder = std::env::var_os("PROPLET_VECTORS").unwrap();
        let path = std::path::Path::new(&folder).join("evidence/eventlog/CCEL_data_ovmf");
        let log = std::fs::read(path).unwrap();
        let evidence = Evidence::from_tdx_quote(&quote(), Some(&log)).unwrap();
        let policy = TrustPolicy::of(TeeTrust::Tdx(Box::new(trust())));
        let refused = proplet_hal::verify::verify(&evidence, &policy, at(NOW));
        assert!(matches!(
            refused,
            Err(AppraisalError::Tdx(TdxError::EventLogReplay {
                register: 0,
                ..
            }))
        ));
    }
}
