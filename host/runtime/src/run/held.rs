//! What a task holds of the runtime while it runs.

use tokio::sync::OwnedSemaphorePermit;

use crate::cpu::Ticking;

/// What a task holds of the runtime while it runs.
pub(crate) struct Held {
    _place: OwnedSemaphorePermit,
    _ticking: Ticking,
}

impl Held {
    pub(crate) fn new(place: OwnedSemaphorePermit, ticking: Ticking) -> Self {
        Self {
            _place: place,
            _ticking: ticking,
        }
    }
}
