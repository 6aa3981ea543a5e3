//! Who may use a registry.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

/// How a registry knows its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Everybody may read and write.
    Anonymous,
    /// Name and password with each request.
    Basic {
        /// The only user.
        username: String,
        /// Its password.
        password: String,
    },
    /// A token from the registry's own token service, which asks for name and password.
    Token {
        /// The only user.
        username: String,
        /// Its password.
        password: String,
    },
    /// A token from the registry's own token service, in exchange for an identity token (OAuth 2.0's
    /// refresh token grant).
    Identity {
        /// The only identity token.
        token: String,
    },
}

/// Checks requests against an [`Access`].
pub(super) struct Gate {
    access: Access,
    token: String,
    host: String,
}

impl Gate {
    pub(super) fn new(access: Access, host: String) -> Self {
        Self {
            access,
            token: Uuid::new_v4().to_string(),
            host,
        }
    }

    /// Whether the `Authorization` header of a request opens the registry.
    pub(super) fn admits(&self, authorization: Option<&str>) -> bool {
        match &self.access {
            Access::Anonymous => true,
            Access::Basic { username, password } => {
                authorization == Some(basic(username, password).as_str())
            }
            Access::Token { .. } | Access::Identity { .. } => {
                authorization == Some(format!("Bearer {}", self.token).as_str())
            }
        }
    }

    /// The `WWW-Authenticate` header for a request that was not admitted.
    pub(super) fn challenge(&self) -> String {
        match &self.access {
            Access::Token { .. } | Access::Identity { .. } => {
                format!(
                    "Bearer realm=\"http://{}/token\",service=\"testkit\"",
                    self.host
                )
            }
            Access::Anonymous | Access::Basic { .. } => "Basic realm=\"testkit\"".to_owned(),
        }
    }

    /// The token, for who shows the password to the token service, or the identity token in a form.
    pub(super) fn token(&self, authorization: Option<&str>, form: &str) -> Option<&str> {
        match &self.access {
            Access::Identity { token } => {
                let has = |member: &str| form.split('&').any(|pair| pair == member);
                let right = has("grant_type=refresh_token")
                    && has(&format!("refresh_token={token}"))
                    && has("service=testkit")
                    && form.contains("scope=repository%3A");
                right.then_some(&self.token)
            }
            Access::Token { username, password }
                if authorization == Some(basic(username, password).as_str()) =>
            {
                Some(&self.token)
            }
            _ => None,
        }
    }
}

fn basic(username: &str, password: &str) -> String {
    format!(
        "Basic {}",
        STANDARD.encode(format!("{username}:{password}"))
    )
}
