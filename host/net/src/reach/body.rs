//! Reading what came.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use reqwest::header::CONTENT_ENCODING;

use super::client::Answer;
use super::error::Error;

/// Why a body was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// There is more of it than is wanted, as it is sent or as it unpacks.
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
    /// It is compressed on the way, though nothing of that kind was asked for.
    #[error("it is sent with a Content-Encoding that was not asked for and is not read: {0}")]
    Encoding(String),
    /// The way there.
    #[error(transparent)]
    Broken(#[from] Error),
}

impl Answer {
    /// The next piece of the body, as it is sent.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        match self.response.chunk().await {
            Ok(chunk) => Ok(chunk),
            Err(error) => Err(Error::failed(error, self.response.url(), self.foreign)),
        }
    }

    /// The whole body, of at most `limit` bytes. Servers that compress without being asked do it with
    /// gzip, which is undone, to at most `limit` bytes.
    ///
    /// # Errors
    /// [`BodyError`]. Of a foreign host only [`BodyError::Broken`]: how large its answer is, and how it was
    /// sent, is said to the log alone.
    pub async fn bytes(self, limit: u64) -> Result<Vec<u8>, BodyError> {
        let (foreign, host) = (self.foreign, self.host.clone());
        match self.whole(limit).await {
            Err(error @ (BodyError::TooLarge(_) | BodyError::Encoding(_))) if foreign => {
                tracing::warn!("{host}, which this host was sent on to: {error}");
                let transient = false;
                Err(Error::Foreign { host, transient }.into())
            }
            read => read,
        }
    }

    async fn whole(mut self, limit: u64) -> Result<Vec<u8>, BodyError> {
        let encoding = self.response.headers().get(CONTENT_ENCODING);
        let encoding = encoding.map_or("", |value| value.to_str().unwrap_or("?"));
        let zipped = match encoding.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => false,
            "gzip" | "x-gzip" => true,
            other => {
                let shown = other.chars().filter(char::is_ascii_graphic);
                return Err(BodyError::Encoding(shown.take(32).collect()));
            }
        };
        let announced = self.response.content_length();
        if announced.is_some_and(|length| length > limit) {
            return Err(BodyError::TooLarge(limit));
        }
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if (body.len() + chunk.len()) as u64 > limit {
                return Err(BodyError::TooLarge(limit));
            }
            body.extend_from_slice(&chunk);
        }
        if zipped {
            unzip(&body, limit).await
        } else {
            Ok(body)
        }
    }
}

/// Compressed bytes that are unpacked in one go, to a thousand times as many at most: a millisecond's work.
const PIECE: usize = 1024;

/// Unpacks piece by piece. A few bytes can mean a lot of work, so others run in between, and whoever gives it
/// up ends it.
async fn unzip(body: &[u8], limit: u64) -> Result<Vec<u8>, BodyError> {
    let damaged = |_| BodyError::Encoding("gzip, and it is damaged".to_owned());
    let mut decoder = MultiGzDecoder::new(Unpacked {
        bytes: Vec::new(),
        limit,
        is_full: false,
    });
    for piece in body.chunks(PIECE) {
        let written = decoder.write_all(piece);
        if decoder.get_ref().is_full {
            return Err(BodyError::TooLarge(limit));
        }
        written.map_err(damaged)?;
        tokio::task::yield_now().await;
    }
    // What the decoder held back comes now.
    let finished = decoder.try_finish();
    if decoder.get_ref().is_full {
        return Err(BodyError::TooLarge(limit));
    }
    finished.map_err(damaged)?;
    decoder
        .finish()
        .map(|unpacked| unpacked.bytes)
        .map_err(damaged)
}

/// Takes at most `limit` bytes.
struct Unpacked {
    bytes: Vec<u8>,
    limit: u64,
    is_full: bool,
}

impl Write for Unpacked {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if (self.bytes.len() + more.len()) as u64 > self.limit {
            self.is_full = true;
            return Err(io::Error::other("the limit is reached"));
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;
    use std::io::Write;

    fn zip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn unzip(body: &[u8], limit: u64) -> Result<Vec<u8>, BodyError> {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(super::unzip(body, limit))
    }

    /// Polls once.
    fn poll(future: std::pin::Pin<&mut impl Future>) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        future.poll(&mut context).is_ready()
    }

    #[test]
    fn unpacking_lets_others_run() {
        // Much out of little, and much that holds nothing.
        for body in [zip(&vec![0; 32 << 20]), zip(b"").repeat(1000)] {
            let mut unpacking = std::pin::pin!(super::unzip(&body, 32 << 20));
            let mut polls = 1;
            while !poll(unpacking.as_mut()) {
                polls += 1;
            }
            assert!(polls > 16, "{polls}");
        }
    }

    #[test]
    fn unpacking_is_bounded() {
        let bomb = zip(&vec![0; 1 << 20]);
        assert!(bomb.len() < 2000);
        assert!(matches!(unzip(&bomb, 1 << 19), Err(BodyError::TooLarge(_))));
        assert_eq!(unzip(&bomb, 1 << 20).unwrap().len(), 1 << 20);
        let cut = &bomb[..bomb.len() / 2];
        assert!(matches!(unzip(cut, 1 << 20), Err(BodyError::Encoding(_))));
        assert!(matches!(unzip(b"{}", 100), Err(BodyError::Encoding(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_unpack_or_are_refused(bytes: Vec<u8>, limit in 0u64..1000) {
            let _ = unzip(&bytes, limit);
            match unzip(&zip(&bytes), limit) {
                Ok(unpacked) => prop_assert_eq!(unpacked, bytes),
                Err(_) => prop_assert!(bytes.len() as u64 > limit),
            }
        }
    }
}
