//! The interfaces of WASI, called without the standard library.

use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, Method, OutgoingRequest, Scheme};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::ip_name_lookup::resolve_addresses;
use wasip2::sockets::network::{ErrorCode, IpAddressFamily};
use wasip2::sockets::tcp_create_socket::create_tcp_socket;
use wasip2::sockets::udp_create_socket::create_udp_socket;

/// What each call answers that gives the means to reach anything.
pub fn sockets(name: &str) -> String {
    let network = instance_network();
    let mut answers = Vec::new();
    for family in [IpAddressFamily::Ipv4, IpAddressFamily::Ipv6] {
        answers.push(answer(create_tcp_socket(family)));
        answers.push(answer(create_udp_socket(family)));
    }
    answers.push(answer(resolve_addresses(&network, name)));
    answers.join(" ")
}

fn answer<T>(result: Result<T, ErrorCode>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(error) => error.name(),
    }
}

/// What a request with a body answers.
pub fn request(authority: &str) -> String {
    let request = OutgoingRequest::new(Fields::new());
    let set = [
        request.set_method(&Method::Post),
        request.set_scheme(Some(&Scheme::Http)),
        request.set_authority(Some(authority)),
        request.set_path_with_query(Some("/")),
    ];
    if set.iter().any(Result::is_err) {
        return "not a request".to_owned();
    }
    let Ok(body) = request.body() else {
        return "no body".to_owned();
    };
    let room = body.write().map(|stream| stream.check_write());
    match outgoing_handler::handle(request, None) {
        Ok(_) => "sent".to_owned(),
        Err(error) => format!("{error:?}, room for {room:?}"),
    }
}

/// Which texts of this length a request takes.
pub fn describe(length: &str) -> String {
    let text = "a".repeat(length.parse().unwrap_or_default());
    let request = OutgoingRequest::new(Fields::new());
    let mut taken = Vec::new();
    let mut note = |what, is_taken| {
        if is_taken {
            taken.push(what);
        }
    };
    let method = Method::Other(text.clone());
    note("method", request.set_method(&method).is_ok());
    note("authority", request.set_authority(Some(&text)).is_ok());
    let path = format!("/{text}");
    note("path", request.set_path_with_query(Some(&path)).is_ok());
    taken.join(" ")
}

/// Whether fields take a value of this length.
pub fn field(length: &str) -> String {
    let value = vec![b'a'; length.parse().unwrap_or_default()];
    match Fields::new().append("x", &value) {
        Ok(()) => "taken".to_owned(),
        Err(error) => format!("{error:?}"),
    }
}
