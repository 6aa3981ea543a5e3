//! TLS towards the broker.

use std::{path::Path, sync::Arc};

use proplet_net::{TlsError, tls};
use proplet_settings::{ClientCertificate, Mqtt};
use rumqttc::TlsConfiguration;
use rustls::{
    ClientConfig, ConfigBuilder,
    client::WantsClientCert,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use super::error::MqttError;

/// The configuration that the settings ask for: with a CA file that CA alone is trusted, without one the
/// system's are. There is no way to skip verification.
///
/// Where the key is a resource of the key broker, the configuration is without one: [`with_client_key`] makes the one
/// that serves.
pub(super) fn configuration(settings: &Mqtt) -> Result<TlsConfiguration, MqttError> {
    let builder = trusting(settings)?;
    let config = match &settings.client {
        None => builder.with_no_client_auth(),
        Some(ClientCertificate::Resource { certificate, .. }) => {
            if let Some(certificate) = certificate {
                certificates(certificate)?;
            }
            builder.with_no_client_auth()
        }
        Some(ClientCertificate::Files { certificate, key }) => {
            let private = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| CLIENT_KEY.unusable(key, &error))?;
            builder
                .with_client_auth_cert(certificates(certificate)?, private)
                .map_err(|error| CLIENT_CERT.unusable(certificate, &error))?
        }
    };
    Ok(TlsConfiguration::Rustls(Arc::new(config)))
}

/// The configuration with a key in PEM form that the key broker gave, and with the certificate of the settings or else
/// the one beside the key.
///
/// Errors say nothing of what is in the text.
pub(super) fn with_client_key(
    settings: &Mqtt,
    certificate: Option<&Path>,
    pem: &[u8],
) -> Result<TlsConfiguration, MqttError> {
    let builder = trusting(settings)?;
    let mut keys = PrivateKeyDer::pem_slice_iter(pem);
    let key = match (keys.next(), keys.next()) {
        (Some(Ok(key)), None) => key,
        _ => {
            let words = "is no private key for TLS: store one key in PEM form, with its certificates or without";
            return Err(MqttError::ClientKey(words));
        }
    };
    let chain = match certificate {
        Some(path) => certificates(path)?,
        None => beside(pem)?,
    };
    let config = builder.with_client_auth_cert(chain, key).map_err(|_| {
        let words = "is not the key of the client certificate, or of a kind that is not supported: store the key (P-256, \
                     P-384, Ed25519 or RSA) that the certificate was made for";
        MqttError::ClientKey(words)
    })?;
    Ok(TlsConfiguration::Rustls(Arc::new(config)))
}

/// The certificates beside a key.
fn beside(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, MqttError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => {
            let words = "has no certificate beside the key: store both in PEM form, or name the certificate with [mqtt] \
                         client_cert";
            Err(MqttError::ClientKey(words))
        }
    }
}

fn trusting(settings: &Mqtt) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, MqttError> {
    let broken = |error: TlsError| MqttError::Tls(error.to_string());
    match &settings.ca {
        None => tls::verifying(None).map_err(broken),
        Some(ca) => {
            let pem = std::fs::read(ca).map_err(|error| CA.unusable(ca, &error))?;
            tls::verifying(Some(&pem)).map_err(|error| CA.unusable(ca, &error))
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, MqttError> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| CLIENT_CERT.unusable(path, &error))?;
    if certificates.is_empty() {
        return Err(CLIENT_CERT.unusable(path, &"it holds no certificate in PEM form"));
    }
    Ok(certificates)
}

/// What names a file.
struct Named {
    setting: &'static str,
    variable: &'static str,
}

const CA: Named = Named {
    setting: "ca",
    variable: "PROPLET_MQTT_TLS_CA_CERT",
};
const CLIENT_CERT: Named = Named {
    setting: "client_cert",
    variable: "PROPLET_MQTT_TLS_CLIENT_CERT",
};
const CLIENT_KEY: Named = Named {
    setting: "client_key",
    variable: "PROPLET_MQTT_TLS_CLIENT_KEY",
};

impl Named {
    fn unusable(&self, path: &Path, why: &dyn std::fmt::Display) -> MqttError {
        MqttError::File {
            setting: self.setting,
            variable: self.variable,
            path: path.to_owned(),
            why: why.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proplet_settings::{Settings, environment::Environment};

    fn settings(text: &str) -> Mqtt {
        let text = format!("[mqtt]\naddress = \"mqtts://b\"\n{text}");
        Settings::parse(Some(&text), &Environment::default())
            .unwrap()
            .mqtt
    }

    fn key() -> String {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        use ring::{rand::SystemRandom, signature};
        let algorithm = &signature::ECDSA_P256_SHA256_ASN1_SIGNING;
        let key = signature::EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap();
        let body = STANDARD.encode(key);
        format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
    }

    #[test]
    fn a_resource_that_is_no_key_is_told_without_a_word_of_it() {
        let mut refused = Vec::new();
        let key = key();
        for pem in [
            String::new(),
            "hunter2".to_owned(),
            "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n".to_owned(),
            format!("{key}{key}"),
            key.clone(),
            format!("{key}-----BEGIN CERTIFICATE-----\nhunter2\n"),
            format!("{key}-----BEGIN CERTIFICATE-----\naHVudGVyMg==\n-----END CERTIFICATE-----\n"),
        ] {
            let error = with_client_key(&settings(""), None, pem.as_bytes())
                .err()
                .unwrap();
            assert!(matches!(error, MqttError::ClientKey(_)), "{error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
            refused.push(error.to_string());
        }
        let has = |words: &str| refused.iter().filter(|text| text.contains(words)).count();
        assert_eq!(has("no private key"), 4);
        assert_eq!(has("no certificate beside"), 2);
        assert_eq!(has("not the key of"), 1);
    }

    #[test]
    fn files_that_are_no_certificates_are_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().display().to_string();
        let good = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(good.path(), key()).unwrap();
        let key = good.path().display().to_string();
        for (text, setting) in [
            (format!("ca = {path:?}"), "[mqtt] ca"),
            ("ca = \"/nonexistent/ca.pem\"".to_owned(), "[mqtt] ca"),
            (
                format!("client_cert = {path:?}\nclient_key = {path:?}"),
                "[mqtt] client_key",
            ),
            (
                format!("client_cert = {path:?}\nclient_key = {key:?}"),
                "[mqtt] client_cert",
            ),
        ] {
            let error = configuration(&settings(&text)).err().unwrap();
            assert!(matches!(error, MqttError::File { .. }), "{text}: {error}");
            assert!(error.to_string().contains(setting), "{text}: {error}");
        }
    }
}
