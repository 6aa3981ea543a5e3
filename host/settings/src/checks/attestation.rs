//! `[attestation]`: how the TEE is asked for evidence.

use url::Url;

use super::values::seconds;
use crate::{
    document,
    error::SettingsError,
    sections::{Attestation, CertificateService},
};

pub(crate) fn checked_attestation(
    document: document::Attestation,
) -> Result<Attestation, SettingsError> {
    let wrong = |name, why: &str| SettingsError::value("attestation", name, why);
    let certificate_service = match document.certificates_url {
        Some(text) => {
            let why =
                "give an address such as https://kdsintf.amd.com, without user name and query";
            let url = Url::parse(&text).map_err(|_| wrong("certificates_url", why))?;
            let plain = matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none();
            if !plain {
                return Err(wrong("certificates_url", why));
            }
            Some(CertificateService {
                url,
                ca_pem: document.certificates_ca_pem,
                cache: document.certificates_cache,
            })
        }
        None if document.certificates_ca_pem.is_some() => {
            let why = "it is for certificates_url, which is not set";
            return Err(wrong("certificates_ca_pem", why));
        }
        None if document.certificates_cache.is_some() => {
            let why = "it is for certificates_url, which is not set";
            return Err(wrong("certificates_cache", why));
        }
        None => None,
    };
    Ok(Attestation {
        timeout: seconds("attestation", document.timeout_seconds, 60)?,
        certificates: document.certificates,
        certificate_service,
    })
}
