//! The host side of `propeller:confidential`, one interface per module.
//!
//! Functions that do no I/O are synchronous and cost some tens of nanoseconds; those that reach the TEE or
//! the key broker are asynchronous, and a task that waits for one uses no processor time. What a guest may
//! cause is answered with the error variants of the WIT. Only what no correct guest does, such as passing a
//! handle that is not its own, traps.
//!
//! Everything a guest gets here it gets for itself: the functions take their identity, inputs and grants
//! from the store of the task that calls, never from an argument.

pub mod attestation;
pub mod inputs;
pub mod results;
pub mod reveal;
pub mod secrets;
