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
use crate::verify::{TeeTrust, TrustPolicy};

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

    /// What is demanded of SNP evidence under these roots, and nothing else is accepted: TDX evidence takes
    /// collateral too, see [`TdxReferenceValues::demand_of`]. The measurements are not part of it, see
    /// [`Self::measurements`].
    pub fn trust_policy(&self, roots: TrustRoots) -> TrustPolicy {
        match self.snp_trust(roots) {
            Some(snp) => TrustPolicy::of(TeeTrust::Snp(Box::new(snp))),
            None => TrustPolicy::nothing(),
        }
    }
}

#[cfg(test)]
mod tests;
