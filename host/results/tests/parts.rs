//! Claims, documents, sealing and failures by themselves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::time::{Duration, SystemTime};

use proplet_hal::Flavour;
use proplet_jose::b64;
use proplet_jose::jwk::PrivateKey;
use proplet_results::claims::{Claims, ClaimsError, EAT_PROFILE, WorkloadClaims};
use proplet_results::failure::{self, Failure};
use proplet_results::receipt::UntrustedTime;
use proplet_results::{DocumentError, EvidenceBundle, ReceiptKey, ResultDocument, SealError, seal};
use proplet_types::Digest;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn key() -> ReceiptKey {
    ReceiptKey::generate().unwrap()
}

fn workload() -> WorkloadClaims {
    WorkloadClaims {
        component_digest: Digest::of(b"component"),
        image_digest: None,
        policy_digest: None,
        task_id: "task-1".to_owned(),
    }
}

fn members(change: impl FnOnce(&mut Map<String, Value>)) -> Map<String, Value> {
    let claims = Claims::workload(b"n", &key(), Digest::of(b"s"), "snp", workload()).unwrap();
    let mut members = claims.to_members();
    change(&mut members);
    members
}

#[test]
fn claims_are_strings_and_name_their_profile() {
    let members = members(|_| ());
    assert!(members.values().all(Value::is_string));
    assert_eq!(members["eat_profile"], EAT_PROFILE);
    assert_eq!(members["kind"], "workload");
    assert!(!members.contains_key("image_digest") && !members.contains_key("tee-pubkey"));
    let instance = Claims::instance(&key(), Digest::of(b"s"), "snp").unwrap();
    let again = Claims::instance(&key(), Digest::of(b"s"), "snp").unwrap();
    assert_ne!(instance.nonce(), again.nonce());
    assert_eq!(instance.to_members()["kind"], "instance");
}

#[test]
fn only_the_debug_flavour_is_named() {
    let instance = Claims::instance(&key(), Digest::of(b"s"), "snp").unwrap();
    assert!(!instance.to_members().contains_key("flavour"));
    let debug = instance.clone().with_flavour(Flavour::Debug);
    assert_eq!(debug.to_members()["flavour"], "debug");
    assert_eq!(Claims::from_members(&debug.to_members()).unwrap(), debug);
    assert_ne!(
        debug.report_data().unwrap(),
        instance.report_data().unwrap()
    );
}

#[test]
fn other_claims_are_refused() {
    type Change = fn(&mut Map<String, Value>);
    let wrong: [Change; 19] = [
        |m| drop(m.remove("eat_profile")),
        |m| drop(m.insert("eat_profile".into(), "tag:example.com,2026:other".into())),
        |m| drop(m.remove("eat_nonce")),
        |m| drop(m.insert("eat_nonce".into(), "".into())),
        |m| drop(m.insert("eat_nonce".into(), "A".repeat(88).into())),
        |m| drop(m.insert("eat_nonce".into(), "AA==".into())),
        |m| drop(m.insert("kind".into(), "instance".into())),
        |m| drop(m.insert("kind".into(), "host".into())),
        |m| drop(m.remove("component_digest")),
        |m| drop(m.insert("component_digest".into(), "sha256:00".into())),
        |m| drop(m.insert("image_digest".into(), "".into())),
        |m| drop(m.insert("task_id".into(), json!(7))),
        |m| drop(m.insert("task_id".into(), "".into())),
        |m| drop(m.insert("cnf".into(), "AAAA".into())),
        |m| drop(m.insert("tee-pubkey".into(), json!({"kty": "EC"}))),
        |m| drop(m.insert("unknown".into(), "x".into())),
        |m| drop(m.insert("flavour".into(), "sealed".into())),
        |m| drop(m.insert("flavour".into(), "".into())),
        |m| drop(m.insert("flavour".into(), json!(true))),
    ];
    assert!(Claims::from_members(&members(|_| ())).is_ok());
    for (i, change) in wrong.into_iter().enumerate() {
        assert!(Claims::from_members(&members(change)).is_err(), "{i}");
    }
    let text = json!(members(|_| ())).to_string();
    let doubled = text.replacen('{', r#"{"kind":"instance","#, 1);
    assert!(matches!(
        Claims::from_json(doubled.as_bytes()),
        Err(ClaimsError::Unreadable(_))
    ));
}

#[test]
fn claims_of_the_attestation_agent_are_refused_by_name() {
    let agent = |flavour: Option<&str>| {
        let mut claims = json!({"eat_profile": EAT_PROFILE, "eat_nonce": "AA", "kind": "agent"});
        if let Some(flavour) = flavour {
            claims["flavour"] = flavour.into();
        }
        Claims::from_members(claims.as_object().unwrap()).unwrap_err()
    };
    let sealed = agent(None);
    let flavour = Flavour::Sealed;
    assert_eq!(sealed, ClaimsError::Agent { flavour });
    assert!(!sealed.to_string().contains("DEBUG"), "{sealed}");
    let debug = agent(Some("debug"));
    let flavour = Flavour::Debug;
    assert_eq!(debug, ClaimsError::Agent { flavour });
    assert!(debug.to_string().contains("DEBUG FLAVOUR"), "{debug}");
    assert!(matches!(agent(Some("sealed")), ClaimsError::Member { .. }));
}

#[test]
fn challenges_have_1_to_64_bytes() {
    for (bytes, fits) in [(0, false), (1, true), (64, true), (65, false)] {
        let claims = Claims::workload(&vec![7; bytes], &key(), Digest::of(b"s"), "snp", workload());
        assert_eq!(claims.is_ok(), fits, "{bytes}");
    }
    let long = WorkloadClaims {
        task_id: "x".repeat(1025),
        ..workload()
    };
    assert!(Claims::workload(b"n", &key(), Digest::of(b"s"), "snp", long).is_err());
    assert!(Claims::instance(&key(), Digest::of(b"s"), "").is_err());
}

fn document() -> ResultDocument {
    let recipient = PrivateKey::generate_x25519().unwrap();
    let evidence = json!({"tee": "sample", "evidence": {"svn": "1"}, "claims": {"a": "b"}});
    ResultDocument {
        jwe: seal(b"x", "text/plain", &[recipient.public().clone()])
            .unwrap()
            .jwe,
        receipt: "a.b.c".to_owned(),
        evidence: serde_json::from_value(evidence).unwrap(),
    }
}

#[test]
fn a_document_is_found_where_it_may_stand() {
    let document = document();
    let text = document.to_text().unwrap();
    let evidence = document.evidence.to_text().unwrap();
    assert_eq!(
        text,
        ResultDocument::text_with(&document.jwe, "a.b.c", &evidence).unwrap()
    );
    let message = json!({"task_id": "t", "proplet_id": "p", "results": text, "error": null});
    let task = json!({"id": "t", "name": "n", "state": 3, "results": text, "inputs": ["1"]});
    let parsed = json!({"results": serde_json::from_str::<Value>(&text).unwrap()});
    for source in [
        text,
        message.to_string(),
        task.to_string(),
        parsed.to_string(),
    ] {
        assert_eq!(
            ResultDocument::from_text(&source).unwrap(),
            document,
            "{source}"
        );
    }
}

#[test]
fn what_is_no_document_says_what_it_is() {
    let read = |value: Value| ResultDocument::from_text(&value.to_string()).unwrap_err();
    assert_eq!(
        read(json!({"task_id": "t", "results": "", "error": "kbs-denied: no"})),
        DocumentError::TaskFailed("kbs-denied: no".to_owned())
    );
    for empty in [
        json!({"results": ""}),
        json!({"results": null, "error": ""}),
        json!({"id": "t"}),
    ] {
        assert_eq!(read(empty), DocumentError::NoResult);
    }
    for plain in [
        json!({"results": "30\n"}),
        json!({"results": "{1}"}),
        json!({"results": "{}"}),
        json!({"results": [1]}),
    ] {
        assert_eq!(read(plain), DocumentError::NotSealed);
    }
    assert!(matches!(
        ResultDocument::from_text("30"),
        Err(DocumentError::Unreadable(_))
    ));
    let long = read(json!({"results": "", "error": "x".repeat(10_000)}));
    assert!(long.to_string().len() < 1000);
}

#[test]
fn malformed_documents_are_refused() {
    let good = serde_json::to_value(document()).unwrap();
    type Change = fn(&mut Value);
    let wrong: [Change; 7] = [
        |d| d["jwe"] = json!({}),
        |d| d["jwe"]["note"] = "x".into(),
        |d| d["receipt"] = json!(1),
        |d| d["evidence"]["tee"] = "NO".into(),
        |d| d["evidence"]["extra"] = "x".into(),
        |d| drop(d.as_object_mut().unwrap().remove("receipt")),
        |d| drop(d.as_object_mut().unwrap().remove("evidence")),
    ];
    for (i, change) in wrong.into_iter().enumerate() {
        let mut value = good.clone();
        change(&mut value);
        let refused = ResultDocument::from_text(&value.to_string());
        assert!(
            matches!(refused, Err(DocumentError::Malformed(_))),
            "{i}: {refused:?}"
        );
    }
    let doubled = good.to_string().replacen('{', r#"{"receipt":"","#, 1);
    assert!(ResultDocument::from_text(&doubled).is_err());
    let doubled = document()
        .evidence
        .to_text()
        .unwrap()
        .replacen('{', r#"{"tee":"snp","#, 1);
    assert!(doubled.parse::<EvidenceBundle>().is_err());
}

#[test]
fn media_types_are_checked() {
    let to = [PrivateKey::generate_x25519().unwrap().public().clone()];
    for good in [
        "text/plain",
        "text/plain; charset=utf-8",
        "application/vnd.x+json",
        "a/b ;c=d",
    ] {
        assert!(seal(b"x", good, &to).is_ok(), "{good}");
    }
    let long = format!("text/{}", "x".repeat(251));
    for wrong in [
        "",
        "text",
        "/plain",
        "text/",
        "te xt/plain",
        "text/pl\u{e4}in",
        "text/plain;\n",
        "+a/b",
        &long,
    ] {
        let refused = seal(b"x", wrong, &to);
        assert!(
            matches!(refused, Err(SealError::MediaType(_))),
            "{wrong:?}: {refused:?}"
        );
    }
    for own in [
        failure::MEDIA_TYPE,
        "Application/vnd.proplet.failure+JSON ; a=b",
    ] {
        assert_eq!(seal(b"x", own, &to), Err(SealError::Reserved), "{own}");
    }
    assert!(matches!(
        seal(b"x", "text/plain", &[]),
        Err(SealError::Jose(_))
    ));
}

/// Whoever carries a result sees its protected header: nothing there may be a component's choice.
#[test]
fn nothing_about_the_content_is_outside_the_encryption() {
    let one = PrivateKey::generate_p256().unwrap();
    let two = PrivateKey::generate_x25519().unwrap();
    let keys = [one.public().clone(), two.public().clone()];
    let failure = Failure {
        error: "trap".to_owned(),
        stderr: "a secret".to_owned(),
    };
    let longest = format!("text/plain; s={}", "s".repeat(241));
    for to in [&keys[..1], &keys[1..], &keys] {
        let headers: Vec<Value> = [
            seal(b"", "text/plain", to),
            seal(b"a secret", &longest, to),
            seal(b"{}", "application/json; secret=1", to),
            failure.seal(to),
        ]
        .into_iter()
        .map(|sealed| {
            let text = serde_json::to_string(&sealed.unwrap().jwe).unwrap();
            let jwe: Value = serde_json::from_str(&text).unwrap();
            // What is not compared below is fresh, or fixed by the recipients.
            let names: Vec<&String> = jwe.as_object().unwrap().keys().collect();
            let addressed = if to.len() == 1 {
                "encrypted_key"
            } else {
                "recipients"
            };
            let mut expected = ["ciphertext", addressed, "iv", "protected", "tag"];
            expected.sort_unstable();
            assert_eq!(names, expected);
            let header = b64::decode(jwe["protected"].as_str().unwrap()).unwrap();
            let mut header: Value = serde_json::from_slice(&header).unwrap();
            if let Some(epk) = header.get_mut("epk") {
                epk["x"] = "fresh".into();
                epk.as_object_mut().unwrap().remove("y");
            }
            header
        })
        .collect();
        for header in &headers {
            assert_eq!(header, &headers[0]);
        }
        let several = json!({
            "alg": "ECDH-ES+A256KW", "enc": "A256GCM", "typ": "proplet-result+jwe"
        });
        if to.len() > 1 {
            assert_eq!(headers[0], several);
        }
    }
}

#[test]
fn the_length_is_that_of_media_type_and_content() {
    let to = [PrivateKey::generate_x25519().unwrap().public().clone()];
    let length = |content: &[u8], media_type: &str| {
        seal(content, media_type, &to).unwrap().jwe.content_len()
    };
    assert_eq!(length(b"12345", "a/bc"), 1 + 4 + 5);
    assert_eq!(length(b"", &format!("a/b; c={}", "d".repeat(248))), 256);
}

#[test]
fn failures_are_read_strictly() {
    for wrong in [
        "",
        "{}",
        "[]",
        r#"{"error":1}"#,
        r#"{"error":"a","error":"b"}"#,
    ] {
        assert!(Failure::from_json(wrong.as_bytes()).is_err(), "{wrong}");
    }
    assert_eq!(Failure::from_json(br#"{"error":"a"}"#).unwrap().error, "a");
}

#[test]
fn times_survive_whatever_the_clock_says() {
    let epoch = SystemTime::UNIX_EPOCH;
    let shown = |time: SystemTime| UntrustedTime::from(time).to_string();
    assert_eq!(
        shown(epoch + Duration::from_millis(1_795_340_000_123)),
        "2026-11-22T09:33:20.123Z"
    );
    assert_eq!(
        shown(epoch + Duration::from_secs(1 << 45)),
        "1970-01-01T00:00:00Z"
    );
    assert_eq!(
        shown(epoch - Duration::from_secs(9)),
        "1970-01-01T00:00:00Z"
    );
    assert!(serde_json::from_str::<UntrustedTime>("\"yesterday\"").is_err());
}

proptest! {
    #[test]
    fn documents_never_panic(text in "[\\{\"a-z:,\\[\\].\\}A-Z0-9_=-]{0,120}") {
        let _ = ResultDocument::from_text(&text);
        let _ = text.parse::<EvidenceBundle>();
        let _ = Claims::from_json(text.as_bytes());
        let _ = Failure::from_json(text.as_bytes());
    }

    #[test]
    fn media_types_never_panic(text in ".{0,40}") {
        let _ = seal(b"x", &text, &[]);
    }

    #[test]
    fn failures_round_trip(error in ".{0,40}", stderr in ".{0,40}") {
        let owner = PrivateKey::generate_x25519().unwrap();
        let failure = Failure { error, stderr };
        let sealed = failure.seal(&[owner.public().clone()]).unwrap();
        let plaintext = sealed.jwe.decrypt(&owner).unwrap().plaintext;
        let (length, rest) = plaintext.split_first().unwrap();
        let (media_type, content) = rest.split_at(usize::from(*length));
        prop_assert_eq!(media_type, failure::MEDIA_TYPE.as_bytes());
        prop_assert_eq!(Failure::from_json(content).unwrap(), failure);
    }

    #[test]
    fn times_round_trip(millis in 0_u64..4_000_000_000_000) {
        let time = UntrustedTime::from(SystemTime::UNIX_EPOCH + Duration::from_millis(millis));
        let text = serde_json::to_string(&time).unwrap();
        prop_assert_eq!(serde_json::from_str::<UntrustedTime>(&text).unwrap(), time);
    }
}
