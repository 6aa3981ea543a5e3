//! What a key broker answers.

use std::time::Duration;

use proplet_jose::jwe::Jwe;
use proplet_kbs::fuzzing;
use proplet_kbs::protocol::{Challenge, ErrorBody};

use crate::text;

/// The bodies of answers: a challenge reads as the same again and is fit for a header; so do errors and evidence.
pub fn kbs_answers(bytes: &[u8]) -> bool {
    let mut is_read = false;
    if let Ok(challenge) = Challenge::parse(bytes) {
        is_read = true;
        assert!(challenge.nonce.bytes().all(|byte| byte.is_ascii_graphic()));
        let _ = challenge.hash_algorithm();
        let written = serde_json::to_vec(&challenge).unwrap_or_default();
        assert_eq!(
            Challenge::parse(&written).map(|again| again.nonce),
            Ok(challenge.nonce)
        );
    }
    if let Some(error) = ErrorBody::parse(bytes) {
        is_read = true;
        assert!(error.to_string().starts_with(error.variant()));
    }
    is_read || fuzzing::attestation(bytes) || serde_json::from_slice::<Jwe>(bytes).is_ok()
}

/// A token: one that is sent on is fit for a header.
pub fn token(bytes: &[u8]) -> bool {
    let Some(text) = text(bytes) else {
        return false;
    };
    let (is_sent, lifetime, appraisal) = fuzzing::token(text);
    assert!(!is_sent || text.bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(appraisal.is_none_or(|appraisal| appraisal.is_object()));
    is_sent && lifetime.is_some()
}

/// `Set-Cookie` and, after a line feed, `Date`: a cookie that is sent back is one value.
pub fn session(bytes: &[u8]) -> bool {
    let mut lines = bytes.splitn(2, |byte| *byte == b'\n');
    let (Some(cookie), date) = (lines.next(), lines.next().unwrap_or_default()) else {
        return false;
    };
    let Some((cookie, lifetime)) = fuzzing::session(cookie, date) else {
        return false;
    };
    assert!(!cookie.contains([';', ',', ' ', '\r', '\n']), "{cookie:?}");
    assert!(lifetime.is_none_or(|lifetime| lifetime < Duration::MAX));
    true
}
