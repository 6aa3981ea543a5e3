//! What an administrator's token says, and which of it may be the reason that a KBS refuses it.
//!
//! A KBS says little: that it can verify the token with none of its issuers, or that the role is not
//! allowed. Its owner has the token, so the rest can be told here. Nothing of the token is shown but the
//! claims that administrators choose themselves.

use std::time::SystemTime;

use proplet_jose::b64;
use proplet_types::text::server_words;
use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::identity::ISSUER;

/// The claims that a KBS looks at.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Presented {
    iss: Option<Value>,
    aud: Option<Value>,
    role: Option<Value>,
    exp: Option<Value>,
}

impl Presented {
    fn read(token: &str) -> Option<Self> {
        let payload = b64::decode(token.split('.').nth(1)?).ok()?;
        serde_json::from_slice(&payload).ok()
    }

    /// What to look at after a refusal in these words.
    pub(super) fn advice(token: Option<&str>, detail: &str, now: SystemTime) -> String {
        let words = detail.to_ascii_lowercase();
        if words.contains("disabled") {
            return "administration is switched off there: set `authorization_mode` under `[admin]` in \
                    its configuration"
                .to_owned();
        }
        let Some(token) = token else {
            return "no administrator's token was sent: give an administrator's key or token"
                .to_owned();
        };
        let Some(claims) = Self::read(token) else {
            return "the administrator's token has no claims that can be read: get another one"
                .to_owned();
        };
        if let Some(ended) = claims.ended(now) {
            return format!(
                "the administrator's token ended at {ended} by this machine's clock: get a new one"
            );
        }
        let (issuer, audience) = (shown(claims.iss.as_ref()), shown(claims.aud.as_ref()));
        let role = shown(claims.role.as_ref());
        let of_role = format!(
            "the role ({role}), which a rule of `regex_acl` has to let do this; Trustee's own \
             configurations have the role \"admin\""
        );
        if words.contains("role") || words.contains("not allowed") {
            return format!("the reason may be {of_role}");
        }
        let time = match claims.exp.as_ref().and_then(Value::as_f64) {
            Some(_) => "the token's time, if the clocks of this machine and the KBS differ",
            None => "the token's time, because it has no `exp`",
        };
        let of_issuer = format!(
            "the key, whose public half `public_key_uri` has to name; the issuer ({issuer}), which is \
             \"{ISSUER}\" in Trustee's own compose file; the audience ({audience}); or {time}"
        );
        if words.contains("issuer") {
            return format!(
                "the reason may be {of_issuer}: compare them with `identity_providers` under `[admin]` \
                 in its configuration"
            );
        }
        format!(
            "the reason may be {of_issuer}; or {of_role}: compare them with `[admin]` in its \
             configuration"
        )
    }

    /// When the token ended, if it did.
    fn ended(&self, now: SystemTime) -> Option<String> {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "a cast from a float saturates, and no such time can be shown"
        )]
        let exp = self.exp.as_ref()?.as_f64()? as i64;
        let end = OffsetDateTime::from_unix_timestamp(exp).ok()?;
        (end <= OffsetDateTime::from(now))
            .then(|| end.format(&Rfc3339).unwrap_or_else(|_| exp.to_string()))
    }
}

/// A claim in an error: quoted, on one line and short.
fn shown(claim: Option<&Value>) -> String {
    match claim {
        None | Some(Value::Null) => "none".to_owned(),
        Some(claim) => server_words(&claim.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const DENIED: &str = "failed to initialize [admin] configuration: Admin access denied: Cannot verify \
                          token with any of the issuers";

    fn token(claims: &Value) -> String {
        format!("e30.{}.AAAA", b64::encode(claims.to_string().as_bytes()))
    }

    fn advice(claims: &Value, detail: &str) -> String {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        Presented::advice(Some(&token(claims)), detail, now)
    }

    #[test]
    fn what_the_token_says_is_named() {
        let claims = json!({ "iss": "me", "aud": ["KBS", "x"], "role": "owner", "exp": 2000 });
        let words = advice(&claims, DENIED);
        for part in [
            "\"me\"",
            "TrusteeInDocker",
            "[\"KBS\",\"x\"]",
            "public_key_uri",
        ] {
            assert!(words.contains(part), "no {part} in {words}");
        }
        assert!(!words.contains("owner"), "{words}");
        let words = advice(&claims, "Admin access denied: Role not allowed");
        assert!(
            words.contains("owner") && words.contains("regex_acl"),
            "{words}"
        );
        assert!(!words.contains("\"me\""), "{words}");
        let words = advice(&json!({ "exp": 2000 }), "Admin access denied");
        assert!(
            words.contains("issuer (none)") && words.contains("role (none)"),
            "{words}"
        );
        assert!(advice(&json!({}), DENIED).contains("no `exp`"));
    }

    #[test]
    fn the_plain_reasons_come_first() {
        let over = json!({ "iss": "me", "exp": 999 });
        assert!(advice(&over, DENIED).contains("1970-01-01T00:16:39Z"));
        let words = advice(&over, "Admin endpoints disabled.");
        assert!(words.contains("authorization_mode"), "{words}");
        let words = Presented::advice(None, DENIED, UNIX_EPOCH);
        assert!(
            words.contains("no administrator's token was sent"),
            "{words}"
        );
        let words = Presented::advice(Some("a.b.c"), DENIED, UNIX_EPOCH);
        assert!(words.contains("no claims"), "{words}");
    }

    proptest! {
        #[test]
        fn any_token_is_survived(token in "\\PC{0,64}", claims in "\\PC{0,64}", exp: f64) {
            let _ = Presented::advice(Some(&token), DENIED, UNIX_EPOCH);
            let encoded = format!("e30.{}.AA", b64::encode(claims.as_bytes()));
            let _ = Presented::advice(Some(&encoded), DENIED, UNIX_EPOCH);
            let _ = advice(&json!({ "exp": exp, "iss": claims }), DENIED);
        }
    }
}
