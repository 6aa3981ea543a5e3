//! Administration of a KBS: setting and deleting resources, setting the resource policy.
//!
//! For the owner's machine and for the development key broker. The daemon in the VM has no use for
//! it: whoever administers a KBS decides about every key in it.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proplet_jose::b64;
use proplet_jose::jws::EdDsaSigningKey;
use proplet_types::ResourceUri;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::json;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::http::{Exchange, Http, secret_header};
use crate::refusal::{Subject, refusal};
use crate::token::is_token;
use crate::{KbsConfig, KbsError};

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
    /// The claim `iss`, as the KBS's configuration names it. Default `proplet`.
    pub issuer: String,
    /// The claim `aud`. Default `kbs`.
    pub audience: String,
    /// The claim `role`. Default `admin`.
    pub role: String,
}

impl AdminKey {
    /// Wraps a key.
    pub fn new(key: EdDsaSigningKey) -> Self {
        let [issuer, audience, role] = ["proplet", "kbs", "admin"].map(str::to_owned);
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

    fn token(&self, now: SystemTime) -> Result<Zeroizing<String>, KbsError> {
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

/// A client for the owner of a KBS.
pub struct AdminClient {
    http: Http,
    auth: AdminAuth,
    timeout: Duration,
    max_resource_bytes: usize,
}

impl AdminClient {
    /// A client of the KBS that `config` names. Sends nothing yet.
    ///
    /// # Errors
    /// [`KbsError::Config`].
    pub fn new(config: KbsConfig, auth: AdminAuth) -> Result<Self, KbsError> {
        let http = Http::new(&config)?;
        let KbsConfig {
            timeout,
            max_resource_bytes,
            ..
        } = config;
        Ok(Self {
            http,
            auth,
            timeout,
            max_resource_bytes,
        })
    }

    /// Stores a resource, in place of what was there.
    ///
    /// # Errors
    /// [`KbsError::TooLarge`] above [`KbsConfig::max_resource_bytes`]; [`KbsError::AdminRefused`];
    /// [`KbsError::NotFound`] when the KBS's storage fails; any other [`KbsError`] of the way there.
    pub async fn set_resource(&self, uri: &ResourceUri, bytes: &[u8]) -> Result<(), KbsError> {
        let limit = self.max_resource_bytes;
        if bytes.len() > limit {
            return Err(KbsError::TooLarge {
                uri: uri.clone(),
                limit,
            });
        }
        let path = format!("resource/{}", uri.path());
        let kind = "application/octet-stream";
        self.call(Method::POST, path, kind, bytes.to_vec(), Some(uri))
            .await
    }

    /// Deletes a resource.
    ///
    /// # Errors
    /// As [`AdminClient::set_resource`]; [`KbsError::NotFound`] when there is none.
    pub async fn delete_resource(&self, uri: &ResourceUri) -> Result<(), KbsError> {
        let path = format!("resource/{}", uri.path());
        self.call(Method::DELETE, path, "", Vec::new(), Some(uri))
            .await
    }

    /// Sets the resource policy: Rego with a rule `allow` in the package `policy`. A KBS has one.
    ///
    /// # Errors
    /// [`KbsError::AdminRefused`]; [`KbsError::Protocol`] when the KBS does not accept the text;
    /// any other [`KbsError`] of the way there.
    pub async fn set_resource_policy(&self, rego: &str) -> Result<(), KbsError> {
        let body = json!({ "policy": b64::encode(rego.as_bytes()) })
            .to_string()
            .into_bytes();
        self.call(
            Method::POST,
            "resource-policy".to_owned(),
            "application/json",
            body,
            None,
        )
        .await
    }

    async fn call(
        &self,
        method: Method,
        path: String,
        content_type: &'static str,
        body: Vec<u8>,
        uri: Option<&ResourceUri>,
    ) -> Result<(), KbsError> {
        if let Some(uri) = uri {
            self.http.base().check_host(uri)?;
        }
        let mut headers = HeaderMap::new();
        if !content_type.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        if let Some(token) = self.token()? {
            let bearer = Zeroizing::new(format!("Bearer {}", token.as_str()));
            headers.extend(secret_header(&bearer).map(|value| (AUTHORIZATION, value)));
        }
        let exchange = Exchange {
            method,
            path,
            headers,
            body,
            limit: 0,
        };
        let deadline = Instant::now() + self.timeout;
        let answer = self.http.send(&exchange, deadline).await?;
        if answer.status.is_success() {
            return Ok(());
        }
        Err(refusal(
            &self.http,
            &exchange.label(),
            Subject::Admin(uri),
            &answer,
        ))
    }

    fn token(&self) -> Result<Option<Zeroizing<String>>, KbsError> {
        match &self.auth {
            AdminAuth::Token(token) => Ok(Some(token.clone())),
            AdminAuth::Key(key) => key.token(SystemTime::now()).map(Some),
            AdminAuth::None => Ok(None),
        }
    }
}

impl fmt::Debug for AdminClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminClient")
            .field("kbs", &self.http.base().origin())
            .field("auth", &self.auth)
            .finish_non_exhaustive()
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
        admin.issuer = "owner".to_owned();
        let token = admin.token(UNIX_EPOCH + Duration::from_secs(1000)).unwrap();
        let verified = verifier.verify_compact(&token).unwrap();
        assert_eq!(verified.header.get("alg"), Some(&json!("EdDSA")));
        let claims: Value = serde_json::from_slice(&verified.payload).unwrap();
        let expected = json!({
            "iss": "owner", "aud": "kbs", "role": "admin", "iat": 1000, "exp": 1300,
        });
        assert_eq!(claims, expected);
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
