//! Pushing images to a registry. For owners and build machines; the host itself never pushes.

use oci_client::RegistryOperation;
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;
use proplet_net::tls;
use reqwest::header::HeaderValue;

use crate::artifact::Artifact;
use crate::credentials::Credential;
use crate::digest::Digest;
use crate::error::ImageError;
use crate::manifest::Descriptor;
use crate::media;
use crate::reference::ImageReference;
use crate::registry::{RegistryConfig, unavailable, use_ring, words};

/// Every host, as exceptions from a proxy name them.
const EVERYTHING: &str = "*,0.0.0.0/0,::/0";

/// Pushes an image under a tag and gives the digest of its manifest, which is what to put into
/// tasks. Blobs that the registry has already are not sent again.
///
/// # Errors
/// [`ImageError::Reference`] for a reference with a digest that is not the image's,
/// [`ImageError::Unauthorized`], [`ImageError::Unavailable`], [`ImageError::Settings`].
pub async fn push(
    config: &RegistryConfig,
    reference: &ImageReference,
    artifact: &Artifact,
) -> Result<Digest, ImageError> {
    let manifest = artifact.manifest()?;
    if let Some(pinned) = reference.digest()
        && pinned != manifest.digest
    {
        return Err(ImageError::Reference {
            text: reference.to_string(),
            why: format!("the image to push has the digest {}", manifest.digest),
        });
    }
    let client = client(config)?;
    let auth = match config
        .credentials()?
        .find(reference.registry(), reference.repository())?
    {
        None => RegistryAuth::Anonymous,
        Some(Credential::Basic { username, password }) => {
            RegistryAuth::Basic(username.clone(), password.to_string())
        }
        Some(Credential::Bearer(token)) => RegistryAuth::Bearer(token.to_string()),
        Some(Credential::Identity(_)) => {
            return Err(ImageError::Settings {
                why: format!(
                    "the credentials file has an identity token for registry {}, which is used for \
                     pulling only: put a name and a password there",
                    reference.registry()
                ),
            });
        }
    };
    let work = async {
        let fail = |error| refused(reference, error);
        client
            .auth(reference.oci(), &auth, RegistryOperation::Push)
            .await
            .map_err(fail)?;
        let config_type: &Descriptor = &manifest.config;
        for (descriptor, bytes) in [
            (&manifest.layer, artifact.layer()),
            (config_type, artifact.config()),
        ] {
            let digest = descriptor.digest.to_string();
            if !client
                .blob_exists(reference.oci(), &digest)
                .await
                .map_err(fail)?
            {
                client
                    .push_blob(reference.oci(), bytes.clone(), &digest)
                    .await
                    .map_err(fail)?;
            }
        }
        client
            .push_manifest_raw(
                reference.oci(),
                artifact.manifest_bytes().clone(),
                HeaderValue::from_static(media::OCI_MANIFEST),
            )
            .await
            .map_err(fail)
    };
    match tokio::time::timeout(config.deadline, work).await {
        Ok(result) => result.map(|_| manifest.digest),
        Err(_) => Err(unavailable(
            reference,
            "pushing took longer than the deadline",
        )),
    }
}

fn client(config: &RegistryConfig) -> Result<oci_client::Client, ImageError> {
    use_ring();
    let mut settings = ClientConfig {
        protocol: ClientProtocol::HttpsExcept(config.http_hosts.clone()),
        connect_timeout: Some(config.connect_timeout),
        read_timeout: Some(config.read_timeout),
        user_agent: concat!("proplet/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    };
    settings.tls_certs_only = match &config.ca_pem {
        Some(pem) => certificates(pem)?,
        None => system_certificates(config)?,
    };
    // The library follows the environment's proxies unless it is given one; this one is never asked.
    let proxy = config.proxy.as_ref();
    let address = proxy.map_or("http://none.invalid", |proxy| proxy.expose());
    settings.https_proxy = Some(address.to_owned());
    settings.http_proxy = Some(address.to_owned());
    settings.no_proxy = Some(proxy.map_or_else(|| EVERYTHING.to_owned(), |proxy| proxy.except()));
    oci_client::Client::try_from(settings).map_err(|e| ImageError::Settings {
        why: format!("HTTP client: {e}"),
    })
}

/// The system's certificates, read here because the library would let the environment add to them.
fn system_certificates(config: &RegistryConfig) -> Result<Vec<Certificate>, ImageError> {
    let found = tls::system_certificates();
    if found.is_empty() && config.http_hosts.is_empty() {
        return Err(ImageError::Settings {
            why: "this machine has no bundle of trusted CAs; install one (often the package \
                  ca-certificates), or name the CA of the registry"
                .to_owned(),
        });
    }
    let certificate = |der: rustls::pki_types::CertificateDer<'_>| Certificate {
        encoding: CertificateEncoding::Der,
        data: der.to_vec(),
    };
    Ok(found.into_iter().map(certificate).collect())
}

/// The certificates of a PEM bundle one by one, as the client takes them.
fn certificates(pem: &[u8]) -> Result<Vec<Certificate>, ImageError> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    CertificateDer::pem_slice_iter(pem)
        .map(|certificate| match certificate {
            Ok(der) => Ok(Certificate {
                encoding: CertificateEncoding::Der,
                data: der.to_vec(),
            }),
            Err(e) => Err(ImageError::Settings {
                why: format!("registry CA: {e}"),
            }),
        })
        .collect()
}

fn refused(reference: &ImageReference, error: OciDistributionError) -> ImageError {
    let unauthorized = || ImageError::Unauthorized {
        registry: reference.registry().to_owned(),
        repository: reference.repository().to_owned(),
    };
    match error {
        OciDistributionError::UnauthorizedError { .. }
        | OciDistributionError::AuthenticationFailure(_)
        | OciDistributionError::ServerError {
            code: 401 | 403, ..
        } => unauthorized(),
        OciDistributionError::RegistryError { ref envelope, .. }
            if envelope
                .errors
                .iter()
                .any(|e| matches!(e.code, OciErrorCode::Unauthorized | OciErrorCode::Denied)) =>
        {
            unauthorized()
        }
        OciDistributionError::RequestError(error) => match error.status() {
            Some(status) if matches!(status.as_u16(), 401 | 403) => unauthorized(),
            _ => unavailable(reference, words(error)),
        },
        error => {
            let text: String = error.to_string().chars().take(300).collect();
            unavailable(reference, text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_ca_is_a_settings_error() {
        let config = RegistryConfig {
            ca_pem: Some(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n".to_vec()),
            ..RegistryConfig::default()
        };
        assert_eq!(client(&config).err().unwrap().code(), "image-settings");
    }
}
