//! What guests can be linked with: one linker for each level of grants.
//!
//! A component without grants meets a linker that has no `secrets` and no `reveal`. Were the check of its
//! import list ever wrong, it would still find nothing to call.

use wasmtime::Engine;
use wasmtime::component::HasSelf;
use wasmtime_wasi::p2::bindings as wasi;

use crate::bindings::propeller::confidential as host;
use crate::error::RuntimeError;
use crate::grants::Level;
use crate::state::{CoreState, TaskState};

type ComponentLinker = wasmtime::component::Linker<TaskState>;

/// The linkers of an engine.
pub(crate) struct Linkers {
    plain: ComponentLinker,
    secrets: ComponentLinker,
    reveal: ComponentLinker,
    core: wasmtime::Linker<CoreState>,
}

impl Linkers {
    pub(crate) fn new(engine: &Engine) -> Result<Self, RuntimeError> {
        Self::link(engine).map_err(|error| RuntimeError::Host(format!("{error:#}")))
    }

    fn link(engine: &Engine) -> wasmtime::Result<Self> {
        let mut core = wasmtime::Linker::new(engine);
        wasmtime_wasi::p1::add_to_linker_async(&mut core, |state: &mut CoreState| &mut state.wasi)?;
        Ok(Self {
            plain: component(engine, Level::Plain)?,
            secrets: component(engine, Level::Secrets)?,
            reveal: component(engine, Level::Reveal)?,
            core,
        })
    }

    pub(crate) fn component(&self, level: Level) -> &ComponentLinker {
        match level {
            Level::Plain => &self.plain,
            Level::Secrets => &self.secrets,
            Level::Reveal => &self.reveal,
        }
    }

    pub(crate) fn core(&self) -> &wasmtime::Linker<CoreState> {
        &self.core
    }
}

fn component(engine: &Engine, level: Level) -> wasmtime::Result<ComponentLinker> {
    let mut linker = ComponentLinker::new(engine);
    let l = &mut linker;
    // Sockets come with this, and every address is refused by the store's WASI context; a component that
    // imports them is refused before it gets here.
    wasmtime_wasi::p2::add_to_linker_with_options_async(l, &wasi::LinkOptions::default())?;
    host::attestation::add_to_linker::<_, HasSelf<TaskState>>(l, |state| state)?;
    host::inputs::add_to_linker::<_, HasSelf<TaskState>>(l, |state| state)?;
    host::results::add_to_linker::<_, HasSelf<TaskState>>(l, |state| state)?;
    if level >= Level::Secrets {
        host::secrets::add_to_linker::<_, HasSelf<TaskState>>(l, |state| state)?;
    }
    if level >= Level::Reveal {
        crate::interfaces::reveal::add_to_linker(l)?;
    }
    Ok(linker)
}
