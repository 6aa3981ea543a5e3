//! As much of HTTP/1.1 as one path needs: a request's head is read within bounds and a deadline, one answer
//! is given, and the connection is closed.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Mutex,
    task::JoinSet,
    time::timeout,
};
use tracing::debug;

/// The longest head of a request, in bytes.
const MAX_HEAD: usize = 4096;
/// So many requests are looked at at once; more wait with the kernel.
const MAX_REQUESTS: usize = 16;
/// One request and its answer take no longer.
const PATIENCE: Duration = Duration::from_secs(5);
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
    loop {
        while requests.len() >= MAX_REQUESTS {
            requests.join_next().await;
        }
        tokio::select! {
            Some(_) = requests.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let look = Arc::clone(&look);
                    requests.spawn(async move {
                        let answered = timeout(PATIENCE, answer(stream, &look)).await;
                        if !matches!(answered, Ok(Ok(()))) {
                            debug!("a request for /health was not answered");
                        }
                    });
                }
                Err(error) => {
                    debug!("/health cannot accept: {error}");
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }
}

async fn answer(mut stream: TcpStream, look: &Mutex<impl Look>) -> io::Result<()> {
    let mut head = Vec::with_capacity(512);
    let mut limited = (&mut stream).take(MAX_HEAD as u64);
    while !is_whole(&head) {
        if limited.read_buf(&mut head).await? == 0 {
            break;
        }
    }
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
        for _ in 1..MAX_REQUESTS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let answer = exchange(address, b"GET /health HTTP/1.1\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        serving.abort();
    }
}
