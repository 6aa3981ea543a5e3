//! TLS towards the broker.

use std::{path::Path, sync::Arc};

use proplet_net::{TlsError, tls};
use proplet_settings::Mqtt;
use rumqttc::TlsConfiguration;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use super::error::MqttError;

/// The configuration that the settings ask for: with a CA file that CA alone is trusted, without one the
/// system's are. There is no way to skip verification.
pub(super) fn configuration(settings: &Mqtt) -> Result<TlsConfiguration, MqttError> {
    let broken = |error: TlsError| MqttError::Tls(error.to_string());
    let builder = match &settings.ca {
        None => tls::verifying(None).map_err(broken)?,
        Some(ca) => {
            let pem = std::fs::read(ca).map_err(|error| unusable(ca, &error))?;
            tls::verifying(Some(&pem)).map_err(|error| unusable(ca, &error))?
        }
    };
    let config = match &settings.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let private =
                PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
            builder
                .with_client_auth_cert(certificates(certificate)?, private)
                .map_err(|error| unusable(certificate, &error))?
        }
    };
    Ok(TlsConfiguration::Rustls(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, MqttError> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| unusable(path, &error))?;
    if certificates.is_empty() {
        return Err(MqttError::Tls(format!(
            "{} holds no certificate in PEM form",
            path.display()
        )));
    }
    Ok(certificates)
}

fn unusable(path: &Path, error: &dyn std::fmt::Display) -> MqttError {
    MqttError::Tls(format!("{} cannot be used: {error}", path.display()))
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

    #[test]
    fn files_that_are_no_certificates_are_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().display().to_string();
        for text in [
            format!("ca = {path:?}"),
            "ca = \"/nonexistent/ca.pem\"".to_owned(),
            format!("client_cert = {path:?}\nclient_key = {path:?}"),
        ] {
            assert!(
                matches!(configuration(&settings(&text)), Err(MqttError::Tls(_))),
                "{text}"
            );
        }
    }
}
