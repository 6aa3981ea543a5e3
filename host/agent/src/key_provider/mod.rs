//! OCIcrypt's key provider: wraps and unwraps the keys of layers for `skopeo` and image libraries.
//!
//! Wrapping is for the machine that encrypts ([`KeyWrapper`], `proplet keyprovider`), unwrapping for a host that
//! takes no encrypted tasks ([`KeyUnwrapper`], `[agent] key_provider`). No process does both.

mod parameters;
mod protocol;
mod service;
mod unwrap;
mod wrap;

pub use self::{
    parameters::{ParametersError, WrapParameters},
    service::KEY_PROVIDER_SERVICE,
    unwrap::KeyUnwrapper,
    wrap::{KeyChest, KeyWrapper},
};
