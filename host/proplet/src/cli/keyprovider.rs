//! `proplet keyprovider`: the keys of layers, wrapped for `skopeo` on the machine that encrypts.
//!
//! What comes out is what `image encrypt` writes, with the layers and media types that `skopeo` makes. The order
//! is the same too: the key broker has a key before anything is wrapped under it, so there is no image whose
//! key was lost. `skopeo` asks once for each layer, so a key that was made for a key id is that id's for as
//! long as this runs, and no id gets a second one.
//!
//! Whoever connects is answered, so what this may store at a key broker is named when it starts: without a list of
//! key ids, any program on the machine could put a key of its own in the place of every image key there.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use proplet_agent::{KeyChest, KeyWrapper, ListenError, Listener, key_provider::WrapParameters};
use proplet_daemon::termination;
use proplet_image::encrypt;
use proplet_kbs::admin::AdminClient;
use proplet_types::{Code, Digest, ImageKeyTypes, ResourceUri};
use serde_json::json;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::{
    arguments::KeyProvider, blocking::blocking, console::Console, context::Context,
    error::CliError, files, key_broker,
};

/// Most key ids in one run.
const MAX_KEYS: usize = 1024;
/// How much longer than the key broker one wrapping may take.
const GRACE: Duration = Duration::from_secs(10);

/// Serves until SIGTERM or SIGINT.
pub(super) async fn run(
    arguments: KeyProvider,
    context: &Context,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let broker = match &arguments.kbs_url {
        Some(url) => Some(key_broker::client(
            url,
            &arguments.way,
            &arguments.administrator,
            context,
        )?),
        None => None,
    };
    let patience = Duration::from_secs(arguments.way.kbs_timeout) + GRACE;
    let uploads = broker.is_some();
    let chest = Chest {
        types: arguments.types.image_key_types,
        allowed: arguments.key_ids.into_iter().collect(),
        broker,
        keys: Mutex::default(),
    };
    let ended = termination()
        .map_err(|error| CliError::new(Code::HostFailed, format!("no signals: {error}")))?;
    let listener = Listener::bind(arguments.listen).await?;
    let address = listener.address();
    let mut serving = listener.serve(Arc::new(KeyWrapper::new(Arc::new(chest))), patience);
    if console.json {
        console.value(&json!({ "address": address.to_string(), "key_uploaded": uploads }))?;
    } else {
        console.text(&format!(
            "wrapping keys on {address} until a signal; skopeo finds it by a file that OCICRYPT_KEYPROVIDER_CONFIG \
             names:\n{}\n",
            json!({ "key-providers": { "attestation-agent": { "grpc": address.to_string() } } })
        ))?;
    }
    tokio::select! {
        () = ended => serving.stop().await,
        () = serving.ended() => {
            return Err(CliError::new(Code::HostFailed, "the key provider ended by itself"));
        }
    }
    Ok(())
}

/// Keys of files, new ones, and what the key broker has of them.
struct Chest {
    types: ImageKeyTypes,
    /// The ids that keys are wrapped under. Where it is empty, there is no key broker, and every id is.
    allowed: BTreeSet<ResourceUri>,
    broker: Option<AdminClient>,
    keys: Mutex<Keys>,
}

#[derive(Default)]
struct Keys {
    /// New keys.
    made: BTreeMap<ResourceUri, Zeroizing<Vec<u8>>>,
    /// What stands under a key id. By digest: this list needs no keys.
    known: BTreeMap<ResourceUri, Digest>,
}

type Refused = (Code, String);

#[async_trait]
impl KeyChest for Chest {
    async fn key(&self, parameters: &WrapParameters) -> Result<Zeroizing<Vec<u8>>, Refused> {
        let id = &parameters.key_id;
        if !self.types.may_decrypt(id) {
            let words = format!(
                "keyid {id}: hosts let resources of type {} decrypt images and no others; choose such a key id, or \
                 start with --image-key-types as the hosts' settings have it",
                self.types
            );
            return Err((Code::ImageKeyType, words));
        }
        if (self.broker.is_some() || !self.allowed.is_empty()) && !self.allowed.contains(id) {
            let words = format!(
                "keyid {id}: this program was started for other key ids; choose one of those, or start it with \
                 --key-id {id}"
            );
            return Err((Code::Input, words));
        }
        // Layers of one image come one after the other, and the second finds what the first left.
        let mut keys = self.keys.lock().await;
        let key = match &parameters.key_path {
            Some(path) => of_file(path.clone()).await?,
            None => self.made(&keys, id)?,
        };
        let digest = Digest::of(&key);
        match keys.known.get(id) {
            Some(known) if *known == digest => return Ok(key),
            Some(_) => {
                let words = format!(
                    "another key was used for {id} just now, and an id has one key: name another keyid"
                );
                return Err((Code::Input, words));
            }
            None if keys.known.len() >= MAX_KEYS => {
                let words = format!("{MAX_KEYS} key ids were used: start this program again");
                return Err((Code::Input, words));
            }
            None => {}
        }
        if let Some(broker) = &self.broker {
            let uploaded = broker.set_resource(id, &key).await;
            uploaded.map_err(|error| (error.code(), error.to_string()))?;
        }
        keys.known.insert(id.clone(), digest);
        if parameters.key_path.is_none() {
            keys.made.insert(id.clone(), key.clone());
        }
        Ok(key)
    }
}

impl Chest {
    /// The key that was made for this id, or a new one.
    fn made(&self, keys: &Keys, id: &ResourceUri) -> Result<Zeroizing<Vec<u8>>, Refused> {
        if let Some(key) = keys.made.get(id) {
            return Ok(key.clone());
        }
        if self.broker.is_none() {
            let words = "keypath is missing: a new key would be lost, because no key broker is named to keep it; \
                         name the key's file, or start with --kbs-url";
            return Err((Code::Input, words.to_owned()));
        }
        let key = encrypt::random_key().map_err(|error| (error.code(), error.to_string()))?;
        Ok(Zeroizing::new(key.to_vec()))
    }
}

async fn of_file(path: PathBuf) -> Result<Zeroizing<Vec<u8>>, Refused> {
    blocking(move || files::read_image_key_of_others(&path))
        .await
        .map_err(|error| (error.code(), error.words().to_owned()))
}

impl From<ListenError> for CliError {
    fn from(error: ListenError) -> Self {
        let code = match error {
            ListenError::NotLoopback(_) => Code::Usage,
            ListenError::Bind { .. } => Code::HostFailed,
        };
        Self::new(code, error.to_string())
    }
}
