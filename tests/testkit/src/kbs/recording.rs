//! Recorded exchanges with Trustee, and a broker that gives the recorded answers.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::broker::DevKeyBroker;
use super::exchange::{Asked, Reply};

/// The headers of a recorded answer that mean something.
const REPLY_HEADERS: [&str; 3] = ["set-cookie", "content-type", "date"];

/// One recorded exchange.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The file it was read from, for messages.
    pub file: String,
    /// The method of the request.
    pub method: String,
    /// Path and query of the request.
    pub target: String,
    /// The body of the request.
    pub request_body: Vec<u8>,
    /// The answer: its status, its body, and those headers that mean something.
    pub reply: Reply,
    /// The names and values of the request's headers.
    request_headers: Vec<(String, String)>,
}

impl Recorded {
    /// The exchanges of a folder, in order: its files that begin with a digit.
    ///
    /// # Errors
    /// When the folder or one of the files cannot be read as recordings.
    pub fn folder(folder: &Path) -> io::Result<Vec<Self>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if name
                .as_encoded_bytes()
                .first()
                .is_some_and(u8::is_ascii_digit)
            {
                files.push(entry.path());
            }
        }
        files.sort();
        files.iter().map(|file| Self::file(file)).collect()
    }

    /// One recording.
    fn file(path: &Path) -> io::Result<Self> {
        let exchange: Value = serde_json::from_slice(&std::fs::read(path)?)?;
        let part = |side: &str| exchange.get(side).unwrap_or(&Value::Null);
        let odd = |what: &str| io::Error::other(format!("{}: no {what}", path.display()));
        let (request, response) = (part("request"), part("response"));
        let word = |message: &Value, index| {
            let line = message.get("start_line")?.as_str()?;
            line.split(' ').nth(index).map(str::to_owned)
        };
        let status = word(response, 1).and_then(|status| status.parse().ok());
        let answer = body(response).ok_or_else(|| odd("body of the answer"))?;
        let mut reply = Reply::new(status.ok_or_else(|| odd("status"))?, answer);
        let headers = headers(response);
        for name in REPLY_HEADERS {
            if let Some(value) = header(&headers, name) {
                reply = reply.with(name, value);
            }
        }
        Ok(Self {
            file: path.display().to_string(),
            method: word(request, 0).ok_or_else(|| odd("method"))?,
            target: word(request, 1).ok_or_else(|| odd("path"))?,
            request_body: body(request).ok_or_else(|| odd("body of the request"))?,
            reply,
            request_headers: self::headers(request),
        })
    }

    /// The first header of the request of this name.
    pub fn request_header(&self, name: &str) -> Option<&str> {
        header(&self.request_headers, name)
    }
}

impl DevKeyBroker {
    /// A broker that remembers requests and gives the answers of these exchanges, in this order, to
    /// their requests. Any other request is answered with status 418, which no KBS uses and no
    /// client tries again.
    ///
    /// # Errors
    /// As [`super::DevKeyBrokerBuilder::start`].
    pub async fn replay(exchanges: &[Recorded]) -> io::Result<Self> {
        let script = Mutex::new(VecDeque::from(exchanges.to_vec()));
        let builder = Self::builder().remember_requests();
        let answer = move |asked: &Asked, _| {
            let next = script
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front();
            next.filter(|next| next.method == asked.method() && next.target == asked.target())
                .map_or_else(
                    || Reply::new(418, "out of step with the recording"),
                    |next| next.reply,
                )
        };
        builder.rewrite(answer).start().await
    }
}

fn headers(message: &Value) -> Vec<(String, String)> {
    let pairs = message.get("headers").and_then(Value::as_array);
    let text = |pair: &Value, index: usize| pair.get(index)?.as_str().map(str::to_owned);
    pairs
        .into_iter()
        .flatten()
        .filter_map(|pair| Some((text(pair, 0)?, text(pair, 1)?)))
        .collect()
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(other, _)| other.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

fn body(message: &Value) -> Option<Vec<u8>> {
    match message.get("body").and_then(Value::as_str) {
        Some(text) => Some(text.as_bytes().to_vec()),
        None => STANDARD.decode(message.get("body_b64")?.as_str()?).ok(),
    }
}
