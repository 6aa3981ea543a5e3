//! Types of exports as text, for error messages.

use std::fmt::{self, Write as _};

use wasmtime::FuncType;
use wasmtime::component::types::{ComponentFunc, Type};
use wasmtime::component::wasm_wave::wasm::DisplayType;

/// Longest text of one signature. A component may nest types so that writing them out takes megabytes.
const MAX_CHARS: usize = 1000;

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
