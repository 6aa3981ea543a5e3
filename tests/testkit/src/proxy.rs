//! An HTTP proxy in this process, which remembers what it was asked.
//!
//! It makes tunnels (CONNECT) and forwards plain requests, to whatever they name, one request for each
//! connection of a client. What went through a tunnel it does not see, like any proxy.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// The longest head of a request.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// A running proxy. Dropping it stops it.
pub struct TestProxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl TestProxy {
    /// Starts a proxy on a free port of the loopback.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&heads);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&seen)));
            }
        });
        Ok(Self {
            address,
            heads,
            task,
        })
    }

    /// `http://address:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `address:port`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// The heads of all requests so far: request line and headers, as they arrived. A connection
    /// without a whole head counts with what there was of it. One that was closed without a word is no
    /// request: clients open spare ones, which are not needed when an earlier one becomes free.
    pub fn heads(&self) -> Vec<String> {
        self.heads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for TestProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut client: TcpStream, heads: Arc<Mutex<Vec<String>>>) -> io::Result<()> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = find(&bytes, b"\r\n\r\n") {
            break Some(end);
        }
        if bytes.len() > MAX_HEAD_BYTES || client.read_buf(&mut bytes).await? == 0 {
            break None;
        }
    };
    if bytes.is_empty() {
        return Ok(());
    }
    let head = String::from_utf8_lossy(bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default());
    let mut words = head.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next());
    let target = target.unwrap_or_default().to_owned();
    let is_tunnel = method == "CONNECT";
    heads
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(head.into_owned());
    let authority = if is_tunnel {
        target
    } else {
        let rest = target.strip_prefix("http://").unwrap_or_default();
        rest.split('/').next().unwrap_or_default().to_owned()
    };
    let Ok(mut server) = TcpStream::connect(&authority).await else {
        return client
            .write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n")
            .await;
    };
    if is_tunnel {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    } else {
        // A server takes the absolute form too (RFC 9112, section 3.2.2).
        server.write_all(&bytes).await?;
    }
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_spare_connection_is_no_request() {
        let proxy = TestProxy::start().await.unwrap();
        for (said, heads) in [("", 0), ("GET http://a/ HTTP/1.1", 1)] {
            let mut client = TcpStream::connect(proxy.host()).await.unwrap();
            client.write_all(said.as_bytes()).await.unwrap();
            client.shutdown().await.unwrap();
            // It is closed when the proxy has made up its mind.
            client.read_to_end(&mut Vec::new()).await.unwrap();
            assert_eq!(proxy.heads().len(), heads, "{said:?}");
        }
    }
}
