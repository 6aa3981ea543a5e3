//! Encrypted workloads: what a data owner makes with `proplet image encrypt`, as a value.

use std::fmt::Write as _;

use proplet_component::policy::{Policy, PolicyError};
use proplet_image::{Artifact, ImageError, ImageReference, RegistryConfig};
use proplet_jose::jwk::PublicKey;
use proplet_types::{Digest, ResourceUri};
use zeroize::Zeroizing;

/// A component with its policy, encrypted under a fresh key.
pub struct EncryptedComponent {
    /// The component as it will run, policy included.
    pub component: Vec<u8>,
    /// The encrypted image.
    pub image: Artifact,
    /// Where the key broker must hold the key.
    pub key_id: ResourceUri,
    /// The key-encryption key, 32 bytes.
    pub key: Zeroizing<[u8; 32]>,
}

/// Why there is no workload.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncryptedComponentError {
    /// The policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The image.
    #[error(transparent)]
    Image(#[from] ImageError),
}

impl EncryptedComponent {
    /// Puts the policy (TOML, none for no policy) into the component and encrypts both.
    ///
    /// # Errors
    /// [`EncryptedComponentError`] for a policy that is not valid or for bytes that are not a component.
    pub fn encrypt(
        component: &[u8],
        policy: Option<&str>,
        key_id: ResourceUri,
    ) -> Result<Self, EncryptedComponentError> {
        let component = match policy {
            Some(policy) => Policy::embed(component, policy.as_bytes())?,
            None => component.to_vec(),
        };
        let key = proplet_image::encrypt::random_key()?;
        let plain = Artifact::wasm(component.clone().into())?;
        let image = proplet_image::encrypt::encrypt(&plain, key.as_ref(), &key_id)?;
        Ok(Self {
            component,
            image,
            key_id,
            key,
        })
    }

    /// Digest of the component, `sha256:…`.
    #[must_use]
    pub fn component_digest(&self) -> Digest {
        Digest::of(&self.component)
    }

    /// Digest of the image manifest, `sha256:…`.
    #[must_use]
    pub fn image_digest(&self) -> Digest {
        self.image.digest()
    }

    /// Pushes the image and gives its reference by digest.
    ///
    /// # Errors
    /// As [`proplet_image::push::push`].
    pub async fn push(
        &self,
        config: &RegistryConfig,
        reference: &ImageReference,
    ) -> Result<ImageReference, ImageError> {
        let digest = proplet_image::push::push(config, reference, &self.image).await?;
        Ok(reference.with_digest(digest))
    }
}

/// Settings for a registry on this machine, over plain http.
#[must_use]
pub fn registry_over_http(host: &str) -> RegistryConfig {
    RegistryConfig {
        http_hosts: vec![host.to_owned()],
        ..RegistryConfig::default()
    }
}

/// A policy text with recipients added. They stand first, since TOML keys after a table belong to it.
#[must_use]
pub fn with_recipients(policy: &str, recipients: &[PublicKey]) -> String {
    let mut text = String::from("recipients = [");
    for recipient in recipients {
        let jwk = recipient.to_jwk();
        let members: Vec<String> = jwk
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| format!("{name} = {value}"))
            .collect();
        // Writing to a string cannot fail.
        let _ = write!(text, "{{ {} }}, ", members.join(", "));
    }
    text.push_str("]\n");
    text.push_str(policy);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proplet_component::policy::Recipients;
    use proplet_jose::jwk::PrivateKey;

    #[test]
    fn recipients_are_added_to_a_policy() {
        let key = PrivateKey::generate_x25519().unwrap();
        let text = with_recipients(
            "version = 1\n[limits]\nhandles = 3\n",
            &[key.public().clone()],
        );
        let policy = Policy::parse(text.as_bytes()).unwrap();
        assert_eq!(
            policy.recipients,
            Recipients::Keys(vec![key.public().to_jwk()])
        );
    }
}
