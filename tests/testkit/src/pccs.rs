//! A mirror of Intel's collateral (PCCS) in this process.
//!
//! Speaks version 4 of Intel's API over TLS on a loopback port of the system's choice, under an authority of its
//! own, and gives what it was told to: signed by whoever the test likes, or nonsense. It can be told to be
//! busy, and it counts what it is asked for.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, Uri};
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::registry::tls::TlsListener;

/// What a mirror has. Chains are PEM, leaf first.
#[derive(Debug, Clone, Default)]
pub struct Mirrored {
    /// The kind of platform that there is TCB info for, in hexadecimal.
    pub fmspc: String,
    /// `{"tcbInfo":…,"signature":…}`
    pub tcb_info: String,
    /// `{"enclaveIdentity":…,"signature":…}`
    pub qe_identity: String,
    /// The signer of both, and its issuer.
    pub signer_chain: String,
    /// Revoked PCK certificates of the platform CA, DER.
    pub pck_crl: Vec<u8>,
    /// The platform CA, and its issuer.
    pub pck_crl_chain: String,
    /// What the root revoked, DER. A PCCS gives it in hexadecimal.
    pub root_crl: Vec<u8>,
}

/// A running mirror. Stops when dropped.
pub struct Pccs {
    address: SocketAddr,
    ca_pem: String,
    state: Arc<State>,
    task: JoinHandle<()>,
}

struct State {
    mirrored: Mirrored,
    asked: Mutex<Vec<String>>,
    /// Statuses of the next answers.
    failures: Mutex<Vec<u16>>,
}

impl Pccs {
    /// Starts a mirror of this.
    ///
    /// # Errors
    /// When no loopback port can be had, or no certificate made.
    pub async fn start(mirrored: Mirrored) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (listener, ca_pem) = TlsListener::new(listener)?;
        let state = Arc::new(State {
            mirrored,
            asked: Mutex::default(),
            failures: Mutex::default(),
        });
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&state));
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            address,
            ca_pem,
            state,
            task,
        })
    }

    /// Its address, as the command line takes it.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// PEM of the authority that signed its certificate.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Paths and queries that were asked for, in their order.
    pub fn asked(&self) -> Vec<String> {
        let asked = self.state.asked.lock();
        asked.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers the next requests with these statuses, the last one first.
    pub fn fail_with(&self, statuses: &[u16]) {
        let failures = self.state.failures.lock();
        *failures.unwrap_or_else(PoisonError::into_inner) = statuses.to_vec();
    }
}

impl Drop for Pccs {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    extract::State(state): extract::State<Arc<State>>,
    uri: Uri,
) -> Response<axum::body::Body> {
    let asked = uri.path_and_query().map_or("", |asked| asked.as_str());
    let mut seen = state.asked.lock().unwrap_or_else(PoisonError::into_inner);
    seen.push(asked.to_owned());
    drop(seen);
    let mut failures = state
        .failures
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some(status) = failures.pop() {
        return plain(status, Bytes::new());
    }
    drop(failures);
    let has = &state.mirrored;
    let tcb = format!("/tdx/certification/v4/tcb?fmspc={}", has.fmspc);
    match asked {
        path if path == tcb => with_chain(
            has.tcb_info.clone(),
            "tcb-info-issuer-chain",
            &has.signer_chain,
        ),
        "/tdx/certification/v4/qe/identity" => with_chain(
            has.qe_identity.clone(),
            "sgx-enclave-identity-issuer-chain",
            &has.signer_chain,
        ),
        "/sgx/certification/v4/pckcrl?ca=platform&encoding=der" => with_chain(
            has.pck_crl.clone(),
            "sgx-pck-crl-issuer-chain",
            &has.pck_crl_chain,
        ),
        // There are no platforms of the other CA here; its list is as good as any.
        "/sgx/certification/v4/pckcrl?ca=processor&encoding=der" => with_chain(
            has.pck_crl.clone(),
            "sgx-pck-crl-issuer-chain",
            &has.pck_crl_chain,
        ),
        "/sgx/certification/v4/rootcacrl" => plain(200, hex::encode(&has.root_crl)),
        _ => plain(404, Bytes::new()),
    }
}

fn with_chain(
    body: impl Into<Bytes>,
    header: &'static str,
    chain: &str,
) -> Response<axum::body::Body> {
    let mut response = plain(200, body);
    if let Ok(value) = HeaderValue::from_str(&percent_encoded(chain)) {
        let name = HeaderName::from_static(header);
        response.headers_mut().insert(name, value);
    }
    response
}

fn plain(status: u16, body: impl Into<Bytes>) -> Response<axum::body::Body> {
    let mut response = Response::new(axum::body::Body::from(body.into()));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

fn percent_encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}
