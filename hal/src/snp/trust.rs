//! What a verifier believes of SNP.

use proplet_types::Check;

use super::demands::{KeyDigest, SnpDemands};
use super::error::SnpError;
use super::report::SnpReport;
use super::revocation::RevocationLists;
use super::roots::TrustRoots;
use crate::on_demand::OnDemand;

/// The roots that vouch for SNP evidence, and the demands on it.
#[derive(Debug, Clone)]
pub struct SnpTrust {
    /// The certificates that endorsement keys have to be issued by.
    pub roots: TrustRoots,
    /// The lowest report version accepted; 3 unless changed, as Trustee demands. Version 2 does not
    /// name the CPU, so with it the root's generation cannot be compared and the TCB's layout is
    /// guessed from the chip id. The highest version is 5: later layouts are not known here.
    pub minimum_version: u32,
    /// What is demanded of the report itself; nothing unless changed.
    pub demands: SnpDemands,
    /// Certificates that AMD took back. `None`: it is not checked whether one of the chain was. Lists that are given
    /// have to be there for the chain's root, and good at the time of verification.
    pub revocation: Option<RevocationLists>,
}

impl SnpTrust {
    /// These roots and the default demands.
    #[must_use]
    pub fn new(roots: TrustRoots) -> Self {
        Self {
            roots,
            minimum_version: 3,
            demands: SnpDemands::default(),
            revocation: None,
        }
    }

    /// The checks that were made of this report, and those that nobody asked for. Keys of an ID block that the VM
    /// does not have are nothing to check unless they are demanded.
    pub(crate) fn on_demand(&self, report: &SnpReport) -> impl Iterator<Item = OnDemand> {
        let demands = &self.demands;
        let has = |digest: &KeyDigest| *digest != [0; 48];
        [
            (Check::MinimumTcb, !demands.minimum_tcb.is_empty(), true),
            (Check::Revocation, self.revocation.is_some(), true),
            (Check::Chip, demands.chip_ids.is_some(), true),
            (
                Check::IdKey,
                demands.id_keys.is_some(),
                has(&report.id_key_digest),
            ),
            (
                Check::AuthorKey,
                demands.author_keys.is_some(),
                has(&report.author_key_digest),
            ),
            (Check::GuestPolicy, demands.on_guest_policy(), true),
        ]
        .into_iter()
        .filter(|(_, made, applies)| *made || *applies)
        .map(|(check, made, _)| OnDemand { check, made })
    }

    /// AMD's built-in roots and the default demands.
    ///
    /// # Errors
    /// As [`TrustRoots::amd`].
    pub fn amd() -> Result<Self, SnpError> {
        Ok(Self::new(TrustRoots::amd()?))
    }
}
