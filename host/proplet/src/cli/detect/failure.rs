//! What is wrong with evidence.

use proplet_types::Code;

/// Why evidence was not made or does not verify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub code: Code,
    pub words: String,
}

/// Whether evidence verifies, and whether a certificate went along when it was made.
pub(super) type Verification = (Result<(), Failure>, bool);
