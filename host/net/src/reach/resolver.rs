//! Names to addresses, less those that may not be connected to.

use std::fmt;
use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::Reach;
use crate::names::{Asker, Names};

/// Gives addresses that are no further away than `most`. The connection is made to what comes out of
/// here, so there is no second resolution that could say something else.
pub(super) struct Filtered {
    pub(super) names: Names,
    pub(super) most: Reach,
    /// The proxy of the settings, which is reached wherever it is.
    pub(super) proxy: Option<String>,
}

impl Resolve for Filtered {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        let is_proxy = self.proxy.as_deref() == Some(name.as_str());
        let most = if is_proxy { Reach::Special } else { self.most };
        let (names, asker) = (self.names.clone(), Asker::current());
        Box::pin(async move {
            let found = names.lookup(&name, asker).await;
            let addresses = found.map_err(|source| NameNotFound {
                name: name.clone(),
                reason: source.to_string(),
            })?;
            if addresses.is_empty() {
                let reason = "no address".to_owned();
                return Err(NameNotFound { name, reason }.into());
            }
            let passed: Vec<SocketAddr> = addresses
                .iter()
                .filter(|address| Reach::of(**address) <= most)
                // Port 0 stands for the URL's.
                .map(|address| SocketAddr::new(*address, 0))
                .collect();
            if passed.is_empty() {
                return Err(AddressRefused { name }.into());
            }
            Ok(Box::new(passed.into_iter()) as Addrs)
        })
    }
}

/// The resolver does not know a name.
#[derive(Debug)]
pub(super) struct NameNotFound {
    name: String,
    reason: String,
}

impl NameNotFound {
    /// Whether the resolver could not say, rather than that there is no such name. The system tells it
    /// in words only (those of glibc and of musl).
    pub(super) fn is_transient(&self) -> bool {
        ["Temporary failure", "Try again"]
            .iter()
            .any(|words| self.reason.contains(words))
    }
}

impl fmt::Display for NameNotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was not found ({})", self.name, self.reason)
    }
}

impl std::error::Error for NameNotFound {}

/// A name leads to addresses that may not be connected to, and to no other.
#[derive(Debug)]
pub(super) struct AddressRefused {
    name: String,
}

impl fmt::Display for AddressRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has no address that may be connected to", self.name)
    }
}

impl std::error::Error for AddressRefused {}
