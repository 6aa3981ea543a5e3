//! Keys: what is read, written and refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use proplet_jose::jwk::{PrivateKey, PublicKey};
use proplet_jose::{Error, b64};
use proptest::prelude::*;
use serde_json::{Value, json};

const X: &str = "weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ";
const Y: &str = "e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck";
const D: &str = "VEmDZpDXXK8p8N0Cndsxs924q6nS1RXFASRl6BfUqdw";

const THUMBPRINT_X25519: &str = "giQqigT_IKcuzHl0FVJ3k5ts3_TWNAxvsC08UZsfcM8";
const THUMBPRINT_P256: &str = "Vy57XrArUrW0NbpI12tEzDHABxMwrTh6HHXRenSpnCo";
const OPENSSL_X25519_PUBLIC: &str =
    "2615ca32ce9885b767c8bafa062a09c49bfdf3454888bb45750cf6526160896b";

fn p256() -> Value {
    json!({"kty": "EC", "crv": "P-256", "x": X, "y": Y})
}

fn p256_private() -> Value {
    json!({"kty": "EC", "crv": "P-256", "x": X, "y": Y, "d": D})
}

/// The keys of RFC 8037 appendix A.6.
fn x25519() -> Value {
    json!({"kty": "OKP", "crv": "X25519", "x": "3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08"})
}

fn with(mut jwk: Value, name: &str, value: Value) -> Value {
    jwk[name] = value;
    jwk
}

#[test]
fn a_key_survives_its_jwk() {
    for jwk in [p256(), x25519()] {
        let key = PublicKey::from_jwk(&jwk).unwrap();
        assert_eq!(key.to_jwk(), jwk);
        assert_eq!(PublicKey::from_jwk(&key.to_jwk()).unwrap(), key);
    }
    for key in [
        PrivateKey::generate_p256().unwrap(),
        PrivateKey::generate_x25519().unwrap(),
    ] {
        let jwk: Value = serde_json::from_str(&key.to_jwk()).unwrap();
        let read = PrivateKey::from_jwk(&jwk).unwrap();
        assert_eq!(read.public(), key.public());
        assert_eq!(read.to_jwk(), key.to_jwk());
    }
}

/// RFC 7638 section 3.1 has an RSA key; these are over the same construction, checked with jwcrypto.
#[test]
fn thumbprints() {
    let bob = PublicKey::from_jwk(&x25519()).unwrap();
    assert_eq!(bob.thumbprint(), THUMBPRINT_X25519);
    assert_eq!(
        PublicKey::from_jwk(&p256()).unwrap().thumbprint(),
        THUMBPRINT_P256
    );
    let described = with(
        with(p256(), "kid", "name".into()),
        "alg",
        "ECDH-ES+A256KW".into(),
    );
    assert_eq!(
        PublicKey::from_jwk(&described).unwrap().thumbprint(),
        THUMBPRINT_P256
    );
}

#[test]
fn coordinates_are_exact() {
    let wrong = [
        with(p256(), "x", b64::encode(&[1; 31]).into()),
        with(p256(), "x", b64::encode(&[0; 33]).into()),
        with(p256(), "x", format!("{X}=").into()),
        with(p256(), "y", X.into()),
        with(p256(), "y", Value::Null),
        with(p256(), "y", json!(1)),
        with(p256(), "x", b64::encode(&[0xff; 32]).into()),
        with(p256(), "crv", "P-384".into()),
        with(p256(), "crv", "X25519".into()),
        with(p256(), "kty", "OKP".into()),
        with(p256(), "kty", "RSA".into()),
        with(x25519(), "crv", "Ed25519".into()),
        with(x25519(), "x", b64::encode(&[9; 31]).into()),
        with(x25519(), "x", b64::encode(&[0; 32]).into()),
        json!({"kty": "EC", "crv": "P-256", "x": X}),
        json!({"kty": "oct", "k": X}),
        json!([]),
        json!("x"),
    ];
    for jwk in wrong {
        assert!(PublicKey::from_jwk(&jwk).is_err(), "{jwk}");
    }
}

#[test]
fn small_orders_are_refused() {
    for u in [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ] {
        let u = b64::encode(&hex::decode(u).unwrap());
        assert!(PublicKey::from_jwk(&with(x25519(), "x", u.into())).is_err());
    }
}

#[test]
fn restrictions_are_respected() {
    let wrong = [
        ("use", json!("sig")),
        ("use", json!(["enc"])),
        ("alg", json!("ES256")),
        ("alg", json!("ECDH-ES")),
        ("alg", json!("ECDH-ES+A128KW")),
        ("key_ops", json!(["verify"])),
        ("key_ops", json!(["encrypt"])),
        ("key_ops", json!(["deriveKey", "deriveKey"])),
        ("key_ops", json!("deriveKey")),
        ("key_ops", json!([1])),
    ];
    for (name, value) in wrong {
        assert!(
            PublicKey::from_jwk(&with(p256(), name, value.clone())).is_err(),
            "{name} {value}"
        );
        assert!(
            PrivateKey::from_jwk(&with(p256_private(), name, value.clone())).is_err(),
            "{name} {value}"
        );
    }
    let right = [
        ("use", json!("enc")),
        ("alg", json!("ECDH-ES+A256KW")),
        ("key_ops", json!(["deriveKey", "deriveBits"])),
        ("kid", json!("any")),
        ("ext", json!(true)),
    ];
    for (name, value) in right {
        PublicKey::from_jwk(&with(p256(), name, value.clone())).unwrap();
        PrivateKey::from_jwk(&with(p256_private(), name, value)).unwrap();
    }
    // What WebCrypto exports for the public half of an ECDH pair; a private one could then do nothing.
    PublicKey::from_jwk(&with(p256(), "key_ops", json!([]))).unwrap();
    assert!(PrivateKey::from_jwk(&with(p256_private(), "key_ops", json!([]))).is_err());
}

#[test]
fn private_and_public_keys_are_not_confused() {
    let refused = PublicKey::from_jwk(&p256_private())
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("private") && !refused.contains(D),
        "{refused}"
    );
    assert!(PrivateKey::from_jwk(&p256()).is_err());
    PrivateKey::from_jwk(&p256_private()).unwrap();
    for d in [
        X,
        &b64::encode(&[0; 32]),
        &b64::encode(&[0xff; 32]),
        &b64::encode(&[1; 16]),
    ] {
        assert!(
            PrivateKey::from_jwk(&with(p256_private(), "d", d.into())).is_err(),
            "{d}"
        );
    }
    let other = with(x25519(), "d", D.into());
    assert!(matches!(PrivateKey::from_jwk(&other), Err(Error::Key(_))));
}

#[test]
fn sets_are_strict() {
    let key = |kid: &str, jwk: Value| with(jwk, "kid", kid.into());
    let set = json!({"keys": [key("a", p256()), key("b", x25519())]});
    assert_eq!(PublicKey::from_jwk_set(&set).unwrap().len(), 2);
    assert_eq!(PublicKey::from_jwk_set(&p256()).unwrap().len(), 1);
    for wrong in [
        json!({"keys": []}),
        json!({"keys": {}}),
        json!({"keys": [p256(), p256()]}),
        json!({"keys": [key("a", p256()), key("a", x25519())]}),
        json!({"keys": [p256(), {"kty": "oct", "k": "AAAA"}]}),
        json!({"keys": [p256(), {"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}),
        json!({"keys": [p256_private()]}),
        json!({"keys": [1]}),
        json!({}),
        json!(null),
    ] {
        assert!(PublicKey::from_jwk_set(&wrong).is_err(), "{wrong}");
    }
}

/// Keys as `openssl genpkey` writes them.
#[test]
fn pkcs8_pem() {
    let p256 = PrivateKey::from_pkcs8_pem(include_str!("vectors/openssl/p256.pem")).unwrap();
    assert_eq!(p256.public().curve(), "P-256");
    let x25519 = PrivateKey::from_pkcs8_pem(include_str!("vectors/openssl/x25519.pem")).unwrap();
    assert_eq!(
        b64::encode(&hex::decode(OPENSSL_X25519_PUBLIC).unwrap()),
        x25519.public().to_jwk()["x"]
    );
    for pem in [
        include_str!("vectors/openssl/p384.pem"),
        include_str!("vectors/openssl/ed25519.pem"),
        include_str!("vectors/openssl/p256-sec1.pem"),
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "not a key",
        "",
    ] {
        assert!(
            matches!(PrivateKey::from_pkcs8_pem(pem), Err(Error::Key(_))),
            "{pem}"
        );
    }
}

proptest! {
    #[test]
    fn never_panics(
        kty in "(EC|OKP|oct)", crv in "(P-256|X25519)?", x in "[A-Za-z0-9_=-]{40,44}",
        y in "[A-Za-z0-9_-]{43}", d in "[A-Za-z0-9_-]{43}",
    ) {
        let jwk = json!({"kty": kty, "crv": crv, "x": x, "y": y, "d": d});
        let _ = PrivateKey::from_jwk(&jwk);
        let mut public = jwk;
        public.as_object_mut().unwrap().remove("d");
        if let Ok(key) = PublicKey::from_jwk(&public) {
            prop_assert_eq!(PublicKey::from_jwk(&key.to_jwk()).unwrap(), key);
        }
    }

    #[test]
    fn any_pem_text_is_read_or_refused(body in "[A-Za-z0-9+/=\n]{0,80}") {
        let _ = PrivateKey::from_pkcs8_pem(&format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"));
        let _ = PrivateKey::from_pkcs8_pem(&body);
    }
}
