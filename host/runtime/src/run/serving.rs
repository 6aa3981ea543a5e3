//! Components that answer HTTP requests: an instance for each request.
//!
//! Instances run apart from the scheduler's threads ([`Threads`]), unless the latest ones of the guest were brief, as
//! with tasks (`apart.rs`).

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use wasmtime::{Engine, Store};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::{Error, WasiBody, WasiHttpView as _};

use super::apart::{Experience, here};
use super::ending::{settle, supervise};
use super::held::Held;
use super::meters::{Clocks, HostcallFuel, handles};
use super::threads::Threads;
use crate::call::Ended;
use crate::cpu::{CpuMeter, Ticker};
use crate::error::{GuestText, RuntimeError};
use crate::interfaces::Services;
use crate::state::{Common, TaskState};
use crate::task::{Content, TaskSpec, Value};

/// A component that answers HTTP requests, linked and type-checked once.
///
/// Each request has an instance of its own with the task's limits, which it shares with no other request: what
/// one leaves behind, the next does not find. A request that finds all places taken waits for one. What is under
/// way ends with the task's canceller.
pub struct HttpGuest {
    engine: Engine,
    proxy: ProxyPre<TaskState>,
    task: Arc<TaskSpec>,
    services: Services,
    requests: Requests,
    ticker: Arc<Ticker>,
    experience: Arc<Experience>,
}

/// What an HTTP guest shares with others.
pub(crate) struct Shared<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) requests: &'a Requests,
    pub(crate) ticker: &'a Arc<Ticker>,
}

/// What there is for requests to all guests. Clones share it.
#[derive(Clone)]
pub(crate) struct Requests {
    places: Arc<Semaphore>,
    threads: Arc<Threads>,
}

impl Requests {
    /// So many at once. None where that is none.
    pub(crate) fn new(at_once: u32) -> Result<Option<Self>, RuntimeError> {
        if at_once == 0 {
            return Ok(None);
        }
        Ok(Some(Self {
            places: Arc::new(Semaphore::new(at_once as usize)),
            threads: Arc::new(Threads::new()?),
        }))
    }
}

impl HttpGuest {
    pub(crate) fn new(
        shared: Shared<'_>,
        proxy: ProxyPre<TaskState>,
        task: TaskSpec,
        services: Services,
    ) -> Self {
        Self {
            engine: shared.engine.clone(),
            proxy,
            task: Arc::new(task),
            services,
            requests: shared.requests.clone(),
            ticker: Arc::clone(shared.ticker),
            experience: Arc::default(),
        }
    }

    /// Answers one request, when the component has given the head of its answer. The body goes on while it is
    /// read, and an answer that is dropped ends the instance.
    ///
    /// # Errors
    /// Why there is no answer: a trap, a limit, [`RuntimeError::GuestFailed`] when the component gave none, and
    /// [`RuntimeError::ArgumentsInvalid`] for a request that names no host.
    pub async fn answer<B>(
        &self,
        request: http::Request<B>,
    ) -> Result<http::Response<HttpBody>, RuntimeError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let place = tokio::select! {
            biased;
            () = self.task.cancel.cancelled() => return Err(RuntimeError::Stopped),
            place = Arc::clone(&self.requests.places).acquire_owned() => place,
        };
        let place =
            place.map_err(|_| RuntimeError::Host("the runtime is shutting down".to_owned()))?;
        let held = Held::new(place, self.ticker.ticking());
        let (sender, answer) = oneshot::channel();
        let (instance, meter) = self.instance(request, sender, held)?;
        let guest = Guest(Some(tokio::spawn(self.placed(instance, meter))));
        match answer.await {
            Ok(Ok(answer)) => Ok(answer.map(|body| HttpBody {
                body,
                guest: Some(guest),
            })),
            Ok(Err(code)) => Err(no_answer(format!("the component answered with {code:?}"))),
            // The instance is gone without an answer; it says why.
            Err(_) => match guest.end().await {
                Ok(_) => Err(no_answer("the component gave no answer".to_owned())),
                Err(error) => Err(error),
            },
        }
    }

    /// Runs an instance to its end, where it holds up nobody.
    fn placed<I>(
        &self,
        instance: I,
        meter: CpuMeter,
    ) -> impl Future<Output = Result<Value, RuntimeError>> + Send + use<I>
    where
        I: Future<Output = Result<Value, RuntimeError>> + Send + 'static,
    {
        let experience = Arc::clone(&self.experience);
        let threads = Arc::clone(&self.requests.threads);
        async move {
            let mut instance = Box::pin(instance);
            let ended = match here(&mut instance, &meter, &experience).await {
                Some(ended) => ended,
                None => Guest(Some(threads.spawn(instance))).end().await,
            };
            experience.note(meter.used());
            ended
        }
    }

    /// An instance for one request, ready to run, and what it uses.
    fn instance<B>(
        &self,
        request: http::Request<B>,
        sender: oneshot::Sender<Result<http::Response<WasiBody>, ErrorCode>>,
        held: Held,
    ) -> Result<
        (
            impl Future<Output = Result<Value, RuntimeError>> + Send + use<B>,
            CpuMeter,
        ),
        RuntimeError,
    >
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let task = Arc::clone(&self.task);
        let common = Common::new(&task);
        let state = TaskState::new(&common, &task, &self.services, &[])?;
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| &mut state.memory);
        let fuel = HostcallFuel::output(&task.limits);
        store.set_hostcall_fuel(fuel.bytes);
        store.set_max_component_handles(handles(&task.limits));
        let clocks = Clocks::new(&task, &common);
        clocks.watch.ticks(&mut store);

        let request = request.map(|body| Incoming {
            body: Box::pin(body),
        });
        let mut http = store.data_mut().http();
        let request = http.new_incoming_request(Scheme::Http, request);
        let request = request.map_err(|error| {
            RuntimeError::ArgumentsInvalid(GuestText::new(format!("{error:#}")))
        })?;
        let out = http.new_response_outparam(sender);
        let out = out.map_err(|error| RuntimeError::Host(format!("{error:#}")))?;
        let proxy = self.proxy.clone();
        let meter = clocks.meter.clone();
        let instance = async move {
            let call = async {
                let instance = proxy.instantiate_async(&mut store).await?;
                let handler = instance.wasi_http_incoming_handler();
                handler.call_handle(&mut store, request, out).await?;
                Ok::<_, Ended>(Value {
                    content: Content::Nothing,
                    in_ok: false,
                })
            };
            let ended = supervise(&task, &clocks, pin!(call)).await;
            let ended = settle(
                &task,
                &common.tripwire,
                &common.output,
                false,
                fuel.exhausted,
                ended,
            );
            drop((store, held));
            ended
        };
        Ok((instance, meter))
    }
}

impl std::fmt::Debug for HttpGuest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HttpGuest({})", self.task.task_id)
    }
}

fn no_answer(words: String) -> RuntimeError {
    RuntimeError::GuestFailed {
        exit_code: None,
        text: GuestText::new(words),
    }
}

/// An instance at work, which ends with this.
struct Guest(Option<JoinHandle<Result<Value, RuntimeError>>>);

impl Guest {
    /// Lets it end by itself.
    fn leave(mut self) {
        self.0 = None;
    }

    async fn end(mut self) -> Result<Value, RuntimeError> {
        let gone = || RuntimeError::Host("the thread of the task panicked".to_owned());
        match self.0.as_mut() {
            Some(guest) => guest.await.unwrap_or_else(|_| Err(gone())),
            None => Err(gone()),
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Some(guest) = &self.0 {
            guest.abort();
        }
    }
}

/// The body of an answer, which keeps its instance at work. It ends with an error when the instance does.
pub struct HttpBody {
    body: WasiBody,
    guest: Option<Guest>,
}

/// An answer without a body is dropped unread, and is no reason to end the instance.
impl Drop for HttpBody {
    fn drop(&mut self) {
        if let Some(guest) = self.guest.take()
            && self.body.is_end_stream()
        {
            guest.leave();
        }
    }
}

impl Body for HttpBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() {
            // The component may go on a while after its answer, within its limits.
            if let Some(guest) = self.guest.take() {
                guest.leave();
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a request, with its errors as WASI has them.
struct Incoming<B> {
    body: Pin<Box<B>>,
}

impl<B> Body for Incoming<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = self.body.as_mut().poll_frame(context);
        frame.map(|frame| {
            frame.map(|frame| {
                frame.map_err(|error| Error::InternalError(Some(error.into().to_string())))
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
