//! Signatures: what verifies, and every refusal.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use proplet_jose::jws::{EdDsaSigningKey, SigningKey, VerifyingKey, peek_header};
use proplet_jose::{Error, b64};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn header(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[test]
fn signs_and_verifies() {
    let key = SigningKey::generate().unwrap();
    let public = VerifyingKey::from_jwk(&key.public_jwk()).unwrap();
    assert_eq!(public.thumbprint(), key.thumbprint());
    let jws = key
        .sign_compact(&header(json!({"typ": "example"})), b"payload")
        .unwrap();
    let verified = public.verify_compact(&jws).unwrap();
    assert_eq!(verified.payload, b"payload");
    assert_eq!(
        verified.header,
        header(json!({"alg": "ES256", "typ": "example"}))
    );
    assert_eq!(peek_header(&jws).unwrap(), verified.header);
    let other = VerifyingKey::from_jwk(&SigningKey::generate().unwrap().public_jwk()).unwrap();
    assert!(matches!(
        other.verify_compact(&jws),
        Err(Error::Signature { .. })
    ));
}

#[test]
fn administrators_sign_with_ed25519() {
    for key in [
        EdDsaSigningKey::generate().unwrap(),
        EdDsaSigningKey::from_pkcs8_pem(include_str!("vectors/openssl/ed25519.pem")).unwrap(),
    ] {
        let jws = key.sign_compact(&Map::new(), b"payload").unwrap();
        let public = VerifyingKey::from_jwk(&key.public_jwk()).unwrap();
        assert_eq!(public.thumbprint(), key.thumbprint());
        assert_eq!(public.verify_compact(&jws).unwrap().payload, b"payload");
        assert_eq!(peek_header(&jws).unwrap()["alg"], "EdDSA");
    }
    for pem in [include_str!("vectors/openssl/p256.pem"), "x"] {
        assert!(EdDsaSigningKey::from_pkcs8_pem(pem).is_err());
    }
    assert!(EdDsaSigningKey::from_pkcs8(b"x").is_err());
    assert!(SigningKey::from_pkcs8(b"x").is_err());
}

/// RFC 8037 appendices A.3 and A.4.
#[test]
fn rfc_8037_ed25519() {
    let key = VerifyingKey::from_jwk(&json!({
        "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    }))
    .unwrap();
    assert_eq!(
        key.thumbprint(),
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    );
    let jws = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-\
               09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert_eq!(
        key.verify_compact(jws).unwrap().payload,
        b"Example of Ed25519 signing"
    );
}

#[test]
fn the_key_decides_the_algorithm() {
    let (ec, ed) = (
        SigningKey::generate().unwrap(),
        EdDsaSigningKey::generate().unwrap(),
    );
    let jws = ed.sign_compact(&Map::new(), b"x").unwrap();
    let key = VerifyingKey::from_jwk(&ec.public_jwk()).unwrap();
    assert!(matches!(
        key.verify_compact(&jws),
        Err(Error::UnsupportedAlgorithm { .. })
    ));
    for alg in ["none", "HS256", "es256", "ES384", ""] {
        let header = b64::encode(json!({"alg": alg}).to_string().as_bytes());
        for signature in ["", "AAAA"] {
            let refused = key
                .verify_compact(&format!("{header}.eA.{signature}"))
                .unwrap_err();
            assert!(
                matches!(refused, Error::UnsupportedAlgorithm { .. }),
                "{alg}: {refused}"
            );
        }
    }
}

#[test]
fn headers_that_must_be_understood_are_refused() {
    let key = SigningKey::generate().unwrap();
    for name in ["alg", "crit", "b64"] {
        let mut extra = Map::new();
        extra.insert(name.to_owned(), json!(["x"]));
        assert!(key.sign_compact(&extra, b"x").is_err(), "{name}");
    }
    let public = VerifyingKey::from_jwk(&key.public_jwk()).unwrap();
    for text in [
        r#"{"alg":"ES256","crit":["exp"],"exp":1}"#,
        r#"{"alg":"ES256","b64":false}"#,
        r#"{"alg":"none","alg":"ES256"}"#,
        r#"{"alg":["ES256"]}"#,
        r#"["ES256"]"#,
        "",
    ] {
        let jws = format!(
            "{}.eA.{}",
            b64::encode(text.as_bytes()),
            b64::encode(&[1; 64])
        );
        let refused = public.verify_compact(&jws).unwrap_err();
        assert!(
            !matches!(refused, Error::Signature { .. }),
            "{text}: {refused}"
        );
    }
}

#[test]
fn keys_are_checked() {
    let public = SigningKey::generate().unwrap().public_jwk();
    VerifyingKey::from_jwk(&public).unwrap();
    for (name, value, fits) in [
        ("use", json!("sig"), true),
        ("use", json!("enc"), false),
        ("alg", json!("ES256"), true),
        ("alg", json!("ES512"), false),
        ("key_ops", json!(["verify"]), true),
        ("key_ops", json!(["sign"]), false),
        ("key_ops", json!([]), false),
        ("d", public["x"].clone(), false),
        ("x", public["y"].clone(), false),
        ("crv", json!("P-384"), false),
        ("crv", json!("secp256k1"), false),
        ("kty", json!("RSA"), false),
    ] {
        let mut jwk = public.clone();
        jwk[name] = value;
        assert_eq!(VerifyingKey::from_jwk(&jwk).is_ok(), fits, "{jwk}");
    }
}

#[test]
fn debug_output_holds_no_key() {
    let key = SigningKey::generate().unwrap();
    assert_eq!(
        format!("{key:?}"),
        format!("SigningKey(ES256 {})", key.thumbprint())
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any change of one character is refused.
    #[test]
    fn changed_texts_are_refused(place in any::<proptest::sample::Index>(), to in "[A-Za-z0-9_.=-]") {
        let key = SigningKey::generate().unwrap();
        let public = VerifyingKey::from_jwk(&key.public_jwk()).unwrap();
        let signed = key.sign_compact(&Map::new(), b"some payload").unwrap();
        let place = place.index(signed.len());
        let mut text = signed.clone();
        text.replace_range(place..=place, &to);
        prop_assert_eq!(public.verify_compact(&text).is_ok(), text == signed);
    }

    #[test]
    fn any_payload_round_trips(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
        let key = EdDsaSigningKey::generate().unwrap();
        let jws = key.sign_compact(&Map::new(), &payload).unwrap();
        let public = VerifyingKey::from_jwk(&key.public_jwk()).unwrap();
        prop_assert_eq!(public.verify_compact(&jws).unwrap().payload, payload);
    }

    #[test]
    fn never_panics(text in "[A-Za-z0-9_.=-]{0,80}") {
        let _ = peek_header(&text);
        let public = VerifyingKey::from_jwk(&SigningKey::generate().unwrap().public_jwk()).unwrap();
        prop_assert!(public.verify_compact(&text).is_err());
    }
}
