//! What a component may import and ask for.
//!
//! The import list of a component is the list of what it asks for, because the linker of the toolchain
//! leaves out what the code does not call. [`Grants::check_imports`] holds that list against the policy
//! before anything is instantiated, and names everything that is missing at once. Behind it stands a second
//! fence: the engine's linker for a component without grants has no `secrets` and no `reveal` at all.

use std::sync::Arc;

use crate::error::{GuestText, RuntimeError};
use crate::interfaces::{Set, unversioned};
use crate::policy::Policy;

/// What a component may import and ask for: what its policy says, when it has one that counts.
///
/// A plain component gets [`Grants::plain`], whatever stands in its policy section.
#[derive(Clone, Debug)]
pub struct Grants {
    policy: Option<Arc<Policy>>,
    interfaces: Set,
}

impl Grants {
    /// Of a component without a policy that counts: its own identity, inputs and result, no secrets, any
    /// export.
    pub fn plain() -> Self {
        Self {
            policy: None,
            interfaces: Set::granted(None),
        }
    }

    /// Of a component whose policy counts, because it was decrypted under a key that the key broker
    /// released. Without `exports` in the policy only the default export may be invoked: the orchestrator
    /// chooses the export, and the owner of the component did not say that it may.
    pub fn from_policy(policy: &Policy) -> Self {
        Self {
            interfaces: Set::granted(Some(policy)),
            policy: Some(Arc::new(policy.clone())),
        }
    }

    /// The policy that counts.
    pub(crate) fn policy(&self) -> Option<&Policy> {
        self.policy.as_deref()
    }

    /// The interfaces that may be imported.
    pub(crate) fn interfaces(&self) -> Set {
        self.interfaces
    }

    /// Whether an export may be invoked. `names` says whether an entry of the policy means it.
    pub(crate) fn may_invoke(&self, is_default: bool, names: impl Fn(&str) -> bool) -> bool {
        match self.policy() {
            None => true,
            Some(policy) => match &policy.exports {
                None => is_default,
                Some(entries) => entries.iter().any(|entry| names(entry)),
            },
        }
    }

    /// Checks the imports of a component.
    ///
    /// # Errors
    /// [`RuntimeError::ImportNotGranted`] with every import that is not granted.
    pub(crate) fn check_imports(&self, imports: &Imports) -> Result<(), RuntimeError> {
        if !imports.unknown && self.interfaces.covers(imports.asked) {
            return Ok(());
        }
        refuse(imports.names.iter().map(String::as_str).filter(|import| {
            let serving = Set::serving(import);
            serving.is_empty() || !self.interfaces.covers(serving)
        }))
    }
}

/// What a component asks for: its import list, read once when it is compiled.
pub(crate) struct Imports {
    names: Vec<String>,
    asked: Set,
    /// Whether there is one that no interface of this host serves.
    unknown: bool,
}

impl Imports {
    /// Of the imports that give a component something to call or to hold.
    pub(crate) fn new(names: Vec<String>) -> Self {
        let serving = || names.iter().map(|import| Set::serving(import));
        Self {
            asked: serving().fold(Set::default(), Set::and),
            unknown: serving().any(Set::is_empty),
            names,
        }
    }
}

/// The error that names these imports; none when there is none.
pub(crate) fn refuse<'a>(imports: impl Iterator<Item = &'a str>) -> Result<(), RuntimeError> {
    let missing: Vec<&str> = imports.collect();
    if missing.is_empty() {
        return Ok(());
    }
    // A name that this host does not know may be the owner's own and stays out of the clear text.
    let known: Vec<&str> = missing
        .iter()
        .copied()
        .filter(|import| is_public(import))
        .collect();
    let others = missing.len() - known.len();
    let mut named = known.join(", ");
    if others > 0 {
        let joint = if named.is_empty() { "" } else { " and " };
        let plural = if others == 1 { "" } else { "s" };
        named = format!("{named}{joint}{others} other{plural}");
    }
    Err(RuntimeError::ImportNotGranted {
        named,
        imports: GuestText::new(missing.join(", ")),
    })
}

/// Whether the name is a published one, which says nothing of the component's owner.
fn is_public(import: &str) -> bool {
    matches!(
        unversioned(import),
        "propeller:confidential/secrets"
            | "propeller:confidential/reveal"
            | "wasi:http/incoming-handler"
            | "wasi:config/store"
            | "wasi:keyvalue/store"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&str; 5] = [
        "propeller:confidential/attestation@0.1.0",
        "propeller:confidential/inputs@0.1.0",
        "propeller:confidential/results@0.1.0",
        "propeller:confidential/secrets@0.1.0",
        "propeller:confidential/reveal@0.1.0",
    ];

    fn policy(toml: &str) -> Grants {
        Grants::from_policy(&Policy::parse(format!("version = 1\n{toml}").as_bytes()).unwrap())
    }

    fn imports(names: &[&str]) -> Imports {
        Imports::new(names.iter().map(|&name| name.to_owned()).collect())
    }

    fn refused(grants: &Grants, names: &[&str]) -> (String, String) {
        let error = grants.check_imports(&imports(names)).unwrap_err();
        assert_eq!(error.code(), "import-not-granted");
        (error.to_string(), error.detail().unwrap().to_owned())
    }

    #[test]
    fn a_plain_component_gets_no_secrets() {
        let grants = Grants::plain();
        grants.check_imports(&imports(&ALL[..3])).unwrap();
        let (clear, all) = refused(&grants, &ALL);
        assert_eq!(all, format!("{}, {}", ALL[3], ALL[4]));
        assert!(clear.contains(ALL[3]) && clear.contains(ALL[4]), "{clear}");
    }

    #[test]
    fn reveal_needs_a_secret_that_may_be_revealed() {
        let held = policy("[[secrets]]\nuri = \"kbs:///a/b/c\"");
        held.check_imports(&imports(&ALL[..4])).unwrap();
        assert_eq!(refused(&held, &ALL).1, ALL[4]);
        let shown = policy("[[secrets]]\nuri = \"kbs:///a/b/c\"\nreveal = true");
        shown.check_imports(&imports(&ALL)).unwrap();
    }

    #[test]
    fn a_policy_without_secrets_grants_no_secrets() {
        assert_eq!(
            refused(&policy(""), &ALL).1,
            format!("{}, {}", ALL[3], ALL[4])
        );
    }

    #[test]
    fn wasi_is_granted_closed() {
        let grants = Grants::plain();
        grants
            .check_imports(&imports(&[
                "wasi:cli/environment@0.2.6",
                "wasi:io/streams@0.2.0",
                "wasi:clocks/wall-clock@0.2.6",
                "wasi:random/random@0.2.6",
                "wasi:filesystem/preopens@0.2.6",
                "wasi:sockets/tcp@0.2.6",
                "wasi:http/types@0.2.4",
                "wasi:http/outgoing-handler@0.2.0",
            ]))
            .unwrap();
        for import in [
            "wasi:http/incoming-handler@0.2.0",
            "wasi:keyvalue/store@0.2.0",
            "wasi",
            "run",
            "",
        ] {
            refused(&grants, &[import]);
        }
    }

    #[test]
    fn names_of_the_owner_stay_out_of_the_clear_text() {
        let names = [
            "acme:patients/index@1.0.0",
            "wasi:keyvalue/store@0.2.0",
            "acme:x/y",
        ];
        let (clear, all) = refused(&Grants::plain(), &names);
        assert!(
            clear.contains("wasi:keyvalue/store@0.2.0 and 2 others"),
            "{clear}"
        );
        assert!(!clear.contains("acme"), "{clear}");
        assert_eq!(all, names.join(", "));
    }

    #[test]
    fn a_version_cannot_hide_the_owners_words() {
        let (clear, _) = refused(&Grants::plain(), &["acme:sockets/tcp@0.2.6"]);
        assert!(!clear.contains("acme"), "{clear}");
    }

    #[test]
    fn exports_are_the_owners_choice() {
        let is = |name: &'static str| move |entry: &str| entry == name;
        assert!(Grants::plain().may_invoke(false, is("x")));
        assert!(policy("").may_invoke(true, is("run")));
        assert!(!policy("").may_invoke(false, is("x")));
        let named = policy("exports = [\"x\"]");
        assert!(named.may_invoke(false, is("x")));
        assert!(!named.may_invoke(true, is("run")));
        assert!(!policy("exports = []").may_invoke(true, is("run")));
    }
}
