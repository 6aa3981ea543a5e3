//! Whom a TLS connection trusts.
//!
//! Roots are the settings' CA and nothing else, or, without one, the machine's bundle. The bundle is
//! looked for in fixed places: `SSL_CERT_FILE` and its like do not count, because environment
//! variables never override the settings.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::KbsError;

/// Where Linux distributions keep the bundle of trusted CAs.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// The TLS settings for a KBS whose certificate one of `ca_pem` signs, or one of the machine's CAs.
pub(crate) fn client_config(ca_pem: Option<&[u8]>) -> Result<ClientConfig, KbsError> {
    let roots = match ca_pem {
        Some(pem) => given_roots(pem)?,
        None => machine_roots(&BUNDLES)?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| KbsError::Config(format!("TLS cannot be set up: {error}")))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// No TLS trust at all, for a client that speaks plain http only.
pub(crate) fn no_roots() -> Result<ClientConfig, KbsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| KbsError::Config(format!("TLS cannot be set up: {error}")))?;
    Ok(builder
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

fn given_roots(pem: &[u8]) -> Result<RootCertStore, KbsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| {
            KbsError::Config(format!(
                "the CA of the KBS is not PEM: {error}; give CERTIFICATE blocks"
            ))
        })?;
        roots.add(certificate).map_err(|error| {
            KbsError::Config(format!(
                "the CA of the KBS is not a usable certificate: {error}"
            ))
        })?;
    }
    if roots.is_empty() {
        return Err(KbsError::Config(
            "the CA of the KBS holds no CERTIFICATE block; give its certificate in PEM".to_owned(),
        ));
    }
    Ok(roots)
}

fn machine_roots(bundles: &[&str]) -> Result<RootCertStore, KbsError> {
    let mut roots = RootCertStore::empty();
    for bundle in bundles {
        let Ok(pem) = std::fs::read(bundle) else {
            continue;
        };
        // A bundle may hold roots with features that the verifier does not know; those are of no use
        // to anybody, and no reason to trust none of the others.
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
        if !roots.is_empty() {
            return Ok(roots);
        }
    }
    Err(KbsError::Config(format!(
        "this machine has no bundle of trusted CAs ({}); give the CA of the KBS in the settings",
        bundles.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_ca_that_is_none() {
        for pem in [
            "",
            "nonsense",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ] {
            let error = client_config(Some(pem.as_bytes())).unwrap_err();
            assert_eq!(error.code(), "kbs-config", "{pem}");
        }
    }

    #[test]
    fn a_machine_without_a_bundle_is_told_so() {
        let error = machine_roots(&["/nonexistent/ca.crt"]).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/ca.crt"), "{error}");
    }
}
