//! `proplet image encrypt`: from a component and a policy to an encrypted image.
//!
//! The order is the point. Everything that can be wrong with the input is found first. Then the new key
//! is written, then it goes to the key broker, and the image comes last: there is never an image whose key
//! was lost, and never one in a registry whose key the broker does not have.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use proplet_component::{Component, Policy};
use proplet_image::{Artifact, encrypt, layout};
use proplet_types::{Digest, ImageKeyTypes, ResourceUri};
use serde_json::json;
use zeroize::Zeroizing;

use super::{
    arguments::{Encrypt, KeyChoice},
    blocking::blocking,
    component::Description,
    console::Console,
    context::Context,
    error::CliError,
    files,
    kbs_policy::{self, Granted},
    key_broker, policy, registry,
};

/// Name of an image in a folder when none is given.
const DEFAULT_NAME: &str = "latest";

pub(super) async fn run(
    arguments: Encrypt,
    context: &Context,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let types = &arguments.types.image_key_types;
    if !types.may_decrypt(&arguments.key_id) {
        return Err(CliError::usage(format!(
            "--key-id {}: hosts let resources of type {types} decrypt images and no others; choose such \
             a key id, or give --image-key-types as the hosts' settings have it",
            arguments.key_id
        )));
    }
    let broker = match &arguments.kbs_url {
        Some(url) => {
            let administrator = &arguments.administrator;
            Some(key_broker::client(
                url,
                &arguments.way,
                administrator,
                context,
            )?)
        }
        None => None,
    };
    let target = match &arguments.target.push {
        Some(reference) => Some((
            reference.clone(),
            registry::config(&arguments.registry, reference, context).await?,
        )),
        None => None,
    };
    let policy = policy::compose(arguments.policy.as_deref(), &arguments.recipients)?;
    let plain = Plain::read(&arguments.component, policy, types)?;
    let key = Key::of(&arguments.key)?;
    let key_advice = key.advice();

    let made = async {
        if let Some(broker) = &broker {
            console.status("Uploading the key...");
            broker
                .set_resource(&arguments.key_id, key.bytes.as_slice())
                .await?;
        }
        console.status("Encrypting...");
        let (artifact, plain) = plain.encrypt(key, arguments.key_id.clone()).await?;
        let target = match (target, arguments.target.layout) {
            (Some((reference, config)), _) => {
                console.status("Pushing...");
                let digest = registry::push(&config, &reference, &artifact, console).await?;
                Target::Registry(registry::pinned(&reference, digest))
            }
            (None, Some(folder)) => {
                let (name, to, artifact) = (arguments.name, folder.clone(), artifact.clone());
                let name = name.unwrap_or_else(|| DEFAULT_NAME.to_owned());
                blocking(move || Ok(layout::write(&to, &name, &artifact)?)).await?;
                Target::Folder(folder)
            }
            (None, None) => return Err(CliError::usage("give --layout or --push")),
        };
        Ok((artifact, plain, target))
    }
    .await;
    let (artifact, plain, target) = made.map_err(|error: CliError| match &key_advice {
        Some(advice) => error.and(advice),
        None => error,
    })?;

    let kbs_policy = arguments.print_kbs_policy.map(|way| {
        let granted = Granted {
            key_id: &arguments.key_id,
            image: artifact.digest(),
            resources: &plain.resources,
            component: plain.component,
            tees: &arguments.kbs_policy_tee,
        };
        kbs_policy::text(way, &granted)
    });
    let key_file = arguments.key.key_out;
    let uploaded = broker.is_some();
    let image = artifact.digest();
    if console.json {
        console.value(&json!({
            "component_digest": plain.component,
            "policy_digest": plain.policy,
            "image_digest": image.to_string(),
            "key_id": arguments.key_id.to_string(),
            "key_file": key_file,
            "key_uploaded": uploaded,
            "layout": target.folder(),
            "image": target.pinned(),
            "kbs_policy": kbs_policy,
        }))?;
        return Ok(());
    }
    let mut text = format!("component  {}\n", plain.component);
    match &plain.policy {
        Some(digest) => text.push_str(&format!("policy     {digest}\n")),
        None => {
            text.push_str("policy     none: no secrets, and the host's settings name the readers\n")
        }
    }
    text.push_str(&format!(
        "image      {image}\nkey id     {}\n",
        arguments.key_id
    ));
    if let Some(path) = key_file {
        text.push_str(&format!("key        {}: keep it secret\n", path.display()));
    }
    text.push_str(if uploaded {
        "key broker has the key\n"
    } else {
        "key broker not told: put the key under its id before the image is run\n"
    });
    text.push_str(&match &target {
        Target::Folder(folder) => format!("written to {}\n", folder.display()),
        Target::Registry(pinned) => format!("pushed as  {pinned}\n"),
    });
    match kbs_policy {
        None => console.text(&text)?,
        Some(policy) => {
            console.note(text.trim_end());
            console.text(&policy)?;
        }
    }
    Ok(())
}

/// Where the image went.
enum Target {
    Folder(PathBuf),
    Registry(String),
}

impl Target {
    fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder) => Some(folder),
            Self::Registry(_) => None,
        }
    }

    fn pinned(&self) -> Option<&str> {
        match self {
            Self::Folder(_) => None,
            Self::Registry(pinned) => Some(pinned),
        }
    }
}

/// A component with its policy in it.
struct Plain {
    component: Component,
    digests: Digests,
}

/// What to expect of runs of it.
struct Digests {
    component: Digest,
    policy: Option<Digest>,
    /// What it asks the key broker for.
    resources: Vec<ResourceUri>,
}

impl Plain {
    fn read(path: &Path, policy: Option<String>, types: &ImageKeyTypes) -> Result<Self, CliError> {
        let mut wasm = files::read("component", path, files::MAX_COMPONENT_BYTES)?;
        let refused = |error: &dyn std::fmt::Display| CliError::input("component", path, error);
        if let Some(policy) = policy {
            let embedded = Policy::embed(&wasm, policy.as_bytes());
            wasm = Zeroizing::new(embedded.map_err(|error| refused(&error))?);
        }
        let component = Component::of(wasm);
        let description = Description::of(&component).map_err(|error| refused(&error.words()))?;
        if let Some(embedded) = description.policy() {
            policy::keep_apart(&embedded.policy, types)
                .map_err(|words| refused(&format!("its policy's {words}")))?;
        }
        let digests = Digests {
            component: component.digest(),
            policy: description.policy().map(|embedded| embedded.digest),
            resources: description
                .policy()
                .map(|embedded| kbs_policy::resources(&embedded.policy))
                .unwrap_or_default(),
        };
        Ok(Self { component, digests })
    }

    async fn encrypt(self, key: Key, kid: ResourceUri) -> Result<(Artifact, Digests), CliError> {
        let Self { component, digests } = self;
        let artifact = blocking(move || {
            let mut wasm = component.into_bytes();
            let plain = Artifact::wasm(Bytes::from(std::mem::take(&mut *wasm)))?;
            Ok(encrypt::encrypt(&plain, key.bytes.as_slice(), &kid)?)
        })
        .await?;
        Ok((artifact, digests))
    }
}

/// The key-encryption key. A new one is on the disk before it is used.
struct Key {
    bytes: Zeroizing<Vec<u8>>,
    new_file: Option<PathBuf>,
}

impl Key {
    fn of(choice: &KeyChoice) -> Result<Self, CliError> {
        match (&choice.key, &choice.key_out) {
            (Some(path), _) => Ok(Self {
                bytes: files::read_image_key(path)?,
                new_file: None,
            }),
            (None, Some(path)) => {
                let bytes = Zeroizing::new(encrypt::random_key()?.to_vec());
                files::write_secret(path, &bytes)?;
                Ok(Self {
                    bytes,
                    new_file: Some(path.clone()),
                })
            }
            (None, None) => Err(CliError::usage("give --key or --key-out")),
        }
    }

    /// What to do when something fails after a key was made.
    fn advice(&self) -> Option<String> {
        let path = self.new_file.as_ref()?.display();
        Some(format!(
            "the new key is in {path}: run again with `--key {path}`"
        ))
    }
}
