//! `wasi:cli`, `wasi:io`, `wasi:clocks`, `wasi:random`, `wasi:filesystem` and `wasi:sockets`.
//!
//! Standard libraries and the runtimes of other languages import these, called or not, so every component
//! may. Each task has a context of its own with its arguments, its environment and its captured streams.
//! What the rest could reach is not there: no directory is open but those that the task was given
//! ([`Outside::directories`](crate::Outside)), standard input is empty, and no socket is ever made. To create one is denied (`access-denied`), so there is nothing to bind, listen, connect,
//! accept or send with, and no name is looked up (`permanent-resolver-failure`). A guest is left with the
//! time, random numbers and a place for its output. A core module has the same through WASI 0.1.

use wasmtime::Linker as CoreLinker;
use wasmtime::component::Linker;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::bindings::LinkOptions;
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::{Grant, Interface, PerTask, Start};
use crate::error::RuntimeError;
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

/// What a task keeps: its context, and why a directory is not in it.
pub(crate) struct State {
    context: WasiCtx,
    opened: Result<(), RuntimeError>,
}

impl State {
    /// Whether every directory that the task was given is open.
    pub(crate) fn opened(&self) -> Result<(), RuntimeError> {
        self.opened.clone()
    }
}

impl PerTask for State {
    fn new(start: &Start<'_>) -> Self {
        let mut wasi = closed(start.common, start.task, start.command);
        let opened = open(&mut wasi, start.task);
        Self {
            context: wasi.build(),
            opened,
        }
    }
}

/// The context of a core module, which has the same of it as a component, and as many handles.
///
/// # Errors
/// [`RuntimeError::Host`] when a directory cannot be opened.
pub(crate) fn core(
    common: &Common,
    task: &TaskSpec,
    command: &[String],
) -> Result<WasiP1Ctx, RuntimeError> {
    let mut wasi = closed(common, task, command);
    open(&mut wasi, task)?;
    let mut wasi = wasi.build_p1();
    let handles = task.limits.handles as usize;
    wasi.ctx().table.set_max_capacity(handles);
    Ok(wasi)
}

/// Opens the task's directories. The library resolves what the guest asks for below them one part of a path
/// after the other, so that nothing leads out.
fn open(wasi: &mut WasiCtxBuilder, task: &TaskSpec) -> Result<(), RuntimeError> {
    for directory in task.outside.directories.iter() {
        let access = match directory.is_writable {
            true => FsPerms::ReadWrite,
            false => FsPerms::ReadOnly,
        };
        let opened = directory.real_path().and_then(|path| {
            let opened = wasi.preopened_dir(path, &directory.name, access);
            opened.map(|_| ()).map_err(|error| error.to_string())
        });
        opened.map_err(|why| {
            RuntimeError::Host(format!(
                "the directory {} of the settings cannot be given to it ({why})",
                directory.path.display()
            ))
        })?;
    }
    Ok(())
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
            ctx: &mut self.interfaces.wasi.context,
            table: &mut self.table,
        }
    }
}

fn add_to_linker(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_with_options_async(linker, &LinkOptions::default())
}
