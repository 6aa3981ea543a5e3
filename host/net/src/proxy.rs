//! The HTTP proxy that the settings name.

use std::{fmt, net::IpAddr};

use thiserror::Error;
use url::Url;
use zeroize::Zeroizing;

/// Why a proxy cannot be used. No message repeats the address, which may hold a password.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ProxyError {
    /// The text is no address, or none of a proxy.
    #[error("it is not the address of a proxy: write http://name:port or https://name:port")]
    Address,
    /// The scheme is neither http nor https.
    #[error(
        "a proxy of the kind `{0}` is not supported: write http://name:port or https://name:port"
    )]
    Scheme(String),
    /// There is a path, query or fragment.
    #[error("the address of a proxy ends with its port: remove what follows it")]
    Extra,
    /// An exception is not a host, a domain or a network.
    #[error(
        "the exception {0:?} is not a host name, an IP address or a network: write names without \
         scheme and port, as \"registry.internal\", which stands for the names below it too, or \
         networks as \"10.0.0.0/8\""
    )]
    Exception(String),
}

/// An HTTP proxy, and the hosts that are reached without it.
///
/// For `https` targets the proxy is asked for a tunnel (CONNECT) and TLS runs through it to the target,
/// so a proxy sees the names of hosts and nothing else. For `http` targets it sees everything, as the
/// network does.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// With user name and password, if any.
    url: Zeroizing<String>,
    /// Without them.
    shown: String,
    host: String,
    except: Vec<String>,
}

impl Proxy {
    /// A proxy at `http://name:port` or `https://name:port`, where a user name and a password may stand
    /// before the name. The port is 80 or 443 unless given. Hosts in `except` are reached directly:
    /// names (with all names below them), IP addresses, and networks such as `10.0.0.0/8`.
    ///
    /// # Errors
    /// [`ProxyError`].
    pub fn new(url: &str, except: &[String]) -> Result<Self, ProxyError> {
        let parsed = Url::parse(url.trim()).map_err(|_| ProxyError::Address)?;
        match parsed.scheme() {
            "http" | "https" => {}
            // `proxy:3128` parses as a scheme and a path.
            _ if !url.contains("://") => return Err(ProxyError::Address),
            other => return Err(ProxyError::Scheme(other.to_owned())),
        }
        let host = parsed.host_str().unwrap_or_default().to_owned();
        if host.is_empty() {
            return Err(ProxyError::Address);
        }
        if parsed.path() != "/" || parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(ProxyError::Extra);
        }
        if let Some(wrong) = except.iter().find(|entry| !is_exception(entry)) {
            return Err(ProxyError::Exception(wrong.clone()));
        }
        Ok(Self {
            shown: parsed.origin().ascii_serialization(),
            url: Zeroizing::new(parsed.into()),
            host,
            except: except.to_vec(),
        })
    }

    /// Host name or address of the proxy, IPv6 in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether requests to the proxy's own name would not go through the proxy: one of the exceptions is that name or
    /// a domain of it.
    pub(crate) fn excepts_itself(&self) -> bool {
        let host = self.host.to_ascii_lowercase();
        self.except.iter().any(|entry| {
            let entry = entry.trim_start_matches('.').to_ascii_lowercase();
            let before = host.strip_suffix(&entry);
            before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
        })
    }

    pub(crate) fn to_reqwest(&self) -> reqwest::Result<reqwest::Proxy> {
        let proxy = reqwest::Proxy::all(self.url.as_str())?;
        Ok(match self.except.as_slice() {
            [] => proxy,
            _ => proxy.no_proxy(reqwest::NoProxy::from_string(&self.except.join(","))),
        })
    }
}

/// Scheme, host and port; never the password.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("url", &self.shown)
            .field("except", &self.except)
            .finish_non_exhaustive()
    }
}

fn is_exception(entry: &str) -> bool {
    let network = entry.split_once('/').is_some_and(|(address, length)| {
        let longest = match address.parse() {
            Ok(IpAddr::V4(_)) => 32,
            Ok(IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        length.parse::<u8>().is_ok_and(|length| length <= longest)
    });
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let labels = entry.strip_prefix('.').unwrap_or(entry).split('.');
    let name = labels
        .into_iter()
        .all(|label| !label.is_empty() && label.chars().all(legal));
    network || name || entry.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proxy(url: &str, except: &[&str]) -> Result<Proxy, ProxyError> {
        let except: Vec<String> = except.iter().map(|entry| (*entry).to_owned()).collect();
        Proxy::new(url, &except)
    }

    #[test]
    fn an_exception_can_be_the_proxy() {
        for (host, except, expected) in [
            ("proxy.corp.example", "proxy.corp.example", true),
            ("proxy.corp.example", "corp.example", true),
            ("proxy.corp.example", ".CORP.example", true),
            ("PROXY.corp.example", "proxy.corp.example", true),
            ("proxy.corp.example", "other.corp.example", false),
            ("proxy.corp.example", "orp.example", false),
            ("proxy.corp.example", "x.proxy.corp.example", false),
        ] {
            let proxy = proxy(&format!("http://{host}:3128"), &[except]).unwrap();
            assert_eq!(proxy.excepts_itself(), expected, "{host} {except}");
        }
        assert!(!proxy("http://proxy:3128", &[]).unwrap().excepts_itself());
    }

    #[test]
    fn addresses_of_proxies_are_read() {
        for (url, shown) in [
            ("http://proxy:3128", "http://proxy:3128"),
            ("http://proxy:3128/", "http://proxy:3128"),
            ("https://proxy.corp.example", "https://proxy.corp.example"),
            ("http://192.0.2.1:8080", "http://192.0.2.1:8080"),
            ("http://[2001:db8::1]:8080", "http://[2001:db8::1]:8080"),
            ("HTTP://user:pass%40word@proxy:3128", "http://proxy:3128"),
        ] {
            let proxy = proxy(url, &[]).unwrap();
            assert_eq!(proxy.to_string(), shown);
            proxy.to_reqwest().unwrap();
            let shown = format!("{proxy:?} {proxy}");
            assert!(!shown.contains("word"), "{shown}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_repeating_a_password() {
        for url in [
            "",
            "proxy",
            "proxy:3128",
            "user:password@proxy:3128",
            "socks5://user:password@proxy:1080",
            "http://",
            "http://user:password@proxy:99999",
            "http://user:password@proxy/path",
            "http://user:password@proxy/?q",
        ] {
            let error = proxy(url, &[]).unwrap_err();
            assert!(!error.to_string().contains("password"), "{url}: {error}");
            assert!(!error.to_string().contains("user"), "{url}: {error}");
        }
        let error = proxy("socks5h://proxy:1080", &[]).unwrap_err();
        assert!(error.to_string().contains("socks5h"), "{error}");
    }

    #[test]
    fn exceptions_are_hosts_domains_and_networks() {
        let good = [
            "registry.internal",
            ".corp.example",
            "localhost",
            "10.0.0.0/8",
            "fd00::/8",
            "127.0.0.1",
            "::1",
        ];
        proxy("http://proxy:3128", &good).unwrap();
        for wrong in [
            "",
            "registry:5000",
            "http://registry",
            "*.corp.example",
            "a,b",
            "10.0.0.0/33",
            "10.0.0.0/",
            "a..b",
            "a b",
        ] {
            let error = proxy("http://proxy:3128", &[wrong]).unwrap_err();
            assert!(
                matches!(error, ProxyError::Exception(_)),
                "{wrong}: {error}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_proxy_or_refused(url in ".{0,60}", exception in ".{0,30}") {
            if let Ok(proxy) = Proxy::new(&url, &[exception]) {
                prop_assert!(!proxy.host().is_empty());
            }
        }
    }
}
