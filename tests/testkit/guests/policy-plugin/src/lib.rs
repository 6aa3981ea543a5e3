//! A plugin that decides by a task's name or, since it is told no name of an encrypted one, its id: `denied`, `spin`,
//! `trap`, `memory` and `sleep` come to no good, in `authorize` or, with `-later` behind the word, in `enrich`.
#![deny(missing_docs)]

#[cfg(target_family = "wasm")]
mod plugin;
