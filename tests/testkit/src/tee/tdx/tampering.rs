//! What can be wrong with the quotes.

/// What is wrong with the quotes of a sabotaged [`FakeTdx`](super::FakeTdx). Each breaks one link of the chain only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuoteTampering {
    /// One bit of the quote's signature is flipped.
    Signature,
    /// One bit of the header's user data is flipped after signing.
    Header,
    /// One bit of MRTD is flipped after signing.
    MrTd,
    /// One bit of the report data is flipped after signing.
    ReportData,
    /// The quote is over, and signs, other report data than was asked for.
    OtherReportData,
    /// The quote is over, and signs, report data of zeros.
    ZeroReportData,
    /// Another attestation key signed, and stands in the quote; the quoting enclave never bound it.
    AttestationKey,
    /// One bit of the quoting enclave's report is flipped after signing.
    QeReport,
    /// One bit of the signature of the quoting enclave's report is flipped.
    QeReportSignature,
    /// One bit of the quoting enclave's authentication data is flipped.
    QeAuthData,
    /// The quote holds the platform's encrypted id in place of its certificates.
    NoCertificates,
}
