//! Registry credentials from a docker `config.json` (or podman's `auth.json`, which has its form).
//!
//! Such files hold whatever a person ever logged in to. An entry matters for its own registry only:
//! one that cannot be used does not keep images of other registries from being pulled, and is named
//! when its registry asks who we are. What is there for a registry is used or refused, and never
//! passed over in silence, because a pull without credentials could fetch another image.
//!
//! Credential helpers are programs. This crate starts none: [`Credentials::find`] refuses their
//! registries by name, which is right for a measured host. A command on a person's machine can ask
//! [`Credentials::helper`], run the program, and put what it said in with [`Credentials::resolve`].
//!
//! Nothing of an entry is ever printed, in errors either.

mod credential;
mod docker;
mod entry;
mod file;
mod helper;
mod key;
mod source;

pub use self::credential::Credential;
pub use self::docker::Credentials;
pub use self::helper::{Helper, HelperAnswer};
pub use self::source::CredentialSource;

#[cfg(test)]
mod tests;
