//! What a component asks for: its import list, held against what it is granted.
//!
//! The import list is the list of what a component asks for, because the linker of the toolchain leaves out
//! what the code does not call. [`Imports::check`] holds that list against the policy before anything is
//! instantiated, and names everything that is missing at once. Behind it stands a second fence: a component
//! is linked with the interfaces that it was granted and no others, so that one without grants would find no
//! `secrets` and no `reveal` to call.

use crate::error::{GuestText, RuntimeError};
use crate::grants::Grants;
use crate::interfaces::wasi::P1;
use crate::interfaces::{Grant, Interface, Set, hal, unversioned};

/// The imports that give a component something to call or to hold, read once when it is compiled.
pub(crate) struct Imports {
    names: Vec<String>,
    asked: Set,
    /// Whether there is one that no interface of this host serves.
    unknown: bool,
}

impl Imports {
    /// Of these names, with versions.
    pub(crate) fn new(names: Vec<String>) -> Self {
        let serving = || names.iter().map(|import| Set::serving(import));
        Self {
            asked: serving().fold(Set::default(), Set::and),
            unknown: serving().any(Set::is_empty),
            names,
        }
    }

    /// What the component is linked with.
    ///
    /// # Errors
    /// [`RuntimeError::ImportNotGranted`] with every import that is not granted.
    pub(crate) fn check(&self, grants: &Grants) -> Result<Set, RuntimeError> {
        let granted = Set::granted(grants.policy());
        if !self.unknown && granted.covers(self.asked) {
            return Ok(granted);
        }
        let mut refusal = Refusal::default();
        for import in &self.names {
            let serving = Set::serving(import);
            match serving.iter().next() {
                None => refusal.unknown(import),
                Some(interface) if !granted.covers(serving) => {
                    refusal.ungranted(import, interface);
                }
                Some(_) => {}
            }
        }
        Err(refusal.end(grants.policy().is_some()))
    }
}

/// The imports that a component is refused for, and what would help.
#[derive(Default)]
struct Refusal<'a> {
    all: Vec<&'a str>,
    /// Names that this host serves.
    ungranted: Vec<&'a str>,
    /// What would grant these.
    remedies: Vec<&'static str>,
    /// Names that this host knows, of interfaces that it does not have.
    unserved: Vec<&'a str>,
    /// How many others there are. Such a name may be the owner's own and stays out of the clear text.
    others: usize,
}

impl<'a> Refusal<'a> {
    fn ungranted(&mut self, import: &'a str, interface: &Interface) {
        self.all.push(import);
        self.ungranted.push(in_clear(import));
        if let Grant::Policy { remedy, .. } = interface.grant {
            self.remedies.push(remedy);
        }
    }

    fn unknown(&mut self, import: &'a str) {
        self.all.push(import);
        if is_published(import) {
            self.unserved.push(in_clear(import));
        } else {
            self.others += 1;
        }
    }

    fn end(self, has_policy: bool) -> RuntimeError {
        let mut reasons = Vec::new();
        if !self.ungranted.is_empty() {
            let names = self.ungranted.join(", ");
            reasons.push(match has_policy {
                true => format!(
                    "{names}, which its policy does not grant ({})",
                    self.remedies.join("; ")
                ),
                // What a plain component's own policy says makes no difference, so changing it is no help.
                false => format!(
                    "{names}, which no component gets without a policy that counts: encrypt it with one \
                     under a key of the key broker"
                ),
            });
        }
        let unserved = match (self.unserved.is_empty(), self.others) {
            (true, 0) => None,
            (true, 1) => Some("1 interface".to_owned()),
            (true, others) => Some(format!("{others} interfaces")),
            (false, 0) => Some(self.unserved.join(", ")),
            (false, 1) => Some(format!("{} and 1 other", self.unserved.join(", "))),
            (false, others) => Some(format!("{} and {others} others", self.unserved.join(", "))),
        };
        if let Some(names) = unserved {
            reasons.push(format!(
                "{names} that no policy can grant, because this host has no such interface: build the \
                 component without"
            ));
        }
        refusal(reasons.join("; "), &self.all)
    }
}

/// Checks that the imports of a core module, as `module.name`, are what core modules can have; `foreign` are
/// those that are not.
///
/// # Errors
/// [`RuntimeError::ImportNotGranted`] when there are any.
pub(crate) fn check_core_imports(foreign: &[String]) -> Result<(), RuntimeError> {
    let names: Vec<&str> = foreign.iter().map(String::as_str).collect();
    let count = names.len();
    if count == 0 {
        return Ok(());
    }
    let plural = if count == 1 { "" } else { "s" };
    Err(refusal(
        format!(
            "{count} import{plural} from elsewhere than `{P1}`, which is all that a core module can have: \
             build a component for more"
        ),
        &names,
    ))
}

fn refusal(reason: String, imports: &[&str]) -> RuntimeError {
    RuntimeError::ImportNotGranted {
        reason,
        imports: GuestText::new(imports.join(", ")),
    }
}

/// A name that this host knows, with its version when that is a plain one. What may follow the numbers of a
/// version, or large numbers, are the owner's words.
fn in_clear(import: &str) -> &str {
    let plain = |version: &str| {
        version.len() <= MAX_VERSION && version.bytes().all(|b| b.is_ascii_digit() || b == b'.')
    };
    match import.split_once('@') {
        Some((name, version)) if !plain(version) => name,
        _ => import,
    }
}

/// Longest version that is shown in clear, in bytes.
const MAX_VERSION: usize = 8;

/// Whether the name of an interface that this host does not have is a published one, which says nothing of
/// the component's owner.
fn is_published(import: &str) -> bool {
    let name = unversioned(import);
    hal::UNSERVED.contains(&name)
        || matches!(
            name,
            "wasi:http/incoming-handler" | "wasi:config/store" | "wasi:keyvalue/store"
        )
}

#[cfg(test)]
mod tests;
