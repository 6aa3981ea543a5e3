//! One task, from its export to its outcome.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::component::{InstancePre, ResourceTableError};
use wasmtime::{Engine, PoolConcurrencyLimitError, Store};
use wasmtime_wasi::I32Exit;

use crate::args;
use crate::call::{self, Ended};
use crate::cancel::CancelToken;
use crate::capture::OutputBudget;
use crate::compiled::{ComponentCode, ComponentExport, CoreCode, Form};
use crate::cpu::{CpuMeter, Ticking, Watch};
use crate::error::{GuestText, RuntimeError};
use crate::export::{COMPONENT_DEFAULTS, CORE_DEFAULTS, choose};
use crate::interfaces::Services;
use crate::limits::{Limits, Passed, Tripwire};
use crate::linkers::Linkers;
use crate::state::{Common, CoreState, TaskState, command_line};
use crate::task::{Content, Outcome, TaskSpec, Usage, Value};

/// Bytes that a guest may hand to the host in one call, beyond its output limit. The engine counts about
/// 40 for each element of a list that it passes value by value.
const HOSTCALL_BYTES: u64 = 64 << 20;
/// Bytes of inputs that are read in no time.
const SMALL_INPUT: usize = 64 << 10;

/// What a task holds of the runtime while it runs.
pub(crate) struct Held {
    _place: OwnedSemaphorePermit,
    _ticking: Ticking,
}

impl Held {
    pub(crate) fn new(place: OwnedSemaphorePermit, ticking: Ticking) -> Self {
        Self {
            _place: place,
            _ticking: ticking,
        }
    }
}

/// Runs a task on a component.
pub(crate) async fn component(
    engine: &Engine,
    linkers: &Linkers,
    code: &ComponentCode,
    task: Arc<TaskSpec>,
    services: Services,
    held: Held,
) -> Outcome {
    let granted = match code.imports.check(&task.grants) {
        Ok(granted) => granted,
        Err(error) => return Outcome::refused(error, String::new()),
    };
    let export = match choose(&code.exports, &COMPONENT_DEFAULTS, &task) {
        Ok(export) => export,
        Err(error) => return Outcome::refused(error, String::new()),
    };
    let common = Common::new(&task);
    let prepared = (|| {
        let linked = code.linked(linkers, granted)?;
        call::check_component(export, &task.inputs, code.imports_inputs)?;
        let command = match export.form {
            Form::Command => command_line(&task)?,
            _ => Vec::new(),
        };
        let state = TaskState::new(&common, &task, &services, &command)?;
        Ok((linked, state))
    })();
    let (linked, state) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return Outcome::refused(error, export.name.clone()),
    };

    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.memory);
    let fuel = HostcallFuel::new(&task.limits, export);
    store.set_hostcall_fuel(fuel.bytes);
    // The engine counts a borrow once more, and the guest's own resources too. Its limit only stops
    // what the resource table cannot see.
    store.set_max_component_handles((task.limits.handles as usize).saturating_mul(2) + 16);

    let run = ComponentRun {
        store,
        linked,
        export: Arc::clone(export),
        clocks: Clocks::new(&task, &common),
        exhausted: fuel.exhausted,
        task: Arc::clone(&task),
        common,
        _held: held,
    };
    if run.takes_a_moment() {
        run.finish().await
    } else {
        apart(run.finish(), export.name.clone(), task.cancel.clone()).await
    }
}

/// Runs a task on a core module.
pub(crate) async fn core(
    engine: &Engine,
    linkers: &Linkers,
    code: &CoreCode,
    task: Arc<TaskSpec>,
    held: Held,
) -> Outcome {
    let export = match choose(&code.exports, &CORE_DEFAULTS, &task) {
        Ok(export) => export,
        Err(error) => return Outcome::refused(error, String::new()),
    };
    let common = Common::new(&task);
    let prepared = (|| {
        let linked = code.linked(linkers)?;
        let is_command = export.name == "_start";
        let (command, arguments) = if is_command {
            (command_line(&task)?, Vec::new())
        } else {
            (
                Vec::new(),
                args::core(&export.name, &export.ty, &task.inputs)?,
            )
        };
        let state = CoreState::new(&common, &task, &command)?;
        Ok((linked, state, arguments))
    })();
    let (linked, state, arguments) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return Outcome::refused(error, export.name.clone()),
    };

    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.memory);
    let fuel = HostcallFuel::output(&task.limits);
    store.set_hostcall_fuel(fuel.bytes);
    let clocks = Clocks::new(&task, &common);
    clocks.watch.ticks(&mut store);
    let call = call::core(&mut store, linked, code, export, arguments);
    let ended = supervise(&task, &clocks.meter, call).await;
    let memory_peak_bytes = store.data().memory.peak();
    let value = settle(
        &task,
        &common.tripwire,
        &common.output,
        false,
        fuel.exhausted,
        ended,
    );
    drop((store, held));
    let usage = Usage {
        memory_peak_bytes,
        ..clocks.usage(&common)
    };
    Outcome {
        value,
        stdout: common.stdout.take(),
        stderr: common.stderr.take(),
        usage,
        export: export.name.clone(),
        published: false,
    }
}

/// A task on a component, ready to run.
struct ComponentRun {
    store: Store<TaskState>,
    linked: InstancePre<TaskState>,
    export: Arc<ComponentExport>,
    clocks: Clocks,
    exhausted: Passed,
    task: Arc<TaskSpec>,
    common: Common,
    _held: Held,
}

impl ComponentRun {
    /// Whether the host's part of the call, which does not yield, takes no more than a moment: everything
    /// but values of types that can hold many, built one by one.
    fn takes_a_moment(&self) -> bool {
        let few = || {
            let bytes: usize = self.task.inputs.iter().map(|input| input.bytes.len()).sum();
            self.export.weight().is_small && bytes <= SMALL_INPUT
        };
        self.export.form != Form::Dynamic || few()
    }

    async fn finish(mut self) -> Outcome {
        let watch = &self.clocks.watch;
        watch.ticks(&mut self.store);
        let call = call::component(&mut self.store, &self.linked, &self.export, watch);
        let ended = supervise(&self.task, &self.clocks.meter, call).await;
        let state = self.store.data();
        let memory_peak_bytes = state.memory.peak();
        let evidence = state.interfaces.attestation.used();
        let secrets = state.interfaces.secrets.used();
        let published = state.interfaces.results.published();
        let common = &self.common;
        // What the guest published takes the place of the value, so only one of them counts.
        let value = settle(
            &self.task,
            &common.tripwire,
            &common.output,
            published,
            self.exhausted,
            ended,
        );
        drop(self.store);
        let usage = Usage {
            memory_peak_bytes,
            evidence,
            secrets,
            ..self.clocks.usage(common)
        };
        Outcome {
            value,
            stdout: common.stdout.take(),
            stderr: common.stderr.take(),
            usage,
            export: self.export.name.clone(),
            published,
        }
    }
}

/// Runs a task on a thread of its own, where it may hold up nobody.
async fn apart(
    run: impl Future<Output = Outcome> + Send + 'static,
    export: String,
    cancel: CancelToken,
) -> Outcome {
    let scheduler = Handle::current();
    let mut stop = StopOnDrop(Some(cancel));
    let run = tokio::task::spawn_blocking(move || scheduler.block_on(run)).await;
    stop.0 = None;
    run.unwrap_or_else(|_| {
        let error = RuntimeError::Host("the thread of the task panicked".to_owned());
        Outcome::refused(error, export)
    })
}

/// Stops a task whose caller is gone.
struct StopOnDrop(Option<CancelToken>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(cancel) = &self.0 {
            cancel.cancel();
        }
    }
}

/// Processor time and time of a task.
struct Clocks {
    meter: CpuMeter,
    started: Instant,
    watch: Watch,
}

impl Clocks {
    fn new(task: &TaskSpec, common: &Common) -> Self {
        let meter = CpuMeter::default();
        let started = Instant::now();
        let watch = Watch::new(
            &meter,
            &task.limits,
            &task.cancel,
            started,
            &common.tripwire,
        );
        Self {
            meter,
            started,
            watch,
        }
    }

    /// What was used until now, but for what the store counts.
    fn usage(&self, common: &Common) -> Usage {
        Usage {
            cpu_ms: milliseconds(self.meter.used()),
            wall_ms: milliseconds(self.started.elapsed()),
            output_bytes: common.output.used(),
            ..Usage::default()
        }
    }
}

/// How much a guest may pass to the host in one call.
struct HostcallFuel {
    /// Bytes, as the engine counts them.
    bytes: usize,
    /// The limit that they come from.
    exhausted: Passed,
}

impl HostcallFuel {
    /// For calls of a component's export. What the host allocates for values that it builds one by one stays
    /// within the memory limit.
    fn new(limits: &Limits, export: &ComponentExport) -> Self {
        let output = Self::output(limits);
        if export.form != Form::Dynamic {
            return output;
        }
        let memory = limits.memory_bytes / u64::from(export.weight().amplification);
        let memory = Self {
            bytes: usize::try_from(memory).unwrap_or(usize::MAX),
            exhausted: Passed::Memory,
        };
        if memory.bytes < output.bytes {
            memory
        } else {
            output
        }
    }

    /// For bytes and strings.
    fn output(limits: &Limits) -> Self {
        let bytes = limits.output_bytes.saturating_add(HOSTCALL_BYTES);
        Self {
            bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
            exhausted: Passed::Output,
        }
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
    exhausted: Passed,
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
            None => engine_error(task, exhausted, &error),
        },
    }
}

fn engine_error(
    task: &TaskSpec,
    exhausted: Passed,
    error: &wasmtime::Error,
) -> Result<Value, RuntimeError> {
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
    // The engine's own limits have no types of their own.
    if text.contains("fuel allocated for hostcalls has been exhausted") {
        return Err(task.limits.error(exhausted));
    }
    let table_full = matches!(error.downcast_ref(), Some(ResourceTableError::Full));
    if table_full || text.contains("store handle limit exceeded") {
        return Err(RuntimeError::LimitHandles(task.limits.handles));
    }
    Err(RuntimeError::GuestTrapped(GuestText::new(text)))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
