//! What lets this host in elsewhere and is a resource of the key broker: the broker's password, a key for TLS,
//! credentials for registries.
//!
//! The key broker is asked in the host's own session, as for nothing that belongs to a component, and only where it
//! would release keys too: on a machine that may run encrypted tasks, under settings that are bound to the VM. Who
//! could exchange the settings could otherwise have the credential led to a broker of theirs.
//!
//! Such a credential is kept for as long as it opens what it is for, beyond the session that released it: it is this
//! host's own and no data owner's, and a connection that breaks while the key broker is away must not end for good.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use proplet_audit::{Audit, Event};
use proplet_image::{CredentialSource, Credentials, KeySourceError};
use proplet_settings::Settings;
use proplet_types::{Code, ResourceUri};
use thiserror::Error;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::confidential::Confidential;
use crate::{
    ledger::{Ledger, word},
    refusal::Refusal,
};

/// How long a fetch that failed, or that brought nothing newer, keeps pulls from asking the key broker again.
const PAUSE: Duration = Duration::from_secs(5);

/// A credential of this host is not there.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{setting}: {words}")]
pub struct CredentialError {
    /// The setting that names it.
    pub setting: &'static str,
    /// Why.
    pub code: Code,
    /// Why, for people. Never anything of the credential.
    pub words: String,
}

impl CredentialError {
    /// A resource that is no such credential. The words say what it should be, and nothing of what it is.
    #[must_use]
    pub fn invalid(setting: &'static str, uri: &ResourceUri, words: &str) -> Self {
        Self {
            setting,
            code: Code::CredentialInvalid,
            words: format!("the resource {uri} {words}"),
        }
    }

    fn refused(setting: &'static str, refusal: &Refusal) -> Self {
        Self {
            setting,
            code: refusal.code(),
            words: format!(
                "the key broker releases no credential to this host: {}",
                refusal.words()
            ),
        }
    }
}

/// Where this host's credentials come from.
#[derive(Clone)]
pub(crate) struct HostCredentials {
    pub settings: Arc<Settings>,
    pub confidential: Result<Arc<Confidential>, Refusal>,
    pub audit: Audit,
}

impl HostCredentials {
    /// Passes unless this machine will never be released one.
    pub(crate) fn check(&self, setting: &'static str) -> Result<(), CredentialError> {
        let refused = |refusal| CredentialError::refused(setting, refusal);
        self.confidential.as_ref().map(drop).map_err(refused)
    }

    /// The bytes of a credential.
    pub(crate) async fn fetch(
        &self,
        setting: &'static str,
        uri: &ResourceUri,
    ) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
        let refused = |refusal: &Refusal| CredentialError::refused(setting, refusal);
        let confidential = self.confidential.as_ref().map_err(refused)?;
        let passed = confidential.pass(&self.settings).await;
        passed.map_err(|refusal| refused(&refusal))?;
        let ledger = Ledger::Boot(self.audit.clone());
        let event = |refused| Event::Credential {
            setting,
            uri: uri.clone(),
            refused,
        };
        let resource = confidential.host.vault.host_resource(uri);
        let resource = ledger.asked(event, word, resource).await;
        resource.map_err(|error| CredentialError {
            setting,
            code: error.code(),
            words: error.to_string(),
        })
    }
}

/// Credentials for registries, fetched once and again when a registry refuses them.
pub(crate) struct RegistryCredentials {
    host: HostCredentials,
    uri: ResourceUri,
    /// Held while the key broker is asked, so that many pulls ask once.
    fetching: tokio::sync::Mutex<()>,
    state: Mutex<Fetched>,
}

#[derive(Default)]
struct Fetched {
    credentials: Option<Arc<Credentials>>,
    /// The bytes, to tell whether another fetch brought others.
    bytes: Zeroizing<Vec<u8>>,
    /// The last failure, or the last fetch that brought nothing newer, is believed until then.
    pause: Option<(Instant, Option<CredentialError>)>,
}

impl RegistryCredentials {
    /// The setting that names them.
    pub(crate) const SETTING: &str = "[registry] auth_resource";

    pub(crate) fn new(host: HostCredentials, uri: ResourceUri) -> Self {
        Self {
            host,
            uri,
            fetching: tokio::sync::Mutex::default(),
            state: Mutex::default(),
        }
    }

    /// Passes unless this machine will never be released them.
    pub(crate) fn check(&self) -> Result<(), CredentialError> {
        self.host.check(Self::SETTING)
    }

    /// Those at hand, or those that the key broker gives now.
    pub(crate) async fn first(&self) -> Result<Arc<Credentials>, CredentialError> {
        if let Some(credentials) = self.with(|state| state.credentials.clone()) {
            return Ok(credentials);
        }
        let _turn = self.fetching.lock().await;
        if let Some(credentials) = self.with(|state| state.credentials.clone()) {
            return Ok(credentials);
        }
        if let Some(Some(error)) = self.pausing() {
            return Err(error);
        }
        self.fetch().await.map(|(credentials, _)| credentials)
    }

    async fn after(
        &self,
        refused: &Arc<Credentials>,
    ) -> Result<Option<Arc<Credentials>>, CredentialError> {
        let _turn = self.fetching.lock().await;
        let there = self.with(|state| state.credentials.clone());
        if let Some(there) = there.filter(|there| !Arc::ptr_eq(there, refused)) {
            // Another pull was here before.
            return Ok(Some(there));
        }
        if self.pausing().is_some() {
            return Ok(None);
        }
        let (credentials, is_new) = self.fetch().await?;
        Ok(is_new.then_some(credentials))
    }

    /// Asks the key broker, with the turn held.
    async fn fetch(&self) -> Result<(Arc<Credentials>, bool), CredentialError> {
        let fetched = match self.host.fetch(Self::SETTING, &self.uri).await {
            Ok(bytes) => self.parsed(&bytes).map(|parsed| (bytes, parsed)),
            Err(error) => Err(error),
        };
        let until = Instant::now() + PAUSE;
        self.with(|state| match fetched {
            Err(error) => {
                state.pause = Some((until, Some(error.clone())));
                Err(error)
            }
            Ok((bytes, parsed)) => match &state.credentials {
                Some(there) if state.bytes == bytes => {
                    state.pause = Some((until, None));
                    Ok((Arc::clone(there), false))
                }
                _ => {
                    state.pause = None;
                    state.bytes = bytes;
                    let parsed = Arc::new(parsed);
                    state.credentials = Some(Arc::clone(&parsed));
                    Ok((parsed, true))
                }
            },
        })
    }

    fn parsed(&self, bytes: &[u8]) -> Result<Credentials, CredentialError> {
        let wrong = "is not a docker config.json; store the file that `docker login` makes, without credential \
                     helpers";
        let invalid = |_| CredentialError::invalid(Self::SETTING, &self.uri, wrong);
        Credentials::from_docker_config(bytes).map_err(invalid)
    }

    fn pausing(&self) -> Option<Option<CredentialError>> {
        self.with(|state| match &state.pause {
            Some((until, error)) if Instant::now() < *until => Some(error.clone()),
            _ => None,
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut Fetched) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for RegistryCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegistryCredentials({})", self.uri)
    }
}

fn told(error: &CredentialError) -> KeySourceError {
    KeySourceError::new(error.code, error.to_string())
}

#[async_trait]
impl CredentialSource for RegistryCredentials {
    async fn credentials(&self) -> Result<Arc<Credentials>, KeySourceError> {
        self.first().await.map_err(|error| told(&error))
    }

    async fn newer(
        &self,
        refused: &Arc<Credentials>,
    ) -> Result<Option<Arc<Credentials>>, KeySourceError> {
        self.after(refused).await.map_err(|error| told(&error))
    }
}
