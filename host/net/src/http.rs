//! HTTP clients that do not follow the environment.

use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::ClientBuilder;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::ClientConfig;

use crate::Proxy;
use crate::names::{Asker, Names};

/// The beginning of an HTTP client with this trust, which goes through this proxy or through none. Its names are
/// looked up under a bound of its own, unless the caller gives it another resolver.
///
/// Redirects, retries, timeouts and protocol versions are the caller's to decide.
///
/// # Errors
/// When the HTTP library does not take the proxy, which [`Proxy::new`] has checked.
pub fn client(tls: ClientConfig, proxy: Option<&Proxy>) -> reqwest::Result<ClientBuilder> {
    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .dns_resolver(Arc::new(Own::default()))
        .no_proxy();
    Ok(match proxy {
        None => builder,
        Some(proxy) => builder.proxy(proxy.to_reqwest()?),
    })
}

/// Names of one client.
#[derive(Default)]
struct Own(Names);

impl Resolve for Own {
    fn resolve(&self, name: Name) -> Resolving {
        let names = self.0.clone();
        Box::pin(async move {
            let found = names.lookup(name.as_str(), Asker::Anybody).await?;
            // Port 0 stands for the URL's.
            let found = found.iter().map(|address| SocketAddr::new(*address, 0));
            let found: Vec<SocketAddr> = found.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
