//! `[outbox]` and `[health]`: what outlives the process, and whom it tells how it is.

use std::net::SocketAddr;

use proplet_types::ResourceUri;

use crate::{
    document,
    error::SettingsError,
    sections::{Outbox, Rerun},
};

/// The smallest bound that leaves room for the tasks of a busy proplet.
const LEAST_BYTES: u64 = 1024 * 1024;

pub(crate) fn checked_outbox(
    document: document::Outbox,
    sealing_root: Option<ResourceUri>,
) -> Result<Outbox, SettingsError> {
    let wrong = |name, why: &str| Err(SettingsError::value("outbox", name, why));
    let rerun = match document.rerun.as_deref() {
        None | Some("always") => Rerun::Always,
        Some("never") => Rerun::Never,
        Some(_) => return wrong("rerun", "must be \"always\" or \"never\""),
    };
    if document.path.is_none() {
        if rerun == Rerun::Never {
            return wrong(
                "rerun",
                "\"never\" needs a record of what ran that outlives a restart: set path too",
            );
        }
        if sealing_root.is_some() {
            return wrong(
                "sealing_root_resource",
                "it seals what is on disk, and there is no place: set path too",
            );
        }
        if document.plain_results {
            return wrong(
                "plain_results",
                "it says what is on disk, and there is no place: set path too",
            );
        }
    }
    if document
        .path
        .as_ref()
        .is_some_and(|path| path.as_os_str().is_empty())
    {
        return wrong("path", "it is empty: name a folder, or leave it out");
    }
    let max_bytes = document.max_bytes.unwrap_or(256 * 1024 * 1024);
    if max_bytes < LEAST_BYTES {
        return wrong("max_bytes", "must be at least 1048576");
    }
    Ok(Outbox {
        path: document.path,
        max_bytes,
        plain_results: document.plain_results,
        rerun,
        sealing_root,
    })
}

pub(crate) fn checked_health(
    document: &document::Health,
) -> Result<Option<SocketAddr>, SettingsError> {
    let Some(text) = &document.listen else {
        return Ok(None);
    };
    match text.parse() {
        Ok(address) => Ok(Some(address)),
        Err(_) => Err(SettingsError::value(
            "health",
            "listen",
            "write an address and a port, for instance \"127.0.0.1:9092\"",
        )),
    }
}
