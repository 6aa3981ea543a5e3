//! `elastic:hal/crypto`.

use std::collections::BTreeSet;

use ring::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, SHA512, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use wasmtime::component::{ComponentType, Lift, LinkerInstance, Lower};
use zeroize::{Zeroize as _, Zeroizing};

use super::call::{Answer, Store, check_length};
use crate::state::TaskState;

/// Bytes of a key of either cipher, and of a private or public Ed25519 key.
const KEY_BYTES: usize = 32;
/// Bytes of a tag of either cipher.
const TAG_BYTES: usize = 16;
/// Bytes of an Ed25519 signature.
const SIGNATURE_BYTES: usize = 64;

/// `hash-algorithm` of the WIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "guests make them")]
pub(super) enum HashAlgorithm {
    #[component(name = "sha256")]
    Sha256,
    #[component(name = "sha512")]
    Sha512,
    #[component(name = "blake3")]
    Blake3,
}

/// `cipher-algorithm` of the WIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "guests make them")]
pub(super) enum CipherAlgorithm {
    #[component(name = "aes256-gcm")]
    Aes256Gcm,
    #[component(name = "chacha20-poly1305")]
    Chacha20Poly1305,
}

/// `key-pair` of the WIT. Wiped when it has been handed over.
#[derive(ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct KeyPair {
    #[component(name = "public-key")]
    pub(super) public_key: Vec<u8>,
    #[component(name = "private-key")]
    pub(super) private_key: Vec<u8>,
}

impl Drop for KeyPair {
    fn drop(&mut self) {
        self.private_key.zeroize();
    }
}

/// Numbers that a task was given. There is nothing behind them: no function takes one.
#[derive(Default)]
pub(super) struct Contexts {
    live: BTreeSet<u64>,
    next: u64,
}

type Bytes = Vec<u8>;

pub(super) fn add_to_linker(crypto: &mut LinkerInstance<'_, TaskState>) -> wasmtime::Result<()> {
    crypto.func_wrap(
        "hash",
        |_: Store<'_>, (data, algorithm): (Bytes, HashAlgorithm)| Ok((hash(&data, algorithm),)),
    )?;
    crypto.func_wrap(
        "encrypt",
        |_: Store<'_>, (data, key, algorithm): (Bytes, Bytes, CipherAlgorithm)| {
            Ok((encrypt(data, &Zeroizing::new(key), algorithm),))
        },
    )?;
    crypto.func_wrap(
        "decrypt",
        |_: Store<'_>, (data, key, algorithm): (Bytes, Bytes, CipherAlgorithm)| {
            Ok((decrypt(data, &Zeroizing::new(key), algorithm),))
        },
    )?;
    crypto.func_wrap("generate-keypair", |_: Store<'_>, (): ()| Ok((generate(),)))?;
    crypto.func_wrap("sign", |_: Store<'_>, (data, key): (Bytes, Bytes)| {
        Ok((sign(&data, &Zeroizing::new(key)),))
    })?;
    crypto.func_wrap(
        "verify",
        |_: Store<'_>, (data, signature, key): (Bytes, Bytes, Bytes)| {
            Ok((verify(&data, &signature, &key),))
        },
    )?;
    crypto.func_wrap("create-context", |mut store: Store<'_>, (): ()| {
        let state = store.data_mut();
        let limit = state.task.limits.handles as usize;
        Ok((state.interfaces.hal.contexts.create(limit),))
    })?;
    crypto.func_wrap(
        "destroy-context",
        |mut store: Store<'_>, (handle,): (u64,)| {
            Ok((store.data_mut().interfaces.hal.contexts.destroy(handle),))
        },
    )
}

pub(super) fn hash(data: &[u8], algorithm: HashAlgorithm) -> Answer<Vec<u8>> {
    check_length("data", data.len())?;
    let algorithm = match algorithm {
        HashAlgorithm::Sha256 => &SHA256,
        HashAlgorithm::Sha512 => &SHA512,
        HashAlgorithm::Blake3 => {
            return Err("blake3 is not offered by this host; use sha256 or sha512".to_owned());
        }
    };
    Ok(digest(algorithm, data).as_ref().to_vec())
}

/// A nonce is 96 random bits: with one key, four thousand million of them meet with a probability of less than
/// one in four thousand million.
pub(super) fn encrypt(data: Vec<u8>, key: &[u8], algorithm: CipherAlgorithm) -> Answer<Vec<u8>> {
    let mut data = Zeroizing::new(data);
    check_length("data", data.len())?;
    let key = cipher(key, algorithm)?;
    let mut nonce = [0; NONCE_LEN];
    fill(&mut nonce)?;
    let tag = key
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut data)
        .map_err(|_| "the data could not be encrypted".to_owned())?;
    let mut sealed = Vec::with_capacity(NONCE_LEN + data.len() + TAG_BYTES);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(&data);
    sealed.extend_from_slice(tag.as_ref());
    Ok(sealed)
}

pub(super) fn decrypt(
    mut data: Vec<u8>,
    key: &[u8],
    algorithm: CipherAlgorithm,
) -> Answer<Vec<u8>> {
    let other = || {
        "the data does not open: it is not what `encrypt` made with this key and algorithm"
            .to_owned()
    };
    // What `encrypt` added may come on top.
    check_length("data", data.len().saturating_sub(NONCE_LEN + TAG_BYTES))?;
    let key = cipher(key, algorithm)?;
    let (nonce, sealed) = data.split_at_mut_checked(NONCE_LEN).ok_or_else(other)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| other())?;
    let length = key
        .open_in_place(nonce, Aad::empty(), sealed)
        .map_err(|_| other())?
        .len();
    data.copy_within(NONCE_LEN..NONCE_LEN + length, 0);
    data.truncate(length);
    Ok(data)
}

fn cipher(key: &[u8], algorithm: CipherAlgorithm) -> Answer<LessSafeKey> {
    let algorithm = match algorithm {
        CipherAlgorithm::Aes256Gcm => &AES_256_GCM,
        CipherAlgorithm::Chacha20Poly1305 => &CHACHA20_POLY1305,
    };
    match UnboundKey::new(algorithm, key) {
        Ok(key) => Ok(LessSafeKey::new(key)),
        Err(_) => Err(wrong_key(key)),
    }
}

pub(super) fn generate() -> Answer<KeyPair> {
    let mut seed = Zeroizing::new([0; KEY_BYTES]);
    fill(seed.as_mut())?;
    let pair = key_pair(seed.as_ref())?;
    Ok(KeyPair {
        public_key: pair.public_key().as_ref().to_vec(),
        private_key: seed.to_vec(),
    })
}

pub(super) fn sign(data: &[u8], private_key: &[u8]) -> Answer<Vec<u8>> {
    check_length("data", data.len())?;
    Ok(key_pair(private_key)?.sign(data).as_ref().to_vec())
}

pub(super) fn verify(data: &[u8], signature: &[u8], public_key: &[u8]) -> Answer<bool> {
    check_length("data", data.len())?;
    if public_key.len() != KEY_BYTES {
        return Err(wrong_key(public_key));
    }
    let key = UnparsedPublicKey::new(&ED25519, public_key);
    Ok(signature.len() == SIGNATURE_BYTES && key.verify(data, signature).is_ok())
}

fn key_pair(private_key: &[u8]) -> Answer<Ed25519KeyPair> {
    Ed25519KeyPair::from_seed_unchecked(private_key).map_err(|_| wrong_key(private_key))
}

fn wrong_key(key: &[u8]) -> String {
    format!("a key of {} bytes; it must have {KEY_BYTES}", key.len())
}

fn fill(bytes: &mut [u8]) -> Answer<()> {
    let filled = SystemRandom::new().fill(bytes);
    filled.map_err(|_| "the kernel gave no random bytes".to_owned())
}

impl Contexts {
    pub(super) fn create(&mut self, limit: usize) -> Answer<u64> {
        if self.live.len() >= limit {
            return Err(format!(
                "the task holds {limit} contexts, as many as it may; destroy some first"
            ));
        }
        self.next += 1;
        self.live.insert(self.next);
        Ok(self.next)
    }

    pub(super) fn destroy(&mut self, handle: u64) -> Answer<()> {
        match self.live.remove(&handle) {
            true => Ok(()),
            false => Err(format!("{handle} is no context of this task")),
        }
    }
}
