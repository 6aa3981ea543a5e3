//! A small gRPC client: unary calls over plain HTTP/2, as stock programs make them.
//!
//! It sends and gives messages as bytes, and what it sends need be no message: tests of servers want both.

use std::io;
use std::net::SocketAddr;

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// A connection to a gRPC server.
pub struct GrpcClient {
    requests: SendRequest<Bytes>,
    connection: JoinHandle<()>,
}

/// A status other than `OK`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcStatus {
    /// The number: 3 is `INVALID_ARGUMENT`, 7 `PERMISSION_DENIED`, 8 `RESOURCE_EXHAUSTED`,
    /// 9 `FAILED_PRECONDITION`, 12 `UNIMPLEMENTED`, 14 `UNAVAILABLE`.
    pub code: u32,
    /// The words, with their escapes undone.
    pub message: String,
}

impl GrpcClient {
    /// Connects.
    ///
    /// # Errors
    /// When nobody speaks HTTP/2 there.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        let (requests, connection) = h2::client::handshake(stream)
            .await
            .map_err(io::Error::other)?;
        let connection = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the gRPC connection ended");
            }
        });
        Ok(Self {
            requests,
            connection,
        })
    }

    /// Calls a method: `/package.Service/Method` with a message.
    ///
    /// # Errors
    /// When the connection breaks. The inner result is the server's.
    pub async fn call(
        &self,
        path: &str,
        message: &[u8],
    ) -> io::Result<Result<Vec<u8>, GrpcStatus>> {
        let mut framed = BytesMut::with_capacity(message.len() + 5);
        framed.put_u8(0);
        framed.put_u32(u32::try_from(message.len()).map_err(io::Error::other)?);
        framed.put_slice(message);
        self.send(path, framed.freeze()).await
    }

    /// Begins a request whose message does not come. It is withdrawn when what this gives is dropped.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn half(&self, path: &str) -> io::Result<Half> {
        let (answer, stream) = self.begin(path).await?;
        Ok(Half(answer, stream))
    }

    /// Sends an empty message and does not read the answer, of which the status is told if it has nothing else.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn unread(&self, path: &str) -> io::Result<Result<Unread, GrpcStatus>> {
        let answer = self.exchange(path, Bytes::from_static(&[0; 5])).await?;
        Ok(match status(answer.headers()) {
            Some(status) => Err(status),
            None => Ok(Unread(answer.into_body())),
        })
    }

    /// Sends a body as it is.
    ///
    /// # Errors
    /// When the connection breaks. The inner result is the server's.
    pub async fn send(&self, path: &str, body: Bytes) -> io::Result<Result<Vec<u8>, GrpcStatus>> {
        let answer = self.exchange(path, body).await?;
        if let Some(status) = status(answer.headers()) {
            return Ok(Err(status));
        }
        let mut body = answer.into_body();
        let mut bytes = Vec::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk.map_err(io::Error::other)?;
            let _ = body.flow_control().release_capacity(chunk.len());
            bytes.extend_from_slice(&chunk);
        }
        let trailers = body.trailers().await.map_err(io::Error::other)?;
        match trailers.as_ref().and_then(status) {
            Some(status) => Ok(Err(status)),
            None => Ok(Ok(bytes.get(5..).unwrap_or_default().to_vec())),
        }
    }

    async fn exchange(&self, path: &str, body: Bytes) -> io::Result<Response<RecvStream>> {
        let (answer, mut stream) = self.begin(path).await?;
        // A server that has seen enough resets the stream; what it says about it comes all the same.
        let _ = stream.send_data(body, true);
        answer.await.map_err(io::Error::other)
    }

    async fn begin(&self, path: &str) -> io::Result<(ResponseFuture, SendStream<Bytes>)> {
        let request = Request::post(format!("http://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .map_err(io::Error::other)?;
        let requests = self.requests.clone();
        let mut requests = requests.ready().await.map_err(io::Error::other)?;
        requests
            .send_request(request, false)
            .map_err(io::Error::other)
    }
}

/// A request that is under way.
pub struct Half(
    #[expect(dead_code)] ResponseFuture,
    #[expect(dead_code)] SendStream<Bytes>,
);

/// An answer that is not read.
pub struct Unread(RecvStream);

impl Unread {
    /// Waits until the server takes it back.
    ///
    /// # Errors
    /// When it was taken back; the answer was read whole otherwise.
    pub async fn taken_back(&mut self) -> io::Result<()> {
        // Nothing is released, so the server may send no more than the first window.
        while let Some(chunk) = self.0.data().await {
            chunk.map_err(io::Error::other)?;
        }
        Ok(())
    }
}

impl Drop for GrpcClient {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// The status in these headers, unless it is `OK` or none.
fn status(headers: &HeaderMap) -> Option<GrpcStatus> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let code = text("grpc-status")?
        .parse()
        .ok()
        .filter(|code| *code != 0)?;
    let message = percent_decoded(text("grpc-message").unwrap_or_default());
    Some(GrpcStatus { code, message })
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = tail
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone() {
        for (escaped, plain) in [
            ("plain words", "plain words"),
            ("a%3A b%2C%0A", "a: b,\n"),
            ("100%", "100%"),
            ("%zz%4", "%zz%4"),
            ("%C3%A4", "ä"),
        ] {
            assert_eq!(percent_decoded(escaped), plain);
        }
    }
}
