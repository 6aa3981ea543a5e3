//! Tests of reading and writing reference values.

use std::collections::BTreeSet;
use std::fmt::Debug;

use proptest::prelude::*;

use super::*;
use crate::snp::{AbiVersion, ChipId, Generation, GuestPolicyRule, SnpDemands, TcbFloor};

/// Every name, each with a good value.
fn whole() -> String {
    let bytes = |byte: u8, len: usize| hex::encode(vec![byte; len]);
    let [a, b] = [bytes(1, 48), bytes(2, 48)];
    format!(
        r#"
        [snp]
        measurements = ["{a}", "{b}"]
        allow_report_v2 = true
        chip_ids = ["{}", "{}"]
        id_keys = ["{a}"]
        author_keys = ["{b}"]
        guest_policy = ["no-smt", "single-socket"]
        minimum_abi = "1.55"
        [[snp.minimum_tcb]]
        generation = "turin"
        fmc = 1
        bootloader = 2
        tee = 3
        snp = 4
        microcode = 255
        [[snp.minimum_tcb]]
        tee = 0
        [tdx]
        mrtd = ["{a}"]
        rtmr0 = ["{a}"]
        rtmr1 = ["{a}"]
        rtmr2 = ["{a}"]
        rtmr3 = ["{a}", "{b}"]
        mrconfigid = ["{a}"]
        mrowner = ["{b}"]
        mrseam = ["{b}"]
        tcb_statuses = ["UpToDate", "SWHardeningNeeded"]
        allowed_advisories = ["INTEL-SA-00615"]
        denied_advisories = ["INTEL-SA-00828"]
        platforms = ["{}"]
        "#,
        bytes(3, 64),
        bytes(4, 8),
        bytes(5, 16),
    )
}

#[test]
fn every_name_is_read() {
    let values = ReferenceValues::from_toml(&whole()).unwrap();
    let (snp, tdx) = (values.snp.clone().unwrap(), values.tdx.clone().unwrap());
    assert_eq!(snp.measurements, Some([[1; 48], [2; 48]].into()));
    assert!(snp.allow_report_v2);
    let chips = [ChipId::new(&[3; 64]), ChipId::new(&[4; 8])].map(Result::unwrap);
    let turin = TcbFloor {
        generation: Some(Generation::Turin),
        fmc: Some(1),
        bootloader: Some(2),
        tee: Some(3),
        snp: Some(4),
        microcode: Some(255),
    };
    let any = TcbFloor {
        tee: Some(0),
        ..TcbFloor::default()
    };
    assert_eq!(
        snp.demands,
        SnpDemands {
            minimum_tcb: vec![turin, any],
            chip_ids: Some(chips.into()),
            id_keys: Some([[1; 48]].into()),
            author_keys: Some([[2; 48]].into()),
            guest_policy: [GuestPolicyRule::NoSmt, GuestPolicyRule::SingleSocket].into(),
            minimum_abi: Some(AbiVersion {
                major: 1,
                minor: 55
            }),
        }
    );
    assert_eq!(tdx.rtmrs[3], Some([[1; 48], [2; 48]].into()));
    assert_eq!(tdx.platforms, Some([[5; 16]].into()));
    let measurements = values.measurements().unwrap();
    assert_eq!(measurements, [vec![1; 48], vec![2; 48], vec![1; 48]]);
}

#[test]
fn the_values_become_a_verifiers_trust() {
    let values = ReferenceValues::from_toml(&whole()).unwrap();
    let roots = TrustRoots::amd().unwrap();
    let trust = values.snp_trust(roots.clone()).unwrap();
    assert_eq!(trust.demands, values.snp.clone().unwrap().demands);
    assert_eq!(trust.minimum_version, 2);
    let bare = ReferenceValues::from_toml("[snp]\nguest_policy = [\"no-debug\"]").unwrap();
    assert_eq!(bare.measurements(), None);
    assert_eq!(bare.snp_trust(roots.clone()).unwrap().minimum_version, 3);
    let other_tee = ReferenceValues {
        snp: None,
        ..values
    };
    assert!(other_tee.snp_trust(roots).is_none());
}

/// The error of a document with these lines.
fn refused(lines: &str) -> String {
    ReferenceValues::from_toml(lines).unwrap_err().to_string()
}

#[test]
fn unknown_names_are_refused_with_the_nearest() {
    for (lines, expected) in [
        (
            "[snp]\nmeasurement = []",
            "`snp.measurement`, which is not known: did you mean `measurements`?",
        ),
        ("[sev-snp]", "`sev-snp`, which is not known"),
        ("[sp]", "did you mean `snp`?"),
        (
            "[snp]\n[[snp.minimum_tcb]]\nbootloder = 1",
            "`snp.minimum_tcb[0].bootloder`, which is not known: did you mean `bootloader`?",
        ),
        ("[tdx]\nrtmr4 = []", "did you mean `rtmr"),
        ("[snp]\nroots = 1", "`snp.roots`, which is not known"),
    ] {
        let message = refused(lines);
        assert!(message.contains(expected), "{lines}: {message}");
    }
}

#[test]
fn values_that_say_nothing_or_something_else_are_refused() {
    let [zeros, short] = [0, 1].map(|byte| hex::encode([byte; 48]));
    let cases = [
        (
            "[snp]\nmeasurements = []".to_owned(),
            "`snp.measurements` cannot be used: the list is empty",
        ),
        (
            "[snp]\nmeasurements = \"aa\"".to_owned(),
            "write a list of texts",
        ),
        (
            "[snp]\nmeasurements = [1]".to_owned(),
            "`snp.measurements[0]` cannot be used: write a text",
        ),
        (
            format!("[snp]\nmeasurements = [\"{zeros}\"]"),
            "write 48 bytes",
        ),
        (
            format!("[snp]\nmeasurements = [\"{short}00\"]"),
            "write 48 bytes",
        ),
        (
            format!("[snp]\nmeasurements = [\"{short}\", \"{short}\"]"),
            "`snp.measurements[1]` cannot be used: it is in the list twice",
        ),
        (
            format!("[snp]\nchip_ids = [\"{short}\"]"),
            "not the id of a chip",
        ),
        (
            "[snp]\nguest_policy = [\"smt\"]".to_owned(),
            "not a rule for guest policies",
        ),
        (
            "[snp]\nminimum_abi = 1.55".to_owned(),
            "`snp.minimum_abi` cannot be used: write a text",
        ),
        ("[snp]\nminimum_abi = \"1\"".to_owned(), "write two numbers"),
        (
            "[snp]\nallow_report_v2 = 1".to_owned(),
            "write true or false",
        ),
        (
            "[snp]\nminimum_tcb = []".to_owned(),
            "write tables [[snp.minimum_tcb]]",
        ),
        ("[snp]\nminimum_tcb = [1]".to_owned(), "write tables"),
        (
            "[[snp.minimum_tcb]]\nsnp = 256".to_owned(),
            "write a whole number from 0 to 255",
        ),
        (
            "[[snp.minimum_tcb]]\nsnp = -1".to_owned(),
            "write a whole number from 0 to 255",
        ),
        (
            "[[snp.minimum_tcb]]\nsnp = \"1\"".to_owned(),
            "write a whole number from 0 to 255",
        ),
        (
            "[[snp.minimum_tcb]]\ngeneration = \"genoa\"".to_owned(),
            "`snp.minimum_tcb[0]` cannot be used: it demands nothing",
        ),
        (
            "[[snp.minimum_tcb]]\ngeneration = \"rome\"\nsnp = 1".to_owned(),
            "not a generation of EPYC",
        ),
        (
            "[tdx]\ntcb_statuses = [\"Revoked\"]".to_owned(),
            "not a TCB status that can be accepted",
        ),
        (
            "[tdx]\ndenied_advisories = [\"CVE-1\"]".to_owned(),
            "write the name of an advisory",
        ),
        ("[tdx]\nplatforms = [\"00\"]".to_owned(), "write 16 bytes"),
        ("snp = 1".to_owned(), "write a table [snp]"),
        (String::new(), "add a table [snp] or [tdx]"),
        ("[snp".to_owned(), "are not TOML"),
    ];
    for (lines, expected) in cases {
        let message = refused(&lines);
        assert!(message.contains(expected), "{lines}: {message}");
        assert!(message.len() < 600, "{message}");
    }
    let long = format!("#{}", "x".repeat(MAX_LEN));
    assert!(matches!(
        ReferenceValues::from_toml(&long),
        Err(ReferenceValuesError::TooLarge { .. })
    ));
}

#[test]
fn what_is_repeated_of_a_file_is_short_and_plain() {
    let message = refused(&format!("\"\\u001b{}\" = 1", "x".repeat(5000)));
    assert!(
        message.len() < 400 && !message.contains('\u{1b}'),
        "{message}"
    );
}

fn set<T: Ord + Debug>(
    item: impl Strategy<Value = T>,
) -> impl Strategy<Value = Option<BTreeSet<T>>> {
    proptest::option::of(proptest::collection::btree_set(item, 1..4))
}

fn digest<const N: usize>() -> impl Strategy<Value = [u8; N]> {
    proptest::collection::vec(any::<u8>(), N)
        .prop_map(|bytes| bytes.try_into().unwrap())
        .prop_filter("zeros are not set", |bytes: &[u8; N]| *bytes != [0; N])
}

fn floor() -> impl Strategy<Value = TcbFloor> {
    let generation = proptest::option::of(prop_oneof![
        Just(Generation::Milan),
        Just(Generation::Genoa),
        Just(Generation::Turin)
    ]);
    (generation, any::<[Option<u8>; 5]>())
        .prop_filter("demands something", |(_, floors)| {
            floors.iter().any(Option::is_some)
        })
        .prop_map(
            |(generation, [fmc, bootloader, tee, snp, microcode])| TcbFloor {
                generation,
                fmc,
                bootloader,
                tee,
                snp,
                microcode,
            },
        )
}

fn snp() -> impl Strategy<Value = SnpReferenceValues> {
    let chips = digest::<64>().prop_map(|id| ChipId::new(&id).unwrap());
    let rules = proptest::sample::select(GuestPolicyRule::ALL.to_vec());
    let demands = (
        proptest::collection::vec(floor(), 0..3),
        set(chips),
        set(digest()),
        set(digest()),
        proptest::collection::btree_set(rules, 0..9),
        proptest::option::of((any::<u8>(), any::<u8>())),
    );
    let demands = demands.prop_map(|(floors, chips, id, author, rules, abi)| SnpDemands {
        minimum_tcb: floors,
        chip_ids: chips,
        id_keys: id,
        author_keys: author,
        guest_policy: rules,
        minimum_abi: abi.map(|(major, minor)| AbiVersion { major, minor }),
    });
    (set(digest()), any::<bool>(), demands).prop_map(|(measurements, allow_report_v2, demands)| {
        SnpReferenceValues {
            measurements,
            allow_report_v2,
            demands,
        }
    })
}

fn tdx() -> impl Strategy<Value = TdxReferenceValues> {
    let statuses = proptest::sample::select(vec!["UpToDate".to_owned(), "OutOfDate".to_owned()]);
    let advisories = || "INTEL-SA-[0-9]{5}";
    let rtmrs = [(); 4].map(|()| set(digest::<48>()));
    (
        set(digest()),
        rtmrs,
        (set(digest()), set(digest()), set(digest())),
        set(statuses),
        (set(advisories()), set(advisories())),
        set(digest()),
    )
        .prop_map(
            |(mrtd, rtmrs, (mrconfigid, mrowner, mrseam), statuses, advisories, platforms)| {
                TdxReferenceValues {
                    mrtd,
                    rtmrs,
                    mrconfigid,
                    mrowner,
                    mrseam,
                    tcb_statuses: statuses,
                    allowed_advisories: advisories.0,
                    denied_advisories: advisories.1,
                    platforms,
                }
            },
        )
}

proptest! {
    #[test]
    fn values_read_back_as_they_were_written(
        snp in proptest::option::of(snp()),
        tdx in proptest::option::of(tdx()),
    ) {
        let values = ReferenceValues { snp, tdx };
        prop_assume!(values != ReferenceValues::default());
        prop_assert_eq!(ReferenceValues::from_toml(&values.to_toml()), Ok(values));
    }

    #[test]
    fn any_text_is_read_or_refused_without_panic(
        text in "(\\[(snp|tdx|snp\\.x)\\]\n)?([a-z0-9_]{1,12} = (\\[\"[0-9a-f]{0,20}\"\\]|[0-9]{1,5}|true)\n){0,4}|.{0,80}",
    ) {
        if let Ok(values) = ReferenceValues::from_toml(&text) {
            prop_assert_eq!(ReferenceValues::from_toml(&values.to_toml()), Ok(values));
        }
    }
}
