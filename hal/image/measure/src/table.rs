//! All measurements of an image, for a file beside it.

use serde::{Deserialize, Serialize};

use crate::firmware::Firmware;
use crate::pe::Pe;
use crate::snp::{self, CpuType, Loaded};
use crate::{MeasureError, sha256, tdx};

/// On the command line of the debug flavour of the image, as `proplet_hal::flavour` has it.
const DEBUG_WORD: &[u8] = b"proplet.flavour=debug";

/// What an image measures, in all the ways in which it may be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurements {
    /// `debug` when the command line inside the image says that it lets people in, else `sealed`.
    pub flavour: String,
    /// SHA-256 of the UKI, in hexadecimal, as every digest here.
    pub uki_sha256: String,
    /// SHA-256 of the firmware for SNP.
    pub snp_firmware_sha256: String,
    /// SHA-256 of the firmware for TDX.
    pub tdx_firmware_sha256: String,
    /// SNP, for each type and number of CPUs.
    pub snp: Vec<SnpMeasurement>,
    /// TDX, whatever the CPUs are.
    pub tdx: TdxMeasurement,
}

/// The launch digest of an SNP VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnpMeasurement {
    /// QEMU's `-cpu`.
    pub cpu: String,
    /// QEMU's `-smp`.
    pub vcpus: u32,
    /// The launch digest.
    pub measurement: String,
}

/// The registers of a TDX VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TdxMeasurement {
    /// The firmware.
    pub mrtd: String,
    /// The UKI and how it was started.
    pub rtmr1: String,
    /// The UKI's parts and the command line.
    pub rtmr2: String,
}

impl Measurements {
    /// Measures an image for these types and numbers of CPUs.
    ///
    /// # Errors
    /// [`MeasureError`].
    pub fn of(
        uki: &[u8],
        snp_firmware: &[u8],
        tdx_firmware: &[u8],
        cpus: &[CpuType],
        vcpus: &[u32],
    ) -> Result<Self, MeasureError> {
        let firmware = Firmware::parse(snp_firmware)?;
        let loaded = Loaded::uki(uki);
        let mut snp = Vec::new();
        for cpu in cpus {
            for vcpus in vcpus {
                snp.push(SnpMeasurement {
                    cpu: cpu.to_string(),
                    vcpus: *vcpus,
                    measurement: hex::encode(snp::launch_digest(&firmware, &loaded, *cpu, *vcpus)?),
                });
            }
        }
        Ok(Self {
            flavour: flavour(uki)?.to_owned(),
            uki_sha256: hex::encode(sha256(uki)),
            snp_firmware_sha256: hex::encode(sha256(snp_firmware)),
            tdx_firmware_sha256: hex::encode(sha256(tdx_firmware)),
            snp,
            tdx: TdxMeasurement::of(uki, tdx_firmware)?,
        })
    }
}

/// What the image says about itself, in a part that is measured. The images of this project are one of the two; of
/// others it says nothing but that this word is not on their command line.
///
/// # Errors
/// [`MeasureError`] when it is no image.
pub fn flavour(uki: &[u8]) -> Result<&'static str, MeasureError> {
    let pe = Pe::parse(uki)?;
    let line = pe.contents(".cmdline")?.unwrap_or_default();
    let is_debug = line
        .split(u8::is_ascii_whitespace)
        .any(|word| word == DEBUG_WORD);
    Ok(if is_debug { "debug" } else { "sealed" })
}

impl TdxMeasurement {
    /// Measures an image.
    ///
    /// # Errors
    /// [`MeasureError`].
    pub fn of(uki: &[u8], firmware: &[u8]) -> Result<Self, MeasureError> {
        let events = tdx::events(uki)?;
        Ok(Self {
            mrtd: hex::encode(tdx::mrtd(&Firmware::parse(firmware)?)?),
            rtmr1: hex::encode(tdx::extended(&events.rtmr1)),
            rtmr2: hex::encode(tdx::extended(&events.rtmr2)),
        })
    }
}
