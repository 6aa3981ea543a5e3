use std::collections::BTreeSet;

use proplet_types::Digest;
use proptest::prelude::*;

use super::attestation::words;
use super::call::MAX_BYTES;
use super::crypto::{
    CipherAlgorithm, Contexts, HashAlgorithm, decrypt, encrypt, generate, hash, sign, verify,
};
use super::*;
use crate::interfaces::attestation::{AttestationError, WorkloadIdentity};

const CIPHERS: [CipherAlgorithm; 2] = [
    CipherAlgorithm::Aes256Gcm,
    CipherAlgorithm::Chacha20Poly1305,
];
const KEY: [u8; 32] = [7; 32];

fn identity(tee: Option<&str>) -> WorkloadIdentity {
    WorkloadIdentity {
        component_digest: Digest::of(b"component"),
        image_digest: None,
        policy_digest: None,
        settings_digest: Digest::of(b"settings"),
        tee: tee.map(str::to_owned),
        is_hardware: false,
    }
}

#[test]
fn what_is_encrypted_opens_under_the_same_key_and_no_other() {
    for cipher in CIPHERS {
        for data in [&b""[..], b"data", &[1; 100_000]] {
            let sealed = encrypt(data.to_vec(), &KEY, cipher).unwrap();
            assert_eq!(sealed.len(), 12 + data.len() + 16);
            assert_eq!(decrypt(sealed.clone(), &KEY, cipher).unwrap(), data);
            let other = decrypt(sealed.clone(), &[8; 32], cipher).unwrap_err();
            assert!(other.contains("does not open"), "{other}");
            for place in [0, 12, sealed.len() - 1] {
                let mut changed = sealed.clone();
                changed[place] ^= 1;
                decrypt(changed, &KEY, cipher).unwrap_err();
            }
        }
        let sealed = encrypt(b"data".to_vec(), &KEY, cipher).unwrap();
        let other = CIPHERS.into_iter().find(|other| *other != cipher).unwrap();
        decrypt(sealed, &KEY, other).unwrap_err();
    }
}

#[test]
fn no_nonce_comes_twice() {
    for cipher in CIPHERS {
        let nonces: BTreeSet<Vec<u8>> = (0..10_000)
            .map(|_| encrypt(Vec::new(), &KEY, cipher).unwrap()[..12].to_vec())
            .collect();
        assert_eq!(nonces.len(), 10_000);
    }
}

#[test]
fn keys_of_other_lengths_are_refused() {
    for key in [&[][..], &[1; 16], &[1; 31], &[1; 33], &[1; 64]] {
        for cipher in CIPHERS {
            let error = encrypt(b"data".to_vec(), key, cipher).unwrap_err();
            assert!(error.contains("must have 32"), "{error}");
            decrypt(vec![0; 40], key, cipher).unwrap_err();
        }
        sign(b"data", key).unwrap_err();
        verify(b"data", &[0; 64], key).unwrap_err();
    }
}

#[test]
fn what_is_no_ciphertext_is_refused() {
    for cipher in CIPHERS {
        for length in [0, 1, 11, 12, 27, 28, 1000] {
            decrypt(vec![0; length], &KEY, cipher).unwrap_err();
        }
    }
}

#[test]
fn a_key_pair_signs_and_only_its_public_key_verifies() {
    let (one, other) = (generate().unwrap(), generate().unwrap());
    assert_ne!(one.public_key, one.private_key);
    assert_ne!(one.private_key, other.private_key);
    let signature = sign(b"data", &one.private_key).unwrap();
    assert!(verify(b"data", &signature, &one.public_key).unwrap());
    assert!(!verify(b"date", &signature, &one.public_key).unwrap());
    assert!(!verify(b"data", &signature, &other.public_key).unwrap());
    assert!(!verify(b"data", &signature[1..], &one.public_key).unwrap());
    assert!(!verify(b"data", b"", &one.public_key).unwrap());
}

/// RFC 8032, section 7.1, test 1: so that signatures are good elsewhere too.
#[test]
fn signatures_are_those_of_the_standard() {
    let private = from_hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
    let public = from_hex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    let signature = sign(b"", &private).unwrap();
    assert_eq!(signature[..4], from_hex("e5564300"));
    assert!(verify(b"", &signature, &public).unwrap());
}

fn from_hex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

#[test]
fn hashes_are_those_of_their_names() {
    let sha256 = hash(b"hello", HashAlgorithm::Sha256).unwrap();
    assert_eq!(sha256[..4], from_hex("2cf24dba"));
    assert_eq!(hash(b"", HashAlgorithm::Sha512).unwrap().len(), 64);
    let refused = hash(b"", HashAlgorithm::Blake3).unwrap_err();
    assert!(refused.contains("use sha256 or sha512"), "{refused}");
}

#[test]
fn one_call_carries_no_more_than_its_share() {
    let much = vec![0; MAX_BYTES + 1];
    hash(&much, HashAlgorithm::Sha256).unwrap_err();
    encrypt(much.clone(), &KEY, CIPHERS[0]).unwrap_err();
    sign(&much, &KEY).unwrap_err();
    verify(&much, &[0; 64], &KEY).unwrap_err();
    decrypt(vec![0; MAX_BYTES + 29], &KEY, CIPHERS[0]).unwrap_err();
    let error = random::bytes(MAX_BYTES + 1).unwrap_err();
    assert!(error.contains("of one call"), "{error}");
    let whole = encrypt(vec![0; MAX_BYTES], &KEY, CIPHERS[0]).unwrap();
    assert_eq!(decrypt(whole, &KEY, CIPHERS[0]).unwrap().len(), MAX_BYTES);
}

#[test]
fn random_bytes_are_as_many_as_were_asked_for_and_differ() {
    assert_eq!(random::bytes(0).unwrap(), b"");
    let (one, other) = (random::bytes(32).unwrap(), random::bytes(32).unwrap());
    assert_eq!((one.len(), other.len()), (32, 32));
    assert_ne!(one, other);
}

#[test]
fn contexts_are_numbers_of_one_task_and_bounded() {
    let mut contexts = Contexts::default();
    let one = contexts.create(2).unwrap();
    let other = contexts.create(2).unwrap();
    assert_ne!(one, other);
    assert!(contexts.create(2).unwrap_err().contains("destroy some"));
    contexts.destroy(one).unwrap();
    contexts.destroy(one).unwrap_err();
    assert_ne!(contexts.create(2).unwrap(), one);
}

#[test]
fn the_platform_is_what_there_is() {
    let kind = |tee| format!("{:?}", platform::info(&identity(tee)));
    assert!(kind(None).contains("\"None\"") && kind(None).contains("\"0.0.0\""));
    assert!(kind(Some("snp")).contains("AMD SEV-SNP"));
    assert!(kind(Some("tdx")).contains("Intel TDX"));
    assert!(kind(Some("sample")).contains("\"sample\""));
    let all = |tee| format!("{:?}", platform::capabilities(&identity(tee)));
    let attests = |tee| all(tee).contains("\"attestation\", supported: true");
    assert!(attests(Some("snp")) && !attests(None));
    assert!(all(None).contains("\"crypto\", supported: true"));
    assert!(all(None).contains("\"sockets\", supported: false"));
}

#[test]
fn every_failure_of_evidence_has_words() {
    for (error, expected) in [
        (AttestationError::NoTee, "no TEE"),
        (AttestationError::ChallengeTooLong(65), "65 bytes"),
        (AttestationError::QuotaExceeded(3), "quota of 3"),
        (AttestationError::Unavailable("asleep".into()), "asleep"),
        (AttestationError::Other("else".into()), "else"),
    ] {
        let words = words(error);
        assert!(words.contains(expected), "{words}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_opened_or_refused(data: Vec<u8>, key: [u8; 32]) {
        for cipher in CIPHERS {
            prop_assert!(decrypt(data.clone(), &key, cipher).is_err());
        }
    }
}
