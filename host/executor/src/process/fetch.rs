//! Plain components from an `http(s)://` address.
//!
//! Upstream's proplet takes such an address in `image_url`, so this one does. Nothing vouches for what
//! comes from there, which is why it exists for plain tasks only. TLS is required except for hosts that
//! the settings list under `http_hosts`, and which addresses are reached is decided by
//! [`proplet_net::reach`].
//!
//! What is behind the address is told by its first bytes. The content type only helps to say what came
//! instead: storage services call everything `binary/octet-stream`, and many servers know no type for
//! Wasm. A few redirects are followed, because a download usually lies in some storage. The allow-list
//! names who is trusted to say where that is.

use std::time::Duration;

use proplet_image::{ImageError, RegistryConfig};
use proplet_net::{
    reach::{Answer, BodyError, Client, Error, Route, foreign_words},
    retry::{self, Tries},
};
use proplet_settings::AllowList;
use proplet_types::Code;
use reqwest::{Url, header::HeaderMap};
use tokio::time::Instant;

use crate::{host_text, refusal::Refusal, text::Known};

/// The most redirects that are followed.
const MAX_REDIRECTS: usize = 5;
/// The four bytes that a WebAssembly binary starts with.
const MAGIC: &[u8] = b"\0asm";

/// Fetches components over HTTP.
pub(super) struct Fetcher {
    client: Client,
    max_bytes: u64,
    deadline: Duration,
    retry_delay: Duration,
}

/// Why a try failed.
struct Trouble {
    refusal: Refusal,
    /// Whether it may pass.
    passing: bool,
    /// What the server asked to be given.
    asked: Option<Duration>,
}

impl Trouble {
    fn lasting(refusal: Refusal) -> Self {
        Self {
            refusal,
            passing: false,
            asked: None,
        }
    }
}

impl Fetcher {
    pub(super) fn new(config: &RegistryConfig) -> Result<Self, ImageError> {
        Ok(Self {
            client: config.client()?,
            max_bytes: config.max_layer_bytes,
            deadline: config.deadline,
            retry_delay: config.retry_delay,
        })
    }

    /// The bytes at an address.
    pub(super) async fn fetch(&self, text: &str, allowed: &AllowList) -> Result<Vec<u8>, Refusal> {
        let url = Url::parse(text).map_err(|error| {
            let words = host_text!(
                "image_url is not an address ({}); write https://host/path, or the reference of an image",
                Known::of_machine(&error)
            );
            Refusal::new(Code::ImageReference, words)
        })?;
        let host = authority(&url);
        if !allowed.permits(&host, url.path().trim_start_matches('/')) {
            return Err(Refusal::new(
                Code::ImageNotAllowed,
                host_text!(
                    "the settings do not allow components from {}; add it to [registry]",
                    Known::of_request(&host)
                ),
            ));
        }
        match tokio::time::timeout(self.deadline, self.persist(&url, &host)).await {
            Ok(body) => body,
            Err(_) => Err(unavailable(&host, &"no answer in time")),
        }
    }

    /// Tries until it comes, or until another try cannot help.
    async fn persist(&self, url: &Url, host: &str) -> Result<Vec<u8>, Refusal> {
        let began = Instant::now();
        let mut tries = Tries::new(self.retry_delay);
        loop {
            let trouble = match self.once(url, host).await {
                Ok(bytes) => return Ok(bytes),
                Err(trouble) => trouble,
            };
            let left = self.deadline.saturating_sub(began.elapsed());
            let wait = trouble.passing.then(|| tries.failed(trouble.asked, left));
            match wait.flatten() {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(trouble.refusal),
            }
        }
    }

    async fn once(&self, url: &Url, host: &str) -> Result<Vec<u8>, Trouble> {
        let route = Route {
            home: url,
            redirects: MAX_REDIRECTS,
        };
        let answer = self.client.get(route, url.clone(), &HeaderMap::new()).await;
        let answer = answer.map_err(|error| broken(host, &error))?;
        let (foreign, from) = (answer.foreign, answer.host.clone());
        if !answer.response.status().is_success() {
            return Err(refused(&answer, host));
        }
        let bytes = answer
            .bytes(self.max_bytes)
            .await
            .map_err(|error| match error {
                BodyError::Broken(error) => broken(host, &error),
                BodyError::TooLarge(limit) => Trouble::lasting(Refusal::new(
                    Code::ImageTooLarge,
                    host_text!(
                        "the component at {} is larger than {} bytes",
                        Known::of_request(host),
                        limit
                    ),
                )),
                BodyError::Encoding(_) => Trouble::lasting(Refusal::new(
                    Code::ImageLayout,
                    host_text!(
                        "the component at {}: {}",
                        Known::of_request(host),
                        Known::of_machine(&error)
                    ),
                )),
            })?;
        if bytes.starts_with(MAGIC) {
            return Ok(bytes);
        }
        Err(Trouble::lasting(if foreign {
            tracing::warn!("{from}, which {host} sent this host to, gave something else than Wasm");
            unavailable(host, &foreign_words(&from))
        } else {
            Refusal::new(
                Code::ImageLayout,
                host_text!(
                    "what {} answered with is not a WebAssembly binary (no \\0asm magic); check the \
                     address, and whether a web page or an archive is there",
                    Known::of_request(host)
                ),
            )
        }))
    }
}

/// An answer that is no success.
fn refused(answer: &Answer, host: &str) -> Trouble {
    let status = answer.response.status();
    let refusal = if answer.foreign {
        let from = &answer.host;
        tracing::warn!("{from}, which {host} sent this host to, answered with {status}");
        unavailable(host, &foreign_words(from))
    } else {
        let code = if status.as_u16() == 404 {
            Code::ImageNotFound
        } else {
            Code::RegistryUnavailable
        };
        let words = host_text!(
            "{} answered with status {}",
            Known::of_request(host),
            status.as_u16()
        );
        Refusal::new(code, words)
    };
    Trouble {
        refusal,
        passing: retry::may_pass(status),
        asked: retry::retry_after(answer.response.headers(), std::time::SystemTime::now()),
    }
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Addresses and schemes that the settings do not let anybody reach are no failure of the other side.
fn broken(host: &str, error: &Error) -> Trouble {
    let refusal = match error {
        Error::Refused { .. } | Error::PlainHttp { .. } => Refusal::new(
            Code::ImageNotAllowed,
            host_text!("{}", Known::of_machine(error)),
        ),
        Error::Failed { .. } | Error::Foreign { .. } => unavailable(host, error),
    };
    Trouble {
        refusal,
        passing: error.is_transient(),
        asked: None,
    }
}

fn unavailable(host: &str, error: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(
        Code::RegistryUnavailable,
        host_text!(
            "{} did not give the component: {}",
            Known::of_request(host),
            Known::of_machine(error)
        ),
    )
}
