//! Plain components from an `http(s)://` address.
//!
//! Upstream's proplet takes such an address in `image_url`, so this one does. Nothing vouches for what
//! comes from there, which is why it exists for plain tasks only. TLS is required except for hosts that
//! the settings list under `http_hosts`, and which addresses are reached is decided by [`proplet_net::reach`].

use std::time::Duration;

use futures_util::StreamExt as _;
use proplet_image::{ImageError, RegistryConfig};
use proplet_net::reach::{Client, Error, Route};
use proplet_settings::AllowList;
use reqwest::{
    Response, Url,
    header::{CONTENT_TYPE, HeaderMap},
};

use crate::refusal::Refusal;

/// Fetches components over HTTP.
pub(super) struct Fetcher {
    client: Client,
    max_bytes: u64,
    deadline: Duration,
}

impl Fetcher {
    pub(super) fn new(config: &RegistryConfig) -> Result<Self, ImageError> {
        Ok(Self {
            client: config.client()?,
            max_bytes: config.max_layer_bytes,
            deadline: config.deadline,
        })
    }

    /// The bytes at an address.
    pub(super) async fn fetch(&self, text: &str, allowed: &AllowList) -> Result<Vec<u8>, Refusal> {
        let url = Url::parse(text).map_err(|error| {
            let words = format!(
                "image_url is not an address ({error}); write https://host/path, or the \
                     reference of an image"
            );
            Refusal::new("image-reference", words)
        })?;
        let host = authority(&url);
        if !allowed.permits(&host, url.path().trim_start_matches('/')) {
            return Err(Refusal::new(
                "image-not-allowed",
                format!("the settings do not allow components from {host}; add it to [registry]"),
            ));
        }
        match tokio::time::timeout(self.deadline, self.body(url)).await {
            Ok(body) => body,
            Err(_) => Err(unavailable(&host, &"no answer in time")),
        }
    }

    async fn body(&self, url: Url) -> Result<Vec<u8>, Refusal> {
        let host = authority(&url);
        // Where a redirect leads was not checked against the allow-list, so none is followed.
        let route = Route {
            home: &url,
            redirects: 0,
        };
        let answer = self.client.get(route, url.clone(), &HeaderMap::new()).await;
        let answer = answer.map_err(|error| refusal(&host, &error))?.response;
        check(&answer, &host)?;
        let mut bytes = Vec::new();
        let mut chunks = answer.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| unavailable(&host, &error.without_url()))?;
            if (bytes.len() + chunk.len()) as u64 > self.max_bytes {
                return Err(Refusal::new(
                    "image-too-large",
                    format!(
                        "the component at {host} is larger than {} bytes",
                        self.max_bytes
                    ),
                ));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn check(answer: &Response, host: &str) -> Result<(), Refusal> {
    let status = answer.status();
    if !status.is_success() {
        let code = if status.as_u16() == 404 {
            "image-not-found"
        } else {
            "registry-unavailable"
        };
        return Err(Refusal::new(
            code,
            format!("{host} answered with status {status}"),
        ));
    }
    let kind = answer
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = kind.map(|kind| kind.split(';').next().unwrap_or_default().trim());
    match essence {
        None | Some("" | "application/wasm" | "application/octet-stream") => Ok(()),
        Some(_) => Err(Refusal::new(
            "image-layout",
            format!("{host} did not answer with application/wasm or application/octet-stream"),
        )),
    }
}

/// Addresses and schemes that the settings do not let anybody reach are no failure of the other side.
fn refusal(host: &str, error: &Error) -> Refusal {
    match error {
        Error::Refused { .. } | Error::PlainHttp { .. } => {
            Refusal::new("image-not-allowed", error.to_string())
        }
        Error::Failed { .. } | Error::Foreign { .. } => unavailable(host, error),
    }
}

fn unavailable(host: &str, error: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(
        "registry-unavailable",
        format!("{host} did not give the component: {error}"),
    )
}
