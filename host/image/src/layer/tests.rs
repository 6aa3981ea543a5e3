use std::collections::BTreeMap;

use proplet_types::Digest;
use proptest::prelude::*;

use super::*;
use crate::encrypt::{EncryptedLayer, encrypt_layer};
use crate::ocicrypt::{PrivateOptions, PublicOptions};

const KEK: [u8; 32] = [1; 32];
const MAX: u64 = 64 << 20;

fn encrypted(plain: &[u8]) -> EncryptedLayer {
    encrypt_layer(
        plain,
        &KEK,
        &"kbs:///default/key/1".parse().unwrap(),
        "application/wasm",
    )
    .unwrap()
}

fn plain_descriptor(bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: "application/wasm".into(),
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        annotations: BTreeMap::new(),
        platform: None,
    }
}

fn noise(length: usize) -> Vec<u8> {
    (0..length as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

/// Gives chunks of the given sizes over and over, and nothing now and then.
struct Choppy {
    bytes: Bytes,
    sizes: Vec<usize>,
    turn: usize,
}

impl Source for Choppy {
    fn next(&mut self, wait: bool) -> Result<Next, ImageError> {
        self.turn += 1;
        if !wait && self.turn.is_multiple_of(3) {
            return Ok(Next::NotYet);
        }
        if self.bytes.is_empty() {
            return Ok(Next::End);
        }
        let size = self.sizes[self.turn % self.sizes.len()].min(self.bytes.len());
        Ok(Next::Chunk(self.bytes.split_to(size)))
    }
}

struct Failing(u32);

impl Source for Failing {
    fn next(&mut self, _wait: bool) -> Result<Next, ImageError> {
        match self.0.checked_sub(1) {
            Some(left) => {
                self.0 = left;
                Ok(Next::Chunk(vec![0; 100_000].into()))
            }
            None => Err(ImageError::Unavailable {
                registry: "r.example".into(),
                why: "cut".into(),
            }),
        }
    }
}

struct Panicking(u32);

impl Source for Panicking {
    fn next(&mut self, _wait: bool) -> Result<Next, ImageError> {
        self.0 = self.0.checked_sub(1).expect("a panic on purpose");
        Ok(Next::Chunk(vec![0; 100_000].into()))
    }
}

#[test]
fn known_answer_of_a_layer() {
    let symkey =
        hex::decode("3c7f2f98883504fc6976aaa4f0a5ef6f2f3aefcbeb0e0de8864d30a78784cd89").unwrap();
    let mut key = Zeroizing::new([0; 32]);
    key.copy_from_slice(&symkey);
    let nonce: [u8; 16] = std::array::from_fn(|i| i as u8);
    let plain = b"\0asm\x01\0\0\0";
    let public = PublicOptions::from_json(
        br#"{"cipher":"AES_256_CTR_HMAC_SHA256","hmac":"FqdVpjeg65IqMRRBL/xf0km9ipkFYGSlS63ibOIp5Lg=","cipheroptions":{}}"#,
    )
    .unwrap();
    let key = LayerKey::new(&PrivateOptions::new(key, Digest::of(plain), nonce), &public);
    let ciphertext = Bytes::from(hex::decode("d416350f4b6092dd").unwrap());
    let layer = plain_descriptor(&ciphertext);
    let opened = open(InMemory::new(ciphertext), &layer, Some(&key), MAX).unwrap();
    assert_eq!(opened.bytes(), plain);
    assert_eq!(opened.digest(), Digest::of(plain));
}

#[test]
fn sizes_around_batches_open() {
    for length in [
        0,
        1,
        15,
        16,
        17,
        131_071,
        131_072,
        131_073,
        262_143,
        262_144,
        262_145,
        3 << 20,
    ] {
        let plain = noise(length);
        let layer = encrypted(&plain);
        let opened = decrypt_layer(layer.bytes, &layer.descriptor, &KEK, MAX).unwrap();
        assert!(opened.bytes() == plain.as_slice(), "{length}");
    }
}

#[test]
fn layers_open_in_place_and_beside_themselves() {
    for length in [0, 1, 131_073, 3 << 20] {
        let plain = noise(length);
        let layer = encrypted(&plain);
        let kept = layer.bytes.clone();
        let beside = decrypt_layer(layer.bytes, &layer.descriptor, &KEK, MAX).unwrap();
        assert!(beside.bytes() == plain.as_slice(), "{length}");
        assert_eq!(
            Digest::of(&kept),
            layer.descriptor.digest,
            "what others hold stays"
        );

        let in_place = decrypt_layer(kept, &layer.descriptor, &KEK, MAX).unwrap();
        assert!(in_place.bytes() == plain.as_slice(), "{length}");
        assert_eq!(in_place.digest(), beside.digest());
    }
}

#[test]
fn plain_layers_are_copied_and_verified() {
    for length in [0, 100, 1 << 20] {
        let bytes = Bytes::from(noise(length));
        let layer = plain_descriptor(&bytes);
        let opened = open(InMemory::new(bytes.clone()), &layer, None, MAX).unwrap();
        assert!(opened.bytes() == bytes);
        assert_eq!(opened.digest(), layer.digest);
        let own = Bytes::from(bytes.to_vec());
        let opened = open_in_memory(own, &layer, None, MAX).unwrap();
        assert!(opened.bytes() == bytes);
    }
}

#[test]
fn each_check_fails_by_its_name() {
    for length in [1000, 1 << 20] {
        let layer = encrypted(&noise(length));
        let key = LayerKey::unwrap(&layer.descriptor, &KEK).unwrap();
        let open_with = |bytes: &Bytes, descriptor: &Descriptor, key: &LayerKey| {
            open(InMemory::new(bytes.clone()), descriptor, Some(key), MAX)
                .err()
                .unwrap()
                .code()
        };
        let mut flipped = layer.bytes.to_vec();
        flipped[length / 2] ^= 4;
        let flipped = Bytes::from(flipped);
        assert_eq!(
            open_with(&flipped, &layer.descriptor, &key),
            "image-digest-mismatch"
        );

        let renamed = Descriptor {
            digest: Digest::of(&flipped),
            ..layer.descriptor.clone()
        };
        assert_eq!(open_with(&flipped, &renamed, &key), "image-hmac-mismatch");

        let other_nonce = LayerKey {
            symkey: key.symkey.clone(),
            nonce: [0; 16],
            hmac: key.hmac,
            plain: key.plain,
        };
        assert_eq!(
            open_with(&layer.bytes, &layer.descriptor, &other_nonce),
            "image-plain-digest-mismatch"
        );
    }
}

#[test]
fn sizes_are_held_to() {
    for length in [1000, 1 << 20] {
        let layer = encrypted(&noise(length));
        let with_size = |size: u64| {
            let descriptor = Descriptor {
                size,
                ..layer.descriptor.clone()
            };
            decrypt_layer(layer.bytes.clone(), &descriptor, &KEK, MAX)
                .err()
                .unwrap()
        };
        let size = length as u64;
        assert!(matches!(
            with_size(size - 1),
            ImageError::SizeMismatch { .. }
        ));
        assert!(matches!(
            with_size(size + 1),
            ImageError::SizeMismatch { .. }
        ));
        assert_eq!(with_size(MAX + 1).code(), "image-too-large");
        let exact = decrypt_layer(layer.bytes.clone(), &layer.descriptor, &KEK, size);
        assert!(exact.is_ok());
        let below = decrypt_layer(layer.bytes.clone(), &layer.descriptor, &KEK, size - 1);
        assert_eq!(below.err().unwrap().code(), "image-too-large");
    }
}

#[test]
fn a_failing_source_fails_the_layer() {
    let layer = plain_descriptor(&vec![0; 10_000_000]);
    for chunks in [0, 1, 50] {
        let error = open(Failing(chunks), &layer, None, MAX).err().unwrap();
        assert_eq!(error.code(), "registry-unavailable");
    }
}

#[test]
fn a_panic_in_a_source_hangs_nobody() {
    let layer = plain_descriptor(&vec![0; 10_000_000]);
    for chunks in [0, 1, 50] {
        let result = std::panic::catch_unwind(|| open(Panicking(chunks), &layer, None, MAX).err());
        if let Ok(error) = result {
            assert_eq!(error.unwrap().code(), "image-internal");
        }
    }
}

#[test]
fn keys_of_plain_layers_do_not_exist() {
    let error = LayerKey::unwrap(&plain_descriptor(b""), &KEK)
        .err()
        .unwrap();
    assert_eq!(error.code(), "image-not-encrypted");
    let layer = encrypted(b"plain");
    let error = LayerKey::unwrap(&layer.descriptor, &[2; 32]).err().unwrap();
    assert_eq!(error.code(), "image-key-mismatch");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn however_the_bytes_come(
        length in 0usize..1_500_000,
        sizes in proptest::collection::vec(0usize..400_000, 1..6),
    ) {
        prop_assume!(sizes.iter().any(|size| *size > 500));
        let plain = noise(length);
        let layer = encrypted(&plain);
        let key = LayerKey::unwrap(&layer.descriptor, &KEK).unwrap();
        let source = Choppy { bytes: layer.bytes, sizes, turn: 0 };
        let opened = open(source, &layer.descriptor, Some(&key), MAX).unwrap();
        prop_assert!(opened.bytes() == plain.as_slice());
    }
}

/// As skopeo does with a plain tar layer.
#[test]
fn a_layer_that_was_compressed_before_encryption_has_the_digest_of_what_is_inside() {
    use std::io::Write as _;
    let plain = b"a tar archive".repeat(1000);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&plain).unwrap();
    let packed = packed.finish().unwrap();
    let layer = encrypted(&packed);
    let mut key = LayerKey::unwrap(&layer.descriptor, &KEK).unwrap();
    let open =
        |key: &LayerKey| open_in_memory(layer.bytes.clone(), &layer.descriptor, Some(key), 1 << 20);
    assert_eq!(open(&key).unwrap().bytes(), packed);
    key.plain = Digest::of(&plain);
    assert_eq!(open(&key).unwrap().bytes(), packed);
    key.plain = Digest::of(b"something else");
    let refused = open(&key).unwrap_err();
    assert_eq!(refused.code(), "image-plain-digest-mismatch");
}
