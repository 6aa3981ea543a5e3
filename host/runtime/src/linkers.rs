//! What guests are linked with: one linker for each set of interfaces that was granted.
//!
//! A component without grants meets a linker that has no `secrets` and no `reveal`. Were the check of its
//! import list ever wrong, it would still find nothing to call.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre};

use crate::error::RuntimeError;
use crate::interfaces::{Set, wasi};
use crate::state::{CoreState, TaskState};

type ComponentLinker = wasmtime::component::Linker<TaskState>;

/// The linkers of an engine. There are as many as the policies of its components make different sets.
pub(crate) struct Linkers {
    engine: Engine,
    components: Mutex<BTreeMap<Set, Arc<ComponentLinker>>>,
    core: wasmtime::Linker<CoreState>,
}

impl Linkers {
    pub(crate) fn new(engine: &Engine) -> Result<Self, RuntimeError> {
        let mut core = wasmtime::Linker::new(engine);
        wasi::add_to_core_linker(&mut core).map_err(host)?;
        Ok(Self {
            engine: engine.clone(),
            components: Mutex::default(),
            core,
        })
    }

    /// The linker that has these interfaces and no others.
    fn component(&self, granted: Set) -> wasmtime::Result<Arc<ComponentLinker>> {
        let mut linkers = self
            .components
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(linker) = linkers.get(&granted) {
            return Ok(Arc::clone(linker));
        }
        let mut linker = ComponentLinker::new(&self.engine);
        for interface in granted.iter() {
            (interface.add_to_linker)(&mut linker)?;
        }
        let linker = Arc::new(linker);
        linkers.insert(granted, Arc::clone(&linker));
        Ok(linker)
    }

    pub(crate) fn core(&self) -> &wasmtime::Linker<CoreState> {
        &self.core
    }
}

/// A component linked and type-checked, once for each set of grants that a task had: two at most, with its
/// policy and without.
#[derive(Default)]
pub(crate) struct Linked(Mutex<BTreeMap<Set, InstancePre<TaskState>>>);

impl Linked {
    /// The component linked with what is granted.
    ///
    /// # Errors
    /// The component imports something that is not granted, or by another type.
    pub(crate) fn get(
        &self,
        linkers: &Linkers,
        granted: Set,
        component: &Component,
    ) -> wasmtime::Result<InstancePre<TaskState>> {
        let mut linked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(linked) = linked.get(&granted) {
            return Ok(linked.clone());
        }
        let instance = linkers.component(granted)?.instantiate_pre(component)?;
        linked.insert(granted, instance.clone());
        Ok(instance)
    }
}

fn host(error: wasmtime::Error) -> RuntimeError {
    RuntimeError::Host(format!("{error:#}"))
}
