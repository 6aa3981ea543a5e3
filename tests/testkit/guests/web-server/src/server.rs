//! The handler of `wasi:http`.
#![allow(unsafe_code, reason = "what exports the handler is generated code")]

use std::sync::atomic::{AtomicU32, Ordering};

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::StreamError;

struct Server;

wasip2::http::proxy::export!(Server);

static REQUESTS: AtomicU32 = AtomicU32::new(0);

impl Guest for Server {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let count = REQUESTS.fetch_add(1, Ordering::Relaxed) + 1;
        match path.as_str() {
            "/echo" => answer(out, |send| echo(&request, send)),
            "/count" => answer(out, |send| send(count.to_string().as_bytes())),
            "/endless" => answer(out, |send| while send(&[b'a'; 4096]) {}),
            "/spin" => loop {
                std::hint::spin_loop();
            },
            "/memory" => {
                let mut all: Vec<Vec<u8>> = Vec::new();
                loop {
                    all.push(vec![1; 1 << 20]);
                }
            }
            "/trap" => std::process::abort(),
            "/nothing" => {}
            _ => answer(out, |send| send(format!("Hello from {path}\n").as_bytes())),
        }
    }
}

/// Sends the head, and then what the body sends.
fn answer<T>(out: ResponseOutparam, content: impl FnOnce(&mut dyn FnMut(&[u8]) -> bool) -> T) {
    let response = OutgoingResponse::new(Fields::new());
    let Ok(body) = response.body() else { return };
    ResponseOutparam::set(out, Ok(response));
    if let Ok(stream) = body.write() {
        content(&mut |bytes| {
            let mut pieces = bytes.chunks(4096);
            pieces.all(|piece| stream.blocking_write_and_flush(piece).is_ok())
        });
    }
    let _ = OutgoingBody::finish(body, None);
}

fn echo(request: &IncomingRequest, send: &mut dyn FnMut(&[u8]) -> bool) -> bool {
    let Ok(body) = request.consume() else {
        return false;
    };
    let Ok(stream) = body.stream() else {
        return false;
    };
    loop {
        match stream.blocking_read(4096) {
            Ok(bytes) if !send(&bytes) => return false,
            Ok(_) => {}
            Err(StreamError::Closed) => return true,
            Err(_) => return send(b"the body broke off"),
        }
    }
}
