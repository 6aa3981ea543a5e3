//! What a peer cannot have: more time, memory, evidence or connections than there is for it.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use proplet_agent::messages::{GetEvidenceRequest, GetEvidenceResponse, GetTeeTypeResponse};
use proplet_agent::{AttestationAgent, Interface, ListenError, Listener};
use proplet_testkit::grpc::GrpcClient;
use proplet_testkit::tee::FakeSnp;
use prost::Message as _;
use tokio::sync::watch;

use super::support::*;

/// Requests that are answered at once.
const MAX_REQUESTS: usize = 32;
/// Of those, over one connection.
const MAX_STREAMS: usize = 4;
/// Connections that are taken at once.
const MAX_CONNECTIONS: usize = 32;

async fn agent(per_minute: u32) -> (Arc<FakeSnp>, Served) {
    let tee = Arc::new(FakeSnp::new());
    let agent = AttestationAgent::new(Some(tee.clone()), per_minute);
    (tee, Served::new(ATTESTATION_AGENT, agent).await)
}

fn challenge() -> GetEvidenceRequest {
    GetEvidenceRequest {
        runtime_data: vec![7; 48],
    }
}

#[tokio::test]
async fn a_minute_has_so_much_evidence() {
    let (tee, agent) = agent(2).await;
    for _ in 0..2 {
        let answer = agent
            .ask::<GetEvidenceResponse>("GetEvidence", &challenge())
            .await;
        answer.unwrap();
    }
    let words = "[agent] evidence_per_minute";
    agent
        .refused("GetEvidence", &challenge(), RESOURCE_EXHAUSTED, words)
        .await;
    assert_eq!(tee.evidence_calls(), 2);
    agent
        .ask::<GetTeeTypeResponse>("GetTeeType", &())
        .await
        .unwrap();
}

#[tokio::test]
async fn what_is_no_message_is_refused() {
    let (tee, agent) = agent(6000).await;
    for junk in [&b"\xff\xff\xff\xff"[..], &[0x0a, 0x7f, 1], &[0x0a]] {
        let refusal = agent.bytes("GetEvidence", junk).await.unwrap_err();
        assert_eq!(refusal.code, INVALID_ARGUMENT, "{junk:?}: {refusal:?}");
    }
    let path = agent.path("GetEvidence");
    // No frame, half a frame, a frame that is compressed, and none at all.
    for body in [
        &b"GET / HTTP/1.1"[..],
        &[0, 0, 0, 0, 9, 1],
        &[1, 0, 0, 0, 1, 1],
        &[],
    ] {
        let sent = agent.client.send(&path, Bytes::copy_from_slice(body)).await;
        sent.unwrap().unwrap_err();
    }
    assert_eq!(tee.evidence_calls(), 0);
    agent
        .ask::<GetTeeTypeResponse>("GetTeeType", &())
        .await
        .unwrap();
}

#[tokio::test]
async fn large_messages_are_refused_before_they_are_read() {
    let (tee, agent) = agent(6000).await;
    let large = GetEvidenceRequest {
        runtime_data: vec![7; 64 * 1024],
    };
    agent
        .refused("GetEvidence", &large, OUT_OF_RANGE, "65536 bytes")
        .await;
    // Only announced: four gigabytes.
    let announced = Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff, 1]);
    let path = agent.path("GetEvidence");
    let refusal = agent
        .client
        .send(&path, announced)
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(refusal.code, OUT_OF_RANGE, "{refusal:?}");
    assert_eq!(tee.evidence_calls(), 0);
}

#[tokio::test]
async fn so_many_requests_are_answered_at_once_and_no_more() {
    let (count, mut waiting) = watch::channel(0);
    let agent = AttestationAgent::new(Some(Arc::new(Hanging(count))), 6000);
    let agent = Served::new(ATTESTATION_AGENT, agent).await;
    let address = agent.serving.address();
    let mut others = Vec::new();
    for _ in 0..MAX_REQUESTS / MAX_STREAMS {
        let client = Arc::new(GrpcClient::connect(address).await.unwrap());
        for _ in 0..MAX_STREAMS {
            let (client, path) = (Arc::clone(&client), agent.path("GetEvidence"));
            let message = challenge().encode_to_vec();
            others.push(tokio::spawn(
                async move { client.call(&path, &message).await },
            ));
        }
    }
    waiting
        .wait_for(|count| *count == MAX_REQUESTS)
        .await
        .unwrap();
    let second = GrpcClient::connect(address).await.unwrap();
    let path = agent.path("GetTeeType");
    let refusal = second.call(&path, &[]).await.unwrap().unwrap_err();
    assert_eq!(refusal.code, RESOURCE_EXHAUSTED, "{refusal:?}");
    for other in others {
        other.abort();
        assert!(other.await.unwrap_err().is_cancelled());
    }
    // Whoever leaves makes room.
    loop {
        if second.call(&path, &[]).await.unwrap().is_ok() {
            break;
        }
    }
}

#[tokio::test]
async fn a_request_that_hangs_ends() {
    let (count, _) = watch::channel(0);
    let agent = AttestationAgent::new(Some(Arc::new(Hanging(count))), 6000);
    let patience = Duration::from_millis(50);
    let agent = Served::with_patience(ATTESTATION_AGENT, agent, patience).await;
    let answer = agent
        .ask::<GetEvidenceResponse>("GetEvidence", &challenge())
        .await;
    let refusal = answer.unwrap_err();
    assert!(refusal.message.contains("Timeout"), "{refusal:?}");
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_for_a_place() {
    let (_, agent) = agent(6000).await;
    let address = agent.serving.address();
    let path = agent.path("GetTeeType");
    let mut clients = Vec::new();
    for _ in 1..MAX_CONNECTIONS {
        let client = GrpcClient::connect(address).await.unwrap();
        client.call(&path, &[]).await.unwrap().unwrap();
        clients.push(client);
    }
    let one_more = tokio::spawn({
        let path = path.clone();
        async move {
            let client = GrpcClient::connect(address).await.unwrap();
            client.call(&path, &[]).await.unwrap().unwrap();
        }
    });
    for client in &clients {
        client.call(&path, &[]).await.unwrap().unwrap();
    }
    assert!(!one_more.is_finished());
    clients.pop();
    one_more.await.unwrap();
}

#[tokio::test]
async fn only_loopback_is_listened_on() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let address: SocketAddr = address.parse().unwrap();
        let error = Listener::bind(address).await.unwrap_err();
        assert!(matches!(error, ListenError::NotLoopback(_)), "{error}");
    }
    let taken = Listener::bind(loopback()).await.unwrap();
    let error = Listener::bind(taken.address()).await.unwrap_err();
    assert!(matches!(error, ListenError::Bind { .. }), "{error}");
}

/// Never answers.
struct Silent;

#[async_trait]
impl Interface for Silent {
    fn name(&self) -> &'static str {
        "silent.Silent"
    }

    async fn answer(
        &self,
        _: &str,
        _: Bytes,
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, tonic::Status> {
        pending().await
    }
}

#[tokio::test]
async fn dropping_it_ends_it() {
    let served = Served::new("/silent.Silent", Silent).await;
    let address = served.serving.address();
    drop(served.serving);
    // The listener is closed by a task of its own. Nothing is asked: what was asked before the end is still answered.
    while GrpcClient::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

/// Answers with a megabyte, and says how often it was asked.
struct Large(watch::Sender<usize>);

#[async_trait]
impl Interface for Large {
    fn name(&self) -> &'static str {
        "large.Large"
    }

    async fn answer(
        &self,
        _: &str,
        _: Bytes,
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, tonic::Status> {
        self.0.send_modify(|asked| *asked += 1);
        Ok(vec![7; 1 << 20].into())
    }
}

#[tokio::test]
async fn answers_that_nobody_reads_are_bounded_and_taken_back() {
    let (count, asked) = watch::channel(0);
    let large = Served::new("/large.Large", Large(count)).await;
    let (address, path) = (large.serving.address(), large.path("Any"));
    let (mut clients, mut unread) = (Vec::new(), Vec::new());
    for _ in 0..MAX_REQUESTS / MAX_STREAMS {
        let client = GrpcClient::connect(address).await.unwrap();
        for _ in 0..MAX_STREAMS {
            unread.push(client.unread(&path).await.unwrap().unwrap());
        }
        clients.push(client);
    }
    let refused = large.client.call(&path, &[]).await.unwrap().err().unwrap();
    assert_eq!(refused.code, RESOURCE_EXHAUSTED, "{refused:?}");
    assert_eq!(*asked.borrow(), MAX_REQUESTS);
    tokio::time::pause();
    for answer in &mut unread {
        assert!(answer.taken_back().await.is_err());
    }
    tokio::time::resume();
    // On a connection that has not lived through that time.
    let client = GrpcClient::connect(address).await.unwrap();
    let answer = client.call(&path, &[]).await.unwrap().unwrap();
    assert_eq!(answer.len(), 1 << 20);
}

#[tokio::test]
async fn requests_that_do_not_come_whole_take_no_place() {
    let (_, agent) = agent(6000).await;
    let (address, path) = (agent.serving.address(), agent.path("GetTeeType"));
    let (mut clients, mut halves) = (Vec::new(), Vec::new());
    while halves.len() < MAX_REQUESTS {
        let client = GrpcClient::connect(address).await.unwrap();
        for _ in 1..MAX_STREAMS {
            halves.push(client.half(&path).await.unwrap());
        }
        // What came before this has been seen when this is answered.
        client.call(&path, &[]).await.unwrap().unwrap();
        clients.push(client);
    }
    agent.client.call(&path, &[]).await.unwrap().unwrap();
}
