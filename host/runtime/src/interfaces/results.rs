//! `propeller:confidential/results`: the result of the task.
//!
//! The runtime holds a task to one result, to its output limit and to a media type that is one; the host's
//! [`ResultSink`](crate::ResultSink) seals it and makes the receipt. Whether a published result goes out
//! is decided when the task has ended.

use wasmtime::component::{Resource, ResourceTableError};

use crate::bindings::propeller::confidential::results::{Host, HostReceipt, PublishError};
use crate::services::{self, PublishedReceipt};
use crate::state::TaskState;

/// Longest media type, in bytes.
const MAX_MEDIA_TYPE: usize = 255;

impl Host for TaskState {
    fn publish(
        &mut self,
        content: Vec<u8>,
        media_type: String,
    ) -> wasmtime::Result<Result<Resource<PublishedReceipt>, PublishError>> {
        if self.published {
            return Ok(Err(PublishError::AlreadyPublished));
        }
        if let Err(reason) = check_media_type(&media_type) {
            return Ok(Err(PublishError::InvalidMediaType(reason.to_owned())));
        }
        // A place for the receipt comes first: with the result taken and no handle for its receipt, the
        // guest would know less than happened.
        let empty = PublishedReceipt {
            jws: None,
            digest: String::new(),
        };
        let handle = match self.table.push(empty) {
            Ok(handle) => handle,
            Err(ResourceTableError::Full) => {
                return Ok(Err(PublishError::Other(format!(
                    "the task holds {} handles, as many as it may; drop some first",
                    self.task.limits.handles
                ))));
            }
            Err(error) => return Err(error.into()),
        };
        let content = zeroize::Zeroizing::new(content);
        match self.hand_over(&content, &media_type) {
            Ok(receipt) => {
                *self.table.get_mut(&handle)? = receipt;
                Ok(Ok(handle))
            }
            Err(error) => {
                self.table.delete(handle)?;
                Ok(Err(error))
            }
        }
    }

    fn recipients(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(self.services.results.recipients())
    }
}

impl TaskState {
    fn hand_over(
        &mut self,
        content: &[u8],
        media_type: &str,
    ) -> Result<PublishedReceipt, PublishError> {
        if !self.output.reserve(content.len()) {
            return Err(PublishError::TooLarge(self.task.limits.output_bytes));
        }
        match self.services.results.publish(content, media_type) {
            Ok(receipt) => {
                self.published = true;
                Ok(receipt)
            }
            Err(error) => {
                self.output.release(content.len());
                Err(error.into())
            }
        }
    }
}

impl HostReceipt for TaskState {
    fn jws(&mut self, receipt: Resource<PublishedReceipt>) -> wasmtime::Result<Option<String>> {
        Ok(self.table.get(&receipt)?.jws.clone())
    }

    fn result_digest(&mut self, receipt: Resource<PublishedReceipt>) -> wasmtime::Result<String> {
        Ok(self.table.get(&receipt)?.digest.clone())
    }

    fn drop(&mut self, receipt: Resource<PublishedReceipt>) -> wasmtime::Result<()> {
        self.table.delete(receipt)?;
        Ok(())
    }
}

impl From<services::PublishError> for PublishError {
    fn from(error: services::PublishError) -> Self {
        match error {
            services::PublishError::NotText => Self::NotText,
            services::PublishError::TooLarge(limit) => Self::TooLarge(limit),
            services::PublishError::Other(text) => Self::Other(text),
        }
    }
}

/// Checks the shape of a media type: `type/subtype` of token characters (RFC 6838, section 4.2), then
/// parameters, all printable ASCII.
fn check_media_type(media_type: &str) -> Result<(), &'static str> {
    if media_type.len() > MAX_MEDIA_TYPE {
        return Err("longer than 255 bytes");
    }
    if !media_type.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err("characters other than printable ASCII");
    }
    let (essence, parameters) = media_type.split_once(';').unwrap_or((media_type, "a=b"));
    let Some((kind, subtype)) = essence.trim_end().split_once('/') else {
        return Err("no `/` between type and subtype");
    };
    if !is_restricted_name(kind) || !is_restricted_name(subtype) {
        return Err("type or subtype is not a name in the sense of RFC 6838");
    }
    let named = |parameter: &str| {
        parameter
            .trim()
            .split_once('=')
            .is_some_and(|(name, value)| is_restricted_name(name) && !value.is_empty())
    };
    if !parameters.split(';').all(named) {
        return Err("a parameter is not `name=value`");
    }
    Ok(())
}

fn is_restricted_name(name: &str) -> bool {
    let first = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
    first && name.len() <= 127 && name.bytes().all(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn media_types_are_checked() {
        for good in [
            "text/plain",
            "text/plain; charset=utf-8",
            "application/vnd.proplet.failure+json",
            "application/octet-stream",
            "multipart/mixed; boundary=\"a b\"; x=y",
        ] {
            assert_eq!(check_media_type(good), Ok(()), "{good}");
        }
        let long = format!("text/{}", "x".repeat(300));
        for bad in [
            "",
            "text",
            "/",
            "text/",
            "/plain",
            "text/plain/x",
            "text /plain",
            "text/pl ain",
            "grün/x",
            "text/plain;",
            "text/plain; charset",
            "text/plain; =x",
            "text/plain\r\nX: y",
            long.as_str(),
        ] {
            assert!(check_media_type(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn check_media_type_never_panics(text in "\\PC{0,40}") {
            let _ = check_media_type(&text);
        }
    }
}
