//! Quotes of TDX: what parses, and that anything else is refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proplet_hal::tdx::{BodyType, MAX_QUOTE_LEN, Quote, TdxError};
use proplet_hal::{Evidence, EvidenceError, FormError, TeeName};
use proptest::prelude::*;
use serde_json::json;

const CHAIN: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

/// A quote of the right form, in which each field has bytes of its own, and no right signature.
fn quote(body_type: BodyType) -> Vec<u8> {
    let (version, head, length) = match body_type {
        BodyType::Td10 => (4_u16, vec![], 584),
        BodyType::Td15 => (
            5,
            [&3_u16.to_le_bytes()[..], &648_u32.to_le_bytes()].concat(),
            648,
        ),
        _ => (
            5,
            [&4_u16.to_le_bytes()[..], &885_u32.to_le_bytes()].concat(),
            885,
        ),
    };
    let mut quote = Vec::new();
    quote.extend(version.to_le_bytes());
    quote.extend(2_u16.to_le_bytes());
    quote.extend(0x81_u32.to_le_bytes());
    quote.extend([0; 40]);
    quote.extend(head);
    let mut body = vec![0; length];
    let fields = [
        (0, 16),
        (16, 48),
        (64, 48),
        (136, 48),
        (184, 48),
        (232, 48),
        (280, 48),
        (328, 48),
        (376, 48),
        (424, 48),
        (472, 48),
        (520, 64),
        (584, 16),
        (600, 48),
    ];
    for (number, (at, length)) in fields.into_iter().enumerate() {
        if let Some(field) = body.get_mut(at..at + length) {
            field.fill(number as u8 + 1);
        }
    }
    body[112..120].copy_from_slice(&0_u64.to_le_bytes());
    body[120..128].copy_from_slice(&(1_u64 << 28).to_le_bytes());
    body[128..136].copy_from_slice(&0x0006_02e7_u64.to_le_bytes());
    quote.extend(body);
    let mut inner = vec![7; 384 + 64];
    inner.extend(32_u16.to_le_bytes());
    inner.extend([8; 32]);
    inner.extend(5_u16.to_le_bytes());
    inner.extend((CHAIN.len() as u32).to_le_bytes());
    inner.extend(CHAIN.as_bytes());
    let mut signature = vec![9; 128];
    signature.extend(6_u16.to_le_bytes());
    signature.extend((inner.len() as u32).to_le_bytes());
    signature.extend(inner);
    quote.extend((signature.len() as u32).to_le_bytes());
    quote.extend(signature);
    quote
}

fn reason(quote: &[u8]) -> String {
    match Quote::parse(quote) {
        Err(TdxError::Form(FormError::Malformed { reason, .. })) => reason,
        other => panic!("{other:?}"),
    }
}

fn kind(quote: &[u8]) -> (&'static str, u32) {
    match Quote::parse(quote) {
        Err(TdxError::QuoteKind { what, found }) => (what, found),
        other => panic!("{other:?}"),
    }
}

#[test]
fn quotes_of_every_layout_parse() {
    for body_type in [BodyType::Td10, BodyType::Td15, BodyType::Td15Ex] {
        let parsed = Quote::parse(&quote(body_type)).unwrap();
        let report = &parsed.report;
        assert_eq!(report.body_type, body_type);
        assert_eq!(parsed.pck_chain, CHAIN);
        assert_eq!(report.tee_tcb_svn, [1; 16]);
        assert_eq!((report.mr_seam, report.mr_signer_seam), ([2; 48], [3; 48]));
        assert_eq!(report.seam_attributes, 0);
        assert_eq!(report.td_attributes, 1 << 28);
        assert_eq!(report.xfam, 0x0006_02e7);
        assert_eq!(report.mr_td, [4; 48]);
        assert_eq!(report.init_data(), Some(vec![5; 48]));
        assert_eq!(report.mr_owner, [6; 48]);
        assert_eq!(report.mr_owner_config, [7; 48]);
        assert_eq!(report.rtmrs, [[8; 48], [9; 48], [10; 48], [11; 48]]);
        assert_eq!(report.report_data, [12; 64]);
        let later = (body_type != BodyType::Td10).then_some([13; 16]);
        assert_eq!(report.tee_tcb_svn2, later);
        assert!(!report.debug());
        // A service TD is bound in those that can have one.
        assert_eq!(report.migratable(), body_type != BodyType::Td10);
    }
    let mut two = quote(BodyType::Td10);
    two[0] = 5;
    two.splice(
        48..48,
        [&2_u16.to_le_bytes()[..], &584_u32.to_le_bytes()].concat(),
    );
    let parsed = Quote::parse(&two).unwrap();
    assert_eq!(
        (parsed.version, parsed.report.body_type),
        (5, BodyType::Td10)
    );
}

#[test]
fn attributes_and_unset_fields_are_read() {
    let mut bytes = quote(BodyType::Td10);
    bytes[48 + 120] = 1;
    bytes[48 + 123] = 0x20;
    bytes[48 + 184..48 + 232].fill(0);
    let report = Quote::parse(&bytes).unwrap().report;
    assert!(report.debug() && report.migratable());
    assert_eq!(report.init_data(), None);
}

#[test]
fn padding_is_zeros_and_nothing_else() {
    let mut padded = quote(BodyType::Td10);
    padded.extend([0; 700]);
    Quote::parse(&padded).unwrap();
    *padded.last_mut().unwrap() = 1;
    assert!(reason(&padded).contains("after its end"));
}

#[test]
fn quotes_of_other_kinds_are_refused_by_name() {
    let changed = |at: usize, byte: u8| {
        let mut bytes = quote(BodyType::Td10);
        bytes[at] = byte;
        bytes
    };
    assert_eq!(kind(&changed(0, 3)), ("version", 3));
    assert_eq!(kind(&changed(0, 6)), ("version", 6));
    assert_eq!(kind(&changed(2, 3)), ("attestation key type", 3));
    assert_eq!(kind(&changed(4, 0)), ("TEE type", 0));
    let mut body = quote(BodyType::Td15);
    body[48] = 1;
    assert_eq!(kind(&body), ("body type", 1));
    let certification = 48 + 584 + 4 + 128;
    assert_eq!(
        kind(&changed(certification, 5)),
        ("certification data type", 5)
    );
    let pck = certification + 6 + 384 + 64 + 2 + 32;
    assert_eq!(kind(&changed(pck, 3)), ("certification data type", 3));
}

#[test]
fn malformed_quotes_are_refused() {
    assert!(reason(&[]).contains("too early"));
    let whole = quote(BodyType::Td10);
    for length in 0..whole.len() {
        Quote::parse(&whole[..length]).expect_err("it was cut");
    }
    let mut length = quote(BodyType::Td15);
    length[50] = 0x47;
    assert!(reason(&length).contains("not that of its type"));
    let signature_data = 48 + 584;
    for parts in [&[0][..], &[0, 4 + 130]] {
        let mut longer = whole.clone();
        for at in parts {
            longer[signature_data + at] += 1;
        }
        longer.extend([0; 64]);
        assert!(reason(&longer).contains("fit"), "{parts:?}");
    }
    let mut text = whole.clone();
    let at = text.len() - 5;
    text[at] = 0xff;
    assert!(reason(&text).contains("not text"));
    let refused = Quote::parse(&vec![0; MAX_QUOTE_LEN + 1]);
    assert!(matches!(
        refused,
        Err(TdxError::Form(FormError::TooLarge { .. }))
    ));
}

#[test]
fn evidence_is_in_trustees_form() {
    let quote = quote(BodyType::Td10);
    let evidence = Evidence::from_tdx_quote(&quote, Some(b"a log")).unwrap();
    assert_eq!(evidence.tee, TeeName::TDX);
    let expected =
        json!({"cc_eventlog": STANDARD.encode(b"a log"), "quote": STANDARD.encode(&quote)});
    assert_eq!(evidence.evidence, expected);
    let without = Evidence::from_tdx_quote(&quote, None).unwrap();
    assert_eq!(without.evidence["cc_eventlog"], json!(null));
    let refused = Evidence::from_tdx_quote(&quote[..100], None);
    assert!(matches!(refused, Err(EvidenceError::Malformed { .. })));
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_parsed_without_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..1500),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        body_type in prop_oneof![Just(BodyType::Td10), Just(BodyType::Td15), Just(BodyType::Td15Ex)],
    ) {
        let _ = Quote::parse(&bytes);
        let mut changed = quote(body_type);
        for (at, byte) in changes {
            let at = at.index(changed.len());
            changed[at] = byte;
        }
        let _ = Quote::parse(&changed);
    }
}
