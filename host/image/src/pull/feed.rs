//! Passing a layer on from the network to the threads that decrypt it.

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::CONTENT_RANGE;
use tokio::sync::mpsc;

use super::{Puller, size_mismatch};
use crate::error::ImageError;
use crate::manifest::Descriptor;
use crate::registry::{Request, Trouble, pause, sent_on, told, unavailable, unreachable};

impl Puller {
    /// Passes a layer on until it ends, fails, or nobody wants it any more. What broke off goes on
    /// where it stopped: the passes over it have seen the beginning, and the digest decides at the end.
    /// Gives the host that gave a part of it, when that is one that the registry sent us to.
    pub(super) async fn feed(
        &self,
        request: &Request<'_>,
        layer: &Descriptor,
        what: &str,
        sender: mpsc::Sender<Result<Bytes, ImageError>>,
    ) -> Option<String> {
        let mut tries = self.registry.tries();
        let mut progress = Progress {
            received: 0,
            in_part: true,
            foreign: None,
        };
        loop {
            let part = self.part(request, layer, what, &mut progress, &sender);
            let Err(trouble) = part.await else {
                return progress.foreign;
            };
            if let Err(error) = pause(&mut tries, trouble, request.deadline).await {
                let _ = sender.send(Err(error)).await;
                return progress.foreign;
            }
        }
    }

    /// One try to pass on what has not been received yet.
    async fn part(
        &self,
        request: &Request<'_>,
        layer: &Descriptor,
        what: &str,
        progress: &mut Progress,
        sender: &mpsc::Sender<Result<Bytes, ImageError>>,
    ) -> Result<(), Trouble> {
        let reference = request.reference;
        let start = if progress.in_part {
            progress.received
        } else {
            0
        };
        let opened = self.registry.open(request, start).await;
        let mut answer = match opened {
            // Some servers and proxies do not know ranges: the next try asks for the whole.
            Err(trouble) if start > 0 => {
                progress.in_part = false;
                return Err(trouble.but_passing());
            }
            opened => opened?,
        };
        let abroad = answer.foreign.then(|| answer.host.clone());
        progress.foreign = abroad.clone().or(progress.foreign.take());
        let passing = |error| match &abroad {
            None => Trouble::passing(error),
            Some(_) => Trouble::passing_abroad(told(reference, abroad.as_deref(), error)),
        };
        let begins = match answer.response.status() {
            StatusCode::PARTIAL_CONTENT => answer
                .response
                .headers()
                .get(CONTENT_RANGE)
                .and_then(|range| range.to_str().ok())
                .and_then(range_start)
                .unwrap_or(start),
            _ => 0,
        };
        if begins > progress.received {
            progress.in_part = false;
            let why = format!("it left out a part of {what}");
            return Err(passing(unavailable(reference, why)));
        }
        let announced = answer.response.content_length();
        let whole = announced.map(|length| begins.saturating_add(length));
        if let Some(actual) = whole.filter(|whole| *whole != layer.size) {
            if answer.foreign {
                return Err(sent_on(reference, &answer.host, answer.response.status()).into());
            }
            return Err(size_mismatch(what, layer, actual).into());
        }
        let mut skip = progress.received - begins;
        while let Some(mut chunk) = answer
            .chunk()
            .await
            .map_err(|e| unreachable(reference, e))?
        {
            let seen = usize::try_from(skip).map_or(chunk.len(), |skip| skip.min(chunk.len()));
            let _ = chunk.split_to(seen);
            skip = skip.saturating_sub(seen as u64);
            if chunk.is_empty() {
                continue;
            }
            progress.received = progress.received.saturating_add(chunk.len() as u64);
            if sender.send(Ok(chunk)).await.is_err() {
                return Ok(());
            }
        }
        // Without an announced length, a connection that was cut looks like an end.
        if progress.received < layer.size {
            return Err(passing(size_mismatch(what, layer, progress.received)));
        }
        Ok(())
    }
}

/// How far a layer has come.
struct Progress {
    /// Bytes that were passed on.
    received: u64,
    /// Whether the server may be asked for the rest only.
    in_part: bool,
    /// The host that the registry sent us to for a part of it.
    foreign: Option<String>,
}

/// The first byte that a `Content-Range` header names (RFC 9110 section 14.4).
fn range_start(range: &str) -> Option<u64> {
    let (start, _) = range.trim().strip_prefix("bytes")?.split_once('-')?;
    start.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_say_where_they_start() {
        assert_eq!(range_start("bytes 7-99/100"), Some(7));
        assert_eq!(range_start(" bytes 0-0/*"), Some(0));
        for other in [
            "",
            "bytes */100",
            "items 1-2/3",
            "bytes -1/2",
            "bytes 99999999999999999999-1/2",
        ] {
            assert_eq!(range_start(other), None, "{other}");
        }
    }
}
