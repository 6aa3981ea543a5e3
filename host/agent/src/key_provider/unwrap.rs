//! `UnWrapKey`, for a host in a confidential VM on which others decrypt images.
//!
//! Whoever asks gets the key of any layer whose key-encryption key the key broker releases to this VM. That is
//! what the interface is for, and why it is served only where the settings take no encrypted tasks: there is no
//! component on such a host whose secrets it could be confused with.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use proplet_image::{KeySource, PullPolicy, ocicrypt::AnnotationPacket, unwrap_packet};
use tonic::Status;
use zeroize::Zeroizing;

use super::{
    protocol::{Operation, read, unwrapped},
    service::{KEY_PROVIDER_SERVICE, payload, reply},
};
use crate::{quota::Quota, server::Interface, status};

/// How many layers' keys are asked for in any minute, since each is a question to the key broker: a few images of
/// many layers.
const UNWRAPPED_PER_MINUTE: u32 = 300;

/// The service that unwraps and does not wrap.
pub struct KeyUnwrapper {
    keys: Arc<dyn KeySource>,
    policy: PullPolicy,
    quota: Quota,
}

impl KeyUnwrapper {
    /// Unwraps with keys of this source, those that the policy allows, 300 in any minute.
    #[must_use]
    pub fn new(keys: Arc<dyn KeySource>, policy: PullPolicy) -> Self {
        Self {
            keys,
            policy,
            quota: Quota::per_minute(UNWRAPPED_PER_MINUTE),
        }
    }

    async fn unwrap(&self, message: Bytes) -> Result<Zeroizing<Vec<u8>>, Status> {
        let json = payload(message)?;
        let unwrapping = match read(&json).map_err(|error| status::malformed(&error))? {
            Operation::Unwrap(unwrapping) => unwrapping,
            Operation::Wrap(_) => {
                return Err(status::malformed(
                    &"the operation is keywrap, and UnWrapKey was called",
                ));
            }
        };
        let packet = AnnotationPacket::from_json(&unwrapping.packet)
            .map_err(|error| status::malformed(&error))?;
        self.quota.take().map_err(|wait| {
            Status::resource_exhausted(format!(
                "{UNWRAPPED_PER_MINUTE} layers' keys were asked for within a minute: ask again in {} s",
                wait.as_secs().saturating_add(1)
            ))
        })?;
        let options = unwrap_packet(&packet, self.keys.as_ref(), &self.policy)
            .await
            .map_err(|error| status::of_code(error.code(), &error))?;
        tracing::info!(kid = %packet.kid(), "a layer's key was unwrapped for a program on this machine");
        Ok(reply(unwrapped(&options.to_json())))
    }
}

#[async_trait]
impl Interface for KeyUnwrapper {
    fn name(&self) -> &'static str {
        KEY_PROVIDER_SERVICE
    }

    async fn answer(&self, method: &str, message: Bytes) -> Result<Zeroizing<Vec<u8>>, Status> {
        match method {
            "UnWrapKey" => self.unwrap(message).await,
            other => {
                let words =
                    "this host decrypts, and only UnWrapKey is served; `proplet keyprovider` wraps";
                Err(status::unknown_method(other, words))
            }
        }
    }
}
