//! `wasi:cli`, `wasi:io`, `wasi:clocks`, `wasi:random`, `wasi:filesystem` and `wasi:sockets`, closed.
//!
//! Standard libraries and the runtimes of other languages import these, called or not, so every component
//! may. Each task has a context of its own with its arguments, its environment and its captured streams.
//! What the rest could reach is not there: no directory is open, standard input is empty, and no socket is
//! ever made. To create one is denied (`access-denied`), so there is nothing to bind, listen, connect,
//! accept or send with, and no name is looked up (`permanent-resolver-failure`). A guest is left with the
//! time, random numbers and a place for its output. A core module has the same through WASI 0.1.

use wasmtime::Linker as CoreLinker;
use wasmtime::component::Linker;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::bindings::LinkOptions;
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::{Grant, Interface, PerTask, Start};
use crate::state::{Common, CoreState, TaskState};
use crate::task::TaskSpec;

/// WASI 0.1, which is all that a core module can be given.
pub(crate) const P1: &str = "wasi_snapshot_preview1";

/// Random bytes that a guest may ask for in one call.
const MAX_RANDOM_BYTES: u64 = 16 << 20;

pub(crate) const INTERFACE: Interface = Interface {
    names: &[
        "wasi:cli",
        "wasi:io",
        "wasi:clocks",
        "wasi:random",
        "wasi:filesystem",
        "wasi:sockets",
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

/// The context of a core module, which has the same of it as a component, and as many handles.
pub(crate) fn core(common: &Common, task: &TaskSpec, command: &[String]) -> WasiP1Ctx {
    let mut wasi = closed(common, task, command).build_p1();
    let handles = task.limits.handles as usize;
    wasi.ctx().table.set_max_capacity(handles);
    wasi
}

/// Adds what a core module may import.
pub(crate) fn add_to_core_linker(linker: &mut CoreLinker<CoreState>) -> wasmtime::Result<()> {
    /// `errno::acces` of WASI 0.1.
    const ACCES: i32 = 2;
    wasmtime_wasi::p1::add_to_linker_async(linker, |state: &mut CoreState| &mut state.wasi)?;
    // The library refuses these too, with a warning for each call: a guest could fill the log.
    linker.allow_shadowing(true);
    // It takes statuses from 126 on for a mistake of the guest's; C and the shells do not.
    linker.func_wrap(P1, "proc_exit", |status: i32| -> wasmtime::Result<()> {
        Err(I32Exit(status).into())
    })?;
    linker.func_wrap(P1, "sock_accept", |_: i32, _: i32, _: i32| ACCES)?;
    linker.func_wrap(
        P1,
        "sock_recv",
        |_: i32, _: i32, _: i32, _: i32, _: i32, _: i32| ACCES,
    )?;
    linker.func_wrap(P1, "sock_send", |_: i32, _: i32, _: i32, _: i32, _: i32| {
        ACCES
    })?;
    linker.func_wrap(P1, "sock_shutdown", |_: i32, _: i32| ACCES)?;
    linker.allow_shadowing(false);
    Ok(())
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
    wasmtime_wasi::p2::add_to_linker_with_options_async(linker, &LinkOptions::default())
}
