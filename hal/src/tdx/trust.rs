//! What a verifier believes of TDX.

use super::collateral::Collateral;
use super::tcb::TcbStatus;
use super::{TdxError, TdxRoot};

/// The root that vouches for TDX evidence, what a relying party knows of platforms, and its demands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdxTrust {
    /// The certificate that everything has to lead to.
    pub root: TdxRoot,
    /// Collateral. Evidence of a platform that it says nothing of is refused.
    pub collateral: Collateral,
    /// The TCB statuses that are accepted; only [`TcbStatus::UpToDate`] unless changed. A revoked platform
    /// is refused whatever is named here.
    pub tcb_statuses: Vec<TcbStatus>,
    /// Security advisories that must not apply to the platform, `INTEL-SA-00615` for example.
    pub denied_advisories: Vec<String>,
    /// If there is a list: the only security advisories that may apply to the platform.
    pub allowed_advisories: Option<Vec<String>>,
    /// Good measurements of the TDX module. Any that Intel signed, when empty.
    pub mr_seam: Vec<[u8; 48]>,
    /// The machines that are believed, by PPID or platform instance id (16 bytes each). Any of Intel's,
    /// when empty: then a quote may have been relayed from a machine in other hands.
    pub platforms: Vec<[u8; 16]>,
}

impl TdxTrust {
    /// This root, no collateral, and the default demands.
    #[must_use]
    pub fn new(root: TdxRoot) -> Self {
        Self {
            root,
            collateral: Collateral::default(),
            tcb_statuses: vec![TcbStatus::UpToDate],
            denied_advisories: Vec::new(),
            allowed_advisories: None,
            mr_seam: Vec::new(),
            platforms: Vec::new(),
        }
    }

    /// Intel's root, no collateral, and the default demands.
    ///
    /// # Errors
    /// As [`TdxRoot::intel`].
    pub fn intel() -> Result<Self, TdxError> {
        Ok(Self::new(TdxRoot::intel()?))
    }

    /// The same with this collateral.
    #[must_use]
    pub fn with_collateral(self, collateral: Collateral) -> Self {
        Self { collateral, ..self }
    }
}
