//! Host names, through the machine's resolver, with a failure that can be told from other failures.

use std::fmt;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// The machine's resolver.
pub(crate) struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let failed = |reason: String| NameNotFound {
                name: name.as_str().to_owned(),
                reason,
            };
            let found = tokio::net::lookup_host((name.as_str(), 0))
                .await
                .map_err(|error| failed(error.to_string()))?;
            let addresses: Vec<_> = found.collect();
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
