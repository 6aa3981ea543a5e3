//! HTTP clients that do not follow the environment.

use reqwest::ClientBuilder;
use rustls::ClientConfig;

use crate::Proxy;

/// The beginning of an HTTP client with this trust, which goes through this proxy or through none.
///
/// Redirects, retries, timeouts and protocol versions are the caller's to decide.
///
/// # Errors
/// When the HTTP library does not take the proxy, which [`Proxy::new`] has checked.
pub fn client(tls: ClientConfig, proxy: Option<&Proxy>) -> reqwest::Result<ClientBuilder> {
    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy();
    Ok(match proxy {
        None => builder,
        Some(proxy) => builder.proxy(proxy.to_reqwest()?),
    })
}
