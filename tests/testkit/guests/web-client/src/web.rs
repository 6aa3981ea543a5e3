//! Requests by `wasi:http`.

use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingResponse, Method, OutgoingBody,
    OutgoingRequest, RequestOptions, Scheme,
};
use wasip2::io::streams::StreamError;

/// The status, a colon and the body; or the name of the error.
pub fn get(address: &str) -> String {
    said(send(address, None).and_then(|sent| answer(&sent)))
}

/// The same with a body.
pub fn post(address: &str, body: &[u8]) -> String {
    said(send(address, Some(body)).and_then(|sent| answer(&sent)))
}

/// Where an answer leads to, and what comes from there.
pub fn follow(address: &str) -> String {
    let first = match send(address, None).and_then(|sent| answer(&sent)) {
        Ok(response) => response,
        Err(error) => return format!("{error:?}"),
    };
    let to = first.headers().get("location").concat();
    let to = String::from_utf8_lossy(&to).into_owned();
    format!("{} leads to {to}: {}", first.status(), get(&to))
}

/// How many requests can be under way at once.
pub fn many(address: &str) -> String {
    let mut answers = Vec::new();
    loop {
        match send(address, None).and_then(|sent| answer(&sent)) {
            Ok(answer) => answers.push(answer),
            Err(error) => return format!("{} and then {error:?}", answers.len()),
        }
    }
}

/// Asks a hundred names below this one, four times each, and waits for none longer than a nanosecond. What the last
/// request came to.
pub fn flood(domain: &str) -> String {
    let mut last = String::new();
    for number in (0..4).flat_map(|_| 0..100) {
        let address = format!("https://{number}.{domain}/");
        let sent = request(&address).and_then(|request| {
            let options = RequestOptions::new();
            let set = options.set_connect_timeout(Some(1));
            set.map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
            outgoing_handler::handle(request, Some(options))
        });
        last = said(sent.and_then(|sent| answer(&sent)));
    }
    last
}

/// Which fields a request may not have.
pub fn fields() -> String {
    let all = [
        "host",
        "connection",
        "transfer-encoding",
        "upgrade",
        "te",
        "trailer",
        "expect",
        "proxy-authorization",
        "keep-alive",
        "x-own",
        "authorization",
    ];
    let fields = Fields::new();
    let refused = all
        .into_iter()
        .filter(|name| fields.append(name, b"x").is_err());
    refused.collect::<Vec<_>>().join(" ")
}

fn said(answer: Result<IncomingResponse, ErrorCode>) -> String {
    match answer {
        Err(error) => format!("{error:?}"),
        Ok(response) => match read(&response) {
            Ok(body) => format!("{}: {}", response.status(), String::from_utf8_lossy(&body)),
            Err(words) => format!("{}, then {words}", response.status()),
        },
    }
}

fn request(address: &str) -> Result<OutgoingRequest, ErrorCode> {
    let (scheme, rest) = address.split_once("://").unwrap_or(("https", address));
    let scheme = match scheme {
        "http" => Scheme::Http,
        _ => Scheme::Https,
    };
    let at = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let invalid = |()| ErrorCode::HttpRequestUriInvalid;
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&scheme)).map_err(invalid)?;
    request.set_authority(Some(authority)).map_err(invalid)?;
    let path = if path.is_empty() { "/" } else { path };
    request.set_path_with_query(Some(path)).map_err(invalid)?;
    Ok(request)
}

fn send(address: &str, body: Option<&[u8]>) -> Result<FutureIncomingResponse, ErrorCode> {
    let request = request(address)?;
    let invalid = |()| ErrorCode::HttpRequestUriInvalid;
    let Some(bytes) = body else {
        return outgoing_handler::handle(request, None);
    };
    request.set_method(&Method::Post).map_err(invalid)?;
    let body = request.body().map_err(invalid)?;
    let sent = outgoing_handler::handle(request, None)?;
    let stream = body.write().map_err(invalid)?;
    let written = stream.blocking_write_and_flush(bytes);
    drop(stream);
    if written.is_ok() {
        OutgoingBody::finish(body, None)?;
    }
    Ok(sent)
}

fn answer(sent: &FutureIncomingResponse) -> Result<IncomingResponse, ErrorCode> {
    sent.subscribe().block();
    match sent.get() {
        Some(Ok(answer)) => answer,
        _ => Err(ErrorCode::InternalError(None)),
    }
}

fn read(response: &IncomingResponse) -> Result<Vec<u8>, String> {
    let body = response.consume().map_err(|()| "no body".to_owned())?;
    let stream = body.stream().map_err(|()| "no stream".to_owned())?;
    let mut all = Vec::new();
    loop {
        match stream.blocking_read(64 << 10) {
            Ok(bytes) => all.extend(bytes),
            Err(StreamError::Closed) => return Ok(all),
            Err(StreamError::LastOperationFailed(error)) => {
                let code = wasip2::http::types::http_error_code(&error);
                return Err(format!("{code:?} after {} bytes", all.len()));
            }
        }
    }
}
