//! Components of the operator that the proplet asks about tasks (`wit/proplet-plugin`).
//!
//! Which they are is in the settings, by the digest of their bytes: a plugin that was exchanged, or that is none, keeps
//! the proplet from starting, because a policy that is not there must not pass for one that allows everything.
//!
//! A plugin is trusted with the decision and with what it is told, and with nothing else. Each call has an instance of
//! its own, which has no files, no network and no environment, so nothing of one task is there for the next; and
//! bounds of instructions, memory and time, so that one which spins costs its own task a moment and no other task
//! anything. `authorize` fails closed; the other calls are notices, and what fails there is logged.
#![deny(missing_docs)]

mod call;
mod error;
mod info;
mod values;

use std::{path::Path, sync::Arc};

use proplet_types::Digest;
use tracing::warn;

use self::call::{Function, Plugin};
pub use self::{
    error::{NotAuthorized, PluginError},
    info::{Ended, TaskInfo},
};

/// Largest plugin, in bytes.
pub const MAX_BYTES: u64 = 64 << 20;

/// The plugins of a proplet, in the order in which they are asked. Clones share them.
#[derive(Clone, Default)]
pub struct Plugins(Arc<[Plugin]>);

impl Plugins {
    /// Reads the plugins at these paths, checks them against their digests and compiles them.
    ///
    /// # Errors
    /// [`PluginError`].
    pub fn load<'a>(
        plugins: impl IntoIterator<Item = (&'a Path, Digest)>,
    ) -> Result<Self, PluginError> {
        let plugins: Vec<_> = plugins.into_iter().collect();
        if plugins.is_empty() {
            return Ok(Self::default());
        }
        let engine = call::engine()?;
        let plugins = plugins.into_iter();
        let loaded = plugins.map(|(path, digest)| Plugin::load(&engine, path, digest));
        let loaded: Result<Vec<_>, _> = loaded.collect();
        Ok(Self(loaded?.into()))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Asks each plugin whether a task may run; the first that says no decides.
    ///
    /// # Errors
    /// [`NotAuthorized`]: it says no, or it fails.
    pub async fn authorize(&self, task: &TaskInfo) -> Result<(), NotAuthorized> {
        for plugin in self.0.iter() {
            let name = || plugin.name.clone();
            let answer = plugin.call(Function::Authorize, task.into()).await;
            let answer = answer.map_err(|error| NotAuthorized::Failed {
                plugin: name(),
                why: error.to_string(),
            })?;
            let Some((allow, reason)) = answer.as_ref().and_then(values::decision) else {
                return Err(NotAuthorized::Failed {
                    plugin: name(),
                    why: "it gave no decision".to_owned(),
                });
            };
            if !allow {
                return Err(NotAuthorized::Denied {
                    plugin: name(),
                    reason,
                });
            }
        }
        Ok(())
    }

    /// What the plugins add to a task's environment: later ones see what earlier ones added, and what they add
    /// goes before it. Nothing is added to an encrypted task, and no plugin is asked.
    pub async fn enrich(&self, task: &mut TaskInfo) {
        if task.encrypted {
            return;
        }
        for plugin in self.0.iter() {
            let answer = match plugin.call(Function::Enrich, (&*task).into()).await {
                Ok(answer) => answer,
                Err(error) => {
                    warn!(
                        "The plugin {} adds nothing to task {}: {error}",
                        plugin.name, task.id
                    );
                    continue;
                }
            };
            match answer.as_ref().and_then(values::environment) {
                Some(added) => task.env.extend(added),
                None => warn!(
                    "The plugin {} adds nothing to task {}: it gave no environment, or one that is too large",
                    plugin.name, task.id
                ),
            }
        }
    }

    /// Tells all that a task begins.
    pub async fn started(&self, task: &TaskInfo) {
        for plugin in self.0.iter() {
            if let Err(error) = plugin.call(Function::OnTaskStart, task.into()).await {
                warn!(
                    "The plugin {} missed the start of task {}: {error}",
                    plugin.name, task.id
                );
            }
        }
    }

    /// Tells all that a task ended.
    pub async fn completed(&self, task: &Ended) {
        for plugin in self.0.iter() {
            if let Err(error) = plugin.call(Function::OnTaskComplete, task.into()).await {
                warn!(
                    "The plugin {} missed the end of task {}: {error}",
                    plugin.name, task.task_id
                );
            }
        }
    }
}

impl std::fmt::Debug for Plugins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.0.iter().map(|plugin| &plugin.name);
        f.debug_list().entries(names).finish()
    }
}
