//! What the broker is shown, where the settings say that it is a resource of the key broker.
//!
//! It is fetched before the first connection, and again before the attempt that follows a refusal: the broker may have
//! got another password, or another certificate, since. So a refusal costs the key broker one question, and refusals are
//! as far apart as attempts are. When nothing comes, what was shown before is shown again: the refusal may have been the
//! broker's mistake.
//!
//! The buffers of this process are wiped. The client library keeps copies of its own, in memory that is part of the VM.

use std::path::PathBuf;

use proplet_executor::{CredentialError, Executor};
use proplet_settings::{ApiKey, BrokerIdentity, ClientCertificate, Mqtt};
use proplet_types::{Code, ResourceUri};
use rumqttc::{MqttOptions, Transport};
use zeroize::Zeroizing;

use super::{error::MqttError, tls};

/// The setting that names the password.
pub(crate) const API_KEY: &str = "[proplet] api_key_resource";
/// The setting that names the key for TLS.
pub(crate) const CLIENT_KEY: &str = "[mqtt] client_key_resource";
/// Longest password that MQTT can carry, in bytes.
const MAX_PASSWORD: usize = 65_535;

/// What there is to fetch, and whether it has to be fetched now.
pub(super) struct Credentials {
    executor: Executor,
    settings: Mqtt,
    entity: String,
    api_key: Option<ResourceUri>,
    client: Option<(Option<PathBuf>, ResourceUri)>,
    /// Whether the key broker is asked before the next attempt.
    pub is_wanted: bool,
    /// Whether there is something to show.
    pub is_here: bool,
}

/// What the broker is shown.
pub(super) struct Shown {
    entity: String,
    api_key: Option<Zeroizing<String>>,
    transport: Option<Transport>,
}

impl Credentials {
    pub(super) fn new(settings: &Mqtt, identity: &BrokerIdentity, executor: &Executor) -> Self {
        let api_key = match &identity.api_key {
            ApiKey::Given(_) => None,
            ApiKey::Resource(uri) => Some(uri.clone()),
        };
        let client = match &settings.client {
            None | Some(ClientCertificate::Files { .. }) => None,
            Some(ClientCertificate::Resource { certificate, key }) => {
                Some((certificate.clone(), key.clone()))
            }
        };
        let is_needed = api_key.is_some() || client.is_some();
        Self {
            executor: executor.clone(),
            settings: settings.clone(),
            entity: identity.entity.clone(),
            api_key,
            client,
            is_wanted: is_needed,
            is_here: !is_needed,
        }
    }

    /// Whether the password is fetched.
    pub(super) fn has_api_key(&self) -> bool {
        self.api_key.is_some()
    }

    /// Whether the key for TLS is fetched.
    pub(super) fn has_client_key(&self) -> bool {
        self.client.is_some()
    }

    /// Asks the key broker once.
    pub(super) async fn fetch(&self) -> Result<Shown, CredentialError> {
        let api_key = match &self.api_key {
            Some(uri) => {
                let bytes = self.executor.credential(API_KEY, uri).await?;
                Some(password(uri, &bytes)?)
            }
            None => None,
        };
        let transport = match &self.client {
            Some((certificate, uri)) => {
                let pem = self.executor.credential(CLIENT_KEY, uri).await?;
                Some(self.transport(certificate.clone(), uri, pem).await?)
            }
            None => None,
        };
        Ok(Shown {
            entity: self.entity.clone(),
            api_key,
            transport,
        })
    }

    /// Reads files, so it leaves this thread.
    async fn transport(
        &self,
        certificate: Option<PathBuf>,
        uri: &ResourceUri,
        pem: Zeroizing<Vec<u8>>,
    ) -> Result<Transport, CredentialError> {
        let settings = self.settings.clone();
        let made = tokio::task::spawn_blocking(move || {
            tls::with_client_key(&settings, certificate.as_deref(), &pem)
        });
        let failed = |code, words: String| CredentialError {
            setting: CLIENT_KEY,
            code,
            words,
        };
        match made.await {
            Ok(Ok(configuration)) => Ok(Transport::tls_with_config(configuration)),
            Ok(Err(MqttError::ClientKey(words))) => {
                Err(CredentialError::invalid(CLIENT_KEY, uri, words))
            }
            Ok(Err(error)) => Err(failed(Code::CredentialInvalid, error.to_string())),
            Err(error) => Err(failed(Code::HostFailed, error.to_string())),
        }
    }
}

impl Shown {
    /// For the next attempt.
    pub(super) fn put_into(self, options: &mut MqttOptions) {
        if let Some(api_key) = self.api_key {
            options.set_credentials(self.entity, api_key.as_bytes().to_vec());
        }
        if let Some(transport) = self.transport {
            options.set_transport(transport);
        }
    }
}

/// A password in a resource: text, without the line break that `echo` leaves behind.
fn password(uri: &ResourceUri, bytes: &[u8]) -> Result<Zeroizing<String>, CredentialError> {
    let invalid = || {
        let words = "is no password: store text of 1 to 65535 bytes without control characters";
        CredentialError::invalid(API_KEY, uri, words)
    };
    let text = std::str::from_utf8(bytes).map_err(|_| invalid())?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() || text.len() > MAX_PASSWORD || text.contains(char::is_control) {
        return Err(invalid());
    }
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn uri() -> ResourceUri {
        "kbs:///p/host-credential/mqtt".parse().unwrap()
    }

    #[test]
    fn a_password_is_text_on_one_line() {
        for (stored, read) in [
            (&b"secret"[..], "secret"),
            (b"secret\n", "secret"),
            (b"secret\r\n", "secret"),
            (" sp\u{e4}ce ".as_bytes(), " sp\u{e4}ce "),
        ] {
            assert_eq!(*password(&uri(), stored).unwrap(), read);
        }
        let long = vec![b'x'; MAX_PASSWORD + 1];
        for stored in [
            &b""[..],
            b"\n",
            b"two\nlines",
            b"nul\0",
            b"\xffhunter2",
            &long,
        ] {
            let error = password(&uri(), stored).unwrap_err();
            assert_eq!(error.code, Code::CredentialInvalid);
            let words = error.to_string();
            assert!(words.contains("kbs:///p/host-credential/mqtt"), "{words}");
            assert!(
                !words.contains("hunter2") && !words.contains("two"),
                "{words}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_password_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(read) = password(&uri(), &bytes) {
                prop_assert!(!read.is_empty() && !read.contains(char::is_control));
            }
        }
    }
}
