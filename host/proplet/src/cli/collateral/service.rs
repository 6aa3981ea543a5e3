//! Intel's API for collateral, version 4, as a PCCS and Intel itself speak it.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use http::{HeaderMap, StatusCode};
use proplet_hal::tdx::chain_of_header;
use proplet_net::{
    names::Names,
    reach::{self, Client, Endpoints, Route},
    retry::{self, Tries},
};
use proplet_types::Code;
use url::Url;

use super::super::{
    arguments::{CollateralFetch, Fmspc},
    error::CliError,
    files,
};

/// Larger than any answer: Intel's lists of revoked certificates have less than 1 MiB.
const MAX_ANSWER_BYTES: u64 = 4 * 1024 * 1024;
/// How often an answer may send us on.
const REDIRECTS: usize = 3;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const READ_TIMEOUT: Duration = Duration::from_secs(30);
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// Longer than any command waits; its own deadline ends it before.
const NO_DEADLINE: Duration = Duration::from_secs(3600);
/// What people copy from the configuration of other tools.
const VERSIONS: [&str; 2] = ["/sgx/certification/v4", "/tdx/certification/v4"];
/// Intel's own service has no path for the root's list; it lies here.
const INTEL: &str = "api.trustedservices.intel.com";
const INTEL_ROOT_CRL: &str = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der";

/// One file to write.
pub(super) struct Fetched {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// Where collateral is fetched from.
pub(super) struct Service {
    client: Client,
    base: Url,
    /// Why it was last asked again.
    trouble: Mutex<Option<String>>,
}

impl Service {
    pub(super) fn new(arguments: &CollateralFetch) -> Result<Self, CliError> {
        let mut base = arguments.url.clone();
        let usage = |words: &str| CliError::usage(format!("the URL of the service: {words}"));
        let host = base.host_str().ok_or_else(|| usage("it names no host"))?;
        let host = match base.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        match base.scheme() {
            "https" => {}
            "http" if arguments.http => {}
            "http" => return Err(usage("it is plain http; give --http if that is meant")),
            _ => return Err(usage("it has to be https")),
        }
        let path = base.path().trim_end_matches('/');
        let path = VERSIONS.iter().fold(path, |path, version| {
            path.strip_suffix(version).unwrap_or(path)
        });
        let path = path.to_owned();
        base.set_path(&path);
        base.set_query(None);
        base.set_fragment(None);
        let ca_pem = match &arguments.ca {
            Some(path) => Some(files::read("certificates", path, files::MAX_KEY_BYTES)?.to_vec()),
            None => None,
        };
        // Whoever types the name means that service, wherever it is.
        let plain = arguments.http.then_some(host.as_str());
        let endpoints = Endpoints::new(plain, [host.as_str()]);
        let endpoints = endpoints.map_err(|error| usage(&error.to_string()))?;
        let client = Client::new(reach::Config {
            endpoints,
            ca_pem,
            proxy: arguments.proxy.clone(),
            names: Names::default(),
            connect_timeout: CONNECT_TIMEOUT,
            read_timeout: READ_TIMEOUT,
        })
        .map_err(|error| CliError::new(Code::CollateralUnavailable, error.to_string()))?;
        Ok(Self {
            client,
            base,
            trouble: Mutex::default(),
        })
    }

    /// Its host and port, for messages.
    pub(super) fn name(&self) -> String {
        self.base.origin().ascii_serialization()
    }

    /// What the service was last in trouble with, if it was.
    pub(super) fn last_trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock();
        trouble.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember(&self, trouble: String) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
    }

    /// Everything for these platforms.
    pub(super) async fn fetch(
        &self,
        platforms: &[Fmspc],
        now: SystemTime,
    ) -> Result<Vec<Fetched>, CliError> {
        let mut files = Vec::new();
        for Fmspc(fmspc) in platforms {
            let fmspc = hex::encode(fmspc);
            let url = self.url("tdx", "tcb", &[("fmspc", fmspc.as_str())]);
            let answer = self.get(&url, now).await?;
            answer.files(
                &mut files,
                &format!("tcb-info-{fmspc}"),
                "json",
                "tcb-info-issuer-chain",
            )?;
        }
        let url = self.url("tdx", "qe/identity", &[]);
        let answer = self.get(&url, now).await?;
        answer.files(
            &mut files,
            "qe-identity",
            "json",
            "sgx-enclave-identity-issuer-chain",
        )?;
        for ca in ["platform", "processor"] {
            let url = self.url("sgx", "pckcrl", &[("ca", ca), ("encoding", "der")]);
            let answer = self.get(&url, now).await?;
            answer.files(
                &mut files,
                &format!("pck-{ca}"),
                "crl",
                "sgx-pck-crl-issuer-chain",
            )?;
        }
        let answer = self.get(&self.root_crl(), now).await?;
        files.push(Fetched {
            name: "root-ca.crl".to_owned(),
            bytes: answer.body,
        });
        Ok(files)
    }

    fn url(&self, tee: &str, path: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        let below = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{below}/{tee}/certification/v4/{path}"));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    fn root_crl(&self) -> Url {
        let intel = Url::parse(INTEL_ROOT_CRL).ok();
        intel
            .filter(|_| self.base.host_str() == Some(INTEL))
            .unwrap_or_else(|| self.url("sgx", "rootcacrl", &[]))
    }

    /// One answer, tried again while the service is in trouble.
    async fn get(&self, url: &Url, now: SystemTime) -> Result<Answer, CliError> {
        let mut tries = Tries::new(RETRY_DELAY);
        loop {
            let (error, asked, passes) = match self.get_once(url).await {
                Ok(answer) if answer.status == StatusCode::OK => return Ok(answer),
                Ok(answer) => {
                    let asked = retry::retry_after(&answer.headers, now);
                    let words =
                        format!("{url} answered {}{}", answer.status, meaning(answer.status));
                    (words, asked, retry::may_pass(answer.status))
                }
                Err((words, passes)) => (format!("{url}: {words}"), None, passes),
            };
            let wait = passes.then(|| tries.failed(asked, NO_DEADLINE)).flatten();
            match wait {
                Some(wait) => {
                    self.remember(error);
                    tokio::time::sleep(wait).await;
                }
                None => return Err(CliError::new(Code::CollateralUnavailable, error)),
            }
        }
    }

    async fn get_once(&self, url: &Url) -> Result<Answer, (String, bool)> {
        let route = Route {
            home: url,
            redirects: REDIRECTS,
        };
        let answer = self.client.get(route, url.clone(), &HeaderMap::new()).await;
        let answer = answer.map_err(|error| {
            let passes = error.is_transient();
            let words = match error {
                reach::Error::Refused { host } => {
                    format!("it was sent on to {host}, a private address")
                }
                reach::Error::PlainHttp { host } => {
                    format!("it was sent on to {host} over plain http")
                }
                other => other.to_string(),
            };
            (words, passes)
        })?;
        let status = answer.response.status();
        let headers = answer.response.headers().clone();
        let body = answer.bytes(MAX_ANSWER_BYTES).await;
        let body = body.map_err(|error| match error {
            reach::BodyError::Broken(error) => (error.to_string(), error.is_transient()),
            other => (other.to_string(), false),
        })?;
        Ok(Answer {
            status,
            headers,
            body,
        })
    }
}

/// An answer of the service.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    /// The body, and the chain of the certificate that signed it, which comes in a header.
    fn files(
        self,
        files: &mut Vec<Fetched>,
        name: &str,
        ending: &str,
        chain: &str,
    ) -> Result<(), CliError> {
        // Version 3 had another name for one of them, and mirrors may have kept it.
        let value = self
            .headers
            .get(chain)
            .or_else(|| self.headers.get(format!("sgx-{chain}")));
        let chain = value.ok_or_else(|| {
            let words = format!("the service gave no header {chain} with {name}: it is no PCCS");
            CliError::new(Code::CollateralInvalid, words)
        })?;
        let pem = chain.to_str().ok().and_then(chain_of_header);
        let pem = pem.ok_or_else(|| {
            let words =
                format!("the chain of issuers that came with {name} is not percent-encoded PEM");
            CliError::new(Code::CollateralInvalid, words)
        })?;
        files.push(Fetched {
            name: format!("{name}.{ending}"),
            bytes: self.body,
        });
        files.push(Fetched {
            name: format!("{name}-issuers.pem"),
            bytes: pem.into_bytes(),
        });
        Ok(())
    }
}

/// What Intel's API means by a status, where that helps.
fn meaning(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => ": it knows no such platform, or is no PCCS",
        StatusCode::BAD_REQUEST => ": it does not take the request; check the FMSPC",
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ": it wants credentials",
        StatusCode::GONE => ": it no longer gives collateral of this version",
        _ => "",
    }
}
