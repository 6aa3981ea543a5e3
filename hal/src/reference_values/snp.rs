//! The table `snp`.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::error::ReferenceValuesError;
use super::table::{Reader, bytes, put_bytes, texts};
use crate::snp::{ChipId, GuestPolicyRule, SnpDemands, SnpTrust, TcbFloor};

/// Reference values for SEV-SNP.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnpReferenceValues {
    /// `measurements`: launch measurements of good images. They are compared by whoever asked for verification.
    pub measurements: Option<BTreeSet<[u8; 48]>>,
    /// `allow_report_v2`: reports of version 2 are accepted.
    pub allow_report_v2: bool,
    /// Everything else.
    pub demands: SnpDemands,
}

impl SnpReferenceValues {
    /// Puts these demands, and no others, into a verifier's trust.
    pub fn demand_of(&self, trust: &mut SnpTrust) {
        trust.demands = self.demands.clone();
        trust.minimum_version = if self.allow_report_v2 { 2 } else { 3 };
    }

    pub(super) fn read(mut reader: Reader) -> Result<Self, ReferenceValuesError> {
        let values = Self {
            measurements: reader.list("measurements", bytes)?,
            allow_report_v2: reader.flag("allow_report_v2")?,
            demands: SnpDemands {
                minimum_tcb: reader.tables("minimum_tcb", read_floor)?,
                chip_ids: reader.list("chip_ids", str::parse::<ChipId>)?,
                id_keys: reader.list("id_keys", bytes)?,
                author_keys: reader.list("author_keys", bytes)?,
                guest_policy: reader
                    .list("guest_policy", str::parse::<GuestPolicyRule>)?
                    .unwrap_or_default(),
                minimum_abi: reader.text("minimum_abi", str::parse)?,
            },
        };
        reader.finish()?;
        Ok(values)
    }

    pub(super) fn write(&self) -> Table {
        let mut table = Table::new();
        let demands = &self.demands;
        put_bytes(&mut table, "measurements", self.measurements.as_ref());
        if self.allow_report_v2 {
            table.insert("allow_report_v2".to_owned(), true.into());
        }
        if let Some(chips) = &demands.chip_ids {
            table.insert("chip_ids".to_owned(), texts(chips, ChipId::to_string));
        }
        put_bytes(&mut table, "id_keys", demands.id_keys.as_ref());
        put_bytes(&mut table, "author_keys", demands.author_keys.as_ref());
        if !demands.guest_policy.is_empty() {
            let rules = texts(&demands.guest_policy, GuestPolicyRule::to_string);
            table.insert("guest_policy".to_owned(), rules);
        }
        if let Some(abi) = demands.minimum_abi {
            table.insert("minimum_abi".to_owned(), abi.to_string().into());
        }
        if !demands.minimum_tcb.is_empty() {
            let floors = demands.minimum_tcb.iter().map(write_floor);
            table.insert("minimum_tcb".to_owned(), Value::Array(floors.collect()));
        }
        table
    }
}

fn read_floor(mut reader: Reader) -> Result<TcbFloor, ReferenceValuesError> {
    let floor = TcbFloor {
        generation: reader.text("generation", str::parse)?,
        fmc: reader.byte("fmc")?,
        bootloader: reader.byte("bootloader")?,
        tee: reader.byte("tee")?,
        snp: reader.byte("snp")?,
        microcode: reader.byte("microcode")?,
    };
    if floor.components().iter().all(|(_, floor)| floor.is_none()) {
        let unknown =
            reader.unusable("it demands nothing: give bootloader, tee, snp, microcode or fmc");
        return reader.finish().and(Err(unknown));
    }
    reader.finish()?;
    Ok(floor)
}

fn write_floor(floor: &TcbFloor) -> Value {
    let mut table = Table::new();
    if let Some(generation) = floor.generation {
        table.insert("generation".to_owned(), generation.as_str().into());
    }
    for (component, minimum) in floor.components() {
        if let Some(minimum) = minimum {
            table.insert(component.to_owned(), i64::from(minimum).into());
        }
    }
    table.into()
}
