//! The functions that a component exports, and how each is called.

use std::sync::{Arc, OnceLock};

use wasmtime::Engine;
use wasmtime::component::types::{ComponentFunc, ComponentItem, Type};
use wasmtime::component::{Component, ComponentExportIndex};

use crate::args::is_bytes;
use crate::export::{COMMAND, Export};
use crate::run::Experience;
use crate::weight::Weight;

/// A function that a component exports.
pub(crate) struct ComponentExport {
    pub(crate) name: String,
    pub(crate) index: ComponentExportIndex,
    pub(crate) ty: ComponentFunc,
    pub(crate) form: Form,
    weight: OnceLock<Weight>,
    pub(crate) experience: Experience,
}

/// How an export is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `wasi:cli/run`.
    Command,
    /// By a typed call, which copies bytes in one go.
    Typed(TypedForm),
    /// Value by value.
    Dynamic,
}

/// The signatures that are called typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TypedForm {
    /// Takes one `list<u8>`; else nothing.
    pub(crate) takes_bytes: bool,
    pub(crate) gives: Gives,
}

/// What a typed export returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gives {
    /// `list<u8>`.
    Bytes,
    /// `result<list<u8>, string>`.
    BytesOrText,
    /// `result<list<u8>, failure>` of the world `propeller:worlds/task`.
    BytesOrFailure,
}

impl ComponentExport {
    /// What values of its type can cost.
    pub(crate) fn weight(&self) -> Weight {
        *self.weight.get_or_init(|| Weight::of(&self.ty))
    }
}

impl Export for Arc<ComponentExport> {
    fn name(&self) -> &str {
        &self.name
    }
}

/// The functions that a component exports, at its root and in its interfaces.
pub(super) fn exports(engine: &Engine, component: &Component) -> Vec<Arc<ComponentExport>> {
    let ty = component.component_type();
    let mut exports = Vec::new();
    for (name, export) in ty.exports(engine) {
        match export.ty {
            ComponentItem::ComponentFunc(ty) => {
                if let Some(index) = component.get_export_index(None, name) {
                    let form = form(&ty);
                    exports.push(Arc::new(ComponentExport {
                        name: name.to_owned(),
                        index,
                        ty,
                        form,
                        weight: OnceLock::new(),
                        experience: Experience::default(),
                    }));
                }
            }
            ComponentItem::ComponentInstance(instance) => {
                let Some(parent) = component.get_export_index(None, name) else {
                    continue;
                };
                for (function, export) in instance.exports(engine) {
                    let ComponentItem::ComponentFunc(ty) = export.ty else {
                        continue;
                    };
                    let Some(index) = component.get_export_index(Some(&parent), function) else {
                        continue;
                    };
                    exports.push(Arc::new(interface_export(name, function, index, ty)));
                }
            }
            _ => {}
        }
    }
    exports
}

fn interface_export(
    interface: &str,
    function: &str,
    index: ComponentExportIndex,
    ty: ComponentFunc,
) -> ComponentExport {
    let is_command = interface.starts_with("wasi:cli/run@0.2.") && function == "run";
    if is_command {
        return ComponentExport {
            name: COMMAND.to_owned(),
            index,
            ty,
            form: Form::Command,
            weight: OnceLock::new(),
            experience: Experience::default(),
        };
    }
    let form = form(&ty);
    ComponentExport {
        name: format!("{interface}#{function}"),
        index,
        ty,
        form,
        weight: OnceLock::new(),
        experience: Experience::default(),
    }
}

fn form(ty: &ComponentFunc) -> Form {
    let mut parameters = ty.params().map(|(_, ty)| ty);
    let takes_bytes = match (parameters.next(), parameters.next()) {
        (None, _) => false,
        (Some(ty), None) if is_bytes(&ty) => true,
        _ => return Form::Dynamic,
    };
    match ty.results().next().as_ref().and_then(gives) {
        Some(gives) => Form::Typed(TypedForm { takes_bytes, gives }),
        None => Form::Dynamic,
    }
}

fn gives(ty: &Type) -> Option<Gives> {
    if is_bytes(ty) {
        return Some(Gives::Bytes);
    }
    let Type::Result(result) = ty else {
        return None;
    };
    if !is_bytes(&result.ok()?) {
        return None;
    }
    match result.err()? {
        Type::String => Some(Gives::BytesOrText),
        Type::Variant(variant) => {
            let cases = ["invalid-input", "host", "other"];
            let same = variant.cases().len() == cases.len()
                && variant
                    .cases()
                    .zip(cases)
                    .all(|(case, name)| case.name == name && matches!(case.ty, Some(Type::String)));
            same.then_some(Gives::BytesOrFailure)
        }
        _ => None,
    }
}
