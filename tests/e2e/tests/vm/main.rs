//! The VM image with an emulated TEE below it.
//!
//! The image is the product's in everything but its first process, which is `vm-test-init` of the testkit: it emulates
//! the kernel's TSM reports of an SNP guest with the HOST_DATA that QEMU hands in, and becomes the unchanged `proplet`.
//! QEMU emulates the machine, with firmware that checks the image's hashes. Broker, registry and key broker are in this
//! process, where the VM finds them through QEMU's network.
//!
//! `.ci/vm FOLDER` builds what these tests need; `$PROPLET_VM` is that folder.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![cfg(target_os = "linux")]

#[path = "../hardware/program.rs"]
mod program;

mod event_log;
mod init_data;
mod machine;
mod outbox;
mod world;
