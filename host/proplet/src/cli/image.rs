//! `proplet image push` and `proplet image inspect`.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use bytes::Bytes;
use proplet_image::{
    Artifact, ImageReference, KeySource, KeySourceError, Manifest, NamedKbs, PullPolicy, Puller,
    RegistryConfig, Wasm, inspect as describe, layout, open_encrypted, open_plain,
};
use proplet_types::ResourceUri;
use serde_json::json;
use zeroize::Zeroizing;

use super::{
    arguments::{Inspect, Push},
    blocking::blocking,
    component::Description,
    console::Console,
    context::Context,
    error::CliError,
    files, registry,
};

/// `proplet image push`: nothing is encrypted on the way, only moved.
pub(super) async fn push(
    arguments: Push,
    context: &Context,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let (registry, reference) = (&arguments.registry, &arguments.reference);
    let config = registry::config(registry, reference, context).await?;
    let artifact = if is_layout(&arguments.source)? {
        from_layout(arguments.source, arguments.name).await?
    } else {
        let mut wasm = files::read("component", &arguments.source, files::MAX_COMPONENT_BYTES)?;
        Artifact::wasm(Bytes::from(std::mem::take(&mut *wasm)))?
    };
    let encrypted = artifact.manifest()?.encryption.is_some();
    if !encrypted && !console.json {
        console.note("warning: this image is not encrypted; whoever reads the registry reads it");
    }
    console.status("Pushing...");
    let digest = registry::push(&config, &arguments.reference, &artifact, console).await?;
    let pinned = registry::pinned(&arguments.reference, digest);
    if console.json {
        let digest = digest.to_string();
        console.value(&json!({"image_digest": digest, "image": pinned, "encrypted": encrypted}))?;
    } else {
        console.text(&format!("image      {digest}\npushed as  {pinned}"))?;
    }
    Ok(())
}

/// `proplet image inspect`: what everybody can see, and with the key what the owner can.
pub(super) async fn inspect(
    arguments: Inspect,
    context: &Context,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let key = match &arguments.key {
        Some(path) => Some(OneKey(files::read_image_key(path)?)),
        None => None,
    };
    let path = PathBuf::from(&arguments.image);
    let (manifest, wasm) = if is_layout(&path)? {
        inspect_layout(path, arguments.name, key).await?
    } else if is_component(&path) {
        return Err(CliError::input(
            "image",
            &path,
            "it is a WebAssembly file and no image: make one with `proplet image push` or `proplet \
             image encrypt`",
        ));
    } else {
        let reference: ImageReference = arguments.image.parse()?;
        let config = registry::config(&arguments.registry, &reference, context).await?;
        console.status("Asking the registry...");
        inspect_registry(config, &reference, key).await?
    };
    let component = wasm
        .map(|wasm| Description::of(&wasm.component))
        .transpose()?;
    let inspection = describe::inspect(&manifest);
    if console.json {
        let mut value = serde_json::to_value(&inspection).unwrap_or_default();
        if let (Some(members), Some(component)) = (value.as_object_mut(), component) {
            members.insert("component".to_owned(), component.to_json());
        }
        console.value(&value)?;
    } else {
        let component = component
            .map(|component| component.to_text())
            .unwrap_or_default();
        console.text(&format!("{inspection}{component}"))?;
    }
    Ok(())
}

async fn inspect_layout(
    path: PathBuf,
    name: Option<String>,
    key: Option<OneKey>,
) -> Result<(Manifest, Option<Wasm>), CliError> {
    let artifact = from_layout(path, name).await?;
    let manifest = artifact.manifest()?;
    let wasm = match key {
        None if manifest.encryption.is_some() => None,
        None => {
            Some(blocking(move || Ok(open_plain(&artifact, files::MAX_COMPONENT_BYTES)?)).await?)
        }
        Some(key) => {
            let policy = owners();
            let limit = files::MAX_COMPONENT_BYTES;
            let handle = tokio::runtime::Handle::current();
            let open =
                move || Ok(handle.block_on(open_encrypted(&artifact, &key, &policy, limit))?);
            Some(blocking(open).await?)
        }
    };
    Ok((manifest, wasm))
}

async fn inspect_registry(
    config: RegistryConfig,
    reference: &ImageReference,
    key: Option<OneKey>,
) -> Result<(Manifest, Option<Wasm>), CliError> {
    let puller = Puller::new(config)?;
    let manifest = puller.resolve(reference).await?;
    let wasm = match key {
        None if manifest.encryption.is_some() => None,
        None => Some(puller.pull_plain(&manifest).await?),
        Some(key) => Some(puller.pull_encrypted(&manifest, &key, &owners()).await?),
    };
    Ok((manifest, wasm))
}

/// Whether this is an image on the disk: a folder, or an archive by its first bytes. A file that is
/// neither can still be a component, and a name that is no file the reference of an image.
fn is_layout(path: &Path) -> Result<bool, CliError> {
    Ok(path.is_dir() || (path.is_file() && layout::is_archive(path)?))
}

fn is_component(path: &Path) -> bool {
    let mut magic = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    read.is_ok() && magic == *b"\0asm"
}

async fn from_layout(path: PathBuf, name: Option<String>) -> Result<Artifact, CliError> {
    blocking(move || {
        let limit = files::MAX_COMPONENT_BYTES;
        Ok(layout::read(&path, name.as_deref(), limit)?)
    })
    .await
}

/// Whoever has the key in a file decides about it, whatever key broker the image names.
fn owners() -> PullPolicy {
    PullPolicy {
        allow_a256ctr: true,
        expected_key: None,
        kbs: NamedKbs::Any,
        key_types: None,
    }
}

/// The key that was given, under every id.
struct OneKey(Zeroizing<Vec<u8>>);

#[async_trait]
impl KeySource for OneKey {
    async fn key_encryption_key(
        &self,
        _: &ResourceUri,
    ) -> Result<Zeroizing<Vec<u8>>, KeySourceError> {
        Ok(self.0.clone())
    }
}
