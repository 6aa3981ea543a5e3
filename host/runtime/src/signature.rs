//! Types of exports as text, for error messages, and the check that a task can invoke them at all.

use std::fmt::{self, Write as _};

use wasmtime::FuncType;
use wasmtime::component::types::{ComponentFunc, Type};
use wasmtime::component::wasm_wave::wasm::DisplayType;

/// Longest text of one signature. A component may nest types so that writing them out takes megabytes.
const MAX_CHARS: usize = 1000;
/// Most types that are looked at to find one that cannot be invoked, for the same reason.
const MAX_TYPES: usize = 100_000;

/// `name: func(parameter: type) -> type`.
pub(crate) fn component(name: &str, function: &ComponentFunc) -> String {
    let mut text = Bounded::default();
    // It fails when the text is full, which is then as long as it gets.
    let _ = write_component(&mut text, name, function);
    text.finish()
}

/// `name: func(i32, i32) -> (i32)`.
pub(crate) fn core(name: &str, function: &FuncType) -> String {
    let list = |types: &mut dyn Iterator<Item = wasmtime::ValType>| {
        types
            .map(|ty| ty.to_string())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mut text = Bounded::default();
    let _ = write!(
        text,
        "{name}: func({}) -> ({})",
        list(&mut function.params()),
        list(&mut function.results())
    );
    text.finish()
}

/// One type.
pub(crate) fn of(ty: &Type) -> String {
    let mut text = Bounded::default();
    let _ = write!(text, "{}", DisplayType(ty));
    text.finish()
}

fn write_component(text: &mut Bounded, name: &str, function: &ComponentFunc) -> fmt::Result {
    write!(text, "{name}: func(")?;
    for (index, (parameter, ty)) in function.params().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        write!(text, "{comma}{parameter}: {}", DisplayType(&ty))?;
    }
    text.write_str(")")?;
    for ty in function.results() {
        write!(text, " -> {}", DisplayType(&ty))?;
    }
    Ok(())
}

/// Whether every type of the function is a plain value, which a start message and a result can carry.
pub(crate) fn is_plain(function: &ComponentFunc) -> bool {
    let mut left = MAX_TYPES;
    let plain = |ty: Type, left: &mut usize| plain_type(&ty, left);
    function.params().all(|(_, ty)| plain(ty, &mut left))
        && function.results().all(|ty| plain(ty, &mut left))
}

fn plain_type(ty: &Type, left: &mut usize) -> bool {
    let Some(rest) = left.checked_sub(1) else {
        return false;
    };
    *left = rest;
    let mut optional = |ty: Option<Type>| ty.is_none_or(|ty| plain_type(&ty, left));
    match ty {
        Type::Bool
        | Type::S8
        | Type::U8
        | Type::S16
        | Type::U16
        | Type::S32
        | Type::U32
        | Type::S64
        | Type::U64
        | Type::Float32
        | Type::Float64
        | Type::Char
        | Type::String
        | Type::Enum(_)
        | Type::Flags(_) => true,
        Type::List(list) => plain_type(&list.ty(), left),
        Type::Option(option) => plain_type(&option.ty(), left),
        Type::Tuple(tuple) => tuple.types().all(|ty| plain_type(&ty, left)),
        Type::Record(record) => record.fields().all(|field| plain_type(&field.ty, left)),
        Type::Variant(variant) => variant.cases().all(|case| optional(case.ty)),
        Type::Result(result) => optional(result.ok()) && optional(result.err()),
        // Handles, streams and futures, and whatever a later engine adds.
        _ => false,
    }
}

/// Text that stops growing at [`MAX_CHARS`].
#[derive(Default)]
struct Bounded {
    text: String,
    full: bool,
}

impl Bounded {
    fn finish(mut self) -> String {
        if self.full {
            self.text.push('…');
        }
        self.text
    }
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        for c in more.chars() {
            if self.text.len() >= MAX_CHARS {
                self.full = true;
                return Err(fmt::Error);
            }
            self.text.push(c);
        }
        Ok(())
    }
}
