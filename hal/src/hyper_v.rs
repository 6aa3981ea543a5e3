//! Whether Hyper-V isolates this VM, as Azure's confidential VMs are.
//!
//! Such a VM runs below a paravisor, which keeps the TEE's own interface to itself: there is neither
//! `/dev/sev-guest` nor `/dev/tdx_guest`, and the CPU does not say either that memory is encrypted. What Hyper-V
//! says of itself is all that there is to recognise it by.
//!
//! Sources: Microsoft's Hypervisor Top-Level Functional Specification, feature and interface discovery; Linux
//! `include/hyperv/hvhdk.h` (HV_ISOLATION_TYPE) and `hvgdk_mini.h` (HV_ISOLATION, HV_CPU_MANAGEMENT).

use std::fmt;

/// The leaf with the hypervisor's name and its highest leaf.
const NAME: u32 = 0x4000_0000;
/// The leaf with the privileges of this partition.
const FEATURES: u32 = 0x4000_0003;
/// The leaf with the kind of isolation.
const ISOLATION: u32 = 0x4000_000c;
const MICROSOFT: [u8; 12] = *b"Microsoft Hv";
/// This partition manages CPUs: it is the host's own.
const CPU_MANAGEMENT: u32 = 1 << 12;
/// This partition is isolated.
const ISOLATED: u32 = 1 << 22;

/// The TEE that isolates a VM of Hyper-V's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HyperVIsolation {
    /// AMD SEV-SNP.
    Snp,
    /// Intel TDX.
    Tdx,
}

impl HyperVIsolation {
    /// What the CPU says here.
    pub(crate) fn of_cpu() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::__cpuid;
            // Beyond the leaves of a CPU, others are given that say anything.
            let hypervisor = __cpuid(1).ecx & (1 << 31) != 0;
            let leaf = |leaf| {
                let found = __cpuid(leaf);
                [found.eax, found.ebx, found.ecx, found.edx]
            };
            hypervisor.then(|| Self::of(leaf)).flatten()
        }
        #[cfg(not(target_arch = "x86_64"))]
        None
    }

    /// What these leaves of CPUID say: EAX, EBX, ECX, EDX of each.
    fn of(cpuid: impl Fn(u32) -> [u32; 4]) -> Option<Self> {
        let [highest, name @ ..] = cpuid(NAME);
        let name = name.map(u32::to_le_bytes);
        if name.as_flattened() != MICROSOFT || highest < ISOLATION {
            return None;
        }
        let [_, features, ..] = cpuid(FEATURES);
        if features & ISOLATED == 0 || features & CPU_MANAGEMENT != 0 {
            return None;
        }
        let [_, isolation, ..] = cpuid(ISOLATION);
        match isolation & 0xf {
            2 => Some(Self::Snp),
            3 => Some(Self::Tdx),
            _ => None,
        }
    }
}

impl fmt::Display for HyperVIsolation {
    /// What Trustee calls evidence of such VMs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Snp => "az-snp-vtpm",
            Self::Tdx => "az-tdx-vtpm",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn isolation(
        name: &[u8; 12],
        highest: u32,
        features: u32,
        kind: u32,
    ) -> Option<HyperVIsolation> {
        let word = |at: usize| u32::from_le_bytes(name[at..at + 4].try_into().unwrap());
        HyperVIsolation::of(|leaf| match leaf {
            NAME => [highest, word(0), word(4), word(8)],
            FEATURES => [0, features, 0, 0],
            // The other bits are the paravisor's and the boundary of shared memory.
            ISOLATION => [1, kind | 0x0f20, 0, 0],
            other => panic!("{other:x}"),
        })
    }

    #[test]
    fn isolated_vms_are_told_from_others() {
        let snp = HyperVIsolation::Snp;
        for (name, highest, features, kind, expected) in [
            (b"Microsoft Hv", 0x4000_000c, ISOLATED, 2, Some(snp)),
            (
                b"Microsoft Hv",
                0x4000_0082,
                ISOLATED,
                3,
                Some(HyperVIsolation::Tdx),
            ),
            // By software alone (VBS), and not at all.
            (b"Microsoft Hv", 0x4000_000c, ISOLATED, 1, None),
            (b"Microsoft Hv", 0x4000_000c, ISOLATED, 0, None),
            (b"Microsoft Hv", 0x4000_000c, 0, 2, None),
            (
                b"Microsoft Hv",
                0x4000_000c,
                ISOLATED | CPU_MANAGEMENT,
                2,
                None,
            ),
            (b"Microsoft Hv", 0x4000_000b, ISOLATED, 2, None),
            (b"KVMKVMKVM\0\0\0", 0x4000_000c, ISOLATED, 2, None),
        ] {
            let found = isolation(name, highest, features, kind);
            assert_eq!(found, expected, "{highest:x} {features:x} {kind}");
        }
        assert_eq!(snp.to_string(), "az-snp-vtpm");
    }
}
