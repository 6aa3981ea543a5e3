//! The client.

use std::fmt;
use std::sync::Arc;

use proplet_hal::TeeProvider;
use zeroize::Zeroizing;

use crate::{KbsConfig, KbsError, ResourceUri, SessionId};

/// A resource that the KBS released.
pub struct Resource {
    /// The bytes, as the owner stored them.
    pub bytes: Zeroizing<Vec<u8>>,
    /// The session under which they were released.
    pub session: SessionId,
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource")
            .field("len", &self.bytes.len())
            .field("session", &self.session)
            .finish()
    }
}

/// A client of one KBS. Clones share sessions.
#[derive(Clone)]
pub struct KbsClient {
    inner: Arc<Inner>,
}

struct Inner {}

impl KbsClient {
    /// A client.
    ///
    /// # Errors
    /// [`KbsError::Config`].
    pub fn new(config: KbsConfig, _provider: Arc<dyn TeeProvider>) -> Result<Self, KbsError> {
        config.base()?;
        Ok(Self { inner: Arc::new(Inner {}) })
    }

    /// Gets a resource.
    ///
    /// # Errors
    /// [`KbsError`].
    pub async fn resource(&self, uri: &ResourceUri) -> Result<Resource, KbsError> {
        let _ = &self.inner;
        Err(KbsError::NotFound { uri: uri.clone(), detail: String::new() })
    }

    /// The live session, after attesting if there is none.
    ///
    /// # Errors
    /// [`KbsError`].
    pub async fn session(&self) -> Result<SessionId, KbsError> {
        Err(KbsError::Evidence(String::new()))
    }

    /// The live session, without any I/O.
    pub fn live_session(&self) -> Option<SessionId> {
        None
    }
}
