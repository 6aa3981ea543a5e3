//! Requests per second of an HTTP guest, beside raw Wasmtime's own handler loop.
//!
//! Both sides answer the same requests with the same component over loopback, with an instance for each request.
//! Here the production executor serves it, with bounds, limits and meters. There it is the loop that the
//! documentation of `wasmtime-wasi-http` shows: hyper, `ProxyPre`, a store for each request. The engines have the
//! same pool, epochs and zeroed stacks. The sides take turns, so a noisy machine disturbs both alike, and medians
//! are compared. Clients keep their connections.
//!
//! Nothing here fails because something is slow.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs
)]

mod raw;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proplet_executor::harden::Swap;
use proplet_executor::{Executor, Host, Request, Source, Task};
use proplet_runtime::CancelToken;
use proplet_settings::{Settings, environment::Environment};
use proplet_testkit::guests::{GuestName, build};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Engine, Store, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

/// Clients that ask at once, each over one connection.
const CLIENTS: usize = 4;

/// The component, served by the production executor until the process ends.
async fn ours(component: Vec<u8>) -> SocketAddr {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let text = format!("[http]\nlisten = \"{address}\"\n");
    let settings = Settings::parse(Some(&text), &Environment::default()).unwrap();
    let mut host = Host::new(Arc::new(settings), None);
    host.swap = Swap::None;
    let executor = Executor::new(host).unwrap();
    let request = Request {
        source: Source::File(component),
        task: Task {
            id: "task-1".into(),
            name: "bench".into(),
            inputs: Vec::new(),
            arguments: Vec::new(),
            invoke: None,
            env: Default::default(),
            watch: Default::default(),
            record: None,
        },
    };
    let serving = tokio::spawn(async move {
        let outcome = executor.execute(request, CancelToken::new()).await;
        panic!("the guest is not served: {:?}", outcome.error);
    });
    while TcpStream::connect(address).await.is_err() {
        assert!(!serving.is_finished());
        tokio::task::yield_now().await;
    }
    address
}

struct RawState {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: NoRequests,
    table: ResourceTable,
}

/// The component makes no requests.
struct NoRequests;

/// A response, and what goes on with its connection.
type Sent = (
    http::Response<WasiBody>,
    Box<dyn Future<Output = Result<(), Error>> + Send>,
);

impl WasiHttpHooks for NoRequests {
    fn send_request(
        &mut self,
        _: http::Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        Box::new(std::future::ready(Err(Error::HttpRequestDenied)))
    }
}

impl WasiView for RawState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for RawState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: &mut self.hooks,
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}

/// The component, served by the engine and hyper alone until the process ends.
async fn raw(component: &[u8]) -> SocketAddr {
    let engine = raw::engine();
    let component = Component::new(&engine, component).unwrap();
    let mut linker = Linker::<RawState>::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker).unwrap();
    let proxy = ProxyPre::new(linker.instantiate_pre(&component).unwrap()).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (engine, proxy) = (engine.clone(), proxy.clone());
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let (engine, proxy) = (engine.clone(), proxy.clone());
                    async move { answer(&engine, proxy, request).await }
                });
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                let _ = connection.await;
            });
        }
    });
    address
}

async fn answer(
    engine: &Engine,
    proxy: ProxyPre<RawState>,
    request: http::Request<hyper::body::Incoming>,
) -> Result<http::Response<WasiBody>, std::convert::Infallible> {
    let state = RawState {
        wasi: WasiCtx::builder().build(),
        http: WasiHttpCtx::new(),
        hooks: NoRequests,
        table: ResourceTable::new(),
    };
    let mut store = Store::new(engine, state);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Yield(1)));
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let request = request.map(|body| body.map_err(Error::from));
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(Scheme::Http, request).unwrap();
    let out = http.new_response_outparam(sender).unwrap();
    tokio::spawn(async move {
        let instance = proxy.instantiate_async(&mut store).await.unwrap();
        let handler = instance.wasi_http_incoming_handler();
        handler.call_handle(&mut store, request, out).await.unwrap();
    });
    Ok(receiver.await.unwrap().unwrap())
}

/// Asks this often over one connection.
async fn ask(address: SocketAddr, times: usize) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    for _ in 0..times {
        stream
            .write_all(b"GET /bench HTTP/1.1\r\nhost: a.example\r\n\r\n")
            .await
            .unwrap();
        answer.clear();
        while !answer.ends_with(b"0\r\n\r\n") {
            let length = stream.read(&mut buffer).await.unwrap();
            assert_ne!(length, 0, "the connection ended");
            answer.extend_from_slice(buffer.get(..length).unwrap_or_default());
        }
        let greets = |window: &[u8]| window == b"Hello from /bench";
        assert!(
            answer.windows(17).any(greets),
            "{}",
            Bytes::from(answer.clone()).len()
        );
    }
}

/// How long all clients take for this many requests each.
async fn round(address: SocketAddr, times: usize) -> Duration {
    let start = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(ask(address, times)))
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn main() {
    // `cargo test` and `--test` see that it works; only a real `cargo bench` takes its time.
    let given = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    let (rounds, times) = if given("--bench") && !given("--test") {
        (21, 500)
    } else {
        (1, 2)
    };
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let component = build(GuestName::WebServer).unwrap().bytes.clone();
    tokio.block_on(async {
        let sides = [
            ("raw handler loop", raw(&component).await),
            ("HTTP guest", ours(component.clone()).await),
        ];
        let mut all = [Vec::new(), Vec::new()];
        for number in 0..=rounds {
            for ((_, address), all) in sides.iter().zip(&mut all) {
                let took = round(*address, times).await;
                // The first round warms both up.
                if number > 0 {
                    all.push(took);
                }
            }
        }
        let requests = (CLIENTS * times) as f64;
        let rates = all.map(|times| requests / median(times).as_secs_f64());
        let raw = rates.first().copied().unwrap_or(1.0);
        println!(
            "\n{:<34} {:>12} {:>7}",
            format!("{rounds} rounds in turn, medians"),
            "requests/s",
            "/ raw"
        );
        for ((name, _), rate) in sides.iter().zip(rates) {
            println!("{name:<34} {rate:>12.0} {:>7.2}", rate / raw);
        }
    });
}
