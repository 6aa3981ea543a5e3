//! What a TEE does for the host.

use async_trait::async_trait;

use crate::{Evidence, EvidenceError, ReportData, TeeName};

/// A TEE that this process runs in, or a fake of one.
///
/// The host composes all report data itself; a guest never reaches this trait, else it could forge a
/// handshake with the key broker. Implementations must not block the async runtime: what waits for a
/// device or a quoting service runs on a blocking thread.
#[async_trait]
pub trait TeeProvider: Send + Sync + 'static {
    /// The TEE's name as the key broker spells it.
    fn tee(&self) -> TeeName;

    /// Who makes the evidence: `snp`, `tdx`, `fake-snp`, `sample`. It is named in logs, claims and
    /// results, so that a fake is never mistaken for the TEE that it imitates.
    fn attester(&self) -> &str;

    /// Whether a hardware TEE stands behind this. False for every fake and for `sample`.
    fn is_hardware(&self) -> bool;

    /// Evidence over `report_data`, made anew at each call. It may take microseconds (a fake) to
    /// seconds (a TDX quote).
    ///
    /// # Errors
    /// [`EvidenceError`]; only [`EvidenceError::Busy`] is worth trying again as it stands.
    async fn evidence(&self, report_data: &ReportData) -> Result<Evidence, EvidenceError>;

    /// What the TEE reports as the VM's init-data binding: HOST_DATA (SNP, 32 bytes) or MRCONFIGID
    /// (TDX, 48 bytes). `None` when it is unset, that is all zeros, or when the TEE has none.
    ///
    /// # Errors
    /// As for [`TeeProvider::evidence`].
    async fn init_data(&self) -> Result<Option<Vec<u8>>, EvidenceError>;
}
