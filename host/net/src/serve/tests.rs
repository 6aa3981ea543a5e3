use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};

use super::*;

/// Answers with the request's body, or when it is told to.
#[derive(Default)]
struct Echo {
    begun: AtomicUsize,
    go_on: Notify,
}

impl Handler for Echo {
    type Body = Full<Bytes>;

    async fn answer(&self, request: Request<Bounded>) -> Response<Self::Body> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        if request.uri().path() == "/wait" {
            self.go_on.notified().await;
        }
        match request.into_body().collect().await {
            Ok(body) => Response::new(Full::new(body.to_bytes())),
            Err(trouble) => {
                let mut answer = Response::new(Full::new(trouble.to_string().into()));
                *answer.status_mut() = http::StatusCode::BAD_REQUEST;
                answer
            }
        }
    }
}

struct Server {
    address: SocketAddr,
    echo: Arc<Echo>,
    end: oneshot::Sender<()>,
    done: tokio::task::JoinHandle<()>,
}

async fn server(bounds: Bounds) -> Server {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let echo = Arc::new(Echo::default());
    let (end, ended) = oneshot::channel();
    let served = serve(listener, Arc::clone(&echo), bounds, async {
        let _ = ended.await;
    });
    Server {
        address,
        echo,
        end,
        done: tokio::spawn(served),
    }
}

async fn send(server: &Server, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // It may have been cut off already.
    let _ = stream.write_all(bytes.as_bytes()).await;
    stream
}

async fn rest(mut stream: TcpStream) -> String {
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all).await;
    String::from_utf8(all).unwrap()
}

const POST: &str = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 5\r\n\r\n";

#[tokio::test]
async fn a_request_is_answered() {
    let server = server(Bounds::default()).await;
    let answer = rest(send(&server, &format!("{POST}hello")).await).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
}

/// A thousand clients that never finish their heads: they get no more than the places, lose those when their time
/// is over, and then an honest client is served.
#[tokio::test]
async fn slow_heads_lose_their_places() {
    let bounds = Bounds {
        connections: 20,
        head: Duration::from_millis(100),
        ..Bounds::default()
    };
    let server = server(bounds).await;
    let mut slow = Vec::new();
    for _ in 0..1000 {
        slow.push(send(&server, "GET / HTTP/1.1\r\nhost: a\r\nx-slow: ").await);
    }
    for stream in slow {
        let answer = rest(stream).await;
        assert!(!answer.contains("200 OK"), "{answer}");
    }
    assert_eq!(server.echo.begun.load(Ordering::SeqCst), 0);
    let answer = rest(send(&server, &format!("{POST}hello")).await).await;
    assert!(answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn silent_bodies_and_large_ones_end() {
    let bounds = Bounds {
        silence: Duration::from_millis(50),
        body_bytes: 4,
        ..Bounds::default()
    };
    let server = server(bounds).await;
    let answer = rest(send(&server, &format!("{POST}he")).await).await;
    assert!(answer.contains("did not go on in time"), "{answer}");
    let answer = rest(send(&server, &format!("{POST}hello")).await).await;
    assert!(answer.contains("more than 4 bytes"), "{answer}");
}

#[tokio::test]
async fn large_heads_are_refused() {
    let server = server(Bounds::default()).await;
    let head = format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "a".repeat(100_000)
    );
    let answer = rest(send(&server, &head).await).await;
    assert!(!answer.contains("200 OK"), "{answer}");
    let fields = format!(
        "GET / HTTP/1.1\r\nhost: a\r\n{}\r\n",
        "a: b\r\n".repeat(200)
    );
    let answer = rest(send(&server, &fields).await).await;
    assert!(answer.contains("431"), "{answer}");
    assert_eq!(server.echo.begun.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn requests_under_way_are_finished_and_nobody_else_is_served() {
    let server = server(Bounds::default()).await;
    let idle = TcpStream::connect(server.address).await.unwrap();
    let stream = send(&server, "GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await;
    while server.echo.begun.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    server.end.send(()).unwrap();
    assert_eq!(rest(idle).await, "");
    server.echo.go_on.notify_one();
    let answer = rest(stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    server.done.await.unwrap();
    TcpStream::connect(server.address).await.unwrap_err();
}

#[tokio::test]
async fn who_does_not_finish_in_time_is_cut_off() {
    let bounds = Bounds {
        grace: Duration::from_millis(20),
        ..Bounds::default()
    };
    let server = server(bounds).await;
    let stream = send(&server, "GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await;
    while server.echo.begun.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    server.end.send(()).unwrap();
    server.done.await.unwrap();
    assert_eq!(rest(stream).await, "");
}
