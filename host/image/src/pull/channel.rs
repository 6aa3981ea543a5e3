//! A layer between the network and the threads that decrypt it.

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::error::ImageError;
use crate::layer::{Next, Source};

/// A layer that arrives from the network. When the pull is given up the channel closes, which ends
/// the layer early, which is an error.
pub(super) struct Channel(pub(super) mpsc::Receiver<Result<Bytes, ImageError>>);

impl Source for Channel {
    fn next(&mut self, wait: bool) -> Result<Next, ImageError> {
        let received = if wait {
            self.0.blocking_recv()
        } else {
            match self.0.try_recv() {
                Ok(received) => Some(received),
                Err(mpsc::error::TryRecvError::Empty) => return Ok(Next::NotYet),
                Err(mpsc::error::TryRecvError::Disconnected) => None,
            }
        };
        received
            .transpose()
            .map(|chunk| chunk.map_or(Next::End, Next::Chunk))
    }
}
