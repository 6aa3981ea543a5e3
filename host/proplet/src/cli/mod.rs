//! The command line.
//!
//! One program for four people: an operator (`daemon`, `detect`), a guest author (`run`), a data owner
//! (`keygen`, `image encrypt`, `kbs`, `open`) and a relying party (`verify`). The last two need neither a TEE nor
//! a service: what they type runs on their own machine, and that is why it can be believed.
//!
//! Three things hold for every command. Results go to standard output and everything else to standard
//! error, so that a pipe gets the result alone. The exit code says what kind of end it was
//! ([`ExitCode`](proplet_types::ExitCode)), so that a script need not read words. And private keys, keys of images and
//! opened results go to new files that only their owner may read; none is ever overwritten.
//!
//! The commands of data owners and relying parties are there with the feature `data-owner`, which is on
//! by default. A daemon that is measured has no use for them: without the feature it cannot make keys, write
//! images or open results.
//!
//! Text from elsewhere (a guest's, a registry's, a receipt's) is shown without control characters: a
//! terminal obeys those.

mod arguments;
#[cfg(feature = "data-owner")]
mod audit;
mod blocking;
#[cfg(feature = "data-owner")]
mod collateral;
#[cfg(feature = "data-owner")]
mod component;
#[cfg_attr(
    not(feature = "data-owner"),
    expect(dead_code, reason = "for the tools")
)]
mod console;
mod context;
mod daemon;
mod detect;
#[cfg(feature = "data-owner")]
mod document;
#[cfg(feature = "data-owner")]
mod encrypt;
mod entry;
#[cfg_attr(
    not(feature = "data-owner"),
    expect(dead_code, reason = "for the tools")
)]
mod error;
#[cfg(feature = "data-owner")]
mod explain;
#[cfg_attr(
    not(feature = "data-owner"),
    expect(dead_code, reason = "for the tools")
)]
mod files;
#[cfg(feature = "data-owner")]
mod helper;
#[cfg(feature = "data-owner")]
mod image;
#[cfg(feature = "data-owner")]
mod import;
#[cfg(feature = "data-owner")]
mod init_data;
#[cfg(feature = "data-owner")]
mod kbs;
#[cfg(feature = "data-owner")]
mod kbs_policy;
#[cfg(feature = "data-owner")]
mod key_broker;
#[cfg(feature = "data-owner")]
mod keygen;
#[cfg(feature = "data-owner")]
mod keyprovider;
#[cfg(feature = "data-owner")]
mod measure;
#[cfg(feature = "data-owner")]
mod open;
#[cfg(feature = "data-owner")]
mod policy;
#[cfg(feature = "data-owner")]
mod reference_values;
#[cfg(feature = "data-owner")]
mod registry;
#[cfg(feature = "data-owner")]
mod relying;
#[cfg(feature = "data-owner")]
mod report;
mod run;
#[cfg(feature = "data-owner")]
mod snp;
#[cfg(feature = "data-owner")]
mod tdx;
mod trusted;
#[cfg(feature = "data-owner")]
mod verify;

pub use self::{
    console::Console,
    context::Context,
    entry::{main, main_with},
};
