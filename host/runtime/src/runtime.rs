//! The engine, and one task from start to end.

use std::sync::Arc;
use std::time::Duration;

use proplet_component::Component;
use proplet_types::Digest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::Engine;

use crate::cache::{Bounds, Cache, Owner};
use crate::cancel::CancelToken;
use crate::compiled::{Compiled, CompiledCode};
use crate::config::RuntimeConfig;
use crate::cpu::Ticker;
use crate::error::RuntimeError;
use crate::interfaces::Services;
use crate::linkers::Linkers;
use crate::run::{self, Held, HttpGuest, Requests, Shared};
use crate::task::{Outcome, TaskSpec};

/// An engine with its cache of compiled components and its limits. One per process is enough; each has one
/// thread of its own, and one for each processor where it answers requests, which end when it is dropped.
pub struct Runtime {
    engine: Engine,
    linkers: Linkers,
    cache: Cache<Compiled>,
    ticker: Arc<Ticker>,
    places: Arc<Semaphore>,
    /// For requests to HTTP guests, where there are any.
    requests: Option<Requests>,
    max_component_bytes: u64,
}

impl Runtime {
    /// Sets up the engine.
    ///
    /// # Errors
    /// [`RuntimeError::Host`] when the engine does not take the configuration, or there is no address
    /// space for its pool or no thread for its ticker.
    pub fn new(config: RuntimeConfig) -> Result<Self, RuntimeError> {
        let host = |error: wasmtime::Error| RuntimeError::Host(format!("{error:#}"));
        let engine = Engine::new(&config.engine()?).map_err(host)?;
        Ok(Self {
            linkers: Linkers::new(&engine)?,
            cache: Cache::new(Bounds {
                entries: config.cached_components,
                bytes: config.cached_bytes,
                places: config.compilations as usize,
                // A task waits for one component at most.
                waiting: config.concurrent_tasks as usize,
                wait: Duration::from_millis(config.compile_ms),
                time: Duration::from_millis(config.compile_ms),
            }),
            ticker: Arc::new(Ticker::new(engine.clone())?),
            places: Arc::new(Semaphore::new(config.concurrent_tasks as usize)),
            requests: Requests::new(config.concurrent_requests)?,
            max_component_bytes: config.max_component_bytes,
            engine,
        })
    }

    /// Compiles a component or core module, or takes it from the cache. Compilation runs on a blocking
    /// thread; several callers with the same component share one, few run at once
    /// ([`RuntimeConfig::compilations`]), and owners take turns. To give it up is to drop the future: a compilation
    /// that has begun, which cannot be interrupted, goes on and holds its place, and a later call joins it.
    ///
    /// # Errors
    /// [`RuntimeError::ComponentTooLarge`], [`RuntimeError::ComponentInvalid`],
    /// [`RuntimeError::CompileBusy`], and [`RuntimeError::LimitCompile`] when it takes longer than
    /// [`RuntimeConfig::compile_ms`].
    pub async fn compile(
        &self,
        component: Arc<Component>,
        owner: &Owner,
    ) -> Result<Compiled, RuntimeError> {
        let size = component.bytes().len() as u64;
        if size > self.max_component_bytes {
            return Err(RuntimeError::ComponentTooLarge {
                size,
                limit: self.max_component_bytes,
            });
        }
        let engine = self.engine.clone();
        let digest = component.digest();
        let compile = move || Compiled::new(&engine, &component);
        self.cache.get_or_compile(digest, owner, compile).await
    }

    /// Drops a compiled component from the cache. Tasks that run it are not disturbed; its code goes when
    /// the last of them ends. Returns whether it was there.
    pub fn forget(&self, component: &Digest) -> bool {
        self.cache.forget(component)
    }

    /// Runs one task to its end, which comes at the latest with its limits. Everything that the task held
    /// is gone when this returns: its instance, its secrets and its handles.
    ///
    /// Everything whose size the inputs or the component choose is done within the task's limits, and what
    /// takes more than a moment, or may, apart from the threads of the scheduler. A task whose future is dropped
    /// is stopped.
    pub async fn run(&self, compiled: &Compiled, task: TaskSpec, services: Services) -> Outcome {
        let held = match self.place(&task.cancel).await {
            Ok(place) => Held::new(place, self.ticker.ticking()),
            Err(error) => return Outcome::refused(error, String::new()),
        };
        let task = Arc::new(task);
        match compiled.code() {
            CompiledCode::Component(code) => {
                run::component(&self.engine, &self.linkers, code, task, services, held).await
            }
            CompiledCode::Core(code) => {
                run::core(&self.engine, &self.linkers, code, task, held).await
            }
        }
    }

    /// A place for a task, as soon as there is one.
    ///
    /// # Errors
    /// [`RuntimeError::Stopped`] when the task is stopped before that.
    async fn place(&self, cancel: &CancelToken) -> Result<OwnedSemaphorePermit, RuntimeError> {
        if cancel.is_cancelled() {
            return Err(RuntimeError::Stopped);
        }
        // There is one, most of the time. Those who wait already are not passed over.
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(RuntimeError::Stopped),
            place = Arc::clone(&self.places).acquire_owned() => {
                place.map_err(|_| RuntimeError::Host("the runtime is shutting down".to_owned()))
            }
        }
    }

    /// A component that answers HTTP requests (`wasi:http/incoming-handler`), ready to. Every request is a task
    /// like `task`, without its inputs, with as many places as
    /// [`RuntimeConfig::concurrent_requests`] says.
    ///
    /// # Errors
    /// [`RuntimeError::ExportNotFound`] when it does not, [`RuntimeError::ImportNotGranted`], and
    /// [`RuntimeError::HttpNotServed`] when no request has a place.
    pub fn http_guest(
        &self,
        compiled: &Compiled,
        task: TaskSpec,
        services: Services,
    ) -> Result<HttpGuest, RuntimeError> {
        let Some(requests) = &self.requests else {
            return Err(RuntimeError::HttpNotServed(
                "there are no places for requests".to_owned(),
            ));
        };
        let proxy = compiled.proxy(&self.linkers, &task)?;
        let shared = Shared {
            engine: &self.engine,
            requests,
            ticker: &self.ticker,
        };
        Ok(HttpGuest::new(shared, proxy, task, services))
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime")
            .field("places", &self.places.available_permits())
            .finish()
    }
}
