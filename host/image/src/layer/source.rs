//! Where the bytes of a layer come from.

use bytes::Bytes;

use crate::error::ImageError;

/// What a source has next.
pub enum Next {
    /// Some bytes; an empty chunk is allowed and means nothing.
    Chunk(Bytes),
    /// Nothing yet. Only given when not asked to wait.
    NotYet,
    /// The end of the layer.
    End,
}

/// Bytes of one layer, in order.
pub trait Source: Send {
    /// The next bytes. With `wait`, blocks until there are some, an end or an error.
    ///
    /// # Errors
    /// Whatever stopped the bytes; it becomes the error of the pull.
    fn next(&mut self, wait: bool) -> Result<Next, ImageError>;
}

/// A layer that is in memory.
pub struct InMemory(Option<Bytes>);

impl InMemory {
    /// The source of these bytes.
    pub fn new(bytes: Bytes) -> Self {
        Self(Some(bytes))
    }
}

impl Source for InMemory {
    fn next(&mut self, _wait: bool) -> Result<Next, ImageError> {
        Ok(match self.0.take() {
            Some(bytes) => Next::Chunk(bytes),
            None => Next::End,
        })
    }
}

/// Gathers what a source gives into batches of a fixed size, so that the cost of sharing work does
/// not depend on how the network cut the bytes.
pub(super) struct Batcher<S> {
    source: S,
    rest: Bytes,
    batch_bytes: usize,
}

/// What a batcher has next.
pub(super) enum Gathered {
    /// Between one byte and a batch, in pieces.
    Batch(Vec<Bytes>),
    NotYet,
    End,
}

impl<S: Source> Batcher<S> {
    pub(super) fn new(source: S, batch_bytes: usize) -> Self {
        Self {
            source,
            rest: Bytes::new(),
            batch_bytes,
        }
    }

    pub(super) fn gather(&mut self, wait: bool) -> Result<Gathered, ImageError> {
        let mut batch = Vec::new();
        let mut room = self.batch_bytes;
        loop {
            if !self.rest.is_empty() {
                let piece = self.rest.split_to(room.min(self.rest.len()));
                room -= piece.len();
                batch.push(piece);
            }
            if room == 0 {
                return Ok(Gathered::Batch(batch));
            }
            match self.source.next(wait && batch.is_empty())? {
                Next::Chunk(chunk) => self.rest = chunk,
                Next::NotYet | Next::End if !batch.is_empty() => {
                    return Ok(Gathered::Batch(batch));
                }
                Next::NotYet => return Ok(Gathered::NotYet),
                Next::End => return Ok(Gathered::End),
            }
        }
    }
}
