//! Requests by hand.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proplet_jose::jwk::PrivateKey;
use proplet_kbs::protocol::{
    Attestation, Challenge, HashAlgorithm, Request, RuntimeData, TeeEvidence, TeePublicKey,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::kbs::DevKeyBroker;

/// An answer.
#[derive(Debug, Default)]
pub(super) struct Raw {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Raw {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// `kbs-session-id=…`
    pub(super) fn cookie(&self) -> Option<String> {
        self.header("set-cookie")?
            .split(';')
            .next()
            .map(str::to_owned)
    }

    /// The last part of an error's type.
    pub(super) fn variant(&self) -> String {
        let error_type = self.json()["type"].as_str().unwrap_or_default().to_owned();
        error_type.rsplit('/').next().unwrap_or_default().to_owned()
    }
}

/// Sends bytes and reads until the broker closes. An empty answer has status 0.
pub(super) async fn send_bytes(broker: &DevKeyBroker, request: &[u8]) -> Raw {
    let mut stream = TcpStream::connect(broker.address()).await.unwrap();
    // A broker that has seen enough may close before it has read everything.
    let _ = stream.write_all(request).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Raw::default();
    };
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_ascii_lowercase(), value.trim().to_owned())
    };
    Raw {
        status,
        headers: lines.map(header).collect(),
        body: answer[end + 4..].to_vec(),
    }
}

pub(super) async fn send(
    broker: &DevKeyBroker,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Raw {
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: kbs\r\nconnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    send_bytes(broker, &[request.as_bytes(), body].concat()).await
}

/// A session that is begun.
pub(super) struct Begun {
    pub(super) cookie: String,
    pub(super) nonce: String,
}

pub(super) async fn begin(broker: &DevKeyBroker, tee: &str) -> Begun {
    let request = serde_json::to_vec(&Request::new(tee.parse().unwrap())).unwrap();
    let answer = send(broker, "POST", "/kbs/v0/auth", &[], &request).await;
    let nonce = Challenge::parse(&answer.body).unwrap().nonce;
    Begun {
        cookie: answer.cookie().unwrap(),
        nonce,
    }
}

/// A good attestation of the sample TEE.
pub(super) fn attestation(nonce: &str, key: &PrivateKey) -> Attestation {
    let tee_pubkey = TeePublicKey::new(key.public()).unwrap();
    let runtime_data = RuntimeData {
        nonce: nonce.to_owned(),
        tee_pubkey,
    };
    let digest = runtime_data
        .primary_digest("", HashAlgorithm::Sha384)
        .unwrap();
    let tee_evidence = TeeEvidence {
        primary_evidence: json!({ "svn": "1", "report_data": STANDARD.encode(digest) }),
        additional_evidence: String::new(),
    };
    Attestation {
        init_data: None,
        runtime_data,
        tee_evidence,
    }
}

pub(super) async fn attest(broker: &DevKeyBroker, cookie: &str, attestation: &Attestation) -> Raw {
    let body = serde_json::to_vec(attestation).unwrap();
    send(
        broker,
        "POST",
        "/kbs/v0/attest",
        &[("cookie", cookie)],
        &body,
    )
    .await
}
