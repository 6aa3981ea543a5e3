//! Event logs: what parses, what a replay gives, and that anything else is refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use proplet_hal::FormError;
use proplet_hal::tdx::TdxError;
use proplet_hal::tdx::ccel::{EventLog, MAX_LOG_LEN, trim};
use proptest::prelude::*;
use ring::digest::{SHA384, digest};

const NO_ACTION: u32 = 3;
const EVENT_TAG: u32 = 6;
const AAEL: u32 = 0x4141_454c;
const END: [u8; 8] = [0xff; 8];

/// The first record, with SHA-384 and SM3, in the form that attesters write where there was no log.
fn description() -> Vec<u8> {
    let mut log = Vec::new();
    log.extend(0_u32.to_le_bytes());
    log.extend(NO_ACTION.to_le_bytes());
    log.extend([0; 20]);
    log.extend(0x25_u32.to_le_bytes());
    log.extend([0; 24]);
    log.extend(2_u32.to_le_bytes());
    log.extend([0x0c, 0, 48, 0, 0x12, 0, 32, 0, 0]);
    log
}

fn record(register: u32, kind: u32, digests: &[(u16, &[u8])], data: &[u8]) -> Vec<u8> {
    let mut record = Vec::new();
    record.extend(register.to_le_bytes());
    record.extend(kind.to_le_bytes());
    record.extend((digests.len() as u32).to_le_bytes());
    for (algorithm, digest) in digests {
        record.extend(algorithm.to_le_bytes());
        record.extend(*digest);
    }
    record.extend((data.len() as u32).to_le_bytes());
    record.extend(data);
    record
}

fn sha384(data: &[u8]) -> Vec<u8> {
    digest(&SHA384, data).as_ref().to_vec()
}

/// A record over its own data.
fn measured(register: u32, kind: u32, data: &[u8]) -> Vec<u8> {
    record(register, kind, &[(0x0c, &sha384(data))], data)
}

fn tagged(tag: u32, data: &[u8]) -> Vec<u8> {
    [
        &tag.to_le_bytes()[..],
        &(data.len() as u32).to_le_bytes(),
        data,
    ]
    .concat()
}

fn log(records: &[Vec<u8>]) -> Vec<u8> {
    [&description()[..], &records.concat(), &END].concat()
}

fn reason(log: &[u8]) -> String {
    match EventLog::parse(log) {
        Err(FormError::Malformed { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_replay_extends_what_was_measured_in_its_order() {
    let records = [
        measured(1, 4, b"one"),
        measured(0, 4, b"of MRTD"),
        record(1, NO_ACTION, &[(0x0c, &[7; 48])], b"only said"),
        measured(1, 4, b"two"),
        record(4, 4, &[(0x12, &[9; 32])], b"another algorithm"),
        measured(4, 4, b"last"),
        measured(5, 4, b"of no register"),
    ];
    let parsed = EventLog::parse(&log(&records)).unwrap();
    assert_eq!(parsed.records.len(), 7);
    let extend = |rtmr: &[u8], data: &[u8]| sha384(&[rtmr, &sha384(data)].concat());
    let first = extend(&extend(&[0; 48], b"one"), b"two");
    let last = extend(&[0; 48], b"last");
    let rtmrs = parsed.replay();
    assert_eq!(rtmrs[0].to_vec(), first);
    assert_eq!((rtmrs[1], rtmrs[2]), ([0; 48], [0; 48]));
    assert_eq!(rtmrs[3].to_vec(), last);
    assert_eq!(parsed.check(&rtmrs), Ok(()));

    for register in 0..4 {
        let mut other = rtmrs;
        other[register][47] ^= 1;
        let Err(TdxError::EventLogReplay {
            register: named,
            replayed,
            quoted,
        }) = parsed.check(&other)
        else {
            panic!("register {register} was not compared");
        };
        assert_eq!(named, register);
        assert_eq!(replayed, hex::encode(rtmrs[register]));
        assert_eq!(quoted, hex::encode(other[register]));
    }
    let shorter = EventLog::parse(&log(&records[..5])).unwrap();
    assert!(
        shorter.check(&rtmrs).is_err(),
        "the last record was left out"
    );
}

#[test]
fn digests_of_the_attestation_agents_events_are_as_it_documents_them() {
    let event = tagged(AAEL, b"domain operation content");
    let known = "dad5f0e226318ffa9839b75a472c6aa7fdb5834949d0a0a22990cf04d5692440\
                 fb00f3aa0609db7e49cd8d793f670d02";
    assert_eq!(hex::encode(sha384(&event)), known);

    let parsed = EventLog::parse(&log(&[measured(4, EVENT_TAG, &event)])).unwrap();
    let record = &parsed.records[0];
    assert!(record.is_measured_data());
    assert_eq!(record.rtmr(), Some(3));
    let aael = record.aael().unwrap();
    let parts = (aael.domain, aael.operation, aael.content);
    assert_eq!(parts, ("domain", "operation", "content"));
}

#[test]
fn data_that_was_not_measured_is_told_apart() {
    let event = tagged(AAEL, b"domain operation content");
    let digest = sha384(&event);
    let other = tagged(AAEL, b"domain operation another");
    let records = [
        record(4, EVENT_TAG, &[(0x0c, &digest)], &other),
        record(4, NO_ACTION, &[(0x0c, &digest)], &event),
        record(4, EVENT_TAG, &[], &event),
    ];
    let parsed = EventLog::parse(&log(&records)).unwrap();
    for record in &parsed.records {
        assert!(!record.is_measured_data(), "{record:?}");
    }
}

#[test]
fn only_whole_events_of_the_attestation_agent_are_read() {
    let wrong = [
        tagged(AAEL, b"domain operation"),
        tagged(AAEL, b" operation content"),
        tagged(AAEL, b"domain  content"),
        tagged(AAEL, b"domain operation two\nlines"),
        tagged(AAEL, b"\xff\xfe and more"),
        tagged(0x1234, b"domain operation content"),
        [&tagged(AAEL, b"domain operation content")[..], b"!"].concat(),
        b"LEAA".to_vec(),
        Vec::new(),
    ];
    for data in wrong {
        let parsed = EventLog::parse(&log(&[measured(4, EVENT_TAG, &data)])).unwrap();
        assert_eq!(parsed.records[0].aael(), None, "{data:?}");
    }
    let event = tagged(AAEL, b"domain operation content");
    let parsed = EventLog::parse(&log(&[measured(4, 4, &event)])).unwrap();
    assert_eq!(parsed.records[0].aael(), None, "another kind of record");
}

#[test]
fn text_of_records_is_short_and_without_control_characters() {
    let long = "\u{1b}[31m".to_owned() + &"x".repeat(500);
    let parsed = EventLog::parse(&log(&[measured(3, 0x0d, long.as_bytes())])).unwrap();
    let text = parsed.records[0].text().unwrap();
    assert!(text.starts_with("\u{fffd}[31mxxx"));
    assert_eq!(text.chars().count(), 203);
    assert!(text.ends_with("x..."));

    let mut variable = vec![0; 16];
    variable.extend(4_u64.to_le_bytes());
    variable.extend(0_u64.to_le_bytes());
    variable.extend("Boot".encode_utf16().flat_map(u16::to_le_bytes));
    let parsed = EventLog::parse(&log(&[
        measured(1, 0x8000_0001, &variable),
        measured(1, 0x8000_0001, &variable[..30]),
        measured(1, 0x8000_0003, b"an image"),
    ]))
    .unwrap();
    let texts: Vec<_> = parsed.records.iter().map(|record| record.text()).collect();
    assert_eq!(texts, [Some("Boot".to_owned()), None, None]);
    assert_eq!(
        parsed.records[0].kind_name(),
        "EV_EFI_VARIABLE_DRIVER_CONFIG"
    );
}

#[test]
fn a_log_ends_at_its_mark_or_with_its_area() {
    let one = measured(1, 4, b"one");
    let bare = [&description()[..], &one].concat();
    let expected = EventLog::parse(&bare).unwrap();
    assert_eq!(expected.records.len(), 1);
    for area in [
        [&bare[..], &[0; 8]].concat(),
        [&bare[..], &END, &one].concat(),
        [&bare[..], &[0xff; 4096]].concat(),
        [&bare[..], &[0; 4096]].concat(),
    ] {
        assert_eq!(EventLog::parse(&area).unwrap(), expected);
        assert_eq!(trim(&area).unwrap(), [&bare[..], &END].concat());
    }
    assert_eq!(trim(&bare).unwrap(), [&bare[..], &END].concat());
}

#[test]
fn malformed_logs_are_refused() {
    let whole = log(&[measured(1, 4, b"one")]);
    assert!(reason(&[]).contains("too early"));
    assert!(reason(&whole[..whole.len() - 9]).contains("too early"));

    let mut not_described = whole.clone();
    not_described[4] = 4;
    assert!(reason(&not_described).contains("does not begin with its description"));

    let mut signature = whole.clone();
    signature[32] = b'S';
    assert!(reason(&signature).contains("crypto-agile"));

    let mut length = whole.clone();
    length[62] = 32;
    assert!(reason(&length).contains("unknown digest algorithm"));

    let mut too_many = whole.clone();
    too_many[28] += 1;
    assert!(reason(&too_many).contains("bytes too many"));

    let unlisted = log(&[record(1, 4, &[(0x0b, &[1; 32])], b"")]);
    assert!(reason(&unlisted).contains("not in its description"));

    let twice = log(&[record(1, 4, &[(0x0c, &[1; 48]), (0x0c, &[1; 48])], b"")]);
    assert!(reason(&twice).contains("two SHA-384"));

    let digests = vec![(0x12, &[1_u8; 32][..]); 9];
    let refused = EventLog::parse(&log(&[record(1, 4, &digests, b"")]));
    assert!(matches!(refused, Err(FormError::TooLarge { size: 9, .. })));
}

#[test]
fn logs_without_bounds_are_refused() {
    let refused = EventLog::parse(&vec![0; MAX_LOG_LEN + 1]);
    assert!(matches!(refused, Err(FormError::TooLarge { .. })));
    let many = log(&vec![record(1, 4, &[], b""); 32 * 1024 + 1]);
    let refused = EventLog::parse(&many);
    assert!(matches!(
        refused,
        Err(FormError::TooLarge { size: 32_769, .. })
    ));
    assert!(matches!(
        trim(&vec![0; 16 * 1024 * 1024 + 1]),
        Err(FormError::TooLarge { .. })
    ));
    let long = log(&[measured(1, 4, &vec![1; MAX_LOG_LEN])]);
    assert!(matches!(trim(&long), Err(FormError::TooLarge { .. })));
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_parsed_without_panic(
        tail in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let _ = EventLog::parse(&tail);
        let described = [&description()[..], &tail].concat();
        if let Ok(parsed) = EventLog::parse(&described) {
            let trimmed = trim(&described).unwrap();
            prop_assert_eq!(&EventLog::parse(&trimmed).unwrap(), &parsed);
            for record in &parsed.records {
                let _ = (record.text(), record.aael(), record.is_measured_data());
            }
        }
    }

    #[test]
    fn what_is_written_is_read(
        records in proptest::collection::vec(
            (1_u32..5, 4_u32..14, proptest::collection::vec(any::<u8>(), 0..60)), 0..6),
        flip in any::<prop::sample::Index>(),
    ) {
        let bytes: Vec<_> = records.iter().map(|(r, k, d)| measured(*r, *k, d)).collect();
        let parsed = EventLog::parse(&log(&bytes)).unwrap();
        let read: Vec<_> = parsed.records.iter()
            .map(|record| (record.register, record.kind, record.data.clone())).collect();
        prop_assert_eq!(read, records);
        let mut changed = log(&bytes);
        let at = flip.index(changed.len());
        changed[at] ^= 0x40;
        let _ = EventLog::parse(&changed);
    }
}

/// Third-party samples, see the vectors' own README.
mod vectors {
    use super::*;

    fn sample(name: &str) -> Vec<u8> {
        let folder =
            std::env::var_os("PROPLET_VECTORS").expect("PROPLET_VECTORS names the vectors");
        let path = std::path::Path::new(&folder).join("evidence/eventlog");
        std::fs::read(path.join(name)).unwrap()
    }

    fn replayed(log: &EventLog) -> [String; 4] {
        log.replay().map(hex::encode)
    }

    #[test]
    #[ignore = "reads third-party vectors from $PROPLET_VECTORS; .ci/run runs it"]
    fn the_log_of_ovmf_replays_as_its_makers_say() {
        let area = sample("CCEL_data_ovmf");
        let log = EventLog::parse(&area).unwrap();
        assert_eq!(log.records.len(), 20);
        assert_eq!(
            replayed(&log),
            [
                "8566f998798db09443b244c62de9a3041fb02e2e6936c4396d784bba2e901773\
                 29ec5aba3bb484404f2ab9cc90abe193"
                    .to_owned(),
                "775b9f6bfe99f8a31396f0d0218e67ffa796d3b96ccf961cbb0deba48c79c00f\
                 082cda1a5567c1c16305f1fc210c13c6"
                    .to_owned(),
                "94eaf7a7bf398ed8d888c91057ae0261802e4f3df084213a76ca7f0b5055ac9d\
                 2241de43cd58d9e8b49c503bbf25f34a"
                    .to_owned(),
                "0".repeat(96),
            ]
        );
        let trimmed = trim(&area).unwrap();
        assert!(trimmed.len() < area.len() / 2);
        assert_eq!(EventLog::parse(&trimmed).unwrap(), log);
    }

    #[test]
    #[ignore = "reads third-party vectors from $PROPLET_VECTORS; .ci/run runs it"]
    fn the_log_with_events_of_an_attestation_agent_replays_as_its_makers_say() {
        let area = sample("CCEL_AAEL_alibabacloud");
        let log = EventLog::parse(&area).unwrap();
        assert_eq!(log.records.len(), 87);
        let [.., rtmr3] = replayed(&log);
        assert!(
            rtmr3.starts_with("5e4ecd49") && rtmr3.ends_with("57dad"),
            "{rtmr3}"
        );
        let events: Vec<_> = log
            .records
            .iter()
            .filter_map(|record| record.aael())
            .collect();
        assert_eq!(events.len(), 2);
        assert_eq!(events[0].domain, "coco.com");
        assert_eq!(events[0].operation, "some-operation");
        assert_eq!(events[0].content, "some-content");
        assert!(events[1].content.contains("nested-key"));
        let measured = log.records.iter().filter(|record| record.aael().is_some());
        assert!(measured.clone().all(|record| record.is_measured_data()));
        assert_eq!(trim(&area).unwrap(), area, "it was sent trimmed");
    }
}
