//! What stands behind verified evidence.

/// What stands behind verified evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Anchor {
    /// The hardware vendor's roots, built in.
    Vendor,
    /// Roots that the verifier's owner gave: a newer vendor root, or a test PKI.
    Given,
    /// Nothing: `sample` evidence.
    Nothing,
}
