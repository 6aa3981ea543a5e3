//! A good answer.

use axum::http::HeaderName;
use axum::http::header::CONTENT_TYPE;
use serde_json::Value;

use super::exchange::Reply;

/// A good answer.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) headers: Vec<(HeaderName, String)>,
    body: Vec<u8>,
}

impl Answer {
    pub(super) fn json(value: &Value) -> Self {
        Self {
            headers: vec![(CONTENT_TYPE, "application/json".to_owned())],
            body: value.to_string().into_bytes(),
        }
    }

    /// A bare text, without a content type.
    pub(super) fn text(text: String) -> Self {
        Self {
            headers: Vec::new(),
            body: text.into_bytes(),
        }
    }

    pub(super) fn with(mut self, name: HeaderName, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn into_reply(self) -> Reply {
        let headers = self.headers.into_iter();
        Reply {
            status: 200,
            headers: headers
                .map(|(name, value)| (name.to_string(), value))
                .collect(),
            body: self.body,
        }
    }
}
