//! As much of HTTP/1.1 as one path needs: a request's head is read within bounds and a deadline, one answer
//! is given, and the connection is closed. When all places are taken, the oldest that has not sent its head makes room
//! for the newest.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Mutex,
    task::{AbortHandle, JoinSet},
    time::timeout,
};
use tracing::debug;

/// The longest head of a request, in bytes.
const MAX_HEAD: usize = 4096;
/// So many requests are looked at at once; for more, silent ones make room.
const MAX_REQUESTS: usize = 16;
/// One request and its answer take no longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The head of a request takes no longer.
const HEAD_PATIENCE: Duration = Duration::from_secs(2);
/// How long accepting rests when it fails: the process may have no handle left.
const REST: Duration = Duration::from_millis(100);

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Health { is_head: bool },
    Other,
    Method,
    Malformed,
}

/// What `/health` shows.
pub(super) trait Look: Send + 'static {
    /// Whether all is well enough, and the body.
    fn look(&mut self) -> impl Future<Output = (bool, Vec<u8>)> + Send;
}

/// Answers requests for `/health` with what is seen then.
pub(super) async fn serve(listener: TcpListener, look: impl Look) {
    let look = Arc::new(Mutex::new(look));
    let mut requests = JoinSet::new();
    let mut places = VecDeque::new();
    loop {
        tokio::select! {
            Some(_) = requests.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    while requests.try_join_next().is_some() {}
                    while requests.len() >= MAX_REQUESTS {
                        drop_silent(&mut places);
                        // Those that are being answered have an end as well.
                        requests.join_next().await;
                    }
                    let look = Arc::clone(&look);
                    let asked = Arc::new(AtomicBool::new(false));
                    let has_asked = Arc::clone(&asked);
                    let request = requests.spawn(async move {
                        let answered = timeout(PATIENCE, answer(stream, &look, &asked)).await;
                        if !matches!(answered, Ok(Ok(()))) {
                            debug!("a request for /health was not answered");
                        }
                    });
                    places.retain(|place: &Place| !place.request.is_finished());
                    places.push_back(Place { request, has_asked });
                }
                Err(error) => {
                    debug!("/health cannot accept: {error}");
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }
}

/// A connection that is looked at.
struct Place {
    request: AbortHandle,
    /// Whether the head of its request is there.
    has_asked: Arc<AtomicBool>,
}

/// Ends the oldest connection that has asked for nothing yet.
fn drop_silent(places: &mut VecDeque<Place>) {
    let is_silent =
        |place: &Place| !place.request.is_finished() && !place.has_asked.load(Ordering::Relaxed);
    let silent = places.iter().position(is_silent);
    if let Some(place) = silent.and_then(|silent| places.remove(silent)) {
        place.request.abort();
    }
}

async fn answer(
    mut stream: TcpStream,
    look: &Mutex<impl Look>,
    has_asked: &AtomicBool,
) -> io::Result<()> {
    let head = timeout(HEAD_PATIENCE, head(&mut stream)).await??;
    has_asked.store(true, Ordering::Relaxed);
    let (status, body, with_body) = match asked(&head) {
        Asked::Health { is_head } => {
            let (well, body) = look.lock().await.look().await;
            let status = if well {
                "200 OK"
            } else {
                "503 Service Unavailable"
            };
            (status, body, !is_head)
        }
        Asked::Other => ("404 Not Found", Vec::new(), true),
        Asked::Method => ("405 Method Not Allowed", Vec::new(), true),
        Asked::Malformed => ("400 Bad Request", Vec::new(), true),
    };
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    if with_body {
        answer.extend(body);
    }
    stream.write_all(&answer).await?;
    stream.shutdown().await
}

/// Reads up to the end of a request's head, or as much as one may have.
async fn head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(512);
    let mut limited = stream.take(MAX_HEAD as u64);
    while !is_whole(&head) {
        if limited.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    Ok(head)
}

fn is_whole(head: &[u8]) -> bool {
    head.windows(4).any(|window| window == b"\r\n\r\n")
}

/// What the head of a request asks for. Its fields are not looked at: none changes the answer.
fn asked(head: &[u8]) -> Asked {
    if !is_whole(head) {
        return Asked::Malformed;
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let (Some(method), Some(target), Some(b"HTTP/1.1" | b"HTTP/1.0"), None) =
        (method, target, version, words.next())
    else {
        return Asked::Malformed;
    };
    let path = target.split(|byte| *byte == b'?').next();
    match (method, path) {
        (b"GET", Some(b"/health")) => Asked::Health { is_head: false },
        (b"HEAD", Some(b"/health")) => Asked::Health { is_head: true },
        (_, Some(b"/health")) => Asked::Method,
        _ => Asked::Other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_one_path_is_there() {
        let health = Asked::Health { is_head: false };
        for (line, wanted) in [
            ("GET /health HTTP/1.1", health),
            ("GET /health HTTP/1.0", health),
            ("GET /health?verbose HTTP/1.1", health),
            ("HEAD /health HTTP/1.1", Asked::Health { is_head: true }),
            ("POST /health HTTP/1.1", Asked::Method),
            ("GET / HTTP/1.1", Asked::Other),
            ("GET /health/../metrics HTTP/1.1", Asked::Other),
            ("GET http://x/health HTTP/1.1", Asked::Other),
            ("GET /health HTTP/2", Asked::Malformed),
            ("GET /health", Asked::Malformed),
            ("GET  /health HTTP/1.1", Asked::Malformed),
            ("GET /health HTTP/1.1 x", Asked::Malformed),
        ] {
            let head = format!("{line}\r\nHost: a\r\n\r\n");
            assert_eq!(asked(head.as_bytes()), wanted, "{line}");
        }
        assert_eq!(asked(b"GET /health HTTP/1.1\r\n"), Asked::Malformed);
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(head in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = asked(&head);
            let _ = asked(&[head.as_slice(), b" /health HTTP/1.1\r\n\r\n"].concat());
        }
    }

    struct Seen(u32);

    impl Look for Seen {
        async fn look(&mut self) -> (bool, Vec<u8>) {
            self.0 += 1;
            (self.0 == 1, self.0.to_string().into_bytes())
        }
    }

    async fn exchange(address: std::net::SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // Whoever refuses a request may close before it is read whole.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn requests_are_answered_and_the_rest_is_turned_away() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve(listener, Seen(0)));
        let get = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n";
        let first = exchange(address, get).await;
        assert!(first.starts_with("HTTP/1.1 200 OK\r\n"), "{first}");
        assert!(first.ends_with("\r\n\r\n1"), "{first}");
        let head = exchange(address, b"HEAD /health HTTP/1.1\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        assert!(head.ends_with("\r\n\r\n"), "{head}");
        let other = exchange(address, b"GET /metrics HTTP/1.1\r\n\r\n").await;
        assert!(other.starts_with("HTTP/1.1 404 "), "{other}");
        // More than a head may have is not read.
        let long = [b"GET /".as_slice(), &[b'x'; MAX_HEAD]].concat();
        let refused = exchange(address, &long).await;
        assert!(
            refused.is_empty() || refused.starts_with("HTTP/1.1 400 "),
            "{refused}"
        );
        assert!(exchange(address, get).await.ends_with('3'));
        serving.abort();
    }

    #[tokio::test]
    async fn who_says_nothing_does_not_keep_others_out() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve(listener, Seen(0)));
        let mut silent = Vec::new();
        for _ in 0..MAX_REQUESTS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        for _ in 0..2 {
            let answer = exchange(address, b"GET /health HTTP/1.1\r\n\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
        }
        // The oldest made room, and the others are there still.
        let mut byte = [0];
        assert_eq!(silent[0].read(&mut byte).await.unwrap_or(0), 0);
        for stream in &silent[1..] {
            let error = stream.try_read(&mut byte).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
        serving.abort();
    }
}
