//! What the engine's store holds for one task. It is made for the task and dropped with it.

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use zeroize::Zeroizing;

use crate::capture::{Capture, OutputBudget};
use crate::error::{GuestText, RuntimeError};
use crate::limits::{MemoryMeter, Tripwire};
use crate::services::Services;
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
    pub(crate) fn memory_meter(
        &self,
        task: &TaskSpec,
        arguments: &[String],
    ) -> Result<MemoryMeter, RuntimeError> {
        let limit = task.limits.memory_bytes;
        let mut memory = MemoryMeter::new(limit, self.tripwire.clone());
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

    /// WASI with the task's environment, captured streams, an empty standard input, and nothing else: no
    /// directory, no network, nothing of the host's own environment. Without arguments there is the task's name.
    fn wasi(&self, task: &TaskSpec, arguments: &[String]) -> WasiCtxBuilder {
        let mut wasi = WasiCtxBuilder::new();
        if arguments.is_empty() {
            wasi.arg(&task.name);
        }
        wasi.stdout(self.stdout.clone())
            .stderr(self.stderr.clone())
            .args(arguments)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .max_random_size(MAX_RANDOM_BYTES);
        for (name, value) in &task.env {
            wasi.env(name, value);
        }
        wasi
    }

    pub(crate) fn component_wasi(&self, task: &TaskSpec, arguments: &[String]) -> WasiCtx {
        self.wasi(task, arguments).build()
    }

    pub(crate) fn core_wasi(&self, task: &TaskSpec, arguments: &[String]) -> WasiP1Ctx {
        self.wasi(task, arguments).build_p1()
    }
}

/// Random bytes that a guest may ask for in one call.
const MAX_RANDOM_BYTES: u64 = 16 << 20;

/// The store of a component.
pub(crate) struct TaskState {
    pub(crate) wasi: WasiCtx,
    pub(crate) table: ResourceTable,
    pub(crate) memory: MemoryMeter,
    pub(crate) output: OutputBudget,
    pub(crate) task: Arc<TaskSpec>,
    pub(crate) services: Services,
    /// How often evidence was asked for.
    pub(crate) evidence: u32,
    pub(crate) published: bool,
}

impl WasiView for TaskState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// The store of a core module.
pub(crate) struct CoreState {
    pub(crate) wasi: WasiP1Ctx,
    pub(crate) memory: MemoryMeter,
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
