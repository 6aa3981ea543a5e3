//! The messages of Propeller's MQTT contract.
//!
//! What comes in was written by whoever may publish on the channel: it is hostile until decoded.
//! Decoding is tolerant where versions of the Manager differ (`null`, absent and empty mean the same;
//! numbers or strings as inputs; unknown members) and strict in everything that would change what runs.
//! What goes out is exactly what the Manager reads, with the names it has always had.

pub mod outgoing;
pub mod start;
pub mod stop;
mod tolerant;
pub mod topics;

pub use self::{
    outgoing::{Alive, Create, ResultMessage},
    start::{BadStart, Decoded},
    stop::Stop,
    topics::Topics,
};

/// Whether a message that names `proplet_id` is for `entity`. An empty name counts as absent, and a
/// message without a name is for everybody: Managers before 2026-04 never named one.
#[must_use]
pub(crate) fn addressed_to(proplet_id: Option<&str>, broadcast: bool, entity: &str) -> bool {
    broadcast || proplet_id.is_none_or(|id| id.is_empty() || id == entity)
}
