//! `WWW-Authenticate`: how a registry says who it wants to know (RFC 9110 section 11.6.1, and the
//! token authentication of the distribution project).
//!
//! The scope of a challenge decides what the token is asked for: a proxy that rewrites names knows by
//! which one the repository goes behind it. A hostile registry could name a repository of others in it,
//! or more rights than reading. So of what it says one repository is taken, for `pull` and nothing else.
//! What it gains is a token that its own credentials open, or that everybody is given: the token service
//! sees no other credentials than the ones for this registry.

/// What a registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// Name and password with each request.
    Basic,
    /// A token from the service at `realm`.
    Bearer {
        /// URL of the token service, not yet checked.
        realm: String,
        /// The service to name there.
        service: Option<String>,
        /// The scope to ask for, `repository:<name>:pull`, when the challenge has one of that kind.
        scope: Option<String>,
    },
}

/// The longest repository name that is taken from a scope, in bytes: that of the specification.
const MAX_NAME: usize = 255;

/// The first challenge that is known here, of all in the values of the header. Bearer comes before
/// Basic, as registries that offer both mean it.
pub(crate) fn parse<'a>(values: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let mut basic = false;
    for value in values.take(8) {
        for (scheme, parameters) in challenges(value) {
            if scheme.eq_ignore_ascii_case("bearer") {
                let of = |name: &str| {
                    parameters
                        .iter()
                        .find(|(key, _)| key.eq_ignore_ascii_case(name))
                        .map(|(_, value)| value.clone())
                };
                if let Some(realm) = of("realm").filter(|realm| !realm.is_empty()) {
                    return Some(Challenge::Bearer {
                        realm,
                        service: of("service").filter(|service| !service.is_empty()),
                        scope: of("scope").as_deref().and_then(pull_scope),
                    });
                }
            } else if scheme.eq_ignore_ascii_case("basic") {
                basic = true;
            }
        }
    }
    basic.then_some(Challenge::Basic)
}

/// The first repository of a scope (several are separated by spaces), for pulling.
fn pull_scope(scope: &str) -> Option<String> {
    scope.split_ascii_whitespace().take(16).find_map(|scope| {
        let (kind, rest) = scope.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        let is_name = !name.is_empty()
            && name.len() <= MAX_NAME
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-/:".contains(&b));
        let reads = actions.split(',').any(|a| matches!(a, "pull" | "*"));
        (kind == "repository" && is_name && reads).then(|| format!("repository:{name}:pull"))
    })
}

type Parameters = Vec<(String, String)>;

/// Splits a header value into schemes and their parameters. Tolerant: what is malformed is passed
/// over, and a challenge that lost its realm that way is not used.
fn challenges(value: &str) -> Vec<(String, Parameters)> {
    let mut found: Vec<(String, Parameters)> = Vec::new();
    let mut chars = value.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace() || *c == ',').is_some() {}
        let mut word = String::new();
        while let Some(c) = chars.next_if(|c| !c.is_whitespace() && !matches!(c, ',' | '=' | '"')) {
            word.push(c);
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.next_if_eq(&'=').is_some() {
            while chars.next_if(|c| c.is_whitespace()).is_some() {}
            let value = if chars.next_if_eq(&'"').is_some() {
                quoted(&mut chars)
            } else {
                let mut value = String::new();
                while let Some(c) = chars.next_if(|c| !c.is_whitespace() && *c != ',') {
                    value.push(c);
                }
                value
            };
            if let Some((_, parameters)) = found.last_mut() {
                parameters.push((word, value));
            }
        } else if !word.is_empty() {
            found.push((word, Vec::new()));
        } else if chars.next().is_none() {
            return found;
        }
    }
}

/// A quoted string after its opening quote.
fn quoted(chars: &mut impl Iterator<Item = char>) -> String {
    let mut value = String::new();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => value.extend(chars.next()),
            c => value.push(c),
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_token_service_is_found() {
        let header = r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a:pull""#;
        assert_eq!(
            parse([header].into_iter()),
            Some(Challenge::Bearer {
                realm: "https://auth.example/token".into(),
                service: Some("registry.example".into()),
                scope: Some("repository:a:pull".into()),
            })
        );
    }

    #[test]
    fn basic_and_mixed_headers() {
        assert_eq!(
            parse(["Basic realm=\"x\""].into_iter()),
            Some(Challenge::Basic)
        );
        assert_eq!(parse(["basic"].into_iter()), Some(Challenge::Basic));
        let bearer = Some(Challenge::Bearer {
            realm: "r, \"s".into(),
            service: None,
            scope: None,
        });
        assert_eq!(
            parse([r#"Basic realm="a", Bearer realm = "r, \"s""#].into_iter()),
            bearer
        );
        assert_eq!(
            parse(["Basic", r#"BEARER REALM="r, \"s""#].into_iter()),
            bearer
        );
    }

    #[test]
    fn odd_but_legal_headers_are_read() {
        let expected = Some(Challenge::Bearer {
            realm: "https://auth.example/a,b?c=d".into(),
            service: Some("a \"b\", c".into()),
            scope: Some("repository:a/b:pull".into()),
        });
        for header in [
            r#"bearer Realm="https://auth.example/a,b?c=d",SERVICE="a \"b\", c",Scope="repository:a/b:push,pull""#,
            r#"Negotiate, Basic realm="x, Bearer", Bearer realm="https://auth.example/a,b?c=d" , service = "a \"b\", c" , scope="repository:a/b:pull""#,
            r#"NTLM TlRMTVNTUAAB==, BEARER scope="repository:a/b:*",service="a \"b\", c",realm="https://auth.example/a,b?c=d",error="insufficient_scope""#,
        ] {
            assert_eq!(parse([header].into_iter()), expected, "{header}");
        }
        let split = [
            "Negotiate",
            r#"Basic realm="x""#,
            "Bearer realm=https://auth.example/t",
        ];
        assert!(matches!(
            parse(split.into_iter()),
            Some(Challenge::Bearer { realm, .. }) if realm == "https://auth.example/t"
        ));
    }

    #[test]
    fn a_scope_gives_one_repository_for_reading() {
        let long = format!("repository:{}:pull", "a".repeat(256));
        for (scope, expected) in [
            ("repository:a/b:pull", Some("repository:a/b:pull")),
            (
                "repository:a/b:pull,push,delete",
                Some("repository:a/b:pull"),
            ),
            ("repository:a/b:*", Some("repository:a/b:pull")),
            (
                "repository:r.example:5000/a:pull",
                Some("repository:r.example:5000/a:pull"),
            ),
            (
                "registry:catalog:* repository:a:pull",
                Some("repository:a:pull"),
            ),
            (
                "repository:a:pull repository:b:pull",
                Some("repository:a:pull"),
            ),
            ("repository:a:metadata_read,pull", Some("repository:a:pull")),
            ("repository:a:push", None),
            ("repository:a&scope=x:pull", None),
            ("repository::pull", None),
            ("repository:a", None),
            ("registry:catalog:*", None),
            ("", None),
            (long.as_str(), None),
        ] {
            assert_eq!(pull_scope(scope).as_deref(), expected, "{scope}");
        }
    }

    #[test]
    fn other_schemes_are_not_used() {
        for value in [
            "",
            "Negotiate abc==",
            "Bearer service=x",
            "Bearer realm=\"\",service=x",
            "Digest realm=\"a\"",
            "=,=\"",
            "\"",
        ] {
            assert_eq!(parse([value].into_iter()), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read(value in ".{0,200}") {
            let _ = parse([value.as_str()].into_iter());
        }

        #[test]
        fn scopes_never_ask_for_more_than_one_pull(scope in "[ -~]{0,80}|repository:[a-z:/ ,]{0,20}:[a-z,*]{0,9}") {
            if let Some(scope) = pull_scope(&scope) {
                prop_assert!(scope.starts_with("repository:") && scope.ends_with(":pull"));
                prop_assert!(!scope.contains([' ', ',', '*', '&', '=']));
            }
        }

        #[test]
        fn realms_come_out_as_they_went_in(realm in "[ -~]{1,60}") {
            let escaped = realm.replace('\\', "\\\\").replace('"', "\\\"");
            let header = format!("Bearer realm=\"{escaped}\"");
            prop_assert_eq!(
                parse([header.as_str()].into_iter()),
                Some(Challenge::Bearer { realm, service: None, scope: None })
            );
        }
    }
}
