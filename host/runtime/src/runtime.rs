//! The engine, and one task from start to end.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use wasmtime::component::{ResourceTable, ResourceTableError};
use wasmtime::{Engine, PoolConcurrencyLimitError, Store};
use wasmtime_wasi::I32Exit;
use zeroize::Zeroizing;

use crate::cache::Cache;
use crate::call::{self, Ended};
use crate::capture::OutputBudget;
use crate::compiled::{Code, Compiled, ComponentCode, CoreCode, Form};
use crate::config::RuntimeConfig;
use crate::cpu::{CpuMeter, Ticker};
use crate::error::{GuestText, RuntimeError};
use crate::export::{COMPONENT_DEFAULTS, CORE_DEFAULTS, choose};
use crate::limits::Tripwire;
use crate::linkers::Linkers;
use crate::services::Services;
use crate::state::{Common, CoreState, TaskState, command_line};
use crate::{args, task::*};

/// Bytes that a guest may hand to the host in one call, beyond its output limit. The engine counts about
/// 40 for each element of a list that it passes value by value.
const HOSTCALL_BYTES: u64 = 64 << 20;

/// An engine with its cache of compiled components and its limits. One per process is enough; each has one
/// thread of its own, which ends when it is dropped.
pub struct Runtime {
    engine: Engine,
    linkers: Linkers,
    cache: Cache,
    ticker: Ticker,
    places: Semaphore,
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
            cache: Cache::new(config.cached_components),
            ticker: Ticker::new(engine.clone())?,
            places: Semaphore::new(config.concurrent_tasks as usize),
            max_component_bytes: config.max_component_bytes,
            engine,
        })
    }

    /// Compiles a component or core module, or takes it from the cache. Compilation runs on a blocking
    /// thread; several callers with the same digest share one.
    ///
    /// # Errors
    /// [`RuntimeError::ComponentTooLarge`], [`RuntimeError::DigestMismatch`] and
    /// [`RuntimeError::ComponentInvalid`].
    pub async fn compile(
        &self,
        wasm: Arc<Zeroizing<Vec<u8>>>,
        component_digest: &str,
    ) -> Result<Compiled, RuntimeError> {
        let size = wasm.len() as u64;
        if size > self.max_component_bytes {
            return Err(RuntimeError::ComponentTooLarge {
                size,
                limit: self.max_component_bytes,
            });
        }
        self.cache
            .get_or_compile(component_digest, || async {
                let engine = self.engine.clone();
                let digest = component_digest.to_owned();
                tokio::task::spawn_blocking(move || Compiled::new(&engine, &wasm, &digest))
                    .await
                    .map_err(|_| RuntimeError::Host("the compiler panicked".to_owned()))?
            })
            .await
    }

    /// Drops a compiled component from the cache. Tasks that run it are not disturbed; its code goes when
    /// the last of them ends. Returns whether it was there.
    pub fn forget(&self, component_digest: &str) -> bool {
        self.cache.forget(component_digest)
    }

    /// Whether a component is compiled and in the cache.
    pub fn is_cached(&self, component_digest: &str) -> bool {
        self.cache.contains(component_digest)
    }

    /// Runs one task to its end, which comes at the latest with its limits. Everything that the task held
    /// is gone when this returns: its instance, its secrets and its handles.
    pub async fn run(&self, compiled: &Compiled, task: TaskSpec, services: Services) -> Outcome {
        let place = tokio::select! {
            biased;
            () = task.cancel.cancelled() => Err(RuntimeError::Stopped),
            place = self.places.acquire() => {
                place.map_err(|_| RuntimeError::Host("the runtime is shutting down".to_owned()))
            }
        };
        let _place = match place {
            Ok(place) => place,
            Err(error) => return Outcome::refused(error, String::new()),
        };
        let _ticking = self.ticker.ticking();
        let task = Arc::new(task);
        match compiled.code() {
            Code::Component(code) => self.run_component(code, task, services).await,
            Code::Core(code) => self.run_core(code, task).await,
        }
    }

    async fn run_component(
        &self,
        code: &ComponentCode,
        task: Arc<TaskSpec>,
        services: Services,
    ) -> Outcome {
        if let Err(error) = task
            .grants
            .check_imports(code.capabilities.iter().map(String::as_str))
        {
            return Outcome::refused(error, String::new());
        }
        let export = match choose(&code.exports, &COMPONENT_DEFAULTS, &task) {
            Ok(export) => export,
            Err(error) => return Outcome::refused(error, String::new()),
        };
        let name = export.name.clone();
        let prepared = (|| {
            let linked = code.linked(&self.linkers, task.grants.level())?;
            let command = match export.form {
                Form::Command => command_line(&task)?,
                _ => vec![task.name.clone()],
            };
            let arguments = call::component_arguments(export, &task.inputs, code.imports_inputs())?;
            Ok((linked, command, arguments))
        })();
        let (linked, command, arguments) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return Outcome::refused(error, name),
        };

        let common = Common::new(&task);
        let mut table = ResourceTable::new();
        table.set_max_capacity(task.limits.handles as usize);
        let mut store = Store::new(
            &self.engine,
            TaskState {
                wasi: common.component_wasi(&task, &command),
                table,
                memory: common.memory_meter(&task),
                output: common.output.clone(),
                task: Arc::clone(&task),
                services,
                evidence: 0,
                published: false,
            },
        );
        store.limiter(|state| &mut state.memory);
        let hostcall = task.limits.output_bytes.saturating_add(HOSTCALL_BYTES);
        store.set_hostcall_fuel(usize::try_from(hostcall).unwrap_or(usize::MAX));
        // The engine counts a borrow once more, and the guest's own resources too. Its limit only stops
        // what the resource table cannot see.
        store.set_max_component_handles((task.limits.handles as usize).saturating_mul(2) + 16);

        let meter = CpuMeter::default();
        let started = Instant::now();
        meter.watch(&mut store, &task, started, &common.tripwire);
        let call = call::component(&mut store, linked, export, arguments);
        let ended = supervise(&task, &meter, call).await;
        let state = store.data();
        let (memory_peak_bytes, evidence, published) =
            (state.memory.peak(), state.evidence, state.published);
        // What the guest published takes the place of the value, so only one of them counts.
        let value = settle(&task, &common.tripwire, &common.output, published, ended);
        drop(store);
        let usage = Usage {
            memory_peak_bytes,
            cpu_ms: milliseconds(meter.used()),
            wall_ms: milliseconds(started.elapsed()),
            output_bytes: common.output.used(),
            evidence,
        };
        Outcome {
            value,
            stdout: common.stdout.take(),
            stderr: common.stderr.take(),
            usage,
            export: name,
            published,
        }
    }

    async fn run_core(&self, code: &CoreCode, task: Arc<TaskSpec>) -> Outcome {
        let export = match choose(&code.exports, &CORE_DEFAULTS, &task) {
            Ok(export) => export,
            Err(error) => return Outcome::refused(error, String::new()),
        };
        let name = export.name.clone();
        let prepared = (|| {
            let linked = code.linked(&self.linkers)?;
            let is_command = export.name == "_start";
            let (command, arguments) = if is_command {
                (command_line(&task)?, Vec::new())
            } else {
                (
                    vec![task.name.clone()],
                    args::core(&export.name, &export.ty, &task.inputs)?,
                )
            };
            Ok((linked, command, arguments))
        })();
        let (linked, command, arguments) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return Outcome::refused(error, name),
        };

        let common = Common::new(&task);
        let mut store = Store::new(
            &self.engine,
            CoreState {
                wasi: common.core_wasi(&task, &command),
                memory: common.memory_meter(&task),
            },
        );
        store.limiter(|state| &mut state.memory);
        let meter = CpuMeter::default();
        let started = Instant::now();
        meter.watch(&mut store, &task, started, &common.tripwire);
        let call = call::core(&mut store, linked, code, export, arguments);
        let ended = supervise(&task, &meter, call).await;
        let memory_peak_bytes = store.data().memory.peak();
        let value = settle(&task, &common.tripwire, &common.output, false, ended);
        drop(store);
        let usage = Usage {
            memory_peak_bytes,
            cpu_ms: milliseconds(meter.used()),
            wall_ms: milliseconds(started.elapsed()),
            output_bytes: common.output.used(),
            evidence: 0,
        };
        Outcome {
            value,
            stdout: common.stdout.take(),
            stderr: common.stderr.take(),
            usage,
            export: name,
            published: false,
        }
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime")
            .field("places", &self.places.available_permits())
            .finish()
    }
}

/// Drives the call until it ends, is stopped, or takes too long.
async fn supervise(
    task: &TaskSpec,
    meter: &CpuMeter,
    call: impl Future<Output = Result<Value, Ended>>,
) -> Result<Value, Ended> {
    let limit = task.limits.wall_clock_ms;
    tokio::select! {
        biased;
        () = task.cancel.cancelled() => Err(Ended::Runtime(RuntimeError::Stopped)),
        () = tokio::time::sleep(Duration::from_millis(limit)) => {
            Err(Ended::Runtime(RuntimeError::LimitWallClock(limit)))
        }
        ended = meter.measure(call) => ended,
    }
}

/// What the end of a call means.
fn settle(
    task: &TaskSpec,
    tripwire: &Tripwire,
    output: &OutputBudget,
    published: bool,
    ended: Result<Value, Ended>,
) -> Result<Value, RuntimeError> {
    let ended = match ended {
        Ok(value) if published => Ok(value),
        Ok(value) => call::spend(&value, output)
            .map(|()| value)
            .map_err(Ended::Engine),
        ended => ended,
    };
    match ended {
        Ok(value) => Ok(value),
        Err(Ended::Runtime(error)) => Err(error),
        Err(Ended::Engine(error)) => match tripwire.passed() {
            Some(passed) => Err(task.limits.error(passed)),
            None => engine_error(task, &error),
        },
    }
}

fn engine_error(task: &TaskSpec, error: &wasmtime::Error) -> Result<Value, RuntimeError> {
    if let Some(I32Exit(status)) = error.downcast_ref() {
        return match status {
            0 => Ok(Value {
                content: Content::Stdout,
                in_ok: false,
            }),
            status => Err(call::exited(*status)),
        };
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return Err(RuntimeError::Host(
            "no free place for the component's instances; run fewer tasks at once".to_owned(),
        ));
    }
    let text = format!("{error:?}");
    let table_full = matches!(error.downcast_ref(), Some(ResourceTableError::Full));
    // The engine's own limit has no type of its own.
    if table_full || text.contains("store handle limit exceeded") {
        return Err(RuntimeError::LimitHandles(task.limits.handles));
    }
    Err(RuntimeError::GuestTrapped(GuestText::new(text)))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
