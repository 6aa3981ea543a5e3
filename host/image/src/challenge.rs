//! `WWW-Authenticate`: how a registry says who it wants to know (RFC 9110 section 11.6.1, and the
//! token authentication of the distribution project).

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
    },
}

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
                if let Some(realm) = of("realm") {
                    return Some(Challenge::Bearer {
                        realm,
                        service: of("service"),
                    });
                }
            } else if scheme.eq_ignore_ascii_case("basic") {
                basic = true;
            }
        }
    }
    basic.then_some(Challenge::Basic)
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
    fn other_schemes_are_not_used() {
        for value in [
            "",
            "Negotiate abc==",
            "Bearer service=x",
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
        fn realms_come_out_as_they_went_in(realm in "[ -~]{1,60}") {
            let escaped = realm.replace('\\', "\\\\").replace('"', "\\\"");
            let header = format!("Bearer realm=\"{escaped}\"");
            prop_assert_eq!(
                parse([header.as_str()].into_iter()),
                Some(Challenge::Bearer { realm, service: None })
            );
        }
    }
}
