//! Why TDX evidence is refused.

use thiserror::Error;

use crate::FormError;

/// Why TDX evidence, or what it is to be verified under, was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TdxError {
    /// A part cannot be read.
    #[error(transparent)]
    Form(#[from] FormError),
    /// A quote of a kind that is not verified here.
    #[error(
        "the TDX quote has {what} {found}, which is not verified here: have it made as a quote of \
         version 4 or 5 with an ECDSA P-256 key and its PCK certificates, as Intel's quoting service does"
    )]
    QuoteKind {
        /// What is of another kind.
        what: &'static str,
        /// The number that stands for it in the quote.
        found: u32,
    },
    /// The event log does not lead to the registers of the quote.
    #[error(
        "the event log does not belong to the TDX quote: replayed, RTMR{register} is {replayed}, the quote \
         says {quoted}; the log was changed, cut, or is another VM's"
    )]
    EventLogReplay {
        /// 0 to 3.
        register: usize,
        /// What the log's digests give, in hexadecimal.
        replayed: String,
        /// What the quote says, in hexadecimal.
        quoted: String,
    },
}
