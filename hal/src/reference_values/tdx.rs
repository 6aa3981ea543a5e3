//! The table `tdx`.

use std::collections::BTreeSet;

use toml::Table;

use super::error::ReferenceValuesError;
use super::table::{Reader, bytes, put_bytes, texts};
use crate::tdx::{TdReport, TdxTrust};

/// The longest name of an advisory that is read; Intel's have 14 characters.
const MAX_ADVISORY_LEN: usize = 64;

/// Reference values for TDX. A list that is absent accepts anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TdxReferenceValues {
    /// `mrtd`: launch measurements of good images.
    pub mrtd: Option<BTreeSet<[u8; 48]>>,
    /// `rtmr0` to `rtmr3`: good values of each runtime measurement.
    pub rtmrs: [Option<BTreeSet<[u8; 48]>>; 4],
    /// `mrconfigid`: good bindings of init-data.
    pub mrconfigid: Option<BTreeSet<[u8; 48]>>,
    /// `mrowner`: good owners.
    pub mrowner: Option<BTreeSet<[u8; 48]>>,
    /// `mrseam`: measurements of good TDX modules.
    pub mrseam: Option<BTreeSet<[u8; 48]>>,
    /// `tcb_statuses`: names of the statuses that are accepted, in place of `UpToDate` alone.
    pub tcb_statuses: Option<BTreeSet<String>>,
    /// `allowed_advisories`: the only advisories that may apply to a platform.
    pub allowed_advisories: Option<BTreeSet<String>>,
    /// `denied_advisories`: advisories that must not apply to a platform.
    pub denied_advisories: Option<BTreeSet<String>>,
    /// `platforms`: PPIDs or platform instance ids of the machines that are accepted.
    pub platforms: Option<BTreeSet<[u8; 16]>>,
}

const RTMRS: [&str; 4] = ["rtmr0", "rtmr1", "rtmr2", "rtmr3"];

impl TdxReferenceValues {
    /// Puts what is demanded of TDX evidence into a trust; what is not said leaves it as it is.
    pub fn demand_of(&self, trust: &mut TdxTrust) {
        if let Some(statuses) = &self.tcb_statuses {
            trust.tcb_statuses = statuses
                .iter()
                .filter_map(|name| name.parse().ok())
                .collect();
        }
        if let Some(denied) = &self.denied_advisories {
            trust.denied_advisories = denied.iter().cloned().collect();
        }
        if let Some(allowed) = &self.allowed_advisories {
            trust.allowed_advisories = Some(allowed.iter().cloned().collect());
        }
        if let Some(modules) = &self.mrseam {
            trust.mr_seam = modules.iter().copied().collect();
        }
        if let Some(platforms) = &self.platforms {
            trust.platforms = platforms.iter().copied().collect();
        }
    }

    /// Whether a VM is listed: its MRTD is, and each other register that there is a list for.
    pub(super) fn know(&self, report: &TdReport) -> bool {
        let listed = |list: &Option<BTreeSet<[u8; 48]>>, value: &[u8; 48]| {
            list.as_ref().is_none_or(|list| list.contains(value))
        };
        let mut rtmrs = self.rtmrs.iter().zip(&report.rtmrs);
        self.mrtd.is_some()
            && listed(&self.mrtd, &report.mr_td)
            && rtmrs.all(|(list, value)| listed(list, value))
            && listed(&self.mrconfigid, &report.mr_config_id)
            && listed(&self.mrowner, &report.mr_owner)
    }

    pub(super) fn read(mut reader: Reader) -> Result<Self, ReferenceValuesError> {
        let mut rtmrs = [const { None }; 4];
        for (values, name) in rtmrs.iter_mut().zip(RTMRS) {
            *values = reader.list(name, bytes)?;
        }
        let values = Self {
            mrtd: reader.list("mrtd", bytes)?,
            rtmrs,
            mrconfigid: reader.list("mrconfigid", bytes)?,
            mrowner: reader.list("mrowner", bytes)?,
            mrseam: reader.list("mrseam", bytes)?,
            tcb_statuses: reader.list("tcb_statuses", status)?,
            allowed_advisories: reader.list("allowed_advisories", advisory)?,
            denied_advisories: reader.list("denied_advisories", advisory)?,
            platforms: reader.list("platforms", bytes)?,
        };
        reader.finish()?;
        Ok(values)
    }

    pub(super) fn write(&self) -> Table {
        let mut table = Table::new();
        put_bytes(&mut table, "mrtd", self.mrtd.as_ref());
        for (values, name) in self.rtmrs.iter().zip(RTMRS) {
            put_bytes(&mut table, name, values.as_ref());
        }
        put_bytes(&mut table, "mrconfigid", self.mrconfigid.as_ref());
        put_bytes(&mut table, "mrowner", self.mrowner.as_ref());
        put_bytes(&mut table, "mrseam", self.mrseam.as_ref());
        for (name, list) in [
            ("tcb_statuses", &self.tcb_statuses),
            ("allowed_advisories", &self.allowed_advisories),
            ("denied_advisories", &self.denied_advisories),
        ] {
            if let Some(list) = list {
                table.insert(name.to_owned(), texts(list, String::clone));
            }
        }
        put_bytes(&mut table, "platforms", self.platforms.as_ref());
        table
    }
}

fn status(text: &str) -> Result<String, &'static str> {
    const STATUSES: [&str; 8] = [
        "UpToDate",
        "SWHardeningNeeded",
        "ConfigurationNeeded",
        "ConfigurationAndSWHardeningNeeded",
        "OutOfDate",
        "OutOfDateConfigurationNeeded",
        "TDRelaunchAdvised",
        "TDRelaunchAdvisedConfigurationNeeded",
    ];
    if STATUSES.contains(&text) {
        Ok(text.to_owned())
    } else {
        Err(
            "not a TCB status that can be accepted: write one of Intel's, such as UpToDate or \
             SWHardeningNeeded",
        )
    }
}

fn advisory(text: &str) -> Result<String, &'static str> {
    let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-';
    if text.starts_with("INTEL-") && text.len() <= MAX_ADVISORY_LEN && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("write the name of an advisory as Intel does, such as INTEL-SA-00615")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference_values::ReferenceValues;
    use crate::tdx::TcbStatus;

    #[test]
    fn demands_take_the_place_of_those_that_were_there() {
        let plain = TdxTrust::intel().unwrap();
        let mut trust = plain.clone();
        TdxReferenceValues::default().demand_of(&mut trust);
        assert_eq!(trust, plain);

        let text = format!(
            "[tdx]\nmrseam = [\"{}\"]\ntcb_statuses = [\"OutOfDate\"]\nplatforms = [\"{}\"]\n\
             allowed_advisories = [\"INTEL-SA-00001\"]\ndenied_advisories = [\"INTEL-SA-00002\"]\n",
            "06".repeat(48),
            "07".repeat(16)
        );
        let values = ReferenceValues::from_toml(&text).unwrap().tdx.unwrap();
        values.demand_of(&mut trust);
        assert_eq!(trust.mr_seam, [[6; 48]]);
        assert_eq!(trust.tcb_statuses, [TcbStatus::OutOfDate]);
        assert_eq!(trust.platforms, [[7; 16]]);
        assert_eq!(
            trust.allowed_advisories,
            Some(vec!["INTEL-SA-00001".to_owned()])
        );
        assert_eq!(trust.denied_advisories, ["INTEL-SA-00002"]);
    }

    #[test]
    fn a_vm_is_known_by_every_register_that_is_listed() {
        let report = TdReport {
            body_type: crate::tdx::BodyType::Td10,
            tee_tcb_svn: [0; 16],
            mr_seam: [0; 48],
            mr_signer_seam: [0; 48],
            seam_attributes: 0,
            td_attributes: 0,
            xfam: 0,
            mr_td: [1; 48],
            mr_config_id: [2; 48],
            mr_owner: [3; 48],
            mr_owner_config: [0; 48],
            rtmrs: [[4; 48], [5; 48], [6; 48], [7; 48]],
            report_data: [0; 64],
            tee_tcb_svn2: None,
            mr_service_td: None,
        };
        let list = |byte: u8| Some(BTreeSet::from([[byte; 48], [9; 48]]));
        let all = TdxReferenceValues {
            mrtd: list(1),
            rtmrs: [list(4), list(5), list(6), list(7)],
            mrconfigid: list(2),
            mrowner: list(3),
            ..TdxReferenceValues::default()
        };
        assert!(all.know(&report));
        let mrtd_alone = TdxReferenceValues {
            mrtd: list(1),
            ..TdxReferenceValues::default()
        };
        assert!(mrtd_alone.know(&report));
        // Lists that say nothing of the firmware name no VM.
        let mut without = all.clone();
        without.mrtd = None;
        assert!(!without.know(&report));
        type List = Option<BTreeSet<[u8; 48]>>;
        let spoil: [fn(&mut TdxReferenceValues) -> &mut List; 7] = [
            |values| &mut values.mrtd,
            |values| &mut values.mrconfigid,
            |values| &mut values.mrowner,
            |values| &mut values.rtmrs[0],
            |values| &mut values.rtmrs[1],
            |values| &mut values.rtmrs[2],
            |values| &mut values.rtmrs[3],
        ];
        for (number, spoil) in spoil.iter().enumerate() {
            let mut other = all.clone();
            *spoil(&mut other) = list(8);
            assert!(!other.know(&report), "list {number}");
        }
    }
}
