//! A compiled component or core module.

mod exports;

use std::sync::{Arc, OnceLock};

use proplet_types::Digest;
use wasmtime::component::types::ComponentItem;
use wasmtime::{Engine, FuncType, Module};
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use self::exports::exports;
pub(crate) use self::exports::{ComponentExport, Form, Gives, TypedForm};
use crate::error::{GuestText, RuntimeError};
use crate::export::{COMPONENT_DEFAULTS, CORE_DEFAULTS, Export, INITIALIZE, choose};
use crate::imports::{Imports, check_core_imports};
use crate::interfaces::{Set, wasi::P1};
use crate::linkers::{Linked, Linkers};
use crate::run::Experience;
use crate::state::{CoreState, TaskState};
use crate::task::TaskSpec;

/// A component or core module, compiled. Cloning is cheap and shares the code.
///
/// It belongs to nobody: what a task may do with it stands in the task's [`Grants`](crate::Grants). Dropping
/// the last clone unmaps the code and the component's initial data.
#[derive(Clone)]
pub struct Compiled(Arc<Inner>);

struct Inner {
    digest: Digest,
    code: CompiledCode,
}

pub(crate) enum CompiledCode {
    Component(ComponentCode),
    Core(CoreCode),
}

/// A compiled component.
pub(crate) struct ComponentCode {
    component: wasmtime::component::Component,
    /// Whether it reads its inputs itself.
    pub(crate) imports_inputs: bool,
    /// The imports that give the component something to call or to hold. The others are names for types.
    pub(crate) imports: Imports,
    pub(crate) exports: Vec<Arc<ComponentExport>>,
    /// Linked and type-checked when first needed.
    linked: Linked,
}

/// A compiled core module.
pub(crate) struct CoreCode {
    pub(crate) module: Module,
    pub(crate) exports: Vec<Arc<CoreExport>>,
    /// Whether it has an `_initialize`, which is called before any other export.
    pub(crate) initializes: bool,
    linked: OnceLock<wasmtime::InstancePre<CoreState>>,
}

/// A function that a core module exports.
pub(crate) struct CoreExport {
    pub(crate) name: String,
    pub(crate) ty: FuncType,
    pub(crate) experience: Experience,
}

impl Export for Arc<CoreExport> {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Compiled {
    /// Compiles. It takes milliseconds to seconds of all processors, so it is not for an async thread.
    pub(crate) fn new(
        engine: &Engine,
        component: &proplet_component::Component,
    ) -> Result<Self, RuntimeError> {
        let wasm = component.bytes();
        let code = match wasm.get(4..8) {
            Some([0x0d, 0, 1, 0]) => CompiledCode::Component(ComponentCode::new(engine, wasm)?),
            _ => CompiledCode::Core(CoreCode::new(engine, wasm)?),
        };
        Ok(Self(Arc::new(Inner {
            digest: component.digest(),
            code,
        })))
    }

    /// Bytes of compiled code and of what goes with it, which stay in memory for as long as a clone does.
    pub fn size(&self) -> u64 {
        let range = match self.code() {
            CompiledCode::Component(code) => code.component.image_range(),
            CompiledCode::Core(code) => code.module.image_range(),
        };
        (range.end as usize).saturating_sub(range.start as usize) as u64
    }

    /// The full name of the export that this task would invoke, for whoever signs for it before it runs.
    ///
    /// # Errors
    /// [`RuntimeError::ExportNotFound`] and [`RuntimeError::ExportNotAllowed`], as running it would.
    pub fn invoked_export(&self, task: &TaskSpec) -> Result<String, RuntimeError> {
        match self.code() {
            CompiledCode::Component(code) => {
                choose(&code.exports, &COMPONENT_DEFAULTS, task).map(|export| export.name.clone())
            }
            CompiledCode::Core(code) => {
                choose(&code.exports, &CORE_DEFAULTS, task).map(|export| export.name.clone())
            }
        }
    }

    /// Whether this task would find a component that answers HTTP requests, and no export to invoke.
    pub fn answers_http(&self, task: &TaskSpec) -> bool {
        let CompiledCode::Component(code) = self.code() else {
            return false;
        };
        let answers = |export: &Arc<ComponentExport>| {
            let interface = export.name.split('@').next();
            interface == Some(HTTP_HANDLER)
        };
        code.exports.iter().any(answers)
            && choose(&code.exports, &COMPONENT_DEFAULTS, task).is_err()
    }

    /// The component linked with what the task is granted, as one that answers HTTP requests.
    pub(crate) fn proxy(
        &self,
        linkers: &Linkers,
        task: &TaskSpec,
    ) -> Result<ProxyPre<TaskState>, RuntimeError> {
        let no_handler = |words: String| RuntimeError::ExportNotFound(GuestText::new(words));
        let CompiledCode::Component(code) = self.code() else {
            return Err(no_handler("a core module answers no requests".to_owned()));
        };
        let granted = code.imports.check(&task.grants)?;
        let linked = code.linked(linkers, granted)?;
        ProxyPre::new(linked).map_err(|error| no_handler(format!("{error:#}")))
    }

    pub(crate) fn code(&self) -> &CompiledCode {
        &self.0.code
    }
}

/// What a component exports that answers HTTP requests.
const HTTP_HANDLER: &str = "wasi:http/incoming-handler";

impl crate::cache::Cacheable for Compiled {
    fn bytes(&self) -> u64 {
        self.size()
    }
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Compiled({})", self.0.digest)
    }
}

impl ComponentCode {
    fn new(engine: &Engine, wasm: &[u8]) -> Result<Self, RuntimeError> {
        let component =
            wasmtime::component::Component::from_binary(engine, wasm).map_err(invalid)?;
        let ty = component.component_type();
        let mut imports_inputs = false;
        let mut capabilities = Vec::new();
        for (name, import) in ty.imports(engine) {
            imports_inputs |= name.starts_with("propeller:confidential/inputs@");
            if is_capability(engine, &import.ty) {
                capabilities.push(name.to_owned());
            }
        }
        let exports = exports(engine, &component);
        Ok(Self {
            component,
            imports_inputs,
            imports: Imports::new(capabilities),
            exports,
            linked: Linked::default(),
        })
    }

    /// The component linked with what is granted.
    pub(crate) fn linked(
        &self,
        linkers: &Linkers,
        granted: Set,
    ) -> Result<wasmtime::component::InstancePre<TaskState>, RuntimeError> {
        self.linked
            .get(linkers, granted, &self.component)
            .map_err(invalid)
    }
}

impl CoreCode {
    fn new(engine: &Engine, wasm: &[u8]) -> Result<Self, RuntimeError> {
        let module = Module::from_binary(engine, wasm).map_err(invalid)?;
        let exports: Vec<_> = module
            .exports()
            .filter_map(|export| {
                let ty = export.ty().func()?.clone();
                Some(Arc::new(CoreExport {
                    name: export.name().to_owned(),
                    ty,
                    experience: Experience::default(),
                }))
            })
            .collect();
        let initializes = exports.iter().any(|export| export.name == INITIALIZE);
        Ok(Self {
            module,
            exports,
            initializes,
            linked: OnceLock::new(),
        })
    }

    /// The module linked with WASI preview 1, which is all that a core module can be given.
    pub(crate) fn linked(
        &self,
        linkers: &Linkers,
    ) -> Result<&wasmtime::InstancePre<CoreState>, RuntimeError> {
        if let Some(linked) = self.linked.get() {
            return Ok(linked);
        }
        let imports: Vec<String> = self
            .module
            .imports()
            .filter(|import| import.module() != P1)
            .map(|import| format!("{}.{}", import.module(), import.name()))
            .collect();
        check_core_imports(&imports)?;
        let linked = linkers
            .core()
            .instantiate_pre(&self.module)
            .map_err(invalid)?;
        Ok(self.linked.get_or_init(|| linked))
    }
}

/// Whether an import is more than names for plain types, as the interfaces are that a world only `use`s
/// types from.
fn is_capability(engine: &Engine, item: &ComponentItem) -> bool {
    match item {
        ComponentItem::Type(_) => false,
        ComponentItem::ComponentInstance(instance) => instance
            .exports(engine)
            .any(|(_, export)| is_capability(engine, &export.ty)),
        // Functions, resources, modules, components.
        _ => true,
    }
}

fn invalid(error: wasmtime::Error) -> RuntimeError {
    RuntimeError::ComponentInvalid(GuestText::new(format!("{error:#}")))
}
