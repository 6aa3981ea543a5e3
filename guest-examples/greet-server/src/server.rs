//! The handler of `wasi:http`. The host makes an instance for each request, so nothing is remembered from one to the
//! next.
#![allow(unsafe_code, reason = "what exports the handler is generated code")]

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

use crate::greeting;

/// What one call may write at most.
const PIECE: usize = 4096;

struct Server;

wasip2::http::proxy::export!(Server);

impl Guest for Server {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let greeting = greeting(&request.path_with_query().unwrap_or_default());
        // The status is 200 unless it is set.
        let response = OutgoingResponse::new(Fields::new());
        let Ok(body) = response.body() else { return };
        // The head goes first, and the body is written while it is on its way.
        ResponseOutparam::set(out, Ok(response));
        if let Ok(stream) = body.write() {
            for piece in greeting.as_bytes().chunks(PIECE) {
                if stream.blocking_write_and_flush(piece).is_err() {
                    // The client is gone.
                    return;
                }
            }
        }
        // The stream has to be dropped before its body is finished, which it is here.
        let _ = OutgoingBody::finish(body, None);
    }
}
