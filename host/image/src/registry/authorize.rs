//! Answering a registry's challenge: with a name and a password, with a token, or with one that its token
//! service gives.

use proplet_net::reach::{Answer, Route};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Body, Method, StatusCode, Url};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::trouble::{Trouble, body_trouble, sent_on, unavailable, unreachable};
use super::{MAX_REDIRECTS, RegistryClient, Rights};
use crate::challenge::Challenge;
use crate::credentials::{Credential, Credentials};
use crate::error::ImageError;
use crate::reference::ImageReference;

/// The largest answer of a token service, in bytes.
const MAX_TOKEN_BYTES: u64 = 256 * 1024;

#[derive(Deserialize)]
struct Token {
    token: Option<Zeroizing<String>>,
    access_token: Option<Zeroizing<String>>,
}

impl RegistryClient {
    /// The `Authorization` header that answers a challenge.
    pub(super) async fn authorize(
        &self,
        credentials: &Credentials,
        reference: &ImageReference,
        wanted: Option<Challenge>,
    ) -> Result<HeaderValue, Trouble> {
        let credential = credentials.find(reference.registry(), reference.repository())?;
        let (realm, service, scope) = match (wanted, credential) {
            (_, Some(Credential::Bearer(token))) => return Ok(bearer(token, reference)?),
            (
                Some(Challenge::Bearer {
                    realm,
                    service,
                    scope,
                }),
                _,
            ) => (realm, service, scope),
            (Some(Challenge::Basic), Some(Credential::Basic { username, password })) => {
                return Ok(basic(username, password, reference)?);
            }
            (Some(Challenge::Basic), Some(Credential::Identity(_))) => {
                return Err(identity_unwanted(reference).into());
            }
            (None | Some(Challenge::Basic), _) => return Err(self.unauthorized(reference).into()),
        };
        let mut scope =
            scope.unwrap_or_else(|| format!("repository:{}:pull", reference.repository()));
        if self.rights == Rights::PullAndPush {
            scope.push_str(",push");
        }
        let url = Url::parse(&realm)
            .map_err(|_| unavailable(reference, "its token service's address is no URL"))?;
        let answer = self
            .ask_for_token(url, service.as_deref(), &scope, credential, reference)
            .await?;
        let status = answer.response.status();
        if !status.is_success() {
            let error = match status {
                // That the credentials are wrong is what people need to know most.
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => {
                    self.unauthorized(reference)
                }
                status if answer.foreign => sent_on(reference, &answer.host, status),
                status => unavailable(
                    reference,
                    format!("its token service answered with {status}"),
                ),
            };
            return Err(Trouble::of_status(error, &answer));
        }
        let body = answer.bytes(MAX_TOKEN_BYTES).await;
        let body = Zeroizing::new(
            body.map_err(|e| body_trouble(reference, e, "answer of the token service"))?,
        );
        let token: Token = serde_json::from_slice(&body)
            .map_err(|_| unavailable(reference, "its token service's answer holds no token"))?;
        // Some services send both names and leave one of them empty.
        let token = [token.token, token.access_token]
            .into_iter()
            .flatten()
            .find(|token| !token.is_empty())
            .ok_or_else(|| unavailable(reference, "its token service's answer holds no token"))?;
        Ok(bearer(&token, reference)?)
    }

    /// Asks a token service: by GET, with a name and a password or without; an identity token is
    /// exchanged by POST, as OAuth 2.0 has it (RFC 6749 section 6).
    async fn ask_for_token(
        &self,
        mut url: Url,
        service: Option<&str>,
        scope: &str,
        credential: Option<&Credential>,
        reference: &ImageReference,
    ) -> Result<Answer, Trouble> {
        // A token service elsewhere is foreign too: the registry chose it.
        let home = self.url(reference, "")?;
        let route = Route {
            home: &home,
            redirects: MAX_REDIRECTS,
        };
        let mut headers = HeaderMap::new();
        let answer = if let Some(Credential::Identity(token)) = credential {
            let form = refresh_form(token, service, scope);
            let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
            headers.insert(CONTENT_TYPE, kind);
            let body = || Body::from(form.as_str().to_owned());
            self.http
                .request(route, Method::POST, url, &headers, body)
                .await
        } else {
            {
                let mut query = url.query_pairs_mut();
                if let Some(service) = service {
                    query.append_pair("service", service);
                }
                query.append_pair("scope", scope);
            }
            if let Some(Credential::Basic { username, password }) = credential {
                headers.insert(AUTHORIZATION, basic(username, password, reference)?);
            }
            self.http.get(route, url, &headers).await
        };
        answer.map_err(|e| unreachable(reference, e))
    }
}

/// The form that exchanges an identity token.
fn refresh_form(token: &str, service: Option<&str>, scope: &str) -> Zeroizing<String> {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "refresh_token")
        .append_pair("refresh_token", token)
        .append_pair("client_id", "proplet")
        .append_pair("scope", scope);
    if let Some(service) = service {
        form.append_pair("service", service);
    }
    Zeroizing::new(form.finish())
}

fn identity_unwanted(reference: &ImageReference) -> ImageError {
    ImageError::Settings {
        why: format!(
            "the credentials file has an identity token for registry {}, which asks for a name and a \
             password: put these there",
            reference.registry()
        ),
    }
}

fn bearer(token: &str, reference: &ImageReference) -> Result<HeaderValue, ImageError> {
    sensitive(Zeroizing::new(format!("Bearer {token}")), reference)
}

fn basic(
    username: &str,
    password: &str,
    reference: &ImageReference,
) -> Result<HeaderValue, ImageError> {
    use base64::Engine;
    let pair = Zeroizing::new(format!("{username}:{password}"));
    let encoded = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(pair.as_bytes()));
    sensitive(
        Zeroizing::new(format!("Basic {}", encoded.as_str())),
        reference,
    )
}

fn sensitive(
    text: Zeroizing<String>,
    reference: &ImageReference,
) -> Result<HeaderValue, ImageError> {
    let mut value = HeaderValue::from_str(&text).map_err(|_| {
        unavailable(
            reference,
            "its token has characters that no header can hold",
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}
