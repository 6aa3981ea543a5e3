//! `wasi:http`: requests to hosts that were listed for the task.
//!
//! Runtimes of other languages import this for their `fetch`, called or not, so every component may. It can
//! build a request. To send one is denied (`HTTP-request-denied`) before a name is looked up or a socket is
//! opened, unless the task has a way out ([`Outside::http`](crate::Outside)): then that one judges the request and
//! sends it, under the rules of [`proplet_net::reach`]. The library is built without its own HTTP client, and no
//! other way leads out.
//!
//! Requests are host objects, so what one can hold is bounded: with the handles that a task may have, all of
//! them stay below some 80 MiB. What is under way ends with the task, whose table holds it.
//!
//! `incoming-handler` is what a server exports. As an import it would be another component, and there is
//! none, so it is not served.

mod errors;

use std::future::Future;
use std::sync::{Arc, LazyLock};

use http::HeaderName;
use http::header::{EXPECT, TE, TRAILER};
use http_body_util::BodyExt as _;
use proplet_net::reach::outgoing::{Outgoing, Patience};
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, LinkerInstance, Resource, ResourceTable};
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler::Host as _;
use wasmtime_wasi_http::p2::bindings::http::types::{
    self, ErrorCode, FutureIncomingResponse, HostOutgoingRequest, Method, OutgoingRequest,
    RequestOptions, Scheme,
};
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, WasiBody, WasiHttp, WasiHttpCtx,
    WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use self::errors::wasi_error;
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

/// What a task keeps: the limits of its requests, and the way out if it has one.
pub(crate) struct State {
    context: WasiHttpCtx,
    hooks: Hooks,
}

impl PerTask for State {
    fn new(start: &Start<'_>) -> Self {
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(MAX_FIELDS);
        Self {
            context,
            hooks: Hooks {
                outgoing: start.task.outside.http.clone(),
            },
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

/// Sends requests where there is a way out, and denies them where there is none.
struct Hooks {
    outgoing: Option<Outgoing>,
}

/// A response, and what goes on with its connection.
type Sent = (
    http::Response<WasiBody>,
    Box<dyn Future<Output = Result<(), Error>> + Send>,
);

/// Fields that are the host's to set, since they say where a message ends and which connection it is on.
static FORBIDDEN: LazyLock<ForbiddenHeaderFilter> = LazyLock::new(|| {
    Arc::new(|name: &HeaderName| {
        DEFAULT_FORBIDDEN_HEADERS.contains(name) || [EXPECT, TE, TRAILER].contains(name)
    })
});

impl WasiHttpHooks for Hooks {
    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::clone(&FORBIDDEN)
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<wasmtime_wasi_http::RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        let Some(outgoing) = self.outgoing.clone() else {
            return Box::new(std::future::ready(Err(Error::HttpRequestDenied)));
        };
        let options = options.unwrap_or_default();
        let patience = Patience {
            connect: options.connect_timeout,
            first_byte: options.first_byte_timeout,
            between_bytes: options.between_bytes_timeout,
        };
        Box::new(async move {
            let answer = outgoing.send(request, patience).await.map_err(wasi_error)?;
            let answer = answer.map(|body| body.map_err(wasi_error).boxed_unsync());
            // The connection goes with the body.
            let nothing: Box<dyn Future<Output = _> + Send> = Box::new(std::future::ready(Ok(())));
            Ok((answer, nothing))
        })
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
            Ok((handle(store.data_mut(), request, options)?,))
        })?;
    let options = types::LinkOptions::default();
    types::add_to_linker::<_, WasiHttp>(linker, &options, TaskState::http)?;
    linker.allow_shadowing(true);
    let bounded = bound_texts(&mut linker.instance("wasi:http/types@0.2.12")?);
    linker.allow_shadowing(false);
    bounded
}

/// What the guest asks for.
type Request = Resource<OutgoingRequest>;
/// What it gets: the answer that will come.
type Sending = Result<Resource<FutureIncomingResponse>, ErrorCode>;

fn handle(
    state: &mut TaskState,
    request: Request,
    options: Option<Resource<RequestOptions>>,
) -> wasmtime::Result<Sending> {
    if state.interfaces.http.hooks.outgoing.is_none() {
        return deny(&mut state.table, request, options);
    }
    // The library reads the options and leaves them in the table, though they were given away.
    let given = options
        .as_ref()
        .map(|options| Resource::new_own(options.rep()));
    let sending = state.http().handle(request, options);
    if let Some(options) = given {
        state.table.delete::<RequestOptions>(options)?;
    }
    match sending {
        Ok(sending) => Ok(Ok(sending)),
        Err(error) => error.downcast().map(Err),
    }
}

/// Sends nothing. What the guest gave away with the call is gone, as it would be had it been sent.
fn deny(
    table: &mut ResourceTable,
    request: Request,
    options: Option<Resource<RequestOptions>>,
) -> wasmtime::Result<Sending> {
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
                hooks: &mut Hooks { outgoing: None },
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
