//! Whom a TLS connection trusts.
//!
//! Roots are the CA that the settings name and nothing else, or, without one, the system's store. A
//! certificate that the settings name may also be the server's own. The
//! store is looked for in fixed places: `SSL_CERT_FILE` and its like do not count, because environment
//! variables never override the settings.

mod error;
mod explain;
mod verifier;

use std::sync::Arc;

use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier,
    client::WantsClientCert,
    pki_types::{CertificateDer, pem::PemObject},
};

pub use self::error::TlsError;
pub use self::explain::{explain, inner};
use self::verifier::Verifier;

/// Where Linux distributions keep the bundle of trusted CAs.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// TLS towards servers whose certificate one of the CAs in `ca_pem` signs, or which is itself in there;
/// without it, one that one of the system's CAs signs.
///
/// # Errors
/// [`TlsError`].
pub fn client_config(ca_pem: Option<&[u8]>) -> Result<ClientConfig, TlsError> {
    Ok(verifying(ca_pem)?.with_no_client_auth())
}

/// As [`client_config`], with the choice of a client certificate still open.
///
/// # Errors
/// [`TlsError`].
pub fn verifying(
    ca_pem: Option<&[u8]>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsError> {
    let builder = builder()?;
    Ok(match ca_pem {
        None => builder.with_root_certificates(system_roots(&BUNDLES)?),
        Some(pem) => {
            let provider = Arc::clone(builder.crypto_provider());
            let verifier = Verifier::new(given(pem)?, provider)?;
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
        }
    })
}

/// As [`client_config`], for a client that may never speak TLS: without `ca_pem` on a machine without a
/// store it trusts nobody, says so in the log, and leaves plain http working.
///
/// # Errors
/// [`TlsError`], but never [`TlsError::NoSystemStore`].
pub fn client_config_if_any(ca_pem: Option<&[u8]>) -> Result<ClientConfig, TlsError> {
    match client_config(ca_pem) {
        Err(error @ TlsError::NoSystemStore(_)) => {
            tracing::warn!("No server will be trusted over TLS: {error}");
            no_trust()
        }
        other => other,
    }
}

/// No trust at all, for a client that speaks plain http only.
///
/// # Errors
/// [`TlsError::Setup`].
pub fn no_trust() -> Result<ClientConfig, TlsError> {
    Ok(builder()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Setup(error.to_string()))
}

fn given(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::NotPem(error.to_string()))?;
    if certificates.is_empty() {
        return Err(TlsError::Empty);
    }
    Ok(certificates)
}

fn system_roots(places: &[&str]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificates in bundles(places) {
        // A store may hold roots with features that the verifier does not know; those are of no use
        // to anybody, and no reason to trust none of the others.
        roots.add_parsable_certificates(certificates);
        if !roots.is_empty() {
            return Ok(roots);
        }
    }
    Err(TlsError::NoSystemStore(places.join(", ")))
}

/// The bundles that exist and hold certificates, in order.
fn bundles(places: &[&str]) -> impl Iterator<Item = Vec<CertificateDer<'static>>> {
    places
        .iter()
        .filter_map(|place| std::fs::read(place).ok())
        .map(|pem| CertificateDer::pem_slice_iter(&pem).flatten().collect())
        .filter(|certificates: &Vec<_>| !certificates.is_empty())
}

#[cfg(test)]
mod tests;
