//! Requests that guests answer.

use std::net::SocketAddr;

use proplet_jose::jwk::PrivateKey;
use proplet_lab::{Sources, workload::with_recipients};
use proplet_testkit::{ports::free_address, tee::FakeSnp};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::{JoinHandle, JoinSet},
};

use super::*;

/// A guest that answers requests, served.
struct Served {
    address: SocketAddr,
    cancel: CancelToken,
    outcome: JoinHandle<TaskOutcome>,
}

async fn serve(more: &str) -> Served {
    let address = free_address().unwrap();
    let executor = host(&format!("[http]\nlisten = \"{address}\"\n{more}"), None);
    let cancel = CancelToken::new();
    let request = Request {
        source: Source::File(guest(GuestName::WebServer).await),
        task: task("", &[]),
    };
    let token = cancel.clone();
    let outcome = tokio::spawn(async move { executor.execute(request, token).await });
    while TcpStream::connect(address).await.is_err() {
        assert!(!outcome.is_finished(), "it is not served");
        tokio::task::yield_now().await;
    }
    Served {
        address,
        cancel,
        outcome,
    }
}

impl Served {
    async fn send(&self, bytes: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // It may have been cut off already.
        let _ = stream.write_all(bytes.as_bytes()).await;
        stream
    }

    async fn get(&self, path: &str) -> String {
        let head = format!("GET {path} HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n");
        rest(self.send(&head).await).await
    }

    async fn stop(self) -> TaskOutcome {
        self.cancel.cancel();
        self.outcome.await.unwrap()
    }
}

async fn rest(mut stream: TcpStream) -> String {
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all).await;
    String::from_utf8_lossy(&all).into_owned()
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_server_runs_with_an_instance_for_each_request_until_it_is_stopped() {
    let served = serve("").await;
    let answer = served.get("/there").await;
    assert_eq!(status(&answer), "200", "{answer}");
    assert!(answer.contains("Hello from /there"), "{answer}");
    for _ in 0..3 {
        let count = served.get("/count").await;
        // Chunked: a length, and the count.
        assert!(count.contains("\r\n\r\n1\r\n1\r\n"), "{count}");
    }
    let body = "x".repeat(100_000);
    let post = format!(
        "POST /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let echo = rest(served.send(&post).await).await;
    assert_eq!(echo.matches('x').count(), body.len());
    let address = served.address;
    let outcome = served.stop().await;
    assert_eq!(
        text(&outcome),
        format!("started at port {}", address.port())
    );
    TcpStream::connect(address).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_misbehaves_ends_alone() {
    let limits = "[limits]\nmemory_bytes = 16777216\ncpu_ms = 200\n";
    let served = serve(limits).await;
    for (path, expected, code) in [
        ("/trap", "500", "guest-trapped"),
        ("/nothing", "500", "guest-failed"),
        ("/memory", "500", "limit-memory"),
        ("/spin", "500", "limit-cpu"),
    ] {
        let answer = served.get(path).await;
        assert_eq!(status(&answer), expected, "{path}: {answer}");
        assert!(answer.contains(code), "{path}: {answer}");
    }
    let answer = served.get("/").await;
    assert_eq!(status(&answer), "200");
    served.stop().await;
}

/// A client that reads a while and goes ends the instance that answers it: with one place, the next is served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_ends_its_instance() {
    let served = serve("requests = 1\n").await;
    for _ in 0..3 {
        let mut stream = served
            .send("GET /endless HTTP/1.1\r\nhost: a\r\n\r\n")
            .await;
        stream.read_exact(&mut [0; 100_000]).await.unwrap();
    }
    assert_eq!(status(&served.get("/").await), "200");
    served.stop().await;
}

/// A thousand clients that never finish what they say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_slow_connections_do_not_take_the_places_for_ever() {
    let served = serve("connections = 64\n").await;
    let mut slow = JoinSet::new();
    for _ in 0..1000 {
        let stream = served.send("GET / HTTP/1.1\r\nhost: a\r\nx-slow: ").await;
        slow.spawn(rest(stream));
    }
    // Those that found no place are cut off at once.
    for _ in 0..1000 - 64 {
        let answer = slow.join_next().await.unwrap().unwrap();
        assert!(!answer.contains("200 OK"), "{answer}");
    }
    // Nobody waits for the rest: it ends with them, or with their time, which the server's own tests show.
    drop(slow);
    let answer = loop {
        let answer = served.get("/").await;
        if !answer.is_empty() {
            break answer;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(status(&answer), "200");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_requests_are_refused() {
    let served = serve("").await;
    for (bytes, expected) in [
        ("GET / HTTP/1.1\r\nconnection: close\r\n\r\n", "400"),
        ("NONSENSE\r\n\r\n", "400"),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            "400",
        ),
    ] {
        let answer = rest(served.send(bytes).await).await;
        assert_eq!(status(&answer), expected, "{bytes}: {answer}");
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_is_served_the_task_is_refused() {
    let outcome = run(&host("", None), GuestName::WebServer, "", &[]).await;
    assert_eq!(code(&outcome), "http-not-served");
    let words = outcome.error.unwrap().full_words();
    assert!(words.contains("[http] listen"), "{words}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_component_is_not_served() {
    let address = free_address().unwrap();
    let sources = Sources::start().await.unwrap();
    let reader = PrivateKey::generate_p256().unwrap();
    let settings = sources
        .settings(&format!("[http]\nlisten = \"{address}\"\n"))
        .unwrap();
    let executor = on(settings, Some(Arc::new(FakeSnp::new())));
    let policy = with_recipients("version = 1\n", &[reader.public().clone()]);
    let component = guest(GuestName::WebServer).await;
    let key_id = "kbs:///default/key/server".parse().unwrap();
    let published = sources.publish("server", &component, Some(&policy), key_id);
    let (_, reference) = published.await.unwrap();
    let request = Request {
        source: Source::Encrypted {
            image: reference.to_string(),
            expected_key: None,
        },
        task: task("", &[]),
    };
    let outcome = executor.execute(request, CancelToken::new()).await;
    assert_eq!(code(&outcome), "http-encrypted");
    TcpStream::connect(address).await.unwrap_err();
}
