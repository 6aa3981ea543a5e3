//! The `proplet` program: the command line of the daemon, and the tools of those who use it.
//!
//! | module | is |
//! | --- | --- |
//! | [`cli`] | the commands |
//! | [`tee`] | the one place where evidence providers are chosen |
//!
//! What the commands do is in other crates: `proplet-daemon` takes tasks from a broker, `proplet-executor`
//! runs them, `proplet-settings` says whom this host trusts.
#![deny(missing_docs)]

pub mod cli;
mod output;
pub mod tee;
