//! What the host offers to one task beyond the engine.
//!
//! The runtime checks what needs no I/O (quotas, sizes, addresses, grants) and hands the rest to these.
//! They are made for one task: whoever implements them knows whose component it is.

use std::sync::Arc;

use crate::interfaces::attestation::Attestor;
use crate::interfaces::results::ResultSink;
use crate::interfaces::secrets::SecretSource;

/// The services of one task.
#[derive(Clone)]
pub struct Services {
    /// Identity and evidence.
    pub attestation: Arc<dyn Attestor>,
    /// Secrets from the key broker.
    pub secrets: Arc<dyn SecretSource>,
    /// Where the result goes.
    pub results: Arc<dyn ResultSink>,
}
