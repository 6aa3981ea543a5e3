//! One task, from its export to its outcome.

mod apart;
mod ending;
mod held;
mod meters;
mod serving;
mod threads;

use std::pin::pin;
use std::sync::Arc;

use wasmtime::component::InstancePre;
use wasmtime::{Engine, Store};

pub(crate) use self::apart::Experience;
use self::apart::Placed;
use self::ending::{settle, supervise};
pub(crate) use self::held::Held;
use self::meters::{Clocks, HostcallFuel, handles};
pub use self::serving::{HttpBody, HttpGuest};
pub(crate) use self::serving::{Requests, Shared};
use crate::args;
use crate::call;
use crate::compiled::{ComponentCode, ComponentExport, CoreCode, CoreExport, Form};
use crate::export::{COMPONENT_DEFAULTS, CORE_DEFAULTS, choose};
use crate::interfaces::Services;
use crate::limits::Passed;
use crate::linkers::Linkers;
use crate::state::{Common, CoreState, TaskState, command_line};
use crate::task::{Outcome, TaskSpec, Usage};

/// Bytes of inputs that are read in no time.
const SMALL_INPUT: usize = 64 << 10;

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
    store.set_max_component_handles(handles(&task.limits));

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
    let placed = Placed {
        meter: run.clocks.meter.clone(),
        is_light: run.takes_a_moment(),
        run: run.finish(),
        experience: &export.experience,
        export: &export.name,
        cancel: &task.cancel,
    };
    placed.finish().await
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
    let run = CoreRun {
        store,
        linked: linked.clone(),
        initializes: code.initializes,
        export: Arc::clone(export),
        arguments,
        clocks: Clocks::new(&task, &common),
        exhausted: fuel.exhausted,
        task: Arc::clone(&task),
        common,
        held,
    };
    let placed = Placed {
        meter: run.clocks.meter.clone(),
        // Its values are numbers.
        is_light: true,
        run: run.finish(),
        experience: &export.experience,
        export: &export.name,
        cancel: &task.cancel,
    };
    placed.finish().await
}

/// A task on a core module, ready to run.
struct CoreRun {
    store: Store<CoreState>,
    linked: wasmtime::InstancePre<CoreState>,
    initializes: bool,
    export: Arc<CoreExport>,
    arguments: Vec<wasmtime::Val>,
    clocks: Clocks,
    exhausted: Passed,
    task: Arc<TaskSpec>,
    common: Common,
    held: Held,
}

impl CoreRun {
    async fn finish(mut self) -> Outcome {
        self.clocks.watch.ticks(&mut self.store);
        let call = call::core(
            &mut self.store,
            &self.linked,
            self.initializes,
            &self.export,
            self.arguments,
        );
        let ended = supervise(&self.task, &self.clocks, pin!(call)).await;
        let memory_peak_bytes = self.store.data().memory.peak();
        let common = &self.common;
        let value = settle(
            &self.task,
            &common.tripwire,
            &common.output,
            false,
            self.exhausted,
            ended,
        );
        drop((self.store, self.held));
        let usage = Usage {
            memory_peak_bytes,
            ..self.clocks.usage(common)
        };
        Outcome {
            value,
            stdout: common.stdout.take(),
            stderr: common.stderr.take(),
            usage,
            export: self.export.name.clone(),
            published: false,
        }
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
        let ended = supervise(&self.task, &self.clocks, pin!(call)).await;
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
