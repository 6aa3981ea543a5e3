//! What a relying party holds evidence against, in one file.
//!
//! Measurements of good images, the lowest firmware, machines, keys and policies are known to whoever builds and
//! runs the VMs, and needed by everybody who believes them: data owners (`proplet open`), relying parties
//! (`proplet verify`), key brokers. [`ReferenceValues`] is that knowledge as one TOML document, with a table for each
//! TEE:
//!
//! ```
//! use proplet_hal::reference_values::ReferenceValues;
//!
//! let values = ReferenceValues::from_toml(&format!(r#"
//!     [snp]
//!     measurements = ["{}"]
//!     guest_policy = ["single-socket"]
//!
//!     [[snp.minimum_tcb]]
//!     generation = "genoa"
//!     snp = 24
//! "#, "5a".repeat(48)))?;
//! assert!(values.snp.is_some_and(|snp| snp.measurements.is_some()));
//! # Ok::<(), proplet_hal::reference_values::ReferenceValuesError>(())
//! ```
//!
//! Reading is strict. A misspelt name would leave a check out, so names that are not known are refused, with the
//! nearest one that is. Empty lists are refused, because one reader takes them for "nobody" and the next for
//! "anybody". A TEE without a table is refused as a whole: nothing is known of it.
//!
//! The file says what is expected, not whom to believe: roots, revocation lists and collateral change by
//! themselves and are given apart.

mod error;
mod nearest;
mod snp;
mod table;
mod tdx;

use toml::Table;

use crate::snp::{SnpTrust, TrustRoots};
use crate::tdx::TdxTrust;
use crate::verify::{TeeFacts, TeeTrust, TrustPolicy, Verified};

pub use error::ReferenceValuesError;
pub use snp::SnpReferenceValues;
pub use tdx::TdxReferenceValues;

use table::Reader;

/// The largest document that is read: thousands of entries.
pub const MAX_LEN: usize = 1024 * 1024;

/// Reference values for each TEE that they are known for; at least one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReferenceValues {
    /// Table `snp`.
    pub snp: Option<SnpReferenceValues>,
    /// Table `tdx`.
    pub tdx: Option<TdxReferenceValues>,
}

impl ReferenceValues {
    /// Reads a document.
    ///
    /// # Errors
    /// [`ReferenceValuesError`], which says what is wrong with which value.
    pub fn from_toml(text: &str) -> Result<Self, ReferenceValuesError> {
        if text.len() > MAX_LEN {
            return Err(ReferenceValuesError::TooLarge {
                size: text.len(),
                limit: MAX_LEN,
            });
        }
        let document: Table = text.parse().map_err(ReferenceValuesError::syntax)?;
        let mut reader = Reader::new(String::new(), document);
        let values = Self {
            snp: reader.table("snp", SnpReferenceValues::read)?,
            tdx: reader.table("tdx", TdxReferenceValues::read)?,
        };
        reader.finish()?;
        if values == Self::default() {
            return Err(ReferenceValuesError::NoTee);
        }
        Ok(values)
    }

    /// The same values as a document.
    pub fn to_toml(&self) -> String {
        let mut document = Table::new();
        if let Some(snp) = &self.snp {
            document.insert("snp".to_owned(), snp.write().into());
        }
        if let Some(tdx) = &self.tdx {
            document.insert("tdx".to_owned(), tdx.write().into());
        }
        document.to_string()
    }

    /// The good launch measurements of all TEEs. `None` when none is given for any.
    pub fn measurements(&self) -> Option<Vec<Vec<u8>>> {
        let snp = self.snp.as_ref().and_then(|snp| snp.measurements.as_ref());
        let tdx = self.tdx.as_ref().and_then(|tdx| tdx.mrtd.as_ref());
        if snp.is_none() && tdx.is_none() {
            return None;
        }
        let all = snp.into_iter().chain(tdx).flatten();
        Some(all.map(|measurement| measurement.to_vec()).collect())
    }

    /// What is demanded of SNP evidence under these roots. `None` when there is no table for SNP.
    pub fn snp_trust(&self, roots: TrustRoots) -> Option<SnpTrust> {
        let values = self.snp.as_ref()?;
        let mut trust = SnpTrust::new(roots);
        values.demand_of(&mut trust);
        Some(trust)
    }

    /// What is demanded of TDX evidence beside this root and collateral. `None` when there is no table for TDX.
    pub fn tdx_trust(&self, mut trust: TdxTrust) -> Option<TdxTrust> {
        self.tdx.as_ref()?.demand_of(&mut trust);
        Some(trust)
    }

    /// What is demanded of evidence: of SNP under these roots, of TDX under that root and with its collateral. A
    /// TEE without a table is refused. Which VMs are good is not part of it, see [`Self::know`].
    pub fn trust_policy(&self, snp: TrustRoots, tdx: TdxTrust) -> TrustPolicy {
        let snp = self.snp_trust(snp);
        let tdx = self.tdx_trust(tdx);
        let snp = snp.map(|trust| TeeTrust::Snp(Box::new(trust)));
        let tdx = tdx.map(|trust| TeeTrust::Tdx(Box::new(trust)));
        snp.into_iter()
            .chain(tdx)
            .fold(TrustPolicy::nothing(), TrustPolicy::and)
    }

    /// Whether verified evidence is of a VM that is listed: by its launch measurement, and for TDX by every other
    /// register that there is a list for. A TEE for which no measurement is listed has no VM that is known.
    pub fn know(&self, verified: &Verified) -> bool {
        match &verified.facts {
            TeeFacts::Snp(report) => self
                .snp
                .as_ref()
                .and_then(|snp| snp.measurements.as_ref())
                .is_some_and(|listed| listed.contains(&report.measurement)),
            TeeFacts::Tdx(facts) => self.tdx.as_ref().is_some_and(|tdx| tdx.know(&facts.report)),
            TeeFacts::Sample => false,
        }
    }
}

#[cfg(test)]
mod tests;
