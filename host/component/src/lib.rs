//! Components: what every part of the host knows of one before it is compiled.
#![deny(missing_docs)]

pub mod policy;

pub use policy::Policy;
