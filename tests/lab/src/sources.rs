//! Where an executor gets things from: a registry and a key broker, without MQTT.

use proplet_hal::init_data::DigestAlgorithm;
use proplet_image::ImageReference;
use proplet_settings::Settings;
use proplet_settings::environment::Environment;
use proplet_settings::init_data::init_data;
use proplet_testkit::kbs::DevKeyBroker;
use proplet_testkit::registry::Registry;
use proplet_types::ResourceUri;

use crate::error::LabError;
use crate::workload::{EncryptedComponent, registry_over_http};

/// A registry and a key broker on loopback.
pub struct Sources {
    /// The OCI registry.
    pub registry: Registry,
    /// The key broker.
    pub key_broker: DevKeyBroker,
}

impl Sources {
    /// Starts both. The key broker trusts the test PKI only.
    ///
    /// # Errors
    /// [`LabError`].
    pub async fn start() -> Result<Self, LabError> {
        let key_broker = DevKeyBroker::start().await;
        Self::with(key_broker.map_err(LabError::key_broker)?).await
    }

    /// Starts a registry beside a key broker of the caller's.
    ///
    /// # Errors
    /// [`LabError`].
    pub async fn with(key_broker: DevKeyBroker) -> Result<Self, LabError> {
        Ok(Self {
            registry: Registry::start().await.map_err(LabError::registry)?,
            key_broker,
        })
    }

    /// The settings of a host that uses them, with more text after the document: members of `[kbs]`
    /// first, then tables.
    ///
    /// # Errors
    /// [`LabError`] for text that is no settings document.
    pub fn settings(&self, more: &str) -> Result<Settings, LabError> {
        let text = format!(
            "[registry]\nhttp_hosts = [{:?}]\n[kbs]\nurl = {:?}\nallow_http = true\n{more}",
            self.registry.host(),
            self.key_broker.url(),
        );
        let init_data = init_data(&text, DigestAlgorithm::Sha256)?;
        Ok(Settings::parse(
            Some(init_data.text()),
            &Environment::default(),
        )?)
    }

    /// Encrypts a component, pushes it and gives its key to the key broker. The reference is by digest.
    ///
    /// # Errors
    /// [`LabError`].
    pub async fn publish(
        &self,
        name: &str,
        component: &[u8],
        policy: Option<&str>,
        key_id: ResourceUri,
    ) -> Result<(EncryptedComponent, ImageReference), LabError> {
        let workload = EncryptedComponent::encrypt(component, policy, key_id)?;
        let pinned = self.push(name, &workload).await?;
        Ok((workload, pinned))
    }

    /// Pushes a workload and gives its key to the key broker. The reference is by digest.
    ///
    /// # Errors
    /// [`LabError`].
    pub async fn push(
        &self,
        name: &str,
        workload: &EncryptedComponent,
    ) -> Result<ImageReference, LabError> {
        push(&self.registry, &self.key_broker, name, workload).await
    }
}

/// Pushes a workload and gives its key to the key broker. The reference is by digest.
pub(crate) async fn push(
    registry: &Registry,
    key_broker: &DevKeyBroker,
    name: &str,
    workload: &EncryptedComponent,
) -> Result<ImageReference, LabError> {
    let host = registry.host();
    let reference: ImageReference = format!("{host}/{name}:encrypted").parse()?;
    let pinned = workload
        .push(&registry_over_http(&host), &reference)
        .await?;
    key_broker.set_resource(&workload.key_id, workload.key.as_ref());
    Ok(pinned)
}
