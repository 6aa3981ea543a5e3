//! Why files cannot be measured.

use thiserror::Error;

/// Why files cannot be measured.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// The firmware has no table of what it offers.
    #[error(
        "this is no firmware for confidential VMs: the table at its end is missing or broken ({0}); use the \
         firmware that was built with the image"
    )]
    Firmware(&'static str),
    /// The firmware lacks what one TEE needs.
    #[error(
        "the firmware does not serve {tee}: {missing}; use the firmware that was built with the image for {tee}"
    )]
    NotFor {
        /// The TEE.
        tee: &'static str,
        /// What is missing.
        missing: &'static str,
    },
    /// The firmware asks for more memory than is sensible.
    #[error("the firmware asks for more than 256 MiB to be measured; the file is damaged")]
    TooMuchMemory,
    /// The image is no PE file.
    #[error("this is no unified kernel image: {0}; give the .efi file that the image builder made")]
    Image(&'static str),
    /// The image has no such section.
    #[error("the image has no section {0}; give the .efi file that the image builder made")]
    NoSection(&'static str),
    /// The type of CPU is not known.
    #[error("the CPU type {given:?} is not known; known are {known}")]
    Cpu {
        /// What was given.
        given: String,
        /// What is known.
        known: String,
    },
    /// The number of virtual CPUs is no such number.
    #[error("{0} virtual CPUs cannot be; give 1 to 512")]
    Vcpus(u32),
}
