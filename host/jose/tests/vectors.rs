//! Public conformance vectors: Wycheproof, and the RFC 7520 cookbook with its additions.
//!
//! What is refused everywhere is refused here too, so every vector marked invalid runs, whatever
//! algorithm it names. Of the valid ones, those run that name what this crate does: ECDH-ES+A256KW with
//! A256GCM on P-256 or X25519, ES256, EdDSA on Ed25519, A256KW. A valid message with another algorithm
//! has to be refused as well, and is counted apart.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::path::PathBuf;

use proplet_jose::jwe::Jwe;
use proplet_jose::jwk::{PrivateKey, PublicKey};
use proplet_jose::jws::VerifyingKey;
use proplet_jose::{aes_kw, b64, json};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use serde_json::Value;

fn vector(name: &str) -> Value {
    let root = std::env::var("PROPLET_VECTORS").expect("set PROPLET_VECTORS to the vectors folder");
    let path = PathBuf::from(root).join("jose").join(name);
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap()
}

/// Every case of a Wycheproof file, with its group.
fn cases(file: &Value) -> impl Iterator<Item = (&Value, &Value)> {
    let groups = file["testGroups"].as_array().unwrap();
    groups.iter().flat_map(|group| {
        group["tests"]
            .as_array()
            .unwrap()
            .iter()
            .map(move |test| (group, test))
    })
}

fn is_valid(test: &Value) -> bool {
    match test["result"].as_str().unwrap() {
        "valid" => true,
        "invalid" => false,
        other => panic!("result {other}"),
    }
}

#[test]
#[ignore = "reads third-party vectors from $PROPLET_VECTORS; .ci/run runs it"]
fn wycheproof_key_wrap() {
    let file = vector("wycheproof.aes_wrap_test.json");
    let (mut ran, mut refused, mut skipped) = (0, 0, 0);
    for (group, test) in cases(&file) {
        if group["keySize"] != 256 {
            skipped += 1;
            continue;
        }
        let bytes = |name: &str| hex::decode(test[name].as_str().unwrap()).unwrap();
        let (kek, key, wrapped) = (bytes("key"), bytes("msg"), bytes("ct"));
        let kek: [u8; 32] = kek.try_into().unwrap();
        let id = &test["tcId"];
        if test["result"] == "valid" {
            assert_eq!(aes_kw::wrap(&kek, &key).unwrap(), wrapped, "case {id}");
            assert_eq!(
                aes_kw::unwrap(&kek, &wrapped).unwrap().as_slice(),
                key,
                "case {id}"
            );
            ran += 1;
        } else {
            // The one "acceptable" case wraps 8 bytes, which RFC 3394 section 2 does not define.
            assert!(aes_kw::unwrap(&kek, &wrapped).is_err(), "case {id}");
            assert!(aes_kw::wrap(&kek, &key).ok() != Some(wrapped), "case {id}");
            refused += 1;
        }
    }
    println!(
        "AES-256 key wrap: {ran} valid, {refused} refused; skipped 128- and 192-bit keys: {skipped}"
    );
    assert!(ran >= 13 && refused >= 50, "{ran} {refused}");
}

#[test]
#[ignore = "reads third-party vectors from $PROPLET_VECTORS; .ci/run runs it"]
fn wycheproof_encryption() {
    let file = vector("wycheproof.json_web_encryption_test.json");
    let (mut opened, mut refused, mut others) = (0, 0, 0);
    for (group, test) in cases(&file) {
        let id = &test["tcId"];
        let jwe = test["jwe"].as_str().unwrap();
        if group["private"]["alg"] == "A256KW" && test["enc"] == "A256GCM" && is_valid(test) {
            assert_eq!(
                hex::encode(open_key_wrapped(&group["private"], jwe)),
                test["pt"],
                "case {id}"
            );
            opened += 1;
            continue;
        }
        let result = PrivateKey::from_jwk(&group["private"])
            .and_then(|key| jwe.parse::<Jwe>()?.decrypt(&key));
        let ours = group["private"]["alg"] == "ECDH-ES+A256KW" && test["enc"] == "A256GCM";
        match (is_valid(test), ours) {
            (true, true) => {
                assert_eq!(
                    hex::encode(result.unwrap().plaintext),
                    test["pt"],
                    "case {id}"
                );
                opened += 1;
            }
            (true, false) => {
                assert!(result.is_err(), "case {id} names another algorithm");
                others += 1;
            }
            (false, _) => {
                assert!(result.is_err(), "case {id}");
                refused += 1;
            }
        }
    }
    println!(
        "JWE: {opened} opened, {refused} refused as they should, {others} of other algorithms"
    );
    assert!(opened >= 2 && refused >= 50, "{opened} {refused}");
}

/// The invalid cases of this file name RSA, 128-bit key wrap and so on, and are refused before any
/// cryptography. Their changes are made here to a message of our own algorithms.
#[test]
#[ignore = "reads third-party vectors from $PROPLET_VECTORS; .ci/run runs it"]
fn wycheproof_encryption_changes_on_our_algorithms() {
    let file = vector("wycheproof.json_web_encryption_test.json");
    let (group, test) = cases(&file)
        .find(|(group, test)| {
            group["private"]["alg"] == "ECDH-ES+A256KW" && test["enc"] == "A256GCM"
        })
        .unwrap();
    let key = PrivateKey::from_jwk(&group["private"]).unwrap();
    let parts: Vec<&str> = test["jwe"].as_str().unwrap().split('.').collect();
    let opens = |parts: &[&str]| {
        parts
            .join(".")
            .parse::<Jwe>()
            .and_then(|jwe| jwe.decrypt(&key))
            .is_ok()
    };
    assert!(opens(&parts));
    let mut refused = 0;
    for part in 0..5 {
        for at in [0, parts[part].len() / 2, parts[part].len() - 1] {
            let mut changed: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
            let to = if &parts[part][at..=at] == "A" {
                "B"
            } else {
                "A"
            };
            changed[part].replace_range(at..=at, to);
            assert!(
                !opens(&changed.iter().map(String::as_str).collect::<Vec<_>>()),
                "{part} {at}"
            );
            refused += 1;
        }
        let mut missing = parts.clone();
        missing[part] = "";
        assert!(!opens(&missing));
        missing.remove(part);
        assert!(!opens(&missing));
        refused += 2;
    }
    for cut in 1..=12 {
        let mut short = parts.clone();
        short[4] = &parts[4][..parts[4].len() - cut];
        assert!(!opens(&short));
        refused += 1;
    }
    assert_eq!(refused, 37);
}

#[test]
#[ignore = "reads third-party vectors from $PROPLET_VECTORS; .ci/run runs it"]
fn wycheproof_signatures() {
    let file = vector("wycheproof.json_web_signature_test.json");
    let (mut verified, mut refused, mut others) = (0, 0, 0);
    for (group, test) in cases(&file) {
        let id = &test["tcId"];
        let key = if group["public"].is_null() {
            &group["private"]
        } else {
            &group["public"]
        };
        let result = VerifyingKey::from_jwk(key)
            .and_then(|key| key.verify_compact(test["jws"].as_str().unwrap_or_default()));
        match (is_valid(test), key["alg"] == "ES256") {
            (true, true) => {
                result.unwrap_or_else(|error| panic!("case {id}: {error}"));
                verified += 1;
            }
            (true, false) => {
                assert!(result.is_err(), "case {id} names another algorithm");
                others += 1;
            }
            (false, _) => {
                assert!(result.is_err(), "case {id}");
                refused += 1;
            }
        }
    }
    println!(
        "JWS: {verified} verified, {refused} refused as they should, {others} of other algorithms"
    );
    assert!(verified >= 2 && refused >= 300, "{verified} {refused}");
}

#[test]
#[ignore = "reads third-party vectors from $PROPLET_VECTORS; .ci/run runs it"]
fn wycheproof_keys() {
    let file = vector("wycheproof.json_web_key_test.json");
    let (mut refused, mut others) = (0, 0);
    for (group, test) in cases(&file) {
        let id = &test["tcId"];
        let set = if group["public"].is_null() {
            &group["private"]
        } else {
            &group["public"]
        };
        let jws = test["jws"].as_str().unwrap_or_default();
        let list = set["keys"].as_array().unwrap();
        let any_verifies = list.iter().any(|key| {
            VerifyingKey::from_jwk(key)
                .and_then(|key| key.verify_compact(jws))
                .is_ok()
        });
        // No valid case of the file is of ES256 on P-256: all are HMAC or RSA.
        assert!(!any_verifies, "case {id}");
        assert!(PublicKey::from_jwk_set(set).is_err(), "case {id}");
        if is_valid(test) {
            others += 1
        } else {
            refused += 1
        }
    }
    println!("JWK: {refused} refused as they should, {others} of other algorithms");
    assert!(refused >= 15, "{refused}");
}

/// Of the cookbook's encryption examples none is ECDH-ES+A256KW with A256GCM: 5.4 is P-384 with
/// ECDH-ES+A128KW and A128GCM, the X25519 one is ECDH-ES with A128GCM, the others are RSA or symmetric.
/// Their keys are read where the curve is ours, and every message is refused for its algorithm.
#[test]
#[ignore = "reads third-party vectors from $PROPLET_VECTORS; .ci/run runs it"]
fn cookbook_encryption() {
    let p256 = PrivateKey::generate_p256().unwrap();
    let mut refused = 0;
    for name in [
        "cookbook.5_2.key_encryption_using_rsa-oaep_with_aes-gcm.json",
        "cookbook.5_4.key_agreement_with_key_wrapping_using_ecdh-es_and_aes-keywrap_with_aes-gcm.json",
        "cookbook.5_8.key_wrap_using_aes-keywrap_with_aes-gcm.json",
        "cookbook.5_10.including_additional_authentication_data.json",
        "cookbook.5_13.encrypting_to_multiple_recipients.json",
        "cookbook.ecdh-es.json",
    ] {
        let example = vector(name);
        let key = PrivateKey::from_jwk(&example["input"]["key"]);
        assert_eq!(key.is_ok(), name == "cookbook.ecdh-es.json", "{name}");
        for form in ["compact", "json", "json_flat"] {
            let text = match &example["output"][form] {
                Value::Null => continue,
                Value::String(text) => text.clone(),
                json => json.to_string(),
            };
            let opened = text
                .parse::<Jwe>()
                .and_then(|jwe| jwe.decrypt(key.as_ref().unwrap_or(&p256)));
            assert!(opened.is_err(), "{name} {form}");
            refused += 1;
        }
    }
    assert!(refused >= 13, "{refused}");
}

/// The Ed25519 example verifies in full; 4.3 is ES512 on P-521, which has to be refused.
#[test]
#[ignore = "reads third-party vectors from $PROPLET_VECTORS; .ci/run runs it"]
fn cookbook_signatures() {
    let example = vector("cookbook.jws.json");
    let mut public = example["input"]["key"].clone();
    public.as_object_mut().unwrap().remove("d");
    let key = VerifyingKey::from_jwk(&public).unwrap();
    let verified = key
        .verify_compact(example["output"]["compact"].as_str().unwrap())
        .unwrap();
    assert_eq!(
        verified.payload,
        example["input"]["payload"].as_str().unwrap().as_bytes()
    );

    let mut public = vector("cookbook.4_3.ecdsa_signature.json")["input"]["key"].clone();
    public.as_object_mut().unwrap().remove("d");
    assert!(VerifyingKey::from_jwk(&public).is_err());
}

/// A256KW with A256GCM. The crate opens no JWE with a shared key, but has both halves of it.
fn open_key_wrapped(jwk: &Value, jwe: &str) -> Vec<u8> {
    let parts: Vec<Vec<u8>> = jwe
        .split('.')
        .map(|part| b64::decode(part).unwrap())
        .collect();
    let [header, encrypted_key, iv, ciphertext, tag] = parts.try_into().unwrap();
    assert_eq!(json::object(&header).unwrap()["alg"], "A256KW");
    let kek = b64::decode(jwk["k"].as_str().unwrap())
        .unwrap()
        .try_into()
        .unwrap();
    let cek = aes_kw::unwrap(&kek, &encrypted_key).unwrap();
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &cek).unwrap());
    let mut content = [ciphertext, tag].concat();
    let aad = Aad::from(jwe.split('.').next().unwrap().as_bytes());
    let nonce = Nonce::try_assume_unique_for_key(&iv).unwrap();
    key.open_in_place(nonce, aad, &mut content)
        .unwrap()
        .to_vec()
}
