//! `wasi:cli`, `wasi:io`, `wasi:clocks`, `wasi:random` and `wasi:filesystem`, closed.
//!
//! Every standard library imports these, called or not, so every component may. Each task has a context of
//! its own with its arguments, its environment and its captured streams. No directory is open and standard
//! input is empty, so what is left of the interfaces gives a guest nothing but the time, random numbers
//! and a place for its output.

use wasmtime::component::Linker;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::bindings::LinkOptions;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::{Grant, Interface, PerTask, Start};
use crate::state::{Common, TaskState};
use crate::task::TaskSpec;

/// Random bytes that a guest may ask for in one call.
const MAX_RANDOM_BYTES: u64 = 16 << 20;

pub(crate) const INTERFACE: Interface = Interface {
    names: &[
        "wasi:cli",
        "wasi:io",
        "wasi:clocks",
        "wasi:random",
        "wasi:filesystem",
    ],
    grant: Grant::Always,
    add_to_linker,
};

/// What a task keeps: its context.
pub(crate) struct State(WasiCtx);

impl PerTask for State {
    fn new(start: &Start<'_>) -> Self {
        Self(closed(start.common, start.task, start.command).build())
    }
}

/// The context of a core module, which has the same of it as a component.
pub(crate) fn core(common: &Common, task: &TaskSpec, command: &[String]) -> WasiP1Ctx {
    closed(common, task, command).build_p1()
}

fn closed(common: &Common, task: &TaskSpec, command: &[String]) -> WasiCtxBuilder {
    let mut wasi = WasiCtxBuilder::new();
    if command.is_empty() {
        wasi.arg(&task.name);
    }
    wasi.stdout(common.stdout.clone())
        .stderr(common.stderr.clone())
        .args(command)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .max_random_size(MAX_RANDOM_BYTES);
    for (name, value) in &task.env {
        wasi.env(name, value);
    }
    wasi
}

impl WasiView for TaskState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.interfaces.wasi.0,
            table: &mut self.table,
        }
    }
}

fn add_to_linker(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    // Sockets come with this, and every address is refused by the task's context; a component that
    // imports them is refused before it gets here.
    wasmtime_wasi::p2::add_to_linker_with_options_async(linker, &LinkOptions::default())
}
