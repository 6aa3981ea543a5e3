//! The launch digest of an SEV-SNP VM that QEMU starts with `kernel-hashes=on`.
//!
//! The firmware of the CPU folds every page that the VM starts with into one digest: its type, its address
//! and the digest of its contents (AMD 56860, 8.17.2). QEMU gives it the OVMF image, the memory that OVMF's list
//! names, with the hashes of the kernel in a page of its own, and at last the first state of each virtual CPU,
//! of which the CPU's type is a part: CPUID's signature stands in a register at reset.
//!
//! Equal to `sev-snp-measure` for QEMU, as the tests show.

use std::fmt;
use std::str::FromStr;

use crate::bytes::index;
use crate::firmware::{Firmware, SnpUse};
use crate::{MAX_PAGES, MeasureError, PAGE, sha256, sha384};

/// The address at which the state of CPUs counts: all ones, without what is no address of a page.
const CPU_STATE_ADDRESS: u64 = 0xffff_ffff_f000;
/// Where the first CPU begins.
const FIRST_CPU: u32 = 0xffff_fff0;
/// A page, as addresses are counted.
const PAGE_U32: u32 = 4096;
/// The largest number of virtual CPUs that SNP can have under KVM.
const MAX_VCPUS: u32 = 512;

/// Types of pages (AMD 56860, table 67).
const NORMAL: u8 = 1;
const CPU_STATE: u8 = 2;
const ZERO: u8 = 3;
const SECRETS: u8 = 5;
const CPUID: u8 = 6;

/// The types of CPU that QEMU offers for SNP, with family, model and stepping.
const CPUS: &[(&str, u32, u32, u32)] = &[
    ("EPYC", 23, 1, 2),
    ("EPYC-v1", 23, 1, 2),
    ("EPYC-v2", 23, 1, 2),
    ("EPYC-IBPB", 23, 1, 2),
    ("EPYC-v3", 23, 1, 2),
    ("EPYC-v4", 23, 1, 2),
    ("EPYC-Rome", 23, 49, 0),
    ("EPYC-Rome-v1", 23, 49, 0),
    ("EPYC-Rome-v2", 23, 49, 0),
    ("EPYC-Rome-v3", 23, 49, 0),
    ("EPYC-Milan", 25, 1, 1),
    ("EPYC-Milan-v1", 25, 1, 1),
    ("EPYC-Milan-v2", 25, 1, 1),
    ("EPYC-Genoa", 25, 17, 0),
    ("EPYC-Genoa-v1", 25, 17, 0),
    ("EPYC-Turin", 26, 0, 0),
];

/// A type of virtual CPU, as QEMU's `-cpu` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuType {
    name: &'static str,
    signature: u32,
}

impl CpuType {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.name
    }

    /// All that are known.
    pub fn all() -> impl Iterator<Item = Self> {
        CPUS.iter().map(|(name, family, model, stepping)| Self {
            name,
            signature: signature(*family, *model, *stepping),
        })
    }
}

/// CPUID Fn0000_0001_EAX (AMD 25481).
const fn signature(family: u32, model: u32, stepping: u32) -> u32 {
    let (low, high) = if family > 15 {
        (15, family - 15)
    } else {
        (family, 0)
    };
    (high << 20) | ((model >> 4) << 16) | (low << 8) | ((model & 15) << 4) | stepping
}

impl FromStr for CpuType {
    type Err = MeasureError;

    fn from_str(text: &str) -> Result<Self, MeasureError> {
        let found = Self::all().find(|cpu| cpu.name.eq_ignore_ascii_case(text));
        found.ok_or_else(|| MeasureError::Cpu {
            given: text.to_owned(),
            known: Self::all().map(Self::name).collect::<Vec<_>>().join(", "),
        })
    }
}

impl fmt::Display for CpuType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// What QEMU loads beside the firmware.
#[derive(Debug, Clone, Copy)]
pub struct Loaded<'a> {
    /// `-kernel`: the UKI.
    pub kernel: &'a [u8],
    /// `-initrd`: nothing, for a UKI has its own.
    pub initrd: &'a [u8],
    /// `-append`: nothing, for a UKI has its own.
    pub command_line: &'a str,
}

impl<'a> Loaded<'a> {
    /// A UKI and nothing else.
    #[must_use]
    pub fn uki(kernel: &'a [u8]) -> Self {
        Self {
            kernel,
            initrd: &[],
            command_line: "",
        }
    }

    /// The table of hashes as QEMU writes it for the firmware to check (`target/i386/sev.c`).
    #[must_use]
    pub fn hash_table(&self) -> Vec<u8> {
        const HEADER: [u8; 16] =
            *b"\x06\xd6\x38\x94\x22\x4f\xc9\x4c\xb4\x79\xa7\x93\xd4\x11\xfd\x21";
        const KERNEL: [u8; 16] =
            *b"\x37\x94\xe7\x4d\xd2\xab\x7f\x42\xb8\x35\xd5\xb1\x72\xd2\x04\x5b";
        const INITRD: [u8; 16] =
            *b"\x31\xf7\xba\x44\x2f\x3a\xd7\x4b\x9a\xf1\x41\xe2\x91\x69\x78\x1d";
        const COMMAND_LINE: [u8; 16] =
            *b"\xd8\x2d\xd0\x97\x20\xbd\x94\x4c\xaa\x78\xe7\x71\x4d\x36\xab\x2a";
        let command_line = [self.command_line.as_bytes(), &[0]].concat();
        let entries = [
            (COMMAND_LINE, sha256(&command_line)),
            (INITRD, sha256(self.initrd)),
            (KERNEL, sha256(self.kernel)),
        ];
        let mut table = HEADER.to_vec();
        // The length of the table: a header and three entries of 50 bytes.
        table.extend(168_u16.to_le_bytes());
        for (guid, hash) in entries {
            table.extend(guid);
            table.extend(50_u16.to_le_bytes());
            table.extend(hash);
        }
        table.resize(176, 0);
        table
    }
}

/// What the VM's report will have as its measurement.
///
/// # Errors
/// When the firmware is not for SNP with hashes of the kernel, or the number of CPUs cannot be.
pub fn launch_digest(
    firmware: &Firmware<'_>,
    loaded: &Loaded<'_>,
    cpu: CpuType,
    vcpus: u32,
) -> Result<[u8; 48], MeasureError> {
    if !(1..=MAX_VCPUS).contains(&vcpus) {
        return Err(MeasureError::Vcpus(vcpus));
    }
    let missing = |missing| MeasureError::NotFor {
        tee: "SNP",
        missing,
    };
    let mut digest = Digest::default();
    let image = firmware.image();
    if !image.len().is_multiple_of(PAGE) {
        return Err(missing("its length is not one of whole pages"));
    }
    for (page, address) in image
        .chunks_exact(PAGE)
        .zip((firmware.address()..).step_by(PAGE))
    {
        digest.fold(NORMAL, address, &sha384(page));
    }
    let sections = firmware.snp_sections()?;
    let pages: u64 = sections
        .iter()
        .map(|section| u64::from(section.len) / PAGE as u64)
        .sum();
    if pages > MAX_PAGES {
        return Err(MeasureError::TooMuchMemory);
    }
    let mut has_hashes = false;
    for section in sections {
        let address = u64::from(section.address);
        match section.purpose {
            SnpUse::Zero => {
                for page in (0..u64::from(section.len)).step_by(PAGE) {
                    digest.fold(ZERO, address + page, &[0; 48]);
                }
            }
            SnpUse::Secrets => digest.fold(SECRETS, address, &[0; 48]),
            SnpUse::Cpuid => digest.fold(CPUID, address, &[0; 48]),
            SnpUse::KernelHashes => {
                has_hashes = true;
                let table = firmware
                    .hash_table_address()
                    .ok_or(missing("it has no place for the kernel's hashes"))?;
                let mut page = vec![0; index(table % PAGE_U32)];
                page.extend(loaded.hash_table());
                page.resize(PAGE, 0);
                digest.fold(NORMAL, address, &sha384(&page));
            }
        }
    }
    if !has_hashes {
        return Err(missing("it has no page for the kernel's hashes"));
    }
    let reset = firmware
        .reset_address()
        .ok_or(missing("it does not say where further CPUs begin"))?;
    let state = |begin| sha384(&cpu_state(begin, cpu));
    digest.fold(CPU_STATE, CPU_STATE_ADDRESS, &state(FIRST_CPU));
    let further = state(reset);
    for _ in 1..vcpus {
        digest.fold(CPU_STATE, CPU_STATE_ADDRESS, &further);
    }
    Ok(digest.0)
}

/// The digest while pages are folded in.
struct Digest([u8; 48]);

impl Default for Digest {
    fn default() -> Self {
        Self([0; 48])
    }
}

impl Digest {
    /// `PAGE_INFO`, hashed.
    fn fold(&mut self, page_type: u8, address: u64, contents: &[u8; 48]) {
        let mut info = Vec::with_capacity(0x70);
        info.extend(self.0);
        info.extend(contents);
        info.extend(0x70_u16.to_le_bytes());
        // The type; not part of a migration image; no permissions of VMPL 3, 2 and 1; reserved.
        info.extend([page_type, 0, 0, 0, 0, 0]);
        info.extend(address.to_le_bytes());
        self.0 = sha384(&info);
    }
}

/// The state in which KVM and QEMU start a virtual CPU: a page (AMD 24593, table B-4).
fn cpu_state(begin: u32, cpu: CpuType) -> Vec<u8> {
    let segment = |selector: u16, attributes: u16, base: u32| {
        let mut bytes = [selector.to_le_bytes(), attributes.to_le_bytes()].concat();
        bytes.extend(0xffff_u32.to_le_bytes());
        bytes.extend(u64::from(base).to_le_bytes());
        bytes
    };
    let data = segment(0, 0x93, 0);
    let table = segment(0, 0, 0);
    let long = |value: u64| value.to_le_bytes().to_vec();
    let fields: Vec<(usize, Vec<u8>)> = vec![
        (0x00, data.clone()),                               // ES
        (0x10, segment(0xf000, 0x9b, begin & 0xffff_0000)), // CS
        (0x20, data.clone()),                               // SS
        (0x30, data.clone()),                               // DS
        (0x40, data.clone()),                               // FS
        (0x50, data),                                       // GS
        (0x60, table.clone()),                              // GDTR
        (0x70, segment(0, 0x82, 0)),                        // LDTR
        (0x80, table),                                      // IDTR
        (0x90, segment(0, 0x8b, 0)),                        // TR
        (0xd0, long(0x1000)),                               // EFER: SVME, which KVM sets
        (0x148, long(0x40)),                                // CR4: MCE, which KVM sets
        (0x158, long(0x10)),                                // CR0
        (0x160, long(0x400)),                               // DR7
        (0x168, long(0xffff_0ff0)),                         // DR6
        (0x170, long(2)),                                   // RFLAGS
        (0x178, long(u64::from(begin & 0xffff))),           // RIP
        (0x268, long(0x0007_0406_0007_0406)),               // PAT
        (0x310, long(u64::from(cpu.signature))),            // RDX
        (0x3b0, long(1)),                                   // SEV features: SNP
        (0x3e8, long(1)),                                   // XCR0
        (0x408, 0x1f80_u32.to_le_bytes().to_vec()),         // MXCSR
        (0x410, 0x37f_u16.to_le_bytes().to_vec()),          // x87 control word
    ];
    let mut page = Vec::with_capacity(PAGE);
    for (at, bytes) in fields {
        page.resize(at, 0);
        page.extend(bytes);
    }
    page.resize(PAGE, 0);
    page
}

#[cfg(test)]
mod tests;
