//! What both halves share: the service's name, and the JSON in its messages.

use bytes::Bytes;
use prost::Message as _;
use tonic::Status;
use zeroize::Zeroizing;

use crate::{messages::KeyProviderMessage, status};

/// Package and name of the service.
pub const KEY_PROVIDER_SERVICE: &str = "keyprovider.KeyProviderService";

/// The JSON in a message.
pub(super) fn payload(message: Bytes) -> Result<Zeroizing<Vec<u8>>, Status> {
    let message = KeyProviderMessage::decode(message).map_err(|error| status::malformed(&error))?;
    Ok(Zeroizing::new(message.json))
}

/// A message with this JSON in it.
pub(super) fn reply(mut json: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    let mut message = KeyProviderMessage {
        json: std::mem::take(&mut *json),
    };
    let encoded = Zeroizing::new(message.encode_to_vec());
    *json = std::mem::take(&mut message.json);
    encoded
}
