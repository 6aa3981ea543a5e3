//! `propeller:confidential/secrets`: secrets that stay in the host.
//!
//! A `secret` handle stands for bytes in host memory. They are wiped when the last handle is dropped and
//! when the task ends, however it ends. Held secrets count towards the task's memory limit, so a guest
//! cannot make the host hold more for it than it could hold itself.

use std::sync::Arc;

use wasmtime::component::{Resource, ResourceTableError};
use zeroize::Zeroize as _;

use crate::bindings::propeller::confidential::secrets::{Host, HostSecret, SecretError};
use crate::policy::check_secret_uri;
use crate::services;
use crate::state::TaskState;

/// Largest secret, in bytes.
pub(crate) const MAX_SECRET_BYTES: u64 = 1 << 20;

/// What a `secret` handle stands for.
pub struct Secret {
    uri: String,
    /// Shared only for the moment in which the engine copies it into the guest.
    bytes: Arc<[u8]>,
}

impl Secret {
    fn new(uri: String, bytes: &[u8]) -> Self {
        Self {
            uri,
            bytes: Arc::from(bytes),
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.uri
    }

    pub(crate) fn bytes(&self) -> Arc<[u8]> {
        Arc::clone(&self.bytes)
    }

    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        if let Some(bytes) = Arc::get_mut(&mut self.bytes) {
            bytes.zeroize();
        }
    }
}

impl Host for TaskState {
    async fn get(
        &mut self,
        uri: String,
    ) -> wasmtime::Result<Result<Resource<Secret>, SecretError>> {
        if let Err(reason) = check_secret_uri(&uri) {
            return Ok(Err(SecretError::InvalidUri(reason)));
        }
        if !self.task.grants.may_ask(&uri) {
            return Ok(Err(SecretError::NotGranted(format!(
                "the component's policy does not name `{uri}`"
            ))));
        }
        let bytes = match self.services.secrets.secret(&uri).await {
            Ok(bytes) => bytes,
            Err(error) => return Ok(Err(error.into())),
        };
        self.hold(Secret::new(uri, &bytes))
    }
}

impl TaskState {
    fn hold(&mut self, secret: Secret) -> wasmtime::Result<Result<Resource<Secret>, SecretError>> {
        let size = secret.size();
        if size > MAX_SECRET_BYTES {
            return Ok(Err(SecretError::TooLarge(MAX_SECRET_BYTES)));
        }
        if !self.memory.reserve(size) {
            return Ok(Err(SecretError::Other(
                "the task's memory limit leaves no room for this secret; drop others first"
                    .to_owned(),
            )));
        }
        match self.table.push(secret) {
            Ok(handle) => Ok(Ok(handle)),
            Err(error) => {
                self.memory.release(size);
                match error {
                    ResourceTableError::Full => {
                        Ok(Err(SecretError::TooManyHandles(self.task.limits.handles)))
                    }
                    error => Err(error.into()),
                }
            }
        }
    }
}

impl HostSecret for TaskState {
    fn uri(&mut self, secret: Resource<Secret>) -> wasmtime::Result<String> {
        Ok(self.table.get(&secret)?.uri.clone())
    }

    fn drop(&mut self, secret: Resource<Secret>) -> wasmtime::Result<()> {
        let secret = self.table.delete(secret)?;
        self.memory.release(secret.size());
        Ok(())
    }
}

impl From<services::SecretError> for SecretError {
    fn from(error: services::SecretError) -> Self {
        match error {
            services::SecretError::InvalidUri(text) => Self::InvalidUri(text),
            services::SecretError::NotGranted(text) => Self::NotGranted(text),
            services::SecretError::Denied(text) => Self::Denied(text),
            services::SecretError::NotFound(text) => Self::NotFound(text),
            services::SecretError::Unavailable(text) => Self::Unavailable(text),
            services::SecretError::TooLarge(limit) => Self::TooLarge(limit),
            services::SecretError::Other(text) => Self::Other(text),
        }
    }
}
