//! The generated bindings of world `propeller:worlds/task`, for what the wrappers do not reach.
//!
//! The WIT text is the contract and documents every function. Nothing here panics on a host; on a
//! machine that is not WebAssembly every function does, since there is no host to call. Imports that
//! a guest does not call are left out of its component, so using one function costs one import.

#![allow(
    missing_docs,
    unsafe_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "generated code"
)]

// One file of `propeller:worlds` is enough: world `command` would add all of WASI to every build,
// and a guest with a `main` gets that from the standard library.
wit_bindgen::generate!({
    path: ["../wit/confidential", "../wit/worlds/worlds.wit"],
    world: "propeller:worlds/task",
    generate_all,
    pub_export_macro: true,
    export_macro_name: "export_task",
    default_bindings_module: "proplet_sdk::bindings",
});
