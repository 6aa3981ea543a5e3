//! The outside world of a proplet.

use proplet_image::ImageReference;
use proplet_testkit::broker::{Manager, TestBroker};
use proplet_testkit::kbs::DevKeyBroker;
use proplet_testkit::registry::Registry;
use proplet_types::ResourceUri;

use crate::addresses::{Addresses, CHANNEL, TENANT};
use crate::error::LabError;
use crate::sources;
use crate::workload::EncryptedComponent;

/// The outside world of a proplet.
pub struct Services {
    /// The MQTT broker.
    pub broker: TestBroker,
    /// The OCI registry.
    pub registry: Registry,
    /// The key broker.
    pub key_broker: DevKeyBroker,
    /// The Manager.
    pub manager: Manager,
}

impl Services {
    /// Starts all of them on free loopback ports. The key broker trusts the test PKI only.
    ///
    /// # Errors
    /// [`LabError`].
    pub async fn start() -> Result<Self, LabError> {
        let key_broker = DevKeyBroker::start().await;
        Self::with(key_broker.map_err(LabError::key_broker)?).await
    }

    /// Starts the others beside a key broker of the caller's.
    ///
    /// # Errors
    /// [`LabError`].
    pub async fn with(key_broker: DevKeyBroker) -> Result<Self, LabError> {
        let broker = TestBroker::start().await?;
        let manager = Manager::connect(&broker, TENANT, CHANNEL).await?;
        Ok(Self {
            manager,
            registry: Registry::start().await.map_err(LabError::registry)?,
            key_broker,
            broker,
        })
    }

    /// The settings document of a proplet in this world, with more tables after it.
    #[must_use]
    pub fn settings(&self, more: &str) -> String {
        self.addresses().settings(more)
    }

    /// Where everything is.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        Addresses {
            broker: self.broker.url(),
            broker_ca: None,
            registry: self.registry.host(),
            registry_auth: None,
            key_broker: self.key_broker.url(),
            key_broker_timeout: Addresses::KEY_BROKER_TIMEOUT,
        }
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
        let pinned = sources::push(&self.registry, &self.key_broker, name, &workload).await?;
        Ok((workload, pinned))
    }
}
