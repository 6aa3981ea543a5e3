//! How commands about images reach a registry: as the person at the keyboard says.

use proplet_image::{
    Artifact, Credentials, ImageReference, RegistryConfig,
    push::{self, Progress},
};
use proplet_types::Digest;

use super::{
    arguments::RegistryWay, console::Console, context::Context, error::CliError, files, helper,
};

/// How the registry of a reference is reached, as the command line says. A credential helper that the
/// credentials file names for it is asked here.
pub(super) async fn config(
    arguments: &RegistryWay,
    reference: &ImageReference,
    context: &Context,
) -> Result<RegistryConfig, CliError> {
    let ca_pem = match &arguments.registry_ca {
        Some(path) => Some(files::read("certificates", path, files::MAX_KEY_BYTES)?.to_vec()),
        None => None,
    };
    let credentials = match &arguments.auth_file {
        Some(path) => {
            let credentials = Credentials::read(path)?;
            Some(helper::resolve(credentials, reference, context).await?)
        }
        None => None,
    };
    let http = arguments.http.then(|| reference.registry().to_owned());
    Ok(RegistryConfig {
        credentials,
        http_hosts: http.into_iter().collect(),
        // Whoever types the name means that registry, wherever it is.
        private_hosts: vec![reference.registry_host().to_owned()],
        ca_pem,
        proxy: arguments.registry_proxy.clone(),
        max_layer_bytes: files::MAX_COMPONENT_BYTES,
        ..RegistryConfig::default()
    })
}

/// Pushes, and says how far it is to somebody who waits.
pub(super) async fn push(
    config: &RegistryConfig,
    reference: &ImageReference,
    artifact: &Artifact,
    console: &mut Console<'_>,
) -> Result<Digest, CliError> {
    let mut shown = None;
    let mut watcher = |progress: Progress| {
        let percent = progress.sent.saturating_mul(100) / progress.total.max(1);
        if shown.replace((progress.total, percent)) != Some((progress.total, percent)) {
            let (sent, total) = (mebibytes(progress.sent), mebibytes(progress.total));
            console.progress(&format!("Pushing... {sent} of {total} MiB ({percent} %)"));
        }
    };
    let pushed = push::push_watched(config, reference, artifact, &mut watcher).await;
    if shown.is_some() {
        console.end_progress();
    }
    Ok(pushed?)
}

/// With one decimal place.
fn mebibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) / (1024 * 1024);
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// The reference that names these bytes and no others: what to put into tasks.
pub(super) fn pinned(reference: &ImageReference, digest: Digest) -> String {
    format!(
        "{}/{}@{digest}",
        reference.registry(),
        reference.repository()
    )
}
