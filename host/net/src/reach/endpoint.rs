//! Endpoints that the settings name.

use std::str::FromStr;

use url::{Host, Url};

/// A host and, if it is not the default of the scheme, a port: `registry.example:5000`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    host: Host<String>,
    port: Option<u16>,
}

/// A text that is no host and port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a host; write name, name:port, 10.0.0.1:5000 or [fd00::1]:5000")]
pub struct InvalidEndpoint(String);

impl Endpoint {
    /// Whether a URL leads to this endpoint. Without a port, the default port of the URL's scheme is
    /// meant and no other.
    #[must_use]
    pub fn covers(&self, url: &Url) -> bool {
        let port = self.port.or_else(|| default_port(url.scheme()));
        url.host().map(|host| host.to_owned()).as_ref() == Some(&self.host)
            && port == url.port_or_known_default()
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let invalid = || InvalidEndpoint(text.chars().take(128).collect());
        // A URL drops the default port of its scheme; of two schemes, one keeps it.
        let parsed = |scheme: &str| {
            Url::parse(&format!("{scheme}://{text}"))
                .ok()
                .filter(|url| url.path() == "/" && !text.ends_with('/'))
                .filter(|url| url.query().is_none() && url.fragment().is_none())
                .filter(|url| !text.contains('@') && url.username().is_empty())
        };
        let (http, https) = (
            parsed("http").ok_or_else(invalid)?,
            parsed("https").ok_or_else(invalid)?,
        );
        Ok(Self {
            host: http.host().ok_or_else(invalid)?.to_owned(),
            port: http.port().or(https.port()),
        })
    }
}

/// What the settings say about endpoints.
#[derive(Debug, Clone, Default)]
pub struct Endpoints {
    plain: Vec<Endpoint>,
    named: Vec<Endpoint>,
}

impl Endpoints {
    /// Endpoints that may be spoken to over plain http, and further ones that may be at private
    /// addresses, which the first may too.
    ///
    /// # Errors
    /// [`InvalidEndpoint`] for the first text that is not one.
    pub fn new<'a>(
        plain: impl IntoIterator<Item = &'a str>,
        private: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, InvalidEndpoint> {
        let all = |texts: &mut dyn Iterator<Item = &'a str>| {
            texts.map(str::parse).collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            plain: all(&mut plain.into_iter())?,
            named: all(&mut private.into_iter())?,
        })
    }

    /// Whether a URL is https, or http to an endpoint that is listed for it.
    #[must_use]
    pub fn permit_scheme(&self, url: &Url) -> bool {
        match url.scheme() {
            "https" => url.has_host(),
            "http" => self.plain.iter().any(|endpoint| endpoint.covers(url)),
            _ => false,
        }
    }

    /// Whether a URL leads to an endpoint that the settings name, so that its address may be private.
    #[must_use]
    pub fn name(&self, url: &Url) -> bool {
        let mut all = self.plain.iter().chain(&self.named);
        all.any(|endpoint| endpoint.covers(url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn endpoints(plain: &[&str], private: &[&str]) -> Endpoints {
        Endpoints::new(plain.iter().copied(), private.iter().copied()).unwrap()
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn plain_http_only_where_it_is_listed() {
        let listed = endpoints(&["localhost:5000", "plain.example", "80.example:80"], &[]);
        let allowed = |text: &str| listed.permit_scheme(&url(text));
        assert!(allowed("https://anywhere.example/"));
        assert!(allowed("http://LOCALHOST:5000/v2/"));
        assert!(allowed("http://plain.example/"));
        assert!(allowed("http://plain.example:80/"));
        assert!(allowed("http://80.example/"));
        assert!(!allowed("http://localhost/"));
        assert!(!allowed("http://localhost:5001/"));
        assert!(!allowed("http://plain.example:8080/"));
        assert!(!allowed("ftp://plain.example/"));
        assert!(!allowed("file:///etc/passwd"));
    }

    #[test]
    fn names_are_exempt_with_their_port_only() {
        let named = endpoints(
            &["127.0.0.1:5000"],
            &["minio.corp:9000", "registry.corp", "[fd00::1]:5000"],
        );
        for text in [
            "http://127.0.0.1:5000/",
            // The same address, as a URL may write it.
            "http://127.1:5000/",
            "http://0x7f000001:5000/",
            "https://MINIO.corp:9000/a",
            "https://registry.corp/",
            "http://registry.corp/",
            "https://[fd00:0::1]:5000/",
        ] {
            assert!(named.name(&url(text)), "{text}");
        }
        for text in [
            "http://127.0.0.1/",
            "http://127.0.0.1:5001/",
            "http://127.0.0.2:5000/",
            "https://minio.corp/",
            "https://registry.corp:8443/",
            "https://x.registry.corp/",
            "https://registry.corp.example/",
        ] {
            assert!(!named.name(&url(text)), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "", "a/b", "a/", "http://a", "a:b", "a:70000", "u@a", "a?b", "a#b", ":5000", "a b",
        ] {
            text.parse::<Endpoint>().unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in ".{0,80}") {
            let _ = text.parse::<Endpoint>();
        }

        #[test]
        fn an_endpoint_covers_itself(host in "[a-z]{1,9}\\.example", port in 1u16..) {
            let endpoint: Endpoint = format!("{host}:{port}").parse().unwrap();
            for scheme in ["http", "https"] {
                let at = url(&format!("{scheme}://{host}:{port}/x"));
                prop_assert!(endpoint.covers(&at));
            }
            let other = url(&format!("https://{host}:{}/", port.wrapping_add(1).max(1)));
            prop_assert!(!endpoint.covers(&other));
        }
    }
}
