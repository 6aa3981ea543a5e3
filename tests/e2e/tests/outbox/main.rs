//! Nothing that was accepted is lost: restarts, bad lines, and kills.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod audit;
mod devices;
mod disks;
mod flaps;
mod hostile;
mod kill;
mod machine;
mod networks;
mod restarts;
mod sealed;
mod services;
