//! Host names, with a failure that can be told from other failures.
//!
//! They are the settings', and they are looked up under a bound of their own: they wait for nobody else's, and what is
//! given up while the name server is silent does not pile up.

use std::fmt;
use std::net::SocketAddr;

use proplet_net::names::{Asker, Names};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// The names of one key broker or attestation service.
#[derive(Default)]
pub(crate) struct Resolver(Names);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let names = self.0.clone();
        Box::pin(async move {
            let failed = |reason: String| NameNotFound {
                name: name.as_str().to_owned(),
                reason,
            };
            let found = names.lookup(name.as_str(), Asker::Anybody).await;
            let found = found.map_err(|error| failed(error.to_string()))?;
            // Port 0 stands for the URL's.
            let addresses = found.iter().map(|address| SocketAddr::new(*address, 0));
            let addresses: Vec<SocketAddr> = addresses.collect();
            if addresses.is_empty() {
                return Err(failed("no address".to_owned()).into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// The resolver does not know a host name.
#[derive(Debug)]
pub(crate) struct NameNotFound {
    name: String,
    reason: String,
}

impl fmt::Display for NameNotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.reason)
    }
}

impl std::error::Error for NameNotFound {}
