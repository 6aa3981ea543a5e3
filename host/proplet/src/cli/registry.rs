//! How commands about images reach a registry: as the person at the keyboard says.

use proplet_image::{Digest, ImageReference, RegistryConfig};

use super::{arguments::Registry, error::CliError, files};

/// How the registry of a reference is reached, as the command line says.
pub(super) fn config(
    arguments: &Registry,
    reference: &ImageReference,
) -> Result<RegistryConfig, CliError> {
    let ca_pem = match &arguments.registry_ca {
        Some(path) => Some(files::read("certificates", path, files::MAX_KEY_BYTES)?.to_vec()),
        None => None,
    };
    let http = arguments.http.then(|| reference.registry().to_owned());
    Ok(RegistryConfig {
        auth_file: arguments.auth_file.clone(),
        http_hosts: http.into_iter().collect(),
        // Whoever types the name means that registry, wherever it is.
        private_hosts: vec![reference.registry_host().to_owned()],
        ca_pem,
        proxy: arguments.registry_proxy.clone(),
        max_layer_bytes: files::MAX_COMPONENT_BYTES,
        ..RegistryConfig::default()
    })
}

/// The reference that names these bytes and no others: what to put into tasks.
pub(super) fn pinned(reference: &ImageReference, digest: Digest) -> String {
    format!(
        "{}/{}@{digest}",
        reference.registry(),
        reference.repository()
    )
}
