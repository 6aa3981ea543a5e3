//! `WrapKey`, for the machine that an image is encrypted on.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use proplet_image::ocicrypt::{PrivateOptions, wrap_options};
use proplet_types::Code;
use tonic::Status;
use zeroize::Zeroizing;

use super::{
    WrapParameters,
    protocol::{Operation, read, wrapped},
    service::{KEY_PROVIDER_SERVICE, payload, reply},
};
use crate::{server::Interface, status};

/// Where key-encryption keys come from on the machine that encrypts.
#[async_trait]
pub trait KeyChest: Send + Sync + 'static {
    /// The 32 bytes of the key that these parameters name.
    ///
    /// # Errors
    /// A code and words for whoever encrypts.
    async fn key(&self, parameters: &WrapParameters) -> Result<Zeroizing<Vec<u8>>, (Code, String)>;
}

/// The service that wraps and does not unwrap.
pub struct KeyWrapper {
    chest: Arc<dyn KeyChest>,
}

impl KeyWrapper {
    /// Wraps under keys out of this chest.
    #[must_use]
    pub fn new(chest: Arc<dyn KeyChest>) -> Self {
        Self { chest }
    }

    async fn wrap(&self, message: Bytes) -> Result<Zeroizing<Vec<u8>>, Status> {
        let json = payload(message)?;
        let wrapping = match read(&json).map_err(|error| status::malformed(&error))? {
            Operation::Wrap(wrapping) => wrapping,
            Operation::Unwrap(_) => {
                return Err(status::malformed(
                    &"the operation is keyunwrap, and WrapKey was called",
                ));
            }
        };
        let parameters = WrapParameters::parse(&wrapping.parameters)
            .map_err(|error| status::malformed(&error))?;
        // What hosts cannot read is not wrapped: the image would look encrypted and never run.
        let options = PrivateOptions::from_json(&wrapping.options)
            .map_err(|error| status::malformed(&error))?;
        let key = self.chest.key(&parameters).await;
        let key = key.map_err(|(code, words)| status::of_code(code, &words))?;
        let packet = wrap_options(&options, &key, parameters.key_id)
            .and_then(|packet| packet.to_json())
            .map_err(|error| status::malformed(&error))?;
        Ok(reply(wrapped(packet.as_bytes())))
    }
}

#[async_trait]
impl Interface for KeyWrapper {
    fn name(&self) -> &'static str {
        KEY_PROVIDER_SERVICE
    }

    async fn answer(&self, method: &str, message: Bytes) -> Result<Zeroizing<Vec<u8>>, Status> {
        match method {
            "WrapKey" => self.wrap(message).await,
            other => {
                let words = "this machine encrypts, and only WrapKey is served";
                Err(status::unknown_method(other, words))
            }
        }
    }
}
