//! Sealing and opening, and every refusal.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use proplet_jose::jwe::{self, Jwe, MAX_RECIPIENTS};
use proplet_jose::jwk::{PrivateKey, PublicKey};
use proplet_jose::{Error, b64};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn keys() -> [PrivateKey; 2] {
    [
        PrivateKey::generate_p256().unwrap(),
        PrivateKey::generate_x25519().unwrap(),
    ]
}

fn seal(plaintext: &[u8], keys: &[&PrivateKey]) -> Jwe {
    let recipients: Vec<PublicKey> = keys.iter().map(|key| key.public().clone()).collect();
    let (start, rest) = plaintext.split_at(plaintext.len() / 2);
    let typ = [("typ".to_owned(), "a+jwe".into())].into_iter().collect();
    jwe::encrypt(&[start, b"", rest], &recipients, &typ).unwrap()
}

/// The message as JSON, changed, and read again.
fn changed(jwe: &Jwe, change: impl FnOnce(&mut Value)) -> Result<Jwe, Error> {
    let mut value = serde_json::to_value(jwe).unwrap();
    change(&mut value);
    value.to_string().parse()
}

/// The message with another protected header. Only its refusals are of interest: the content no longer
/// authenticates.
fn with_header(jwe: &Jwe, change: impl FnOnce(&mut Map<String, Value>)) -> Jwe {
    let mut header = jwe.protected().clone();
    change(&mut header);
    let header = serde_json::to_string(&header).unwrap();
    changed(jwe, |value| {
        value["protected"] = b64::encode(header.as_bytes()).into()
    })
    .unwrap()
}

#[test]
fn one_recipient_gets_the_flattened_form() {
    for key in &keys() {
        let jwe = seal(b"the answer", &[key]);
        let value = serde_json::to_value(&jwe).unwrap();
        let members: Vec<&str> = value
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(
            members,
            ["ciphertext", "encrypted_key", "iv", "protected", "tag"]
        );
        let header = jwe.protected();
        assert_eq!(header["alg"], "ECDH-ES+A256KW");
        assert_eq!(header["enc"], "A256GCM");
        assert_eq!(header["typ"], "a+jwe");
        assert_eq!(header["kid"], key.public().thumbprint());
        assert_eq!(header["epk"]["crv"], key.public().curve());
        let opened = jwe.decrypt(key).unwrap();
        assert_eq!(opened.plaintext.as_slice(), b"the answer");
        assert_eq!(&opened.protected, header);
    }
}

#[test]
fn each_of_several_recipients_opens_alone() {
    let keys: Vec<PrivateKey> = keys().into_iter().chain(self::keys()).collect();
    let jwe = seal(b"for all", &keys.iter().collect::<Vec<_>>());
    let text = serde_json::to_string(&jwe).unwrap();
    assert!(text.contains("\"recipients\":["));
    let received: Jwe = text.parse().unwrap();
    assert_eq!(received, jwe);
    let thumbprints: Vec<String> = keys.iter().map(|key| key.public().thumbprint()).collect();
    let kids: Vec<&str> = received
        .recipients()
        .into_iter()
        .map(Option::unwrap)
        .collect();
    assert_eq!(kids, thumbprints);
    for key in &keys {
        assert_eq!(
            received.decrypt(key).unwrap().plaintext.as_slice(),
            b"for all"
        );
    }
    assert!(matches!(
        received.decrypt(&PrivateKey::generate_p256().unwrap()),
        Err(Error::NotForThisKey { .. })
    ));
}

#[test]
fn nothing_repeats_between_two_seals() {
    let [key, _] = keys();
    let (one, two) = (seal(b"same", &[&key]), seal(b"same", &[&key]));
    let (one, two) = (
        serde_json::to_value(one).unwrap(),
        serde_json::to_value(two).unwrap(),
    );
    for member in ["protected", "encrypted_key", "iv", "ciphertext", "tag"] {
        assert_ne!(one[member], two[member], "{member}");
    }
}

#[test]
fn another_key_opens_nothing() {
    let [p256, x25519] = keys();
    let [other_p256, other_x25519] = keys();
    for (sealed_to, tried) in [
        (&p256, &other_p256),
        (&x25519, &other_x25519),
        (&p256, &x25519),
    ] {
        let refused = seal(b"secret", &[sealed_to]).decrypt(tried).unwrap_err();
        assert!(matches!(refused, Error::NotForThisKey { .. }), "{refused}");
    }
}

#[test]
fn a_kid_is_a_hint_only() {
    let key = PrivateKey::from_jwk(&json!({
        "kty": "OKP", "crv": "X25519", "kid": "Bob", "use": "enc",
        "x": "3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08",
        "d": "XasIfmJKikt54X-Lg4AO5m87sSkmGLb9HC-LJ_-I4Os"
    }))
    .unwrap();
    let [other, _] = keys();
    let general = seal(b"x", &[&other, &key]);
    for kid in [json!("Bob"), json!("nobody"), json!(7)] {
        let renamed = changed(&general, |v| v["recipients"][1]["header"]["kid"] = kid).unwrap();
        assert_eq!(renamed.decrypt(&key).unwrap().plaintext.as_slice(), b"x");
    }
}

#[test]
fn the_message_cannot_choose_algorithms() {
    let [key, _] = keys();
    let jwe = seal(b"x", &[&key]);
    for alg in [
        "none",
        "dir",
        "ECDH-ES",
        "ECDH-ES+A128KW",
        "RSA1_5",
        "A256KW",
        "ecdh-es+a256kw",
        "",
    ] {
        let refused = with_header(&jwe, |header| header["alg"] = alg.into())
            .decrypt(&key)
            .unwrap_err();
        assert!(
            matches!(refused, Error::UnsupportedAlgorithm { what: "alg", .. }),
            "{refused}"
        );
    }
    for enc in ["none", "A128GCM", "A256CBC-HS512", ""] {
        let refused = with_header(&jwe, |header| header["enc"] = enc.into())
            .decrypt(&key)
            .unwrap_err();
        assert!(
            matches!(refused, Error::UnsupportedAlgorithm { what: "enc", .. }),
            "{refused}"
        );
    }
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("zip", json!("DEF")),
    ] {
        let refused = with_header(&jwe, |header| drop(header.insert(name.into(), value)))
            .decrypt(&key)
            .unwrap_err();
        assert!(matches!(refused, Error::Malformed { .. }), "{refused}");
        let unprotected = changed(&jwe, |v| v["unprotected"] = json!({ name: "DEF" })).unwrap();
        assert!(unprotected.decrypt(&key).is_err());
    }
}

#[test]
fn a_header_member_stands_in_one_place_only() {
    let [key, _] = keys();
    let jwe = seal(b"x", &[&key]);
    for place in ["unprotected", "header"] {
        let twice = changed(&jwe, |v| v[place] = json!({"alg": "ECDH-ES+A256KW"})).unwrap();
        assert!(
            matches!(twice.decrypt(&key), Err(Error::Malformed { .. })),
            "{place}"
        );
        let other = changed(&jwe, |v| v[place] = json!({"note": "not authenticated"})).unwrap();
        let opened = other.decrypt(&key).unwrap();
        assert!(!opened.protected.contains_key("note"));
    }
}

#[test]
fn a_header_member_is_named_once() {
    let [key, _] = keys();
    let jwe = seal(b"x", &[&key]);
    let header = serde_json::to_string(jwe.protected()).unwrap();
    let doubled = header.replacen('{', r#"{"alg":"ECDH-ES+A256KW","#, 1);
    let refused = changed(&jwe, |v| {
        v["protected"] = b64::encode(doubled.as_bytes()).into()
    });
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("protected header")
    );
    let text = serde_json::to_string(&jwe).unwrap();
    let doubled = text.replacen('{', r#"{"unprotected":{"a":1,"a":2},"#, 1);
    assert!(doubled.parse::<Jwe>().is_err());
    assert!(serde_json::from_str::<Jwe>(&doubled).is_err());
    assert!(
        text.replacen('{', r#"{"iv":"AAAA","#, 1)
            .parse::<Jwe>()
            .is_err()
    );
}

#[test]
fn ephemeral_keys_are_checked() {
    let [p256, x25519] = keys();
    let low_order = json!({"kty": "OKP", "crv": "X25519", "x": b64::encode(&[0; 32])});
    let order_8 = "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800";
    let order_8 =
        json!({"kty": "OKP", "crv": "X25519", "x": b64::encode(&hex::decode(order_8).unwrap())});
    let off_curve = json!({
        "kty": "EC", "crv": "P-256",
        "x": "gTli65eTQ7z-Bh147ff8K3m7k2UiDiG2LpYkWAaFJCc",
        "y": "cLAnjKa4bzjD7DJVPwa9EPrRzMG7rONgsiUD-kf30Fs"
    });
    let short = json!({"kty": "EC", "crv": "P-256", "x": b64::encode(&[1; 31]), "y": b64::encode(&[1; 32])});
    let infinity = json!({"kty": "EC", "crv": "P-256", "x": b64::encode(&[0; 32]), "y": b64::encode(&[0; 32])});
    for (key, epk) in [
        (&x25519, low_order),
        (&x25519, order_8),
        (&p256, off_curve),
        (&p256, short),
        (&p256, infinity),
        (
            &p256,
            json!({"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"}),
        ),
    ] {
        let refused = with_header(&seal(b"x", &[key]), |header| header["epk"] = epk.clone());
        assert!(matches!(refused.decrypt(key), Err(Error::Key(_))), "{epk}");
    }
    let missing = with_header(&seal(b"x", &[&p256]), |header| drop(header.remove("epk")));
    assert!(matches!(
        missing.decrypt(&p256),
        Err(Error::Malformed { .. })
    ));
}

#[test]
fn every_part_is_authenticated() {
    let [key, _] = keys();
    let jwe = seal(b"some longer content", &[&key]);
    let flip = |member: &str| {
        changed(&jwe, |v| {
            let mut bytes = b64::decode(v[member].as_str().unwrap()).unwrap();
            bytes[0] ^= 1;
            v[member] = b64::encode(&bytes).into();
        })
        .unwrap()
        .decrypt(&key)
        .unwrap_err()
    };
    assert!(matches!(flip("encrypted_key"), Error::NotForThisKey { .. }));
    for member in ["iv", "ciphertext", "tag"] {
        assert_eq!(flip(member), Error::Decryption, "{member}");
    }
    let retyped = with_header(&jwe, |header| header["typ"] = "b+jwe".into());
    assert_eq!(retyped.decrypt(&key).unwrap_err(), Error::Decryption);
    let aad = changed(&jwe, |v| v["aad"] = "AAAA".into()).unwrap();
    assert_eq!(aad.decrypt(&key).unwrap_err(), Error::Decryption);
}

#[test]
fn malformed_messages_are_refused_when_read() {
    let [key, _] = keys();
    let jwe = seal(b"x", &[&key]);
    for member in ["protected", "encrypted_key", "iv", "ciphertext", "tag"] {
        assert!(
            changed(&jwe, |v| drop(v.as_object_mut().unwrap().remove(member))).is_err(),
            "{member}"
        );
        for text in ["A", "AA==", "AA A", "\u{e4}"] {
            assert!(
                changed(&jwe, |v| v[member] = text.into()).is_err(),
                "{member} {text}"
            );
        }
        assert!(changed(&jwe, |v| v[member] = json!(1)).is_err(), "{member}");
    }
    for bytes in [0, 11, 13, 16] {
        assert!(changed(&jwe, |v| v["iv"] = b64::encode(&vec![0; bytes]).into()).is_err());
    }
    for bytes in [0, 12, 15, 17] {
        assert!(changed(&jwe, |v| v["tag"] = b64::encode(&vec![0; bytes]).into()).is_err());
    }
    assert!(changed(&jwe, |v| v["recipients"] = json!([])).is_err());
    assert!(
        changed(&jwe, |v| v["recipients"] =
            json!([{"encrypted_key": "AAAA"}]))
        .is_err()
    );
    let many = vec![json!({"encrypted_key": "AAAA"}); MAX_RECIPIENTS + 1];
    let general = seal(b"x", &[&key, &PrivateKey::generate_x25519().unwrap()]);
    assert!(changed(&general, |v| v["recipients"] = many.into()).is_err());
    assert!(changed(&general, |v| v["recipients"] = json!([{}])).is_err());
    for text in ["", "....", "a.b.c.d", "a.b.c.d.e.f", "{}", "[]", "null"] {
        assert!(text.parse::<Jwe>().is_err(), "{text}");
    }
}

#[test]
fn content_keys_and_parties_have_a_form() {
    let [key, _] = keys();
    let jwe = seal(b"x", &[&key]);
    let apu = with_header(&jwe, |header| drop(header.insert("apu".into(), json!(1))));
    assert!(matches!(apu.decrypt(&key), Err(Error::Malformed { .. })));
    let apv = with_header(&jwe, |header| drop(header.insert("apv".into(), json!("A"))));
    assert!(matches!(apv.decrypt(&key), Err(Error::Base64(_))));
    // Other parties give another key-encryption key.
    let apu = with_header(&jwe, |header| {
        drop(header.insert("apu".into(), json!("QWxpY2U")))
    });
    assert!(matches!(
        apu.decrypt(&key),
        Err(Error::NotForThisKey { .. })
    ));
    let short = changed(&jwe, |v| v["encrypted_key"] = b64::encode(&[0; 16]).into()).unwrap();
    assert!(matches!(short.decrypt(&key), Err(Error::Malformed { .. })));
}

#[test]
fn senders_cannot_misuse_encrypt() {
    let [p256, x25519] = keys();
    let (p256, x25519) = (p256.public().clone(), x25519.public().clone());
    let none = Map::new();
    assert!(jwe::encrypt(&[b"x"], &[], &none).is_err());
    assert!(jwe::encrypt(&[b"x"], &[p256.clone(), x25519, p256.clone()], &none).is_err());
    let many: Vec<PublicKey> = (0..=MAX_RECIPIENTS)
        .map(|_| PrivateKey::generate_x25519().unwrap().public().clone())
        .collect();
    assert!(jwe::encrypt(&[b"x"], &many, &none).is_err());
    for name in ["alg", "enc", "epk", "kid", "crit", "zip", "apu", "apv"] {
        let mut extra = Map::new();
        extra.insert(name.to_owned(), "x".into());
        assert!(
            jwe::encrypt(&[b"x"], std::slice::from_ref(&p256), &extra).is_err(),
            "{name}"
        );
    }
    let mut extra = Map::new();
    extra.insert("typ".to_owned(), "example".into());
    let jwe = jwe::encrypt(&[b"x"], &[p256], &extra).unwrap();
    assert_eq!(jwe.protected()["typ"], "example");
    assert!(!jwe.protected().contains_key("cty"));
}

/// A response that a key broker really sent (see the folder's README).
#[test]
fn opens_a_recorded_key_broker_response() {
    let key = PrivateKey::from_pkcs8_pem(include_str!("vectors/rcar-p256/tee-key.pem")).unwrap();
    let jwe: Jwe = include_str!("vectors/rcar-p256/response.json")
        .parse()
        .unwrap();
    let resource = hex::encode(jwe.decrypt(&key).unwrap().plaintext);
    assert_eq!(
        resource,
        "f57f598f6f7db48c63d72a7616cfbba7ad56a1f819d15ffe80153a6c8da6bbf7"
    );
}

/// A response made with another implementation, and the runtime data that its key was bound with.
#[test]
fn key_broker_known_answers() {
    let (x, y) = (
        "OaWCXUFYvEc_KHEazr-mFnmG9PdJYTZEz2ZpJd80UsM",
        "FwrVhmfWMhOfmJ7qw_cuLx0tcIdI0q3yGIb13bTzixs",
    );
    let key = PrivateKey::from_jwk(&json!({
        "kty": "EC", "crv": "P-256", "x": x, "y": y, "alg": "ECDH-ES+A256KW",
        "d": "7xM-tcWD3C7amIO0UODiwzyzibsvhc-VBY1y_V7Fsqw"
    }))
    .unwrap();
    let mut tee_pubkey = key.public().to_jwk();
    tee_pubkey["alg"] = "ECDH-ES+A256KW".into();
    let nonce = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let sha384 = |value: &Value| {
        let text = proplet_jose::jcs::to_string(value).unwrap();
        hex::encode(ring::digest::digest(&ring::digest::SHA384, text.as_bytes()))
    };
    assert_eq!(
        sha384(&json!({"nonce": nonce, "tee-pubkey": tee_pubkey})),
        "6996193fe14d1ff6a5f51e6bd2dd4d7b2cecc6c633aaa738100f6f0f52e11009b1409ec7b3f75709225d2170f70df254"
    );
    assert_eq!(
        sha384(&json!({"additional-evidence": "", "nonce": nonce, "tee-pubkey": tee_pubkey})),
        "eb1f65a96f80332d602af5b8da9587346d141ccb9c1f1d0321826544c651db53cacbbe0f99840b78e46b6c5ab1482cfd"
    );
    let jwe: Jwe = json!({
        "protected": "eyJhbGciOiJFQ0RILUVTK0EyNTZLVyIsImVuYyI6IkEyNTZHQ00iLCJlcGsiOnsiY3J2IjoiUC0yNTYiLCJrdHkiOiJFQyIsIngiOiI4MFgyMWYzSVJGV1diRWZaZjdROXFLV21Oa2xISy15bHN3OGNlc1U5MXRBIiwieSI6InVHQi1DRkU5dWtpOEI1ZkQyeVBBUkNWMmVXR0RwbzFFUlpXMEFadGdYS28ifX0",
        "encrypted_key": "eUAeRjcYPTDPpt0TqF5IAeMXDTWCr899v05SeZUyp-_KpLOJ1RUMtA",
        "iv": "AAECAwQFBgcICQoL",
        "ciphertext": "Inq3drWJpzv_JOTkxJsbCKO0_kCVCA",
        "tag": "bKFLQ-pCVnZ2XAy9gK0ycA"
    })
    .to_string()
    .parse()
    .unwrap();
    assert_eq!(
        jwe.decrypt(&key).unwrap().plaintext.as_slice(),
        b"example resource bytes"
    );
}

/// Made with the Python library jwcrypto: general form, `alg` and `enc` protected, two recipients, `aad`.
#[test]
fn opens_what_another_library_sealed() {
    let jwe: Jwe = include_str!("vectors/jwcrypto/general.json")
        .parse()
        .unwrap();
    for key in ["p256", "x25519"] {
        let keys: Value = serde_json::from_str(include_str!("vectors/jwcrypto/keys.json")).unwrap();
        let key = PrivateKey::from_jwk(&keys[key]).unwrap();
        assert_eq!(
            jwe.decrypt(&key).unwrap().plaintext.as_slice(),
            b"sealed elsewhere"
        );
    }
    let compact: Jwe = include_str!("vectors/jwcrypto/compact.txt")
        .trim()
        .parse()
        .unwrap();
    let keys: Value = serde_json::from_str(include_str!("vectors/jwcrypto/keys.json")).unwrap();
    let key = PrivateKey::from_jwk(&keys["p256"]).unwrap();
    assert_eq!(
        compact.decrypt(&key).unwrap().plaintext.as_slice(),
        b"sealed elsewhere"
    );
}

#[test]
fn debug_output_holds_no_content() {
    let [key, _] = keys();
    let jwe = seal(b"the secret", &[&key]);
    let opened = jwe.decrypt(&key).unwrap();
    let shown = format!("{key:?} {jwe:?} {opened:?}");
    let d = serde_json::from_str::<Value>(&key.to_jwk()).unwrap()["d"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(!shown.contains("secret") && !shown.contains(&d), "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_content_round_trips(content in proptest::collection::vec(any::<u8>(), 0..300), both in any::<bool>()) {
        let [p256, x25519] = keys();
        let keys = if both { vec![&p256, &x25519] } else { vec![&x25519] };
        let text = serde_json::to_string(&seal(&content, &keys)).unwrap();
        let jwe: Jwe = text.parse().unwrap();
        prop_assert_eq!(serde_json::to_string(&jwe).unwrap(), text);
        for key in keys {
            prop_assert_eq!(jwe.decrypt(key).unwrap().plaintext.to_vec(), content.clone());
        }
    }

    /// Any change of one character is refused, or leaves the message what it was.
    #[test]
    fn changed_texts_are_refused(place in any::<proptest::sample::Index>(), to in "[A-Za-z0-9_\" {}:,.-]") {
        let key = PrivateKey::generate_x25519().unwrap();
        let jwe = seal(b"content", &[&key]);
        let mut text = serde_json::to_string(&jwe).unwrap();
        let place = place.index(text.len());
        text.replace_range(place..=place, &to);
        if let Ok(read) = text.parse::<Jwe>() && read != jwe {
            prop_assert!(read.decrypt(&key).is_err());
        }
    }

    #[test]
    fn never_panics(text in "[\\{\"a-z:,\\[\\].\\}A-Z0-9_=-]{0,120}") {
        let _ = text.parse::<Jwe>();
        let _ = serde_json::from_str::<Jwe>(&text);
    }
}
