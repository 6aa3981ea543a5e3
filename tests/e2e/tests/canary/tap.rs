//! A wire with a tap: forwards connections to a service and keeps every byte.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

type Recording = Arc<Mutex<Vec<u8>>>;

/// One connection.
#[derive(Clone, Default)]
pub struct Wire {
    /// What the client sent.
    pub sent: Recording,
    /// What the service answered.
    pub received: Recording,
}

/// A tap before one service. Ends when dropped.
pub struct Tap {
    address: SocketAddr,
    wires: Arc<Mutex<Vec<Wire>>>,
    task: JoinHandle<()>,
}

impl Tap {
    /// Listens on a free loopback port and forwards to `service`, `host:port`.
    pub async fn before(service: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let wires = Arc::<Mutex<Vec<Wire>>>::default();
        let (service, kept) = (service.to_owned(), Arc::clone(&wires));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let wire = Wire::default();
                kept.lock().unwrap().push(wire.clone());
                let Ok(server) = TcpStream::connect(&service).await else {
                    continue;
                };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(forward(from_client, to_server, wire.sent));
                tokio::spawn(forward(from_server, to_client, wire.received));
            }
        });
        Self {
            address,
            wires,
            task,
        }
    }

    /// `host:port` of the tap.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// What clients sent, by connection.
    pub fn sent(&self) -> Vec<Vec<u8>> {
        let wires = self.wires.lock().unwrap();
        wires
            .iter()
            .map(|wire| wire.sent.lock().unwrap().clone())
            .collect()
    }

    /// What the service answered, by connection.
    pub fn received(&self) -> Vec<Vec<u8>> {
        let wires = self.wires.lock().unwrap();
        wires
            .iter()
            .map(|wire| wire.received.lock().unwrap().clone())
            .collect()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    kept: Recording,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer).await {
            Ok(read) if read > 0 => {
                kept.lock().unwrap().extend_from_slice(&buffer[..read]);
                if to.write_all(&buffer[..read]).await.is_err() {
                    return;
                }
            }
            _ => {
                // A half-closed connection stays open the other way; a broken one ends itself.
                let _ = to.shutdown().await;
                return;
            }
        }
    }
}
