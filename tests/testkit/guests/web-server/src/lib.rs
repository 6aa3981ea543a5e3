//! Answers requests, by their paths: `/echo` gives the body back, `/count` says how many requests this instance
//! has had, and the others misbehave. The rest is greeted.
#![deny(missing_docs)]

#[cfg(target_family = "wasm")]
mod server;
