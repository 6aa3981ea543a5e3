//! What can be wrong with the evidence.

/// What is wrong with the evidence of a sabotaged [`FakeSnp`](super::FakeSnp).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tampering {
    /// One bit of the signature is flipped.
    Signature,
    /// One bit of the measurement is flipped after signing.
    Measurement,
    /// One bit of the report data is flipped after signing.
    ReportData,
    /// The report states, and signs, a newer microcode than its certificate was issued for.
    Tcb,
    /// The report claims, and signs, that a VLEK signed it.
    ClaimsVlek,
    /// The certificate is labelled as a VLEK.
    LabelledVlek,
    /// No certificate comes with the report.
    NoCertificate,
}
