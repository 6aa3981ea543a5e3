//! A server whose certificate is the very one that the settings name.
//!
//! Small installations secure a broker, registry or key broker with what `openssl req -x509` makes: one
//! certificate, self-signed and marked as a CA's, which clients are given as the CA to trust. The
//! verification of certificate chains refuses a CA's certificate as a server's, for good reasons that do
//! not apply here: whoever names that very certificate trusts its key, and nobody else can use it. So a
//! certificate that is named byte for byte is accepted for the names in it, while it is valid. Its key
//! signs the handshake as always.
//!
//! The other way round, a certificate that says of itself that it is no CA's is trusted for nothing else: a
//! root is taken as it is by the verification of chains, so the named server could sign for every other.

use std::{sync::Arc, time::Duration};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use x509_cert::{Certificate, der::Decode as _, ext::pkix::BasicConstraints};

use super::error::TlsError;

/// Trusts the given certificates: as those of authorities, if they can be, and each as itself.
#[derive(Debug)]
pub(super) struct Verifier {
    /// None when no certificate can be an authority's.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    given: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    pub(super) fn new(
        given: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in &given {
            let unusable = |error: Error| TlsError::Certificate(error.to_string());
            if is_no_authority(certificate) {
                RootCertStore::empty()
                    .add(certificate.clone())
                    .map_err(unusable)?;
            } else {
                roots.add(certificate.clone()).map_err(unusable)?;
            }
        }
        let authorities = (!roots.is_empty())
            .then(|| {
                let provider = Arc::clone(&provider);
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()
            })
            .transpose()
            .map_err(|error| TlsError::Setup(error.to_string()))?;
        Ok(Self {
            authorities,
            given,
            provider,
        })
    }
}

/// Whether a certificate says that it is not that of a CA (`basicConstraints`, RFC 5280 section 4.2.1.9).
/// Those of old CAs say nothing.
fn is_no_authority(certificate: &CertificateDer<'_>) -> bool {
    let Ok(certificate) = Certificate::from_der(certificate) else {
        return false;
    };
    match certificate.tbs_certificate.get::<BasicConstraints>() {
        Ok(Some((_, constraints))) => !constraints.ca,
        _ => false,
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.given.iter().any(|given| given == end_entity) {
            check_validity(end_entity, now)?;
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        let Some(authorities) = &self.authorities else {
            return Err(CertificateError::UnknownIssuer.into());
        };
        authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        self.authorities
            .as_ref()
            .and_then(|authorities| authorities.root_hint_subjects())
    }
}

fn check_validity(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let certificate =
        Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let validity = &certificate.tbs_certificate.validity;
    let moment = Duration::from_secs(now.as_secs());
    let (from, until) = (
        validity.not_before.to_unix_duration(),
        validity.not_after.to_unix_duration(),
    );
    if moment < from {
        return Err(CertificateError::NotValidYetContext {
            time: now,
            not_before: UnixTime::since_unix_epoch(from),
        });
    }
    if moment > until {
        return Err(CertificateError::ExpiredContext {
            time: now,
            not_after: UnixTime::since_unix_epoch(until),
        });
    }
    Ok(())
}
