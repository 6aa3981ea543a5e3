//! Why evidence is refused.

use thiserror::Error;

use crate::snp::SnpError;
use crate::tdx::TdxError;
use crate::{FormError, TeeName};

/// Why evidence was refused, or could not be judged.
///
/// Messages quote nothing of the evidence but numbers, names and at most 200 characters of a parser's
/// message, so that whoever sends evidence cannot flood a log.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AppraisalError {
    /// There is no verifier for this TEE here, or the policy names nothing that vouches for it.
    #[error(
        "evidence of the TEE `{tee}` is not accepted here: nothing that was given vouches for that TEE (your reference \
         values may have no table for it), or this program has no verifier for it"
    )]
    Unsupported {
        /// The TEE that the evidence names.
        tee: TeeName,
    },
    /// Sample evidence, and a policy that does not accept it.
    #[error(
        "sample evidence proves nothing and is refused: \
         run on a TEE, or accept it in so many words for a test"
    )]
    SampleRefused,
    /// Sample evidence that cannot be read.
    #[error(transparent)]
    Sample(FormError),
    /// SNP evidence.
    #[error(transparent)]
    Snp(#[from] SnpError),
    /// TDX evidence.
    #[error(transparent)]
    Tdx(#[from] TdxError),
}
