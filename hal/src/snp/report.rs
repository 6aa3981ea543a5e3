//! The SNP attestation report: layout and typed contents.

use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser as _;

use super::error::SnpError;
use super::kinds::{EndorsementKeyKind, Generation, Tcb};

/// Size of a report in bytes, signature included (AMD document 56860, table 23).
pub const REPORT_LEN: usize = 1184;
/// The signature covers the bytes before this offset.
pub(super) const SIGNED_LEN: usize = 0x2a0;
/// The highest report version whose layout is known.
const MAXIMUM_VERSION: u32 = 5;

/// The signature algorithm that stands for ECDSA on P-384 with SHA-384.
const ECDSA_P384_SHA384: u32 = 1;

/// The contents of a report. As returned by the functions of [`super`], everything in it was signed by
/// a key that the pinned roots vouch for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnpReport {
    /// Version of the report's layout, 2 to 5.
    pub version: u32,
    /// The kind of key that signed the report.
    pub signing_key: EndorsementKeyKind,
    /// CPU generation, from CPUID in the report. `None` in version 2, which does not carry it.
    pub generation: Option<Generation>,
    /// The caller's report data, zero-padded to 64 bytes.
    pub report_data: [u8; 64],
    /// Launch digest of the VM's initial memory.
    pub measurement: [u8; 48],
    /// HOST_DATA: set by whoever launched the VM; all zeros when unset.
    pub host_data: [u8; 32],
    /// SHA-384 of the key that signed the ID block; zeros without one.
    pub id_key_digest: [u8; 48],
    /// SHA-384 of the key that certified the ID key; zeros without one.
    pub author_key_digest: [u8; 48],
    /// Family id of the ID block.
    pub family_id: [u8; 16],
    /// Image id of the ID block.
    pub image_id: [u8; 16],
    /// Security version of the guest, from the ID block.
    pub guest_svn: u32,
    /// Random id of this VM, for as long as it runs.
    pub report_id: [u8; 32],
    /// Id of the chip. With a VCEK it was compared with the certificate; with a VLEK nothing but the
    /// report says so. On Turin only the first 8 bytes are used.
    pub chip_id: [u8; 64],
    /// Guest policy, all bits. `debug` and `migration_agent` are two of them.
    pub policy: u64,
    /// Bit 19 of the policy: the host may debug the VM, and so read all its memory.
    pub debug: bool,
    /// Bit 18 of the policy: a migration agent may move the VM to another machine.
    pub migration_agent: bool,
    /// Privilege level that asked for the report, always 0 after verification.
    pub vmpl: u32,
    /// PLATFORM_INFO bits: SMT 0, TSME 1, ECC 2, RAPL disabled 3, ciphertext hiding 4, alias check 5.
    pub platform_info: u64,
    /// The TCB that the signing key was derived for.
    pub reported_tcb: Tcb,
    /// The TCB in force when the report was made.
    pub current_tcb: Tcb,
    /// The lowest TCB that the machine can still be rolled back to.
    pub committed_tcb: Tcb,
    /// The TCB in force when the VM was launched.
    pub launch_tcb: Tcb,
}

impl SnpReport {
    /// Reads a report of this version or a later one, without verifying any signature.
    pub(super) fn parse(bytes: &[u8], minimum_version: u32) -> Result<Self, SnpError> {
        if bytes.len() != REPORT_LEN {
            let reason = format!("it has {} bytes instead of {REPORT_LEN}", bytes.len());
            return Err(SnpError::malformed("SNP report", reason));
        }
        let version = bytes
            .iter()
            .take(4)
            .rev()
            .fold(0, |sum, byte| (sum << 8) | u32::from(*byte));
        check_version(version, minimum_version)?;
        let report = AttestationReport::from_bytes(bytes)
            .map_err(|error| SnpError::malformed("SNP report", error))?;
        if report.sig_algo != ECDSA_P384_SHA384 {
            let reason = format!("its signature algorithm is {}, not 1", report.sig_algo);
            return Err(SnpError::malformed("SNP report", reason));
        }
        Ok(Self::from_fields(&report))
    }

    fn from_fields(report: &AttestationReport) -> Self {
        Self {
            version: report.version,
            signing_key: match report.key_info.signing_key() {
                0 => EndorsementKeyKind::Vcek,
                1 => EndorsementKeyKind::Vlek,
                _ => EndorsementKeyKind::None,
            },
            generation: report
                .cpuid_fam_id
                .zip(report.cpuid_mod_id)
                .and_then(|(family, model)| Generation::identify(family, model)),
            report_data: report.report_data,
            measurement: report.measurement,
            host_data: report.host_data,
            id_key_digest: report.id_key_digest,
            author_key_digest: report.author_key_digest,
            family_id: report.family_id,
            image_id: report.image_id,
            guest_svn: report.guest_svn,
            report_id: report.report_id,
            chip_id: report.chip_id,
            policy: report.policy.into(),
            debug: report.policy.debug_allowed(),
            migration_agent: report.policy.migrate_ma_allowed(),
            vmpl: report.vmpl,
            platform_info: report.plat_info.into(),
            reported_tcb: report.reported_tcb.into(),
            current_tcb: report.current_tcb.into(),
            committed_tcb: report.committed_tcb.into(),
            launch_tcb: report.launch_tcb.into(),
        }
    }

    /// HOST_DATA when it is set, that is not all zeros.
    pub fn init_data(&self) -> Option<Vec<u8>> {
        self.host_data
            .iter()
            .any(|byte| *byte != 0)
            .then(|| self.host_data.to_vec())
    }
}

/// Refuses a version below the policy's minimum, and one whose layout is not known.
pub(super) fn check_version(version: u32, minimum: u32) -> Result<(), SnpError> {
    let maximum = MAXIMUM_VERSION;
    if (minimum..=maximum).contains(&version) {
        return Ok(());
    }
    Err(SnpError::ReportVersion {
        version,
        minimum,
        maximum,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_known_and_allowed_versions_are_read() {
        let report = |version: u8| {
            let mut bytes = vec![0; REPORT_LEN];
            bytes[0] = version;
            bytes[0x1a0..0x1e0].fill(7);
            bytes[52] = 1;
            bytes[0x188] = 0x19;
            if version == 2 {
                bytes[0x188] = 0;
            }
            SnpReport::parse(&bytes, 2)
        };
        for version in 2..=5 {
            assert_eq!(report(version).unwrap().version, u32::from(version));
        }
        for version in [0, 1, 6, 255] {
            assert!(
                matches!(report(version), Err(SnpError::ReportVersion { .. })),
                "{version}"
            );
        }
    }

    #[test]
    fn unset_host_data_is_no_init_data() {
        let mut bytes = vec![0; REPORT_LEN];
        bytes[0] = 3;
        bytes[52] = 1;
        bytes[0x188] = 0x19;
        let parse = |bytes: &[u8]| SnpReport::parse(bytes, 3).unwrap();
        assert_eq!(parse(&bytes).init_data(), None);
        bytes[192] = 1;
        assert_eq!(parse(&bytes).init_data().unwrap().len(), 32);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_without_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), REPORT_LEN - 1..REPORT_LEN + 2),
            version in 0_u8..8,
            zeroed in any::<bool>(),
        ) {
            if zeroed {
                bytes[8..].fill(0);
            }
            bytes[..4].copy_from_slice(&[version, 0, 0, 0]);
            let _ = SnpReport::parse(&bytes, 0);
        }
    }
}
