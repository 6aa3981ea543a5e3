//! `elastic:hal/random`.

use ring::rand::{SecureRandom as _, SystemRandom};
use wasmtime::component::{ComponentType, Lift, LinkerInstance, Lower};

use super::call::{Answer, Store, check_length};
use crate::state::TaskState;

/// `entropy-source` of the WIT.
#[derive(Clone, Copy, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "the type of an answer that is never given")]
enum EntropySource {
    #[component(name = "hardware")]
    Hardware,
    #[component(name = "platform")]
    Platform,
    #[component(name = "userspace")]
    Userspace,
}

/// `entropy-info` of the WIT.
#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct EntropyInfo {
    source: EntropySource,
    quality: u32,
    #[component(name = "available-bytes")]
    available_bytes: u64,
}

pub(super) fn add_to_linker(random: &mut LinkerInstance<'_, TaskState>) -> wasmtime::Result<()> {
    for name in ["get-random-bytes", "get-secure-random"] {
        random.func_wrap(name, |_: Store<'_>, (length,): (u32,)| {
            Ok((bytes(length as usize),))
        })?;
    }
    random.func_wrap("get-entropy-info", |_: Store<'_>, (): ()| {
        let words = "this host does not measure entropy: random bytes are the kernel's";
        Ok((Answer::<EntropyInfo>::Err(words.to_owned()),))
    })?;
    random.func_wrap("reseed", |_: Store<'_>, (_,): (Vec<u8>,)| {
        let words = "the kernel seeds its generator; what a task gives is not mixed in";
        Ok((Answer::<()>::Err(words.to_owned()),))
    })
}

pub(super) fn bytes(length: usize) -> Answer<Vec<u8>> {
    check_length("random bytes", length)?;
    let mut bytes = vec![0; length];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err("the kernel gave no random bytes".to_owned()),
    }
}
