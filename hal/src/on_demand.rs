//! Checks that are made only when the verifier's policy asks for them.

use proplet_types::Check;

/// A check that is made only when it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnDemand {
    /// The check.
    pub check: Check,
    /// Whether it was asked for. If so, it holds.
    pub made: bool,
}
