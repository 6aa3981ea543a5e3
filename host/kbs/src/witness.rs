//! Who is told of attestations.

use proplet_types::Code;

use crate::protocol::Requester;

/// Somebody who is told how each attestation ended, for a record. Told before anything is asked for under it, and in
/// line with it: whoever it is must not take long.
pub trait Witness: Send + Sync {
    /// An attestation ended: well, or with this code. `requester` is there where the key broker was told which
    /// component asks.
    fn attested(&self, requester: Option<&Requester>, outcome: Result<(), Code>);
}
