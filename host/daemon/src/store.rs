//! The store of the outbox: the one that the settings ask for, and when it is opened.
//!
//! Where the settings name a sealing root, the store cannot be read or written before the key broker gave it. A start
//! that came by then could not be journaled: neither the task nor a refusal of it would outlive a crash, and the answers
//! that an earlier process left would wait behind it. So the daemon does not connect to its broker before, as it
//! does not without what the broker is to be shown (`mqtt::credentials`): no start is acknowledged, and the Manager sees
//! a proplet that is not there and sends its tasks elsewhere. The root is asked for until it comes; a key broker that
//! denies it today may give it tomorrow, and what lies sealed is lost by no waiting.
//!
//! It is asked for once in the life of a process. A root that is another one after that is found at the next start.

use proplet_executor::{CredentialError, Executor};
use proplet_outbox::{
    Journal, OpenError, Opening, Options, Recovered, Rerun, Sealing, SealingRoot,
};
use proplet_settings::Settings;
use proplet_types::ResourceUri;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tracing::{info, warn};

use crate::{DISK_PATIENCE, mqtt::backoff::Backoff};

/// The setting that names the root.
pub(crate) const ROOT: &str = "[outbox] sealing_root_resource";

/// The journal that the settings ask for, and its store, which is still to be opened.
pub(crate) fn journal(settings: &Settings) -> Result<(Journal, Option<Opening>), OpenError> {
    let outbox = &settings.outbox;
    let Some(path) = &outbox.path else {
        return Ok((Journal::in_memory(), None));
    };
    let (journal, opening) = Journal::open(Options {
        path: path.clone(),
        max_bytes: outbox.max_bytes,
        rerun: match outbox.rerun {
            proplet_settings::Rerun::Always => Rerun::Allowed,
            proplet_settings::Rerun::Never => Rerun::Never,
        },
        sealing: match outbox.sealing_root {
            None => Sealing::Clear,
            Some(_) => Sealing::Awaited,
        },
        patience: DISK_PATIENCE,
    })?;
    Ok((journal, Some(opening)))
}

/// Opens the store, once its sealing root is there if it has one, however long that takes: what an earlier process
/// left.
///
/// # Errors
/// [`OpenError`]: what only an operator can change.
pub(crate) async fn opened(
    opening: Option<Opening>,
    root: Option<&ResourceUri>,
    journal: &Journal,
    executor: &Executor,
) -> Result<UnboundedReceiver<Recovered>, OpenError> {
    let Some(opening) = opening else {
        warn!(
            "Accepted tasks and results are in memory only, and a restart forgets them: set [outbox] path"
        );
        return Ok(unbounded_channel().1);
    };
    if let Some(uri) = root {
        journal.unlock(fetched(uri, journal, executor).await);
        info!("The key broker gave the sealing root of the outbox");
    }
    opening.done().await
}

/// Asks for the root until it is there.
async fn fetched(uri: &ResourceUri, journal: &Journal, executor: &Executor) -> SealingRoot {
    let mut backoff = Backoff::new();
    loop {
        let bytes = executor.credential(ROOT, uri).await;
        let error = match bytes.and_then(|bytes| root(uri, &bytes)) {
            Ok(root) => return root,
            Err(error) => error,
        };
        journal.stay_locked(error.code);
        let wait = backoff.wait();
        warn!(
            code = %error.code,
            "No sealing root for the outbox: {error}. No task is taken without it. Next attempt in {wait:.1?}"
        );
        tokio::time::sleep(wait).await;
    }
}

fn root(uri: &ResourceUri, bytes: &[u8]) -> Result<SealingRoot, CredentialError> {
    SealingRoot::new(bytes).map_err(|error| CredentialError::invalid(ROOT, uri, &error.to_string()))
}

#[cfg(test)]
mod tests {
    use proplet_types::Code;

    use super::*;

    #[test]
    fn a_root_of_another_length_is_named_and_not_repeated() {
        let uri = "kbs:///p/host-credential/outbox".parse().unwrap();
        assert!(root(&uri, &[7; 32]).is_ok());
        for bytes in [&b""[..], b"hunter2", &[b'x'; 31], &[b'x'; 1025]] {
            let error = root(&uri, bytes).err().unwrap();
            assert_eq!((error.setting, error.code), (ROOT, Code::CredentialInvalid));
            let words = error.to_string();
            assert!(words.contains("kbs:///p/host-credential/outbox"), "{words}");
            assert!(words.contains("32 to 1024"), "{words}");
            assert!(
                !words.contains("hunter2") && !words.contains("xxx"),
                "{words}"
            );
        }
    }
}
