//! HTTP requests to places that strangers name.
//!
//! A task names the registry or the address that its component comes from, a registry names its token
//! service, and each of them may redirect to further hosts. None of them is trusted, and this machine
//! stands inside a network that they cannot reach themselves. If it went wherever it was sent, they
//! could look around in that network by what comes back (server-side request forgery). So:
//!
//! - A connection is made to addresses of the public Internet only ([`Reach`]). What is judged is the
//!   address that is then connected to, not a name that could resolve to another one a moment later:
//!   names are resolved once, and the connection gets the addresses that passed.
//! - Every hop is judged by itself: the first request, each redirect, the token service.
//! - Endpoints that the settings name ([`Endpoints`]) are exempt: an operator's registry may stand in
//!   a private network. A name never leads to link-local or metadata addresses, though.
//! - No proxy of the environment is used: it would connect for us, to addresses that nobody judged. One
//!   that the settings name is trusted to judge names; addresses are judged here all the same.
//! - Credentials stay with the host that they were meant for, and a redirect never leads from TLS to
//!   plain http, unless the settings list that host for plain http.
//! - What a host answers that a stranger sent us to ([`Answer::foreign`], [`Error`]) is told to nobody
//!   but the log of this host: no status, no words, and not whether it was there at all.

mod address;
mod body;
mod client;
mod endpoint;
mod error;
pub mod outgoing;
mod resolver;

pub use address::Reach;
pub use body::BodyError;
pub use client::{Answer, Client, Config, Route};
pub use endpoint::{Endpoint, Endpoints, InvalidEndpoint};
pub use error::{Error, SetupError, foreign_words};
