//! The real client against the development key broker.

mod admin;
mod client;
mod conformance;
mod hostile;
mod raw;
mod tdx;
