//! Which TEE this machine offers.
//!
//! A TEE counts as detected only when the kernel offers its *guest* interface: `/dev/sev-guest`,
//! `/dev/tdx_guest`, or a configfs-TSM provider of either. What the CPU could do says nothing: on a
//! host, `/proc/cpuinfo` has `sev` or `sgx` and `/dev/sev` exists, and the machine is no TEE. Those
//! are reported for the operator to read and decide nothing.
//!
//! The files can be forged by whoever controls the root file system, so detection chooses a provider
//! and gives no assurance. Assurance is evidence.

use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::TeeName;
pub use crate::hyper_v::HyperVIsolation;

/// Where the kernel's TSM report interface appears once configfs is mounted.
const TSM_REPORTS: &str = "sys/kernel/config/tsm/report";
/// Where the hypervisor's firmware says what machine this is.
const ASSET_TAG: &str = "sys/class/dmi/id/chassis_asset_tag";
/// What it says on Azure: digits that stand for the letters of "MSFT AZURE VM", as Azure's own documentation has it.
const AZURE_ASSET_TAG: &str = "7783-7084-3265-9085-8269-3286-77";
/// `/proc/cpuinfo` repeats itself for each CPU; this holds the first one's entry.
const CPUINFO_LEN: u64 = 64 * 1024;
/// Names of TSM providers are short words.
const PROVIDER_LEN: u64 = 64;
/// More report entries than a kernel keeps in practice.
const MAX_TSM_ENTRIES: usize = 64;

/// What was found on a machine. [`Display`](fmt::Display) prints it as a block for the start-up log,
/// without a line end after the last line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Detection {
    /// The CPU's vendor is AMD. Information only.
    pub amd_cpu: bool,
    /// The CPU's vendor is Intel. Information only.
    pub intel_cpu: bool,
    /// The CPU has the flag `tdx_guest`. Information only.
    pub tdx_flag: bool,
    /// `/dev/sev-guest` exists: an SNP guest.
    pub sev_guest: bool,
    /// `/dev/sev` exists: an AMD *host*. Information only.
    pub sev: bool,
    /// `/dev/tdx_guest` exists: a TDX guest.
    pub tdx_guest: bool,
    /// The TSM report folder exists in configfs. It exists on hosts too; the provider decides.
    pub tsm: bool,
    /// The machine is a VM of Azure. Its confidential VMs have no guest device: they attest by a vTPM.
    pub azure: bool,
    /// The TEE that isolates this VM below a paravisor of Hyper-V's, on Azure or elsewhere: it attests by a vTPM.
    pub hyper_v: Option<HyperVIsolation>,
    /// `/dev/tpmrm0` exists. Information only.
    pub tpm: bool,
    /// The provider behind TSM reports, `sev_guest` or `tdx_guest`, when it could be read.
    pub tsm_provider: Option<String>,
}

impl Detection {
    /// Looks at the machine whose file system starts at `root`: `/`, or a tree made for a test.
    ///
    /// The TSM provider is read from an existing report entry; when there is none, one is made and
    /// removed again, which takes root. What cannot be read counts as absent.
    pub fn probe(root: &Path) -> Self {
        Self::with_cpu(root, HyperVIsolation::of_cpu())
    }

    fn with_cpu(root: &Path, hyper_v: Option<HyperVIsolation>) -> Self {
        let cpuinfo = read_head(&root.join("proc/cpuinfo"), CPUINFO_LEN).unwrap_or_default();
        let has = |path: &str| root.join(path).exists();
        let reports = root.join(TSM_REPORTS);
        Self {
            amd_cpu: cpu_field(&cpuinfo, "vendor_id").contains(&"AuthenticAMD"),
            intel_cpu: cpu_field(&cpuinfo, "vendor_id").contains(&"GenuineIntel"),
            tdx_flag: cpu_field(&cpuinfo, "flags").contains(&"tdx_guest"),
            sev_guest: has("dev/sev-guest"),
            sev: has("dev/sev"),
            tdx_guest: has("dev/tdx_guest"),
            tsm: reports.is_dir(),
            azure: read_head(&root.join(ASSET_TAG), PROVIDER_LEN)
                .is_some_and(|tag| tag.trim() == AZURE_ASSET_TAG),
            hyper_v,
            tpm: has("dev/tpmrm0"),
            tsm_provider: tsm_provider(&reports),
        }
    }

    /// The TEE whose guest interface is there. `None` when there is none, and when there are two: a
    /// machine is in one TEE at most, so such a tree is not to be believed.
    pub fn tee(&self) -> Option<TeeName> {
        let provider = self.tsm_provider.as_deref();
        let snp = self.sev_guest || provider == Some("sev_guest");
        let tdx = self.tdx_guest || provider == Some("tdx_guest");
        match (snp, tdx) {
            (true, false) => Some(TeeName::SNP),
            (false, true) => Some(TeeName::TDX),
            (false, false) | (true, true) => None,
        }
    }

    /// One line for the log: the TEE and what gave it away, or why there is none.
    pub fn summary(&self) -> String {
        let provider = self
            .tsm_provider
            .as_ref()
            .map(|name| format!("TSM provider {name}"));
        let found: Vec<_> = [
            self.sev_guest.then(|| "/dev/sev-guest".to_owned()),
            self.tdx_guest.then(|| "/dev/tdx_guest".to_owned()),
            provider,
        ]
        .into_iter()
        .flatten()
        .collect();
        match self.tee() {
            Some(tee) => format!("TEE: {tee} ({})", found.join(", ")),
            None if found.is_empty() && self.sev => {
                "TEE: none (/dev/sev is the interface of a host, not of a guest)".to_owned()
            }
            None if let (true, Some(isolation)) = (found.is_empty(), self.hyper_v) => {
                let place = if self.azure { "Azure" } else { "Hyper-V" };
                let tpm = if self.tpm { "" } else { ", and no /dev/tpmrm0 is there either" };
                format!(
                    "TEE: none (a confidential VM of {place} below a paravisor: it attests by a vTPM, as \
                     {isolation}, which this version does not support{tpm}; use a VM whose guest device is there)"
                )
            }
            None if found.is_empty() && self.azure => {
                "TEE: none (a VM of Azure: its confidential VMs attest by a vTPM, as az-snp-vtpm or \
                 az-tdx-vtpm, which this version does not support; use one whose guest device is there)"
                    .to_owned()
            }
            None if found.is_empty() => {
                "TEE: none (no guest device and no TSM provider)".to_owned()
            }
            None => format!("TEE: none (contradictory or unknown: {})", found.join(", ")),
        }
    }
}

impl fmt::Display for Detection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "AMD SEV Detection:")?;
        writeln!(f, "  - AMD CPU: {}", self.amd_cpu)?;
        writeln!(f, "  - /dev/sev-guest: {}", self.sev_guest)?;
        writeln!(f, "  - /dev/sev: {}", self.sev)?;
        writeln!(f, "  - TSM support: {}", self.tsm)?;
        writeln!(f, "Intel TDX Detection:")?;
        writeln!(f, "  - Intel CPU: {}", self.intel_cpu)?;
        writeln!(f, "  - /dev/tdx_guest: {}", self.tdx_guest)?;
        writeln!(f, "  - TSM support: {}", self.tsm)?;
        write!(f, "  - TDX CPU flag: {}", self.tdx_flag)
    }
}

/// The words of a field in the first CPU's entry of `/proc/cpuinfo`.
fn cpu_field<'a>(cpuinfo: &'a str, name: &str) -> Vec<&'a str> {
    cpuinfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(field, _)| field.trim() == name)
        .map(|(_, value)| value.split_whitespace().collect())
        .unwrap_or_default()
}

fn tsm_provider(reports: &Path) -> Option<String> {
    let read = |entry: &Path| {
        let provider = read_head(&entry.join("provider"), PROVIDER_LEN)?;
        let provider = provider.trim();
        (!provider.is_empty()).then(|| provider.to_owned())
    };
    let entries = fs::read_dir(reports).ok()?.take(MAX_TSM_ENTRIES);
    let existing = entries.flatten().find_map(|entry| read(&entry.path()));
    existing.or_else(|| read(&ProbeEntry::create(reports)?.0))
}

/// A TSM report entry that exists to read its provider, and is removed on drop.
struct ProbeEntry(PathBuf);

impl ProbeEntry {
    fn create(reports: &Path) -> Option<Self> {
        let path = reports.join(format!("proplet-probe-{}", std::process::id()));
        fs::create_dir(&path).ok()?;
        Some(Self(path))
    }
}

impl Drop for ProbeEntry {
    fn drop(&mut self) {
        // Nothing can be done about a failure, and an entry left over harms nobody.
        let _ = fs::remove_dir(&self.0);
    }
}

/// The first `limit` bytes of a file, as text. Bytes that are no UTF-8 are replaced.
fn read_head(path: &Path, limit: u64) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path)
        .ok()?
        .take(limit)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    const AMD: &str =
        "processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu sev sev_es sev_snp\n";
    const INTEL: &str = "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu sgx tdx_guest\n";

    fn machine(cpuinfo: &str, files: &[(&str, &str)]) -> TempDir {
        let root = TempDir::new().unwrap();
        for (path, contents) in files.iter().chain([&("proc/cpuinfo", cpuinfo)]) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, contents).unwrap();
        }
        root
    }

    fn probe(cpuinfo: &str, files: &[(&str, &str)]) -> Detection {
        Detection::with_cpu(machine(cpuinfo, files).path(), None)
    }

    #[test]
    fn an_snp_guest_is_found_by_its_device() {
        let found = probe(AMD, &[("dev/sev-guest", "")]);
        assert_eq!(found.tee(), Some(TeeName::SNP));
        assert!(found.amd_cpu && !found.intel_cpu && !found.tsm);
        assert_eq!(found.summary(), "TEE: snp (/dev/sev-guest)");
    }

    #[test]
    fn a_tdx_guest_is_found_by_its_device_or_provider() {
        assert_eq!(
            probe(INTEL, &[("dev/tdx_guest", "")]).tee(),
            Some(TeeName::TDX)
        );
        let entry = "sys/kernel/config/tsm/report/other/provider";
        let found = probe(INTEL, &[(entry, "tdx_guest\n")]);
        assert_eq!(found.tee(), Some(TeeName::TDX));
        assert_eq!(found.summary(), "TEE: tdx (TSM provider tdx_guest)");
        assert_eq!(
            probe(AMD, &[(entry, "sev_guest\n")]).tee(),
            Some(TeeName::SNP)
        );
    }

    #[test]
    fn hosts_are_no_tee_whatever_their_cpu_can_do() {
        let amd_host = probe(AMD, &[("dev/sev", "")]);
        assert_eq!(amd_host.tee(), None);
        assert!(amd_host.sev && amd_host.summary().contains("host"));
        let intel_host = probe(&INTEL.replace("tdx_guest", "tdx_host_platform"), &[]);
        assert_eq!(intel_host.tee(), None);
        assert!(!intel_host.tdx_flag);
        assert_eq!(probe(INTEL, &[]).tee(), None, "a flag alone is no TEE");
    }

    #[test]
    fn vms_of_azure_are_refused_by_name() {
        let tag = "sys/class/dmi/id/chassis_asset_tag";
        let found = probe(AMD, &[(tag, "7783-7084-3265-9085-8269-3286-77\n")]);
        assert!(found.azure);
        assert_eq!(found.tee(), None);
        for name in ["Azure", "az-snp-vtpm", "az-tdx-vtpm"] {
            assert!(found.summary().contains(name), "{}", found.summary());
        }
        assert!(!probe(AMD, &[(tag, "No Asset Tag\n")]).azure);
        // One that has the device attests by it.
        let nested = probe(
            AMD,
            &[
                (tag, "7783-7084-3265-9085-8269-3286-77\n"),
                ("dev/sev-guest", ""),
            ],
        );
        assert_eq!(nested.tee(), Some(TeeName::SNP));
    }

    #[test]
    fn vms_below_a_paravisor_are_refused_by_what_they_attest_with() {
        let tag = "sys/class/dmi/id/chassis_asset_tag";
        let azure: &[_] = &[
            (tag, "7783-7084-3265-9085-8269-3286-77\n"),
            ("dev/tpmrm0", ""),
        ];
        for (isolation, cpuinfo, files, name, place) in [
            (
                HyperVIsolation::Snp,
                AMD,
                azure,
                "az-snp-vtpm",
                "VM of Azure",
            ),
            (
                HyperVIsolation::Tdx,
                INTEL,
                azure,
                "az-tdx-vtpm",
                "VM of Azure",
            ),
            (
                HyperVIsolation::Snp,
                AMD,
                &[],
                "az-snp-vtpm",
                "VM of Hyper-V",
            ),
        ] {
            let root = machine(cpuinfo, files);
            let found = Detection::with_cpu(root.path(), Some(isolation));
            assert_eq!(found.tee(), None);
            let summary = found.summary();
            assert!(summary.contains(&format!("as {name}")), "{summary}");
            assert!(summary.contains(place), "{summary}");
            assert_eq!(summary.contains("no /dev/tpmrm0"), files.is_empty());
        }
        // One whose own device is there attests by it.
        let root = machine(AMD, &[("dev/sev-guest", "")]);
        let found = Detection::with_cpu(root.path(), Some(HyperVIsolation::Snp));
        assert_eq!(found.tee(), Some(TeeName::SNP));
    }

    #[test]
    fn an_empty_tree_is_no_tee() {
        let root = TempDir::new().unwrap();
        let found = Detection::with_cpu(root.path(), None);
        assert_eq!(found, Detection::default());
        assert_eq!(
            found.summary(),
            "TEE: none (no guest device and no TSM provider)"
        );
    }

    #[test]
    fn contradictions_and_unknown_providers_are_no_tee() {
        let both = probe(AMD, &[("dev/sev-guest", ""), ("dev/tdx_guest", "")]);
        assert_eq!(both.tee(), None);
        assert!(both.summary().contains("/dev/sev-guest, /dev/tdx_guest"));
        let unknown = probe(
            AMD,
            &[("sys/kernel/config/tsm/report/a/provider", "arm_cca_guest\n")],
        );
        assert_eq!(unknown.tee(), None);
        assert!(unknown.summary().contains("arm_cca_guest"));
    }

    #[test]
    fn probing_tsm_leaves_nothing_behind() {
        let root = TempDir::new().unwrap();
        let reports = root.path().join(TSM_REPORTS);
        fs::create_dir_all(&reports).unwrap();
        let found = Detection::with_cpu(root.path(), None);
        assert!(found.tsm && found.tsm_provider.is_none());
        assert_eq!(fs::read_dir(&reports).unwrap().count(), 0);
    }

    #[test]
    fn the_block_has_the_form_that_operators_know() {
        let files = [
            ("dev/tdx_guest", ""),
            ("sys/kernel/config/tsm/report/entry/provider", "tdx_guest\n"),
        ];
        let expected = "\
AMD SEV Detection:
  - AMD CPU: false
  - /dev/sev-guest: false
  - /dev/sev: false
  - TSM support: true
Intel TDX Detection:
  - Intel CPU: true
  - /dev/tdx_guest: true
  - TSM support: true
  - TDX CPU flag: true";
        assert_eq!(probe(INTEL, &files).to_string(), expected);
    }

    proptest! {
        #[test]
        fn any_cpuinfo_is_read_without_panic(cpuinfo in proptest::collection::vec(any::<u8>(), 0..400)) {
            let cpuinfo = String::from_utf8_lossy(&cpuinfo);
            let _ = (cpu_field(&cpuinfo, "flags"), cpu_field(&cpuinfo, "vendor_id"));
        }
    }
}
