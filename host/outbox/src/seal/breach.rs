//! Why a store is not gone on with.

use thiserror::Error;

/// Why a store that was found is not this proplet's to go on with. It is set aside, as a damaged one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Breach {
    /// The header has another key's MAC.
    #[error("it was sealed under another sealing root, or its header was changed")]
    OtherRoot,
    /// There is no root.
    #[error("it is sealed, and the settings name no sealing root")]
    NoRoot,
    /// Whoever has the disk could put a store in the clear in place of a sealed one, so none is taken over.
    #[error("it is in clear, and the settings name a sealing root")]
    NotSealed,
    /// A text does not open.
    #[error("a record in it was changed, exchanged, or comes from another store")]
    Altered,
    /// Each text opens, and together they are not what the head says.
    #[error("records were taken out of it, or put back as they were earlier")]
    Incomplete,
    /// This process left another state, or another store.
    #[error("it is not as this process left it: it was put back, exchanged, or emptied")]
    RolledBack,
}

impl Breach {
    /// One word, for programs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::OtherRoot => "other-root",
            Self::NoRoot => "no-root",
            Self::NotSealed => "not-sealed",
            Self::Altered => "altered",
            Self::Incomplete => "incomplete",
            Self::RolledBack => "rolled-back",
        }
    }
}

/// Something could not be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SealError {
    /// There are no random bytes.
    #[error("the operating system gave no random bytes")]
    Random,
    /// The cipher or the derivation refused its input.
    #[error("an entry cannot be sealed")]
    Cipher,
}
