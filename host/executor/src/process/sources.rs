//! Where components come from: registries, and for plain ones also addresses and requests.

use std::sync::Arc;

use proplet_image::{CredentialSource, ImageReference, Puller, RegistryConfig};
use proplet_net::{
    names::{Names, Resolver},
    reach::Endpoint,
};
use proplet_settings::{AllowList, PlainImages, Settings};
use proplet_types::Code;

use super::{
    credentials::{HostCredentials, RegistryCredentials},
    fetch::Fetcher,
};
use crate::{
    error::ExecutorError, host_text, image_proxy::ImageProxy, refusal::Refusal, text::Known,
};

/// The clients of registries and of the web.
pub(crate) struct Sources {
    pub puller: Puller,
    fetcher: Fetcher,
    allowed: AllowList,
    /// Where credentials for registries come from, when that is the key broker.
    pub registry_credentials: Option<Arc<RegistryCredentials>>,
    /// Who fetches plain images in place of this host.
    proxy: Option<Arc<dyn ImageProxy>>,
}

impl Sources {
    pub(super) fn new(
        settings: &Settings,
        host: HostCredentials,
        proxy: Option<Arc<dyn ImageProxy>>,
        resolver: Resolver,
    ) -> Result<Self, ExecutorError> {
        let mut config = registry_config(settings)?;
        config.names = Names::new(resolver);
        let uri = settings.registry.auth_resource.clone();
        let credentials = uri.map(|uri| Arc::new(RegistryCredentials::new(host, uri)));
        config.credential_source = credentials
            .clone()
            .map(|source| source as Arc<dyn CredentialSource>);
        let is_asked = settings.registry.plain_images == PlainImages::Proxy;
        Ok(Self {
            registry_credentials: credentials,
            puller: Puller::new(config.clone())?,
            fetcher: Fetcher::new(&config)?,
            allowed: settings.registry.allowed.clone(),
            proxy: proxy.filter(|_| is_asked),
        })
    }

    /// Who fetches an image for a plain task in place of this host: nobody, where the task says that it is one of a
    /// registry by a scheme, which no name of the proxy's has. Nor where it names a digest: nothing that comes from the
    /// proxy could be compared with one, since it sends a component without its manifest. An allow-list counts all the
    /// same.
    ///
    /// # Errors
    /// `image-not-allowed`, and `image-reference` where there is a list to look it up in.
    pub(crate) fn proxy_for(&self, image: &str) -> Result<Option<&dyn ImageProxy>, Refusal> {
        // As references are read: without the space around, and schemes in upper and lower case.
        let name = image.trim();
        let is_of_registry = ["oci://", "docker://"].iter().any(|scheme| {
            let start = name.get(..scheme.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        });
        // What stands after an `@` is a digest, or the reference is refused.
        let is_pinned = name.contains('@');
        let Some(proxy) = self
            .proxy
            .as_ref()
            .filter(|_| !is_of_registry && !is_pinned)
        else {
            return Ok(None);
        };
        // Deployments give their proxy's own names to images, which need not be references.
        if self.allowed.hosts().next().is_some() {
            self.reference(image)?;
        }
        Ok(Some(proxy.as_ref()))
    }

    /// The reference of an image that the settings allow.
    pub(crate) fn reference(&self, image: &str) -> Result<ImageReference, Refusal> {
        let reference: ImageReference = image.parse()?;
        let (registry, repository) = (reference.registry(), reference.repository());
        if self.allowed.permits(registry, repository) {
            return Ok(reference);
        }
        Err(Refusal::new(
            Code::ImageNotAllowed,
            host_text!(
                "the settings do not allow images from {}/{}; add the registry or repository to \
                 [registry] in the settings document",
                Known::of_request(registry),
                Known::of_request(repository)
            ),
        ))
    }

    /// The bytes at an `http(s)://` address.
    pub(crate) async fn fetch(&self, address: &str) -> Result<Vec<u8>, Refusal> {
        self.fetcher.fetch(address, &self.allowed).await
    }
}

fn registry_config(settings: &Settings) -> Result<RegistryConfig, ExecutorError> {
    let registry = &settings.registry;
    let ca_pem = match &registry.ca {
        None => None,
        Some(path) => Some(std::fs::read(path).map_err(|source| ExecutorError::File {
            path: path.clone(),
            source,
        })?),
    };
    Ok(RegistryConfig {
        auth_file: registry.auth_file.clone(),
        http_hosts: registry.http_hosts.clone(),
        // Who names a registry in the settings means that registry, wherever it is.
        private_hosts: registry
            .private_hosts
            .iter()
            .map(String::as_str)
            .chain(
                registry
                    .allowed
                    .hosts()
                    .filter(|host| host.parse::<Endpoint>().is_ok()),
            )
            .map(str::to_owned)
            .collect(),
        ca_pem,
        proxy: registry.proxy.clone(),
        max_layer_bytes: registry.max_layer_bytes,
        deadline: registry.timeout,
        ..RegistryConfig::default()
    })
}

#[cfg(test)]
mod tests {
    use proplet_audit::{Audit, Boot};
    use proplet_settings::environment::Environment;
    use proplet_types::SystemClock;

    use super::*;

    struct Nobody;

    #[async_trait::async_trait]
    impl ImageProxy for Nobody {
        async fn component(&self, image: &str) -> Result<Vec<u8>, Refusal> {
            Err(Refusal::new(
                Code::RegistryUnavailable,
                host_text!("{}", Known::of_request(image)),
            ))
        }
    }

    /// Sources of a host with a proxy, with this settings document.
    fn sources(text: &str) -> Sources {
        let settings = Settings::parse(Some(text), &Environment::default()).unwrap();
        let boot = Boot {
            version: "1".to_owned(),
            settings: settings.digest,
        };
        let host = HostCredentials {
            settings: Arc::new(settings.clone()),
            confidential: Err(Refusal::new(Code::NoTee, "no TEE in this test")),
            audit: Audit::in_memory(Arc::new(SystemClock), boot).unwrap(),
        };
        Sources::new(&settings, host, Some(Arc::new(Nobody)), Resolver::default()).unwrap()
    }

    fn is_asked(sources: &Sources, image: &str) -> bool {
        sources.proxy_for(image).unwrap().is_some()
    }

    #[tokio::test]
    async fn the_proxy_is_asked_for_names_that_it_can_answer() {
        let sources = sources("");
        for image in ["registry.example/a:1", "a", "Some App"] {
            assert!(is_asked(&sources, image), "{image}");
        }
        for image in ["oci://registry.example/a", "Docker://a", " OCI://a"] {
            assert!(!is_asked(&sources, image), "{image}");
        }
        let direct = self::sources("[registry]");
        assert!(!is_asked(&direct, "registry.example/a:1"));
    }

    #[tokio::test]
    async fn what_a_digest_names_is_pulled_here_and_compared() {
        let digest = proplet_types::Digest::of(b"image");
        let listed = "[registry]\nplain_images = \"proxy\"\nregistries = [\"registry.example\"]";
        for text in ["", listed] {
            let sources = sources(text);
            for name in ["registry.example/a", "registry.example/a:1"] {
                let image = format!("{name}@{digest}");
                assert!(!is_asked(&sources, &image), "{image}");
                let reference = sources.reference(&image).unwrap();
                assert_eq!(reference.digest(), Some(digest));
            }
            // A digest of another kind is nothing that can be left unchecked.
            for image in ["registry.example/a@sha512:00", "a@b", "a@"] {
                assert!(!is_asked(&sources, image), "{image}");
                let refusal = sources.reference(image).unwrap_err();
                assert_eq!(refusal.code(), Code::ImageReference, "{image}");
            }
        }
    }
}
