//! What the engine's store holds for one task. It is made for the task and dropped with it.

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::p1::WasiP1Ctx;
use zeroize::Zeroizing;

use crate::capture::{Capture, OutputBudget};
use crate::error::{GuestText, RuntimeError};
use crate::interfaces::{Services, Start, States, wasi};
use crate::limits::{MemoryMeter, Tripwire};
use crate::task::{Input, TaskSpec};

/// What component and core guests have in common: their streams, counters and environment.
pub(crate) struct Common {
    pub(crate) tripwire: Tripwire,
    pub(crate) output: OutputBudget,
    pub(crate) stdout: Capture,
    pub(crate) stderr: Capture,
}

impl Common {
    pub(crate) fn new(task: &TaskSpec) -> Self {
        let tripwire = Tripwire::default();
        let output = OutputBudget::new(task.limits.output_bytes, tripwire.clone());
        let stdout = Capture::new(output.clone());
        let stderr = Capture::new(output.clone());
        Self {
            tripwire,
            output,
            stdout,
            stderr,
        }
    }

    /// The task's memory, with what its arguments and environment take of it.
    ///
    /// # Errors
    /// [`RuntimeError::LimitMemory`] when they take more than all.
    fn memory_meter(
        &self,
        task: &TaskSpec,
        arguments: &[String],
    ) -> Result<MemoryMeter, RuntimeError> {
        let limit = task.limits.memory_bytes;
        let mut memory = MemoryMeter::shown_on(limit, self.tripwire.clone(), task.gauge.clone());
        let arguments = arguments.iter().map(String::len);
        let environment = task
            .env
            .iter()
            .map(|(name, value)| name.len() + value.len());
        let bytes: usize = arguments.chain(environment).sum();
        if memory.reserve(bytes as u64) {
            Ok(memory)
        } else {
            Err(RuntimeError::LimitMemory(limit))
        }
    }
}

/// The store of a component.
pub(crate) struct TaskState {
    pub(crate) table: ResourceTable,
    pub(crate) memory: MemoryMeter,
    pub(crate) output: OutputBudget,
    pub(crate) task: Arc<TaskSpec>,
    pub(crate) interfaces: States,
}

impl TaskState {
    /// Of a task that is about to start. Without a command line there is the task's name.
    ///
    /// # Errors
    /// As [`Common::memory_meter`], and [`RuntimeError::Host`] when a directory cannot be opened.
    pub(crate) fn new(
        common: &Common,
        task: &Arc<TaskSpec>,
        services: &Services,
        command: &[String],
    ) -> Result<Self, RuntimeError> {
        let mut table = ResourceTable::new();
        table.set_max_capacity(task.limits.handles as usize);
        let interfaces = States::new(&Start {
            task,
            services,
            common,
            command,
        });
        interfaces.wasi.opened()?;
        Ok(Self {
            table,
            memory: common.memory_meter(task, command)?,
            output: common.output.clone(),
            task: Arc::clone(task),
            interfaces,
        })
    }
}

/// The store of a core module.
pub(crate) struct CoreState {
    pub(crate) wasi: WasiP1Ctx,
    pub(crate) memory: MemoryMeter,
}

impl CoreState {
    /// Of a task that is about to start. Without a command line there is the task's name.
    ///
    /// # Errors
    /// As [`Common::memory_meter`], and [`RuntimeError::Host`] when a directory cannot be opened.
    pub(crate) fn new(
        common: &Common,
        task: &TaskSpec,
        command: &[String],
    ) -> Result<Self, RuntimeError> {
        Ok(Self {
            wasi: wasi::core(common, task, command)?,
            memory: common.memory_meter(task, command)?,
        })
    }
}

/// The arguments of a command: the task's name, then its inputs as text.
pub(crate) fn command_line(task: &TaskSpec) -> Result<Vec<String>, RuntimeError> {
    let mut arguments = vec![task.name.clone()];
    for (index, input) in task.inputs.iter().enumerate() {
        arguments.push(argument(index, input)?);
    }
    Ok(arguments)
}

fn argument(index: usize, input: &Input) -> Result<String, RuntimeError> {
    let bytes: &Zeroizing<Vec<u8>> = &input.bytes;
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text.to_owned()),
        _ => Err(RuntimeError::ArgumentsInvalid(GuestText::new(format!(
            "input {index} is not text, and a command takes its inputs as arguments; encode it, or read \
             it with propeller:confidential/inputs in an exported function"
        )))),
    }
}
