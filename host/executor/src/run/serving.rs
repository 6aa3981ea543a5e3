//! Plain components that answer HTTP requests.
//!
//! Such a task runs until it is stopped: it is served at the address of the settings, with an instance for each
//! request, and requests that are under way when it is stopped are finished. An encrypted one is refused, because
//! its clients have no way to tell this host from another one.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use http::{Response, StatusCode};
use http_body_util::{Either, Full};
use proplet_net::{
    bounded::Bounded,
    serve::{Bounds, Handler, serve},
};
use proplet_runtime::{CancelToken, HttpBody, HttpGuest, RuntimeError};
use proplet_settings::Listen;
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::{refusal::Refusal, watch::Watch};

/// Listens at the first free port.
///
/// # Errors
/// `http-not-served` when the settings name no address, or nothing is free there.
pub(super) async fn listen(at: Option<Listen>) -> Result<TcpListener, Refusal> {
    let not_served = |words: String| Refusal::from(&RuntimeError::HttpNotServed(words));
    let Some(Listen { address, ports }) = at else {
        return Err(not_served(
            "set [http] listen in the settings document".to_owned(),
        ));
    };
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for offset in 0..ports {
        let Some(port) = address.port().checked_add(offset) else {
            break;
        };
        match TcpListener::bind(SocketAddr::new(address.ip(), port)).await {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(not_served(format!(
        "{address} cannot be listened at ({last}); stop what listens there, or set another address as [http] \
         listen"
    )))
}

/// Serves a component until its task is stopped, and gives the text of upstream's result, which whoever watches is told
/// at once.
pub(super) async fn serve_until_stopped(
    guest: HttpGuest,
    task_id: &str,
    listener: TcpListener,
    connections: u32,
    (requests, stop): (&CancelToken, &CancelToken),
    watch: &Watch,
) -> String {
    let address = listener.local_addr();
    let port = address.as_ref().map_or(0, SocketAddr::port);
    match address {
        Ok(address) => info!("Task {task_id} answers HTTP requests at {address}"),
        Err(error) => {
            warn!("Task {task_id} answers HTTP requests, the address is unknown: {error}")
        }
    }
    let result = format!("started at port {port}");
    watch.begin_to_answer(&result);
    let bounds = Bounds {
        connections: connections as usize,
        ..Bounds::default()
    };
    serve(listener, Arc::new(Guest(guest)), bounds, stop.cancelled()).await;
    // What has not ended in its time of grace ends now.
    requests.cancel();
    info!("Task {task_id} answers no more HTTP requests");
    result
}

/// How long a client may be told to wait, when all places are taken.
const RETRY: Duration = Duration::from_secs(1);

struct Guest(HttpGuest);

impl Handler for Guest {
    type Body = Either<HttpBody, Full<bytes::Bytes>>;

    async fn answer(&self, request: http::Request<Bounded>) -> Response<Self::Body> {
        match self.0.answer(request).await {
            Ok(answer) => answer.map(Either::Left),
            Err(error) => refused(&error),
        }
    }
}

/// What a client is told: a status and a code. What the component said is not for it.
fn refused(error: &RuntimeError) -> Response<Either<HttpBody, Full<bytes::Bytes>>> {
    let status = match error {
        RuntimeError::ArgumentsInvalid(_) => StatusCode::BAD_REQUEST,
        RuntimeError::LimitWallClock(_) => StatusCode::GATEWAY_TIMEOUT,
        RuntimeError::Stopped => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let text = format!("{}\n", error.code());
    let mut answer = Response::new(Either::Right(Full::new(text.into())));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(http::header::RETRY_AFTER, RETRY.as_secs().into());
    }
    answer
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test]
    async fn without_an_address_nothing_is_served() {
        let refusal = listen(None).await.unwrap_err();
        assert_eq!(refusal.code(), "http-not-served");
        assert!(refusal.words().contains("[http] listen"), "{refusal}");
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_passed_over_or_refused() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = taken.local_addr().unwrap();
        let one = Listen { address, ports: 1 };
        let refusal = listen(Some(one)).await.unwrap_err();
        assert_eq!(refusal.code(), "http-not-served");
        assert!(refusal.words().contains(&address.to_string()), "{refusal}");
        let several = Listen {
            address,
            ports: 100,
        };
        let found = listen(Some(several)).await.unwrap();
        assert!(found.local_addr().unwrap().port() > address.port());
    }

    #[test]
    fn a_client_gets_a_status_and_a_code() {
        for (error, status) in [
            (RuntimeError::LimitWallClock(1), 504),
            (RuntimeError::LimitMemory(1), 500),
            (RuntimeError::Stopped, 503),
        ] {
            assert_eq!(refused(&error).status(), status);
        }
        assert_eq!(
            refused(&RuntimeError::Stopped).headers()["retry-after"],
            "1"
        );
    }
}
