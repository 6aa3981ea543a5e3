//! The messages of Propeller's MQTT contract.
//!
//! What comes in was written by whoever may publish on the channel: it is hostile until decoded.
//! Decoding is tolerant where versions of the Manager differ (`null`, absent and empty mean the same;
//! numbers or strings as inputs; unknown members) and strict in everything that would change what runs.
//! What goes out is exactly what the Manager reads, with the names it has always had.

mod addressee;
pub mod chunks;
pub mod invoke;
pub mod metrics;
pub mod outgoing;
mod profile;
pub mod round;
mod scalar;
pub mod start;
pub mod stop;
mod tolerant;
pub mod topics;

use proplet_executor::request::MAX_INPUTS;

pub use self::{
    invoke::{DecodedInvoke, InvocationId, Invoke},
    outgoing::{Alive, Create, Fetch, InvokeResultMessage, ResultMessage},
    round::Round,
    start::{BadStart, Decoded, Start, TaskKind},
    stop::Stop,
    topics::Topics,
};

/// The inputs of a start message, from its member of that name: strings as they are, numbers as their
/// decimal text. For whoever has to name the same inputs without being a host.
///
/// # Errors
///
/// What is wrong with them; nothing of them is repeated.
pub fn read_inputs(inputs: serde_json::Value) -> Result<Vec<String>, serde_json::Error> {
    let inputs = tolerant::inputs(inputs)?;
    if inputs.len() > MAX_INPUTS {
        return Err(serde::de::Error::custom(
            "there are more inputs than a task may have",
        ));
    }
    Ok(inputs)
}
