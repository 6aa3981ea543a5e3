//! How registries are reached.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use proplet_net::Proxy;
use proplet_net::names::Names;
use proplet_net::reach::{self, Client, Endpoints};

use crate::credentials::{CredentialSource, Credentials};
use crate::error::ImageError;

/// The host that serves what references call `docker.io`.
const DOCKER_HUB: &str = "index.docker.io";

/// How registries are reached.
#[derive(Debug, Clone)]
pub struct RegistryConfig {
    /// Credentials, a file in the form of docker's `config.json`. Without it, access is anonymous.
    pub auth_file: Option<PathBuf>,
    /// Credentials that were read already, which then stand in for `auth_file`.
    pub credentials: Option<Credentials>,
    /// Where credentials are fetched when a registry asks who we are; it stands in for both others.
    pub credential_source: Option<Arc<dyn CredentialSource>>,
    /// Hosts, with their port if any, that are spoken to over plain http. Everything else is TLS.
    pub http_hosts: Vec<String>,
    /// Hosts, with their port if any, that may be at private addresses, as those of `http_hosts` may.
    /// Everything else must be public ([`proplet_net::reach::Reach`]).
    pub private_hosts: Vec<String>,
    /// PEM certificates that are trusted instead of the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// The proxy through which registries are reached; none by default, whatever the environment says.
    pub proxy: Option<Proxy>,
    /// How names are looked up. What is made from clones of this shares its bound.
    pub names: Names,
    /// The largest layer in bytes, as it is in the registry and as it unpacks.
    pub max_layer_bytes: u64,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long a connection may stay silent.
    pub read_timeout: Duration,
    /// How long resolving or pulling one image may take in all.
    pub deadline: Duration,
    /// The wait before the second try of a request; it doubles with each further one.
    pub retry_delay: Duration,
}

impl Default for RegistryConfig {
    /// Anonymous access over TLS with the system's certificates, layers up to 256 MiB, 10 s to
    /// connect, 30 s of silence, 5 min in all, 250 ms before a second try.
    fn default() -> Self {
        Self {
            auth_file: None,
            credentials: None,
            credential_source: None,
            http_hosts: Vec::new(),
            private_hosts: Vec::new(),
            ca_pem: None,
            proxy: None,
            names: Names::default(),
            max_layer_bytes: 256 * 1024 * 1024,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
            deadline: Duration::from_secs(300),
            retry_delay: Duration::from_millis(250),
        }
    }
}

impl RegistryConfig {
    pub(crate) fn credentials(&self) -> Result<Credentials, ImageError> {
        match (&self.credentials, &self.auth_file) {
            (Some(credentials), _) => Ok(credentials.clone()),
            (None, Some(path)) => Credentials::read(path),
            (None, None) => Ok(Credentials::default()),
        }
    }

    /// The HTTP client of these settings.
    ///
    /// # Errors
    /// [`ImageError::Settings`] when a host is not a host or the CA cannot be used.
    pub fn client(&self) -> Result<Client, ImageError> {
        // Docker Hub has one name in references and others on the wire.
        let hub = self
            .private_hosts
            .iter()
            .any(|host| host == "docker.io")
            .then_some(DOCKER_HUB);
        let private = self.private_hosts.iter().map(String::as_str).chain(hub);
        let endpoints = Endpoints::new(self.http_hosts.iter().map(String::as_str), private)
            .map_err(|e| ImageError::Settings {
                why: format!("registry hosts: {e}"),
            })?;
        Client::new(reach::Config {
            endpoints,
            ca_pem: self.ca_pem.clone(),
            proxy: self.proxy.clone(),
            names: self.names.clone(),
            connect_timeout: self.connect_timeout,
            read_timeout: self.read_timeout,
        })
        .map_err(|e| ImageError::Settings {
            why: format!("registry: {e}"),
        })
    }

    pub(crate) fn is_plain_http(&self, host: &str) -> bool {
        self.http_hosts
            .iter()
            .any(|listed| listed.eq_ignore_ascii_case(host))
    }
}
