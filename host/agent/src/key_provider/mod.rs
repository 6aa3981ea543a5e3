//! OCIcrypt's key provider: wraps and unwraps the keys of layers for `skopeo` and image libraries.
//!
//! Wrapping is for the machine that encrypts ([`KeyWrapper`], `proplet keyprovider`), unwrapping for a host that
//! takes no encrypted tasks ([`KeyUnwrapper`], `[agent] key_provider`). No process does both.

mod parameters;
mod protocol;
mod unwrap;
mod wrap;

use bytes::Bytes;
use prost::Message as _;
use tonic::Status;
use zeroize::Zeroizing;

pub use self::{
    parameters::{ParametersError, WrapParameters},
    unwrap::KeyUnwrapper,
    wrap::{KeyChest, KeyWrapper},
};
use crate::{messages::KeyProviderMessage, status};

/// Package and name of the service.
pub const KEY_PROVIDER_SERVICE: &str = "keyprovider.KeyProviderService";

/// The JSON in a message.
fn payload(message: Bytes) -> Result<Zeroizing<Vec<u8>>, Status> {
    let message = KeyProviderMessage::decode(message).map_err(|error| status::malformed(&error))?;
    Ok(Zeroizing::new(message.json))
}

/// A message with this JSON in it.
fn reply(mut json: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    let mut message = KeyProviderMessage {
        json: std::mem::take(&mut *json),
    };
    let encoded = Zeroizing::new(message.encode_to_vec());
    *json = std::mem::take(&mut message.json);
    encoded
}
