//! How an administrator proves to be one.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proplet_jose::jws::EdDsaSigningKey;
use serde_json::json;
use zeroize::Zeroizing;

use crate::KbsError;
use crate::token::is_token;

/// The issuer that Trustee's own compose file wants of administrators' tokens.
pub const ISSUER: &str = "TrusteeInDocker";
/// The audience that Trustee's own compose file writes into its administrator's token.
pub const AUDIENCE: &str = "KBS";
/// The role that Trustee's own configurations let do everything.
pub const ROLE: &str = "admin";

/// How long an administrator's token lasts, in seconds. One is made for every call.
const TOKEN_SECONDS: u64 = 300;

/// How an administrator proves to be one.
pub enum AdminAuth {
    /// A token made elsewhere: a JWT.
    Token(Zeroizing<String>),
    /// A key that signs a token for every call.
    Key(AdminKey),
    /// Nothing, for a KBS in the mode `InsecureAllowAll`.
    None,
}

impl AdminAuth {
    /// A token made elsewhere.
    ///
    /// # Errors
    /// [`KbsError::Config`] when it is not a JWT in compact form; surrounding white space is
    /// ignored.
    pub fn token(token: &str) -> Result<Self, KbsError> {
        let token = token.trim();
        if !is_token(token) {
            return Err(KbsError::Config("the admin token is not a JWT".to_owned()));
        }
        Ok(Self::Token(Zeroizing::new(token.to_owned())))
    }
}

impl fmt::Debug for AdminAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "AdminAuth::Token",
            Self::Key(_) => "AdminAuth::Key",
            Self::None => "AdminAuth::None",
        })
    }
}

/// An Ed25519 key that a KBS knows as its administrator's. Its tokens carry `iat`, `exp`, `iss`,
/// `aud` and `role`, which satisfies every generation of Trustee's admin authorisation.
pub struct AdminKey {
    key: EdDsaSigningKey,
    /// The claim `iss`, as the KBS's configuration names it. Default [`ISSUER`].
    pub issuer: String,
    /// The claim `aud`. Default [`AUDIENCE`].
    pub audience: String,
    /// The claim `role`. Default [`ROLE`].
    pub role: String,
}

impl AdminKey {
    /// Wraps a key.
    pub fn new(key: EdDsaSigningKey) -> Self {
        let [issuer, audience, role] = [ISSUER, AUDIENCE, ROLE].map(str::to_owned);
        Self {
            key,
            issuer,
            audience,
            role,
        }
    }

    /// Takes an Ed25519 private key in PKCS#8 PEM, as `openssl genpkey -algorithm ed25519` writes it.
    ///
    /// # Errors
    /// [`KbsError::Config`] when it is no such key.
    pub fn from_pem(pem: &str) -> Result<Self, KbsError> {
        let key = EdDsaSigningKey::from_pkcs8_pem(pem).map_err(|error| {
            KbsError::Config(format!(
                "the admin key is not an Ed25519 key in PKCS#8 PEM: {error}"
            ))
        })?;
        Ok(Self::new(key))
    }

    pub(super) fn token(&self, now: SystemTime) -> Result<Zeroizing<String>, KbsError> {
        let iat = now
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO)
            .as_secs();
        let claims = json!({
            "iss": self.issuer,
            "aud": self.audience,
            "role": self.role,
            "iat": iat,
            "exp": iat + TOKEN_SECONDS,
        });
        let header = [("typ".to_owned(), json!("JWT"))].into_iter().collect();
        self.key
            .sign_compact(&header, claims.to_string().as_bytes())
            .map(Zeroizing::new)
            .map_err(|error| KbsError::Config(format!("no admin token can be signed: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use proplet_jose::jws::VerifyingKey;
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_token_has_the_claims_of_every_generation() {
        let key = EdDsaSigningKey::generate().unwrap();
        let verifier = VerifyingKey::from_jwk(&key.public_jwk()).unwrap();
        let mut admin = AdminKey::new(key);
        let claims = |admin: &AdminKey| {
            let token = admin.token(UNIX_EPOCH + Duration::from_secs(1000)).unwrap();
            let verified = verifier.verify_compact(&token).unwrap();
            assert_eq!(verified.header.get("alg"), Some(&json!("EdDSA")));
            serde_json::from_slice::<Value>(&verified.payload).unwrap()
        };
        // Unless told otherwise, what Trustee's own compose file wants.
        let stock = json!({
            "iss": "TrusteeInDocker", "aud": "KBS", "role": "admin", "iat": 1000, "exp": 1300,
        });
        assert_eq!(claims(&admin), stock);
        admin.issuer = "owner".to_owned();
        admin.audience = "mine".to_owned();
        admin.role = "writer".to_owned();
        let own = json!({
            "iss": "owner", "aud": "mine", "role": "writer", "iat": 1000, "exp": 1300,
        });
        assert_eq!(claims(&admin), own);
    }

    #[test]
    fn credentials_do_not_show() {
        let auth = AdminAuth::token(" aaaa.bbbb.cccc\n").unwrap();
        assert_eq!(format!("{auth:?}"), "AdminAuth::Token");
        for bad in ["", "opaque", "a.b.c d"] {
            assert_eq!(
                AdminAuth::token(bad).unwrap_err().code(),
                "kbs-config",
                "{bad}"
            );
        }
        assert_eq!(
            AdminKey::from_pem("no key").err().unwrap().code(),
            "kbs-config"
        );
    }
}
