//! What a guest policy can be held to.
//!
//! The policy is set by whoever launches the VM and enforced by the firmware. It is signed in the report and is
//! **not** part of the launch measurement, so a host can launch a good image under a weaker policy.

use std::fmt;
use std::str::FromStr;

/// One thing that a guest policy (AMD 56860, table "Guest Policy") can be held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum GuestPolicyRule {
    /// Bit 16 is 0: the VM does not start where hyperthreads share a core.
    NoSmt,
    /// Bit 18 is 0: no migration agent can take the VM's state out.
    NoMigrationAgent,
    /// Bit 19 is 0: the host cannot debug the VM.
    NoDebug,
    /// Bit 20 is 1: the VM runs on one socket, so that its memory crosses no link between sockets.
    SingleSocket,
    /// Bit 21 is 0: no CXL devices or memory.
    NoCxl,
    /// Bit 22 is 1: memory is encrypted with AES-256-XTS.
    Aes256Xts,
    /// Bit 23 is 1: the power meter (RAPL), a side channel, is off.
    NoRapl,
    /// Bit 24 is 1: the host cannot read even the ciphertext of the VM's memory.
    CiphertextHiding,
    /// Bit 25 is 1: the host cannot move or swap out the VM's pages.
    NoPageSwap,
}

impl GuestPolicyRule {
    /// Every rule.
    pub const ALL: [Self; 9] = [
        Self::NoSmt,
        Self::NoMigrationAgent,
        Self::NoDebug,
        Self::SingleSocket,
        Self::NoCxl,
        Self::Aes256Xts,
        Self::NoRapl,
        Self::CiphertextHiding,
        Self::NoPageSwap,
    ];

    /// How the rule is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoSmt => "no-smt",
            Self::NoMigrationAgent => "no-migration-agent",
            Self::NoDebug => "no-debug",
            Self::SingleSocket => "single-socket",
            Self::NoCxl => "no-cxl",
            Self::Aes256Xts => "aes-256-xts",
            Self::NoRapl => "no-rapl",
            Self::CiphertextHiding => "ciphertext-hiding",
            Self::NoPageSwap => "no-page-swap",
        }
    }

    /// The bit, and whether it has to be set.
    const fn bit(self) -> (u32, bool) {
        match self {
            Self::NoSmt => (16, false),
            Self::NoMigrationAgent => (18, false),
            Self::NoDebug => (19, false),
            Self::SingleSocket => (20, true),
            Self::NoCxl => (21, false),
            Self::Aes256Xts => (22, true),
            Self::NoRapl => (23, true),
            Self::CiphertextHiding => (24, true),
            Self::NoPageSwap => (25, true),
        }
    }

    /// The bit of a policy that does not hold to the rule.
    pub(super) fn broken_by(self, policy: u64) -> Option<u32> {
        let (bit, wanted) = self.bit();
        (((policy >> bit) & 1 == 1) != wanted).then_some(bit)
    }
}

impl fmt::Display for GuestPolicyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no [`GuestPolicyRule`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a rule for guest policies: there are no-smt, no-migration-agent, no-debug, single-socket, no-cxl, \
     aes-256-xts, no-rapl, ciphertext-hiding and no-page-swap"
)]
pub struct UnknownGuestPolicyRule;

impl FromStr for GuestPolicyRule {
    type Err = UnknownGuestPolicyRule;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut rules = Self::ALL.into_iter();
        rules
            .find(|rule| rule.as_str() == text)
            .ok_or(UnknownGuestPolicyRule)
    }
}

/// A version of the firmware's interface. A guest policy says which one the VM needs at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AbiVersion {
    /// The first number.
    pub major: u8,
    /// The second.
    pub minor: u8,
}

impl AbiVersion {
    /// The version that a guest policy demands: bits 15 to 8 and 7 to 0.
    pub(super) fn of_policy(policy: u64) -> Self {
        let [minor, major, ..] = policy.to_le_bytes();
        Self { major, minor }
    }
}

impl fmt::Display for AbiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A text that is no [`AbiVersion`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a version of the SNP firmware interface: write two numbers up to 255, as in 1.55")]
pub struct NotAnAbiVersion;

impl FromStr for AbiVersion {
    type Err = NotAnAbiVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| match text.parse() {
            // No signs, and no zeros in front: one version has one text.
            Ok(number) if u8::to_string(&number) == text => Ok(number),
            _ => Err(NotAnAbiVersion),
        };
        let (major, minor) = text.split_once('.').ok_or(NotAnAbiVersion)?;
        Ok(Self {
            major: number(major)?,
            minor: number(minor)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_rule_looks_at_its_own_bit_and_no_other() {
        for rule in GuestPolicyRule::ALL {
            let (bit, wanted) = rule.bit();
            let good = if wanted { 1 << bit } else { !(1_u64 << bit) };
            assert_eq!(rule.broken_by(good), None, "{rule}");
            assert_eq!(rule.broken_by(!good), Some(bit), "{rule}");
            assert_eq!(rule.as_str().parse(), Ok(rule));
            let listed = UnknownGuestPolicyRule.to_string();
            assert!(listed.contains(rule.as_str()), "{rule}");
        }
        assert_eq!(
            "smt".parse::<GuestPolicyRule>(),
            Err(UnknownGuestPolicyRule)
        );
    }

    #[test]
    fn interface_versions_are_ordered_by_major_then_minor() {
        let version = |text: &str| text.parse::<AbiVersion>().unwrap();
        assert!(version("1.55") < version("2.0"));
        assert!(version("1.9") < version("1.55"));
        assert_eq!(
            AbiVersion::of_policy(0x0003_0137),
            version("1.55"),
            "bits 15 to 8 are the major version"
        );
        for wrong in ["", "1", "1.", ".5", "1.256", "+1.5", "1.05", "1.5.0", "1,5"] {
            assert_eq!(wrong.parse::<AbiVersion>(), Err(NotAnAbiVersion), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn interface_versions_read_back(major in any::<u8>(), minor in any::<u8>(), noise in ".{0,12}") {
            let version = AbiVersion { major, minor };
            prop_assert_eq!(version.to_string().parse(), Ok(version));
            if let Ok(read) = noise.parse::<AbiVersion>() {
                prop_assert_eq!(read.to_string(), noise);
            }
        }
    }
}
