//! What a guest of proplet depends on, and all it depends on.
//!
//! A guest is a WebAssembly component that a `proplet` host runs inside a confidential VM. This crate
//! gives it what only the host can give: [evidence](attestation) of what is running, [secrets] that
//! the key broker released after attestation, the task's [inputs], and [results] that the host seals
//! to the people the data owner chose. A plain `cargo build --target wasm32-wasip2` makes the
//! component; there is no WIT folder to copy and no other tool to install.
//!
//! # A guest that answers
//!
//! A library of crate type `cdylib` with one function under [`macro@main`]. The first input comes in,
//! what it returns is the result:
//!
//! ```
//! use proplet_sdk::{Failure, attestation};
//!
//! #[proplet_sdk::main]
//! fn run(challenge: Vec<u8>) -> Result<Vec<u8>, Failure> {
//!     Ok(attestation::evidence(&challenge)?.to_json())
//! }
//! # fn main() {}
//! ```
//!
//! # A guest with a `main`
//!
//! An ordinary program. Its inputs are its arguments, its standard output is the result unless it
//! publishes one:
//!
//! ```no_run
//! use proplet_sdk::{inputs, results};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let words = inputs::text(0)?.split_whitespace().count();
//!     results::publish(format!("{{\"words\":{words}}}"), "application/json")?;
//!     Ok(())
//! }
//! ```
//!
//! # A guest with exports of its own
//!
//! A component may export any functions of any world; the task names the one to call. This crate goes
//! together with the bindings of such a world, which then holds the exports only:
//!
//! ```
//! use proplet_sdk::attestation;
//!
//! proplet_sdk::wit_bindgen::generate!({
//!     inline: "
//!         package example:greeter;
//!         world greeter { export greet: func(name: string) -> string; }
//!     ",
//!     runtime_path: "proplet_sdk::wit_bindgen::rt",
//! });
//!
//! struct Greeter;
//!
//! impl Guest for Greeter {
//!     fn greet(name: String) -> String {
//!         format!("Hello, {name}, from {}", attestation::identity().component_digest)
//!     }
//! }
//!
//! # #[cfg(target_family = "wasm")]
//! export!(Greeter);
//! # fn main() {}
//! ```
//!
//! # What a component asks for
//!
//! The linker leaves out what a guest does not call, so the import list of the component is the list
//! of what it asks for. A host checks that list against the component's policy before it starts it,
//! and a data owner can read it off the component. Seeing the bytes of a secret is an import of its
//! own ([`Secret::reveal`](secrets::Secret::reveal)): a guest that never calls it cannot leak them.
//!
//! # Tests
//!
//! Guests compile natively, so plain `cargo test` tests their logic. `testing::Host`, which does not
//! exist in a component, stands in for the host there. Calls without one panic and say so.
#![deny(missing_docs)]

pub mod attestation;
pub mod audit;
pub mod bindings;
pub mod inputs;
mod known;
pub mod results;
pub mod secrets;
mod task;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

pub use proplet_sdk_macros::main;
pub use task::{Failure, Input, Output};
/// The generator of bindings, for guests with exports of their own.
pub use wit_bindgen;

/// The errors of every interface that this crate wraps. An interface is added by its module and its line here.
const ERRORS: &[&[known::Known]] = &[
    attestation::ERRORS,
    audit::ERRORS,
    inputs::ERRORS,
    results::ERRORS,
    secrets::ERRORS,
];

/// What the expansion of [`macro@main`] calls. Not an interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::task::run;
}

/// Exports a function as the task, from the expansion of [`macro@main`]. Not an interface.
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($run:ident) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            struct Task;
            impl $crate::bindings::Guest for Task {
                fn run(
                    input: ::std::vec::Vec<u8>,
                ) -> ::std::result::Result<
                    ::std::vec::Vec<u8>,
                    $crate::bindings::propeller::worlds::outcome::Failure,
                > {
                    $crate::__private::run($run, input)
                }
            }
    $crate::bindings::export_task!(Task with_types_in $crate::bindings);
        };
        // Without a host there is nobody to export to; the types are checked all the same.
        #[cfg(not(target_family = "wasm"))]
        const _: fn(
            ::std::vec::Vec<u8>,
        ) -> ::std::result::Result<
            ::std::vec::Vec<u8>,
            $crate::bindings::propeller::worlds::outcome::Failure,
        > = |input| $crate::__private::run($run, input);
    };
}

/// What [`macro@main`] refuses.
///
/// ```compile_fail
/// #[proplet_sdk::main]
/// struct Task;
/// # fn main() {}
/// ```
/// ```compile_fail
/// #[proplet_sdk::main]
/// async fn run(input: Vec<u8>) -> Result<Vec<u8>, String> { Ok(input) }
/// # fn main() {}
/// ```
/// ```compile_fail
/// #[proplet_sdk::main]
/// fn run() -> Result<Vec<u8>, String> { Ok(Vec::new()) }
/// # fn main() {}
/// ```
/// ```compile_fail
/// #[proplet_sdk::main]
/// fn run<T>(input: T) -> Result<T, String> { Ok(input) }
/// # fn main() {}
/// ```
/// ```compile_fail
/// #[proplet_sdk::main(name = "run")]
/// fn run(input: Vec<u8>) -> Result<Vec<u8>, String> { Ok(input) }
/// # fn main() {}
/// ```
/// ```compile_fail
/// #[proplet_sdk::main]
/// fn run(input: u32) -> Result<Vec<u8>, String> { Ok(vec![input as u8]) }
/// # fn main() {}
/// ```
///
/// And the same without what is wrong, which shows that nothing else is:
///
/// ```
/// #[proplet_sdk::main]
/// pub fn run(input: Vec<u8>) -> Result<Vec<u8>, String> { Ok(input) }
/// # fn main() {}
/// ```
#[cfg(doctest)]
struct Refused;
