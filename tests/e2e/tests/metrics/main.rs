//! What a proplet says about the use of the machine, as a Manager receives it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod node;
mod tasks;
