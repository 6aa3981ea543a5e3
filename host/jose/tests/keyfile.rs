//! Key files: what is read, and that each other kind is refused by its name.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use proplet_jose::jwk::PrivateKey;
use proplet_jose::keyfile::{KeyFileError, private_key, public_keys};
use proptest::prelude::*;
use serde_json::{Value, json};

macro_rules! openssl {
    ($name:literal) => {
        include_bytes!(concat!("vectors/openssl/", $name)).as_slice()
    };
}

fn key() -> PrivateKey {
    PrivateKey::from_pkcs8_pem(std::str::from_utf8(openssl!("p256.pem")).unwrap()).unwrap()
}

fn private_jwk() -> Value {
    serde_json::from_str(&key().to_jwk()).unwrap()
}

fn with(mut jwk: Value, name: &str, value: Value) -> String {
    jwk[name] = value;
    jwk.to_string()
}

fn marked(text: &str) -> Vec<u8> {
    [b"\xef\xbb\xbf", text.as_bytes()].concat()
}

#[test]
fn private_keys_are_read_in_every_form_that_can_be_meant() {
    let jwk = key().to_jwk();
    let x25519 = private_key(openssl!("x25519.pem")).unwrap();
    let around = [b"Bag Attributes\n", openssl!("p256.pem"), b"\nnotes\n"].concat();
    for file in [
        jwk.as_bytes().to_vec(),
        marked(&jwk),
        marked(std::str::from_utf8(openssl!("p256.pem")).unwrap()),
        format!("\r\n{}\r\n", jwk.as_str()).into_bytes(),
        openssl!("p256.pem").to_vec(),
        around,
        json!({"keys": [private_jwk()]}).to_string().into_bytes(),
        with(private_jwk(), "alg", "ECDH-ES".into()).into_bytes(),
        with(private_jwk(), "alg", "ECDH-ES+A128KW".into()).into_bytes(),
        with(private_jwk(), "alg", "ECDH-ES+A256KW".into()).into_bytes(),
    ] {
        let read = private_key(&file).unwrap();
        assert_eq!(read.public(), key().public());
    }
    assert_eq!(x25519.public().curve(), "X25519");
}

#[test]
fn public_keys_are_read_in_every_form_that_can_be_meant() {
    let jwk = key().public().to_jwk();
    let x25519 = private_key(openssl!("x25519.pem")).unwrap();
    for file in [
        jwk.to_string().into_bytes(),
        marked(&jwk.to_string()),
        json!({"keys": [jwk]}).to_string().into_bytes(),
        with(jwk.clone(), "alg", "ECDH-ES".into()).into_bytes(),
        openssl!("p256-public.pem").to_vec(),
    ] {
        assert_eq!(public_keys(&file).unwrap(), [key().public().clone()]);
    }
    assert_eq!(
        public_keys(openssl!("x25519-public.pem")).unwrap(),
        [x25519.public().clone()]
    );
    let two = json!({"keys": [jwk, x25519.public().to_jwk()]}).to_string();
    assert_eq!(public_keys(two.as_bytes()).unwrap().len(), 2);
}

/// The words by which a file is refused: as a private key, and as a public one.
type Refused<'a> = (&'a [u8], &'a str, &'a str);

#[test]
fn other_files_are_refused_by_what_they_are() {
    let oct = json!({"kty": "oct", "k": "AAAA"}).to_string();
    let rsa = json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"}).to_string();
    let ed25519 = json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}).to_string();
    let p384 = json!({"kty": "EC", "crv": "P-384", "x": "AAAA", "y": "AAAA"}).to_string();
    let several = [openssl!("p256.pem"), openssl!("certificate.pem")].concat();
    let utf16: Vec<u8> = "{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let utf16 = [&[0xff, 0xfe], utf16.as_slice()].concat();
    let [mut little, mut big] = [[7; 32]; 2];
    little[..2].copy_from_slice(b"\xff\xfe");
    big[..2].copy_from_slice(b"\xfe\xff");
    let cut = &openssl!("p256.pem")[..100];
    let (convert, passphrase) = ("openssl pkcs8 -topk8", "openssl pkcs8 -in");
    let cases: &[Refused<'_>] = &[
        (b"", "an empty file", "an empty file"),
        (b" \n", "an empty file", "an empty file"),
        (&[7; 32], "the key of an image", "the key of an image"),
        (&little, "the key of an image", "the key of an image"),
        (&big, "the key of an image", "the key of an image"),
        (&[7; 31], "neither a JWK nor PEM", "neither a JWK nor PEM"),
        (b"\xff\xff", "neither", "neither"),
        (&utf16, "UTF-16", "UTF-16"),
        (b"hello", "neither a JWK nor PEM", "neither a JWK nor PEM"),
        (b"[]", "not a JWK", "not a JWK"),
        (b"{}", "not a JWK", "not a JWK"),
        (b"{\"keys\":[]}", "an empty JWK Set", "empty"),
        (b"{", "JSON", "JSON"),
        (oct.as_bytes(), "a symmetric key", "a symmetric key"),
        (rsa.as_bytes(), "an RSA key", "an RSA key"),
        (ed25519.as_bytes(), "for signatures", "for signatures"),
        (p384.as_bytes(), "a P-384 key", "a P-384 key"),
        (openssl!("rsa.pem"), "an RSA key", "an RSA key"),
        (openssl!("ed25519.pem"), "for signatures", "for signatures"),
        (
            openssl!("ed25519-public.pem"),
            "for signatures",
            "for signatures",
        ),
        (openssl!("p384.pem"), "a P-384 key", "a P-384 key"),
        (openssl!("p256-sec1.pem"), convert, "a private key"),
        (openssl!("p256-parameters.pem"), convert, "a private key"),
        (
            openssl!("p256-encrypted.pem"),
            passphrase,
            "a private key under a passphrase",
        ),
        (openssl!("p256.der"), "binary DER", "binary DER"),
        (
            openssl!("certificate.pem"),
            "a certificate, which holds a public key",
            "openssl x509",
        ),
        (openssl!("p256-public.pem"), "a public key", ""),
        (openssl!("p256.pem"), "", "a private key"),
        (&several, "several blocks", "several blocks"),
        (cut, "cut short", "cut short"),
        (b"ssh-ed25519 AAAA me", "OpenSSH", "OpenSSH"),
        (b"ecdsa-sha2-nistp256 AAAA me", "OpenSSH", "OpenSSH"),
        (
            b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
            "OpenSSH",
            "OpenSSH",
        ),
        (
            b"-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n",
            "an RSA key",
            "an RSA key",
        ),
        (b"eyJhbGciOiJFUzI1NiJ9.e30.AA", "a token", "a token"),
        (b"AGE-SECRET-KEY-1QQ", "age", "age"),
    ];
    for (file, private, public) in cases {
        let shown = String::from_utf8_lossy(file);
        if !private.is_empty() {
            let refused = private_key(file).unwrap_err().to_string();
            assert!(refused.contains(private), "{shown}: {refused}");
        }
        if !public.is_empty() {
            let refused = public_keys(file).unwrap_err().to_string();
            assert!(refused.contains(public), "{shown}: {refused}");
        }
    }
}

#[test]
fn the_wrong_half_is_refused_as_such() {
    let refused = private_key(key().public().to_jwk().to_string().as_bytes()).unwrap_err();
    assert!(refused.to_string().contains("a public key"), "{refused}");
    let jwk = private_jwk();
    for file in [jwk.to_string(), json!({"keys": [jwk]}).to_string()] {
        let refused = public_keys(file.as_bytes()).unwrap_err();
        assert!(refused.to_string().contains("a private key"), "{refused}");
    }
    let several = json!({"keys": [private_jwk(), private_jwk()]}).to_string();
    let refused = private_key(several.as_bytes()).unwrap_err();
    assert!(refused.to_string().contains("several keys"), "{refused}");
}

#[test]
fn a_key_of_the_right_kind_that_is_not_good_says_why() {
    let wrong = with(private_jwk(), "use", "sig".into());
    assert!(matches!(
        private_key(wrong.as_bytes()),
        Err(KeyFileError::Key(_))
    ));
    let wrong = with(private_jwk(), "alg", "ES256".into());
    let refused = private_key(wrong.as_bytes()).unwrap_err();
    assert!(refused.to_string().contains("ES256"), "{refused}");
    let wrong = with(private_jwk(), "x", "AAAA".into());
    assert!(private_key(wrong.as_bytes()).is_err());
}

#[test]
fn no_refusal_repeats_what_was_in_the_file() {
    let secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I";
    for file in [
        with(private_jwk(), "d", secret.into()),
        json!({"kty": "oct", "k": secret}).to_string(),
        json!({"kty": secret}).to_string(),
        secret.to_owned(),
        format!("-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----"),
        format!("-----BEGIN {secret}-----\n{secret}\n-----END {secret}-----"),
    ] {
        for refused in [
            private_key(file.as_bytes()).unwrap_err(),
            public_keys(file.as_bytes()).unwrap_err(),
        ] {
            assert!(!refused.to_string().contains(secret), "{refused}");
        }
    }
}

proptest! {
    #[test]
    fn any_file_is_refused_without_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        text in "(\u{feff})?(-----BEGIN [A-Z ]{0,12}-----\n)?[A-Za-z0-9+/=\n{}\\[\\]\":, -]{0,120}(-----END [A-Z ]{0,12}-----)?",
    ) {
        for file in [bytes.as_slice(), text.as_bytes()] {
            prop_assert!(private_key(file).is_err());
            prop_assert!(public_keys(file).is_err());
        }
    }
}
