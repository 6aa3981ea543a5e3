//! Which KBS, and how it is reached.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use proplet_hal::InitData;
use proplet_net::Proxy;
use proplet_types::{KbsHost, ResourceUri};
use url::Url;

use crate::bound::ComponentBound;
use crate::witness::Witness;
use crate::{KbsError, Peer};

/// The largest resource that is accepted unless the settings say less: 1 MiB.
pub const MAX_RESOURCE_BYTES: usize = 1 << 20;

/// Address of the KBS and limits of the client. It comes from the settings document, never from an
/// image or a start message: who chooses this chooses whom the host trusts with its keys.
#[derive(Clone)]
#[non_exhaustive]
pub struct KbsConfig {
    /// The address before `/kbs/v0`: `https://host[:port][/prefix]`.
    pub url: Url,
    /// PEM certificates of the CAs that may sign the KBS's certificate. When given, no other CA is
    /// trusted; when absent, the platform's are.
    pub ca_pem: Option<Vec<u8>>,
    /// The proxy through which the KBS is reached; none by default, whatever the environment says.
    pub proxy: Option<Proxy>,
    /// Allows plain `http`, where everybody on the way can read tokens and replay the session
    /// cookie. Resources are still encrypted to this machine's key, but nothing says which KBS gave
    /// them: for tests and demonstrations.
    pub allow_http: bool,
    /// The deadline of one call in total: handshake, tries and waits included. Default 60 s.
    pub timeout: Duration,
    /// How long one connection may take to be established. Default 10 s.
    pub connect_timeout: Duration,
    /// The wait before the second try; it doubles with each further one, up to 32 times, and is
    /// shortened at random by up to half. Default 250 ms.
    pub retry_delay: Duration,
    /// The largest resource in bytes. Default [`MAX_RESOURCE_BYTES`].
    pub max_resource_bytes: usize,
    /// The init-data document that this machine was configured with. It goes with the evidence, so that
    /// the KBS checks it and shows its contents to policies, when the TEE reports that the VM was started
    /// with it. Where the VM was started with none it stays here; where with another, there is no handshake.
    pub init_data: Option<InitData>,
    /// How the KBS is told which component asks, for [`crate::KbsClient::resource_for`]. Not at all unless
    /// set.
    pub component_bound: Option<ComponentBound>,
    /// Who is told of attestations. Nobody unless set.
    pub witness: Option<Arc<dyn Witness>>,
}

impl KbsConfig {
    /// The defaults for the KBS at `url`.
    pub fn new(url: Url) -> Self {
        Self {
            url,
            ca_pem: None,
            proxy: None,
            allow_http: false,
            timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(10),
            retry_delay: Duration::from_millis(250),
            max_resource_bytes: MAX_RESOURCE_BYTES,
            init_data: None,
            component_bound: None,
            witness: None,
        }
    }

    /// Checks the address and gives it without a trailing slash, ready for `/kbs/v0/…`.
    pub(crate) fn base(&self) -> Result<Base, KbsError> {
        Base::new(Peer::KeyBroker, &self.url, self.allow_http)
    }
}

impl fmt::Debug for KbsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KbsConfig")
            .field("url", &self.url.as_str())
            .field("own_ca", &self.ca_pem.is_some())
            .field("proxy", &self.proxy)
            .field("allow_http", &self.allow_http)
            .field("timeout", &self.timeout)
            .field("component_bound", &self.component_bound)
            .finish_non_exhaustive()
    }
}

/// A checked address.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    url: Url,
    host: KbsHost,
    api: &'static str,
}

impl Base {
    /// Checks the address of a server.
    pub(crate) fn new(peer: Peer, url: &Url, allow_http: bool) -> Result<Self, KbsError> {
        let config = |what: String| Err(KbsError::Config(what));
        let refuse = |what: &str| config(format!("the {peer} URL {what}; write https://host:port"));
        match url.scheme() {
            "https" => {}
            "http" if allow_http => {}
            "http" => {
                return config(format!(
                    "the {peer} URL is plain http; use https, or allow http in the settings in so many words"
                ));
            }
            _ => return refuse("has no http or https scheme"),
        }
        let Some(host) = KbsHost::of(url) else {
            return refuse("has no host");
        };
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("holds a user name or password, which the protocol does not know");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return refuse("has a query or fragment");
        }
        Ok(Self {
            url: url.clone(),
            host,
            api: match peer {
                Peer::KeyBroker => "/kbs/v0/",
                Peer::AttestationService => "/",
            },
        })
    }

    /// The URL of `path` below [`Base::api`].
    pub(crate) fn endpoint(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        let prefix = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{prefix}{}{path}", self.api));
        url
    }

    /// What the server's interface begins with, slashes included.
    pub(crate) fn api(&self) -> &'static str {
        self.api
    }

    /// Scheme, host and port, for messages.
    pub(crate) fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    pub(crate) fn scheme(&self) -> &str {
        self.url.scheme()
    }

    /// Refuses a resource whose address names another host (and port, where it names one).
    pub(crate) fn check_host(&self, uri: &ResourceUri) -> Result<(), KbsError> {
        if self.host.is_meant_by(uri) {
            return Ok(());
        }
        Err(KbsError::ForeignHost {
            uri: uri.clone(),
            configured: self.host.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(url: &str, allow_http: bool) -> Result<Base, KbsError> {
        let mut config = KbsConfig::new(Url::parse(url).unwrap());
        config.allow_http = allow_http;
        config.base()
    }

    #[test]
    fn endpoints_are_below_the_prefix() {
        let at = |url| {
            base(url, false)
                .unwrap()
                .endpoint("resource/a/b/c")
                .to_string()
        };
        assert_eq!(
            at("https://kbs:8080"),
            "https://kbs:8080/kbs/v0/resource/a/b/c"
        );
        assert_eq!(
            at("https://kbs:8080/"),
            "https://kbs:8080/kbs/v0/resource/a/b/c"
        );
        assert_eq!(
            at("https://kbs/behind/"),
            "https://kbs/behind/kbs/v0/resource/a/b/c"
        );
        let url = Url::parse("https://as/x/").unwrap();
        let service = Base::new(Peer::AttestationService, &url, false).unwrap();
        assert_eq!(
            service.endpoint("attestation").as_str(),
            "https://as/x/attestation"
        );
        assert_eq!(
            base("https://kbs/x", false).unwrap().origin(),
            "https://kbs"
        );
    }

    #[test]
    fn refuses_addresses_that_cannot_work() {
        for url in [
            "http://kbs:8080",
            "localhost:8080",
            "ftp://kbs",
            "unix:/run/kbs",
            "https://user:password@kbs",
            "https://user@kbs",
            "https://kbs/?x=y",
            "https://kbs/#x",
        ] {
            let error = base(url, false).unwrap_err();
            assert_eq!(error.code(), "kbs-config", "{url}");
            assert!(!error.to_string().contains("password@"), "{error}");
        }
        assert!(base("http://kbs:8080", true).is_ok());
        assert!(base("localhost:8080", true).is_err());
    }

    #[test]
    fn a_resource_of_another_host_is_refused() {
        let base = base("https://kbs.example:8443", false).unwrap();
        for uri in [
            "kbs:///a/b/c",
            "kbs://kbs.example/a/b/c",
            "kbs://KBS.example:8443/a/b/c",
        ] {
            base.check_host(&uri.parse().unwrap()).unwrap();
        }
        for uri in ["kbs://evil.example/a/b/c", "kbs://kbs.example:1/a/b/c"] {
            let error = base.check_host(&uri.parse().unwrap()).unwrap_err();
            assert_eq!(error.code(), "kbs-foreign-host");
        }
    }
}
