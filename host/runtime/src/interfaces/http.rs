//! `wasi:http`, closed.
//!
//! Runtimes of other languages import this for their `fetch`, called or not, so every component may. It can
//! build a request; to send one is denied (`HTTP-request-denied`) before a name is looked up or a socket
//! is opened. The fence is double: the function that sends is this module's own and does neither, and
//! behind it the library is built without its HTTP client, and its hook denies again.
//!
//! Requests are host objects, so what one can hold is bounded: with the handles that a task may have, all of
//! them stay below some 80 MiB.
//!
//! `incoming-handler` is what a server exports. As an import it would be another component, and there is
//! none, so it is not served.

use std::future::Future;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, LinkerInstance, Resource, ResourceTable};
use wasmtime_wasi_http::p2::bindings::http::types::{
    self, ErrorCode, FutureIncomingResponse, HostOutgoingRequest, Method, OutgoingRequest,
    RequestOptions, Scheme,
};
use wasmtime_wasi_http::{
    Error, WasiBody, WasiHttp, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use super::{Grant, Interface, PerTask, Start};
use crate::state::TaskState;

/// Bytes of all fields of a request or response.
const MAX_FIELDS: usize = 32 << 10;
/// Bytes of a method, scheme, authority or path. The library has no limit for some of them.
const MAX_TEXT: usize = 8 << 10;
/// Bytes of a body that wait to be sent, for each of at most three chunks.
const BODY_CHUNK: usize = 4 << 10;

pub(crate) const INTERFACE: Interface = Interface {
    names: &["wasi:http/types", "wasi:http/outgoing-handler"],
    grant: Grant::Always,
    add_to_linker,
};

/// What a task keeps: the limits of its requests.
pub(crate) struct State {
    context: WasiHttpCtx,
    hooks: Closed,
}

impl PerTask for State {
    fn new(_: &Start<'_>) -> Self {
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(MAX_FIELDS);
        Self {
            context,
            hooks: Closed,
        }
    }
}

impl WasiHttpView for TaskState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: &mut self.interfaces.http.hooks,
            table: &mut self.table,
            ctx: &mut self.interfaces.http.context,
        }
    }
}

/// Denies every request.
struct Closed;

/// A response, and what goes on with its connection.
type Sent = (
    http::Response<WasiBody>,
    Box<dyn Future<Output = Result<(), Error>> + Send>,
);

impl WasiHttpHooks for Closed {
    fn send_request(
        &mut self,
        _: http::Request<WasiBody>,
        _: Option<wasmtime_wasi_http::RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        Box::new(std::future::ready(Err(Error::HttpRequestDenied)))
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK
    }
}

type Store<'a> = StoreContextMut<'a, TaskState>;

fn add_to_linker(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    linker
        .instance("wasi:http/outgoing-handler@0.2.12")?
        .func_wrap("handle", |mut store: Store<'_>, (request, options)| {
            Ok((deny(&mut store.data_mut().table, request, options)?,))
        })?;
    let options = types::LinkOptions::default();
    types::add_to_linker::<_, WasiHttp>(linker, &options, TaskState::http)?;
    linker.allow_shadowing(true);
    let bounded = bound_texts(&mut linker.instance("wasi:http/types@0.2.12")?);
    linker.allow_shadowing(false);
    bounded
}

/// Sends nothing. What the guest gave away with the call is gone, as it would be had it been sent.
fn deny(
    table: &mut ResourceTable,
    request: Resource<OutgoingRequest>,
    options: Option<Resource<RequestOptions>>,
) -> wasmtime::Result<Result<Resource<FutureIncomingResponse>, ErrorCode>> {
    table.delete(request)?;
    if let Some(options) = options {
        table.delete(options)?;
    }
    Ok(Err(ErrorCode::HttpRequestDenied))
}

/// Replaces the functions that put a text of any length into a request.
fn bound_texts(types: &mut LinkerInstance<'_, TaskState>) -> wasmtime::Result<()> {
    type Answer = Result<(), ()>;
    let fits = |text: &str| text.len() <= MAX_TEXT;

    types.func_wrap(
        "[method]outgoing-request.set-method",
        move |mut store: Store<'_>, (request, method): (Resource<OutgoingRequest>, Method)| {
            match &method {
                Method::Other(text) if !fits(text) => Ok((Answer::Err(()),)),
                _ => Ok((store.data_mut().http().set_method(request, method)?,)),
            }
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-scheme",
        move |mut store: Store<'_>,
              (request, scheme): (Resource<OutgoingRequest>, Option<Scheme>)| {
            match &scheme {
                Some(Scheme::Other(text)) if !fits(text) => Ok((Answer::Err(()),)),
                _ => Ok((store.data_mut().http().set_scheme(request, scheme)?,)),
            }
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-authority",
        move |mut store: Store<'_>,
              (request, text): (Resource<OutgoingRequest>, Option<String>)| {
            match &text {
                Some(text) if !fits(text) => Ok((Answer::Err(()),)),
                _ => Ok((store.data_mut().http().set_authority(request, text)?,)),
            }
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-path-with-query",
        move |mut store: Store<'_>,
              (request, text): (Resource<OutgoingRequest>, Option<String>)| {
            match &text {
                Some(text) if !fits(text) => Ok((Answer::Err(()),)),
                _ => Ok((store.data_mut().http().set_path_with_query(request, text)?,)),
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use wasmtime_wasi_http::p2::bindings::http::types::{HostFields, HostRequestOptions};

    use super::*;

    #[test]
    fn a_request_that_is_denied_leaves_no_handles() {
        let mut table = ResourceTable::new();
        table.set_max_capacity(3);
        let mut context = WasiHttpCtx::new();
        for with_options in [true, false].repeat(10) {
            let mut view = WasiHttpCtxView {
                hooks: &mut Closed,
                table: &mut table,
                ctx: &mut context,
            };
            let headers = HostFields::new(&mut view).unwrap();
            let request = HostOutgoingRequest::new(&mut view, headers).unwrap();
            let options = with_options.then(|| HostRequestOptions::new(&mut view).unwrap());
            let denied = deny(&mut table, request, options).unwrap();
            assert!(matches!(denied, Err(ErrorCode::HttpRequestDenied)));
            assert!(table.is_empty());
        }
    }
}
