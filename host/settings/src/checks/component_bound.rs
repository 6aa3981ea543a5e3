//! How the key broker is told which component asks.

use proplet_kbs::{ComponentBound, PassportIssuer};
use url::Url;

use crate::{document::Kbs, error::SettingsError};

/// Checks `component_bound` and what belongs to it.
pub(crate) fn check(document: &Kbs) -> Result<Option<ComponentBound>, SettingsError> {
    let bound = match document.component_bound.as_deref() {
        None => None,
        Some("passport") => return Ok(Some(ComponentBound::Passport(service(document)?))),
        Some("additional-evidence") => Some(ComponentBound::AdditionalEvidence),
        Some(_) => {
            return Err(SettingsError::value(
                "kbs",
                "component_bound",
                "it must be \"passport\" or \"additional-evidence\"",
            ));
        }
    };
    let why = "it is for component_bound = \"passport\", which is not set";
    for (name, is_set) in [
        (
            "attestation_service",
            document.attestation_service.is_some(),
        ),
        (
            "attestation_service_ca_pem",
            document.attestation_service_ca_pem.is_some(),
        ),
    ] {
        if is_set {
            return Err(SettingsError::value("kbs", name, why));
        }
    }
    Ok(bound)
}

fn service(document: &Kbs) -> Result<PassportIssuer, SettingsError> {
    let wrong = |why: &str| SettingsError::value("kbs", "attestation_service", why);
    let Some(text) = &document.attestation_service else {
        return Err(wrong(
            "component_bound = \"passport\" needs the attestation service's address, before `/attestation`",
        ));
    };
    let url = Url::parse(text).map_err(|error| wrong(&format!("it is not an address: {error}")))?;
    match url.scheme() {
        "https" => {}
        "http" if document.allow_http => {}
        "http" => {
            return Err(wrong(
                "plain http lets the network pose as the attestation service and read its tokens: use \
                 https, or write `allow_http = true`",
            ));
        }
        _ => return Err(wrong("it must start with https://")),
    }
    if !url.has_host() || !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("it must have a host and no user name"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it must have no query and no fragment"));
    }
    let ca = document.attestation_service_ca_pem.as_ref();
    Ok(PassportIssuer {
        url,
        ca_pem: ca.map(|pem| pem.as_bytes().to_vec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Settings, environment::Environment};

    fn bound(members: &str) -> Result<Option<ComponentBound>, String> {
        let text = format!("[kbs]\nurl = \"https://kbs\"\n{members}");
        let settings = Settings::parse(Some(&text), &Environment::default());
        let settings = settings.map_err(|error| error.to_string())?;
        Ok(settings.kbs.unwrap().component_bound)
    }

    #[test]
    fn the_key_broker_is_not_told_unless_the_document_says_so() {
        assert!(bound("").unwrap().is_none());
        assert!(matches!(
            bound("component_bound = \"additional-evidence\"").unwrap(),
            Some(ComponentBound::AdditionalEvidence)
        ));
        let passport = "component_bound = \"passport\"\n\
                        attestation_service = \"https://as:8443/trustee\"\n\
                        attestation_service_ca_pem = \"PEM\"";
        let Some(ComponentBound::Passport(service)) = bound(passport).unwrap() else {
            panic!("no passport");
        };
        assert_eq!(service.url.as_str(), "https://as:8443/trustee");
        assert_eq!(service.ca_pem.as_deref(), Some(b"PEM".as_slice()));
        // One switch for both: it is one document that says so.
        let http = "allow_http = true\ncomponent_bound = \"passport\"\n\
                    attestation_service = \"http://as:8080\"";
        assert!(bound(http).is_ok());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let passport = |address: &str| {
            format!("component_bound = \"passport\"\nattestation_service = {address:?}")
        };
        for (members, words) in [
            ("component_bound = \"\"".to_owned(), "\"passport\""),
            ("component_bound = \"Passport\"".to_owned(), "\"passport\""),
            ("component_bound = \"passport\"".to_owned(), "/attestation"),
            (passport("http://as"), "allow_http"),
            (passport("ftp://as"), "https://"),
            (passport("as:8080"), "https://"),
            (passport("nowhere"), "address"),
            (passport("https://user:secret@as"), "user name"),
            (passport("https://as/?a=b"), "query"),
            (passport("https://as/#a"), "fragment"),
            ("attestation_service = \"https://as\"".to_owned(), "not set"),
            (
                "component_bound = \"additional-evidence\"\n\
                 attestation_service_ca_pem = \"PEM\""
                    .to_owned(),
                "not set",
            ),
        ] {
            let error = bound(&members).unwrap_err();
            assert!(error.contains(words), "{members}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
