//! A served interface and a client of it.

use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use proplet_agent::{Interface, Listener, Serving};
use proplet_hal::{Evidence, EvidenceError, ReportData, TeeName, TeeProvider};
use proplet_testkit::grpc::{GrpcClient, GrpcStatus};
use prost::Message;
use tokio::sync::watch;

pub const ATTESTATION_AGENT: &str = "/attestation_agent.AttestationAgentService";
pub const KEY_PROVIDER: &str = "/keyprovider.KeyProviderService";

pub const INVALID_ARGUMENT: u32 = 3;
pub const NOT_FOUND: u32 = 5;
pub const PERMISSION_DENIED: u32 = 7;
pub const RESOURCE_EXHAUSTED: u32 = 8;
pub const FAILED_PRECONDITION: u32 = 9;
pub const OUT_OF_RANGE: u32 = 11;
pub const UNIMPLEMENTED: u32 = 12;
pub const UNAVAILABLE: u32 = 14;

/// A service that is served, and who asks it.
pub struct Served {
    pub serving: Serving,
    pub client: GrpcClient,
    service: &'static str,
}

impl Served {
    pub async fn new(service: &'static str, interface: impl Interface) -> Self {
        Self::with_patience(service, interface, Duration::from_secs(60)).await
    }

    pub async fn with_patience(
        service: &'static str,
        interface: impl Interface,
        patience: Duration,
    ) -> Self {
        let listener = Listener::bind(loopback()).await.unwrap();
        let serving = listener.serve(Arc::new(interface), patience);
        Self {
            client: GrpcClient::connect(serving.address()).await.unwrap(),
            serving,
            service,
        }
    }

    pub fn path(&self, method: &str) -> String {
        format!("{}/{method}", self.service)
    }

    /// Calls a method with a message of bytes.
    pub async fn bytes(&self, method: &str, message: &[u8]) -> Result<Vec<u8>, GrpcStatus> {
        self.client.call(&self.path(method), message).await.unwrap()
    }

    /// Calls a method.
    pub async fn ask<A: Message + Default>(
        &self,
        method: &str,
        message: &impl Message,
    ) -> Result<A, GrpcStatus> {
        let answer = self.bytes(method, &message.encode_to_vec()).await?;
        Ok(A::decode(answer.as_slice()).unwrap())
    }

    /// Calls a method that refuses, with this status and these words.
    pub async fn refused(&self, method: &str, message: &impl Message, code: u32, words: &str) {
        let refusal = self.bytes(method, &message.encode_to_vec()).await;
        let refusal = refusal.unwrap_err();
        assert_eq!(refusal.code, code, "{method}: {refusal:?}");
        assert!(refusal.message.contains(words), "{method}: {refusal:?}");
    }
}

/// Any free port.
pub fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// A TEE that is asked and never answers, and says how many wait.
pub struct Hanging(pub watch::Sender<usize>);

#[async_trait]
impl TeeProvider for Hanging {
    fn tee(&self) -> TeeName {
        TeeName::SNP
    }

    fn attester(&self) -> &str {
        "hanging"
    }

    fn is_hardware(&self) -> bool {
        false
    }

    async fn evidence(&self, _: &ReportData) -> Result<Evidence, EvidenceError> {
        self.0.send_modify(|waiting| *waiting += 1);
        pending().await
    }

    async fn init_data(&self) -> Result<Option<Vec<u8>>, EvidenceError> {
        Ok(None)
    }
}
