//! Values as WAVE text, the text form of the component model's values, read and written within a task's limits.
//!
//! The engine's own reader has no limits: a record type of ten thousand optional fields makes ten thousand
//! values out of the four bytes `{:},`, and each of its fields is looked up by going through all of them.
//! [`read`] takes the same text with the same tokens and meaning, but counts memory before it allocates, works in
//! time that is linear in the text, the type and the values, and stops when the task has to stop. Where the
//! engine's reader drops a record's unknown field, this one refuses it: a misspelt optional field would
//! otherwise silently mean `none`.

mod failed;
mod read;
mod shape;
mod tokens;
mod write;

use wasmtime::component::{Val, wasm_wave};
use zeroize::Zeroizing;

pub(crate) use failed::Failed;
pub(crate) use read::read;
pub(crate) use write::{write, write_cut};

/// The text as a WAVE string, in quotes.
pub(crate) fn string(text: &str) -> Zeroizing<String> {
    // A string is always writable; an empty text is the harmless answer if that should change.
    Zeroizing::new(wasm_wave::to_string(&Val::String(text.to_owned())).unwrap_or_default())
}

#[cfg(test)]
mod tests;
