//! Client of the Confidential Containers key broker protocol 0.4.0.
#![deny(missing_docs)]

pub mod admin;
mod client;
mod config;
mod error;
pub mod protocol;
mod session;
mod uri;

pub use client::{KbsClient, Resource};
pub use config::{KbsConfig, MAX_RESOURCE_BYTES};
pub use error::{Failure, KbsError};
pub use session::SessionId;
pub use uri::{MAX_URI_BYTES, ResourceUri, ResourceUriError};
