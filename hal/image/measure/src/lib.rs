//! What a confidential VM measures when it starts from one kernel image, computed from the files alone.
//!
//! Whoever decides about a VM's secrets has to know beforehand which measurement its evidence will have. The
//! functions here take the firmware and the unified kernel image (UKI) and give:
//!
//! - for SEV-SNP the launch digest ([`snp`]), which covers the firmware, the hashes of what QEMU loads beside
//!   it (`kernel-hashes=on`), and the first state of each virtual CPU, so it depends on their number and type;
//! - for TDX MRTD, which covers the firmware, and RTMR1 and RTMR2, which the firmware and the UKI's stub extend
//!   with the UKI and its parts ([`tdx`]).
//!
//! Nothing here reads a file, starts a program or needs a TEE. Files are strangers' bytes: every offset and
//! length in them is checked, and what they may cost is bounded ([`MAX_PAGES`]).
//!
//! Not predicted: RTMR0, which holds the ACPI tables, the memory map and the variables that QEMU hands to the
//! firmware, and so changes with QEMU's version, the memory's size and the devices.
#![deny(missing_docs)]

mod bytes;
mod error;
pub mod firmware;
pub mod pe;
pub mod snp;
mod table;
pub mod tdx;

pub use error::MeasureError;
pub use table::{Measurements, SnpMeasurement, TdxMeasurement, flavour};

/// How many pages of memory firmware may ask to be measured: 256 MiB.
pub const MAX_PAGES: u64 = 64 * 1024;

/// The size of a page.
const PAGE: usize = 4096;

/// SHA-384 of some bytes.
fn sha384(bytes: &[u8]) -> [u8; 48] {
    sized(ring::digest::digest(&ring::digest::SHA384, bytes).as_ref())
}

/// SHA-256 of some bytes.
fn sha256(bytes: &[u8]) -> [u8; 32] {
    sized(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}

/// A digest as an array: its algorithm fixes the length.
fn sized<const N: usize>(digest: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    for (to, from) in array.iter_mut().zip(digest) {
        *to = *from;
    }
    array
}
