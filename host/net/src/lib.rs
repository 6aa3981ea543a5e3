//! How this host reaches servers: whom its TLS connections trust, which proxy they go through, and how many threads
//! their names may take ([`names`]); and how it serves strangers ([`serve`]).
//!
//! HTTP and TLS libraries follow the environment unless they are told not to: `HTTPS_PROXY` and its
//! kin send every request, with the credentials in it, to whoever the variable names, and
//! `SSL_CERT_FILE` adds authorities that may pose as any server. In a confidential VM the environment
//! may be text that the cloud operator supplied, so nothing here reads it. Trust is the CA that the
//! settings name, or the system's own store at its fixed places ([`tls`]); a proxy is the one that the
//! settings name, or none ([`Proxy`]). Every HTTP client of the host is made by [`client`], which holds
//! that rule in one place; `clippy.toml` keeps other code from making clients of its own.

pub mod bounded;
mod http;
pub mod names;
mod proxy;
pub mod reach;
pub mod retry;
pub mod serve;
pub mod tls;

pub use self::{
    http::client,
    proxy::{Proxy, ProxyError},
    tls::TlsError,
};
