//! One credential.

use zeroize::Zeroizing;

/// How to show a registry who asks. Wiped when dropped, never printed.
#[derive(Clone)]
pub enum Credential {
    /// Name and password.
    Basic {
        /// The user's name.
        username: String,
        /// The password or access token.
        password: Zeroizing<String>,
    },
    /// A bearer token for the registry (`registrytoken`).
    Bearer(Zeroizing<String>),
    /// A token that the registry's token service exchanges for another one (`identitytoken`; OAuth
    /// 2.0 calls it a refresh token, RFC 6749 section 6).
    Identity(Zeroizing<String>),
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic(..)",
            Self::Bearer(_) => "Bearer(..)",
            Self::Identity(_) => "Identity(..)",
        })
    }
}
