//! What a component may import and ask for.
//!
//! The import list of a component is the list of what it asks for, because the linker of the toolchain
//! leaves out what the code does not call. [`Grants::check_imports`] holds that list against the policy
//! before anything is instantiated, and names everything that is missing at once. Behind it stands a second
//! fence: the engine's linker for a component without grants has no `secrets` and no `reveal` at all.

use std::collections::BTreeMap;

use crate::error::{GuestText, RuntimeError};
use crate::policy::Policy;

/// What a component may import and ask for.
///
/// A plain component gets [`Grants::plain`], whatever stands in its policy section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Address of each granted secret, and whether its bytes may be revealed.
    secrets: BTreeMap<String, bool>,
    exports: Exports,
}

/// Exports that a task may invoke.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Exports {
    #[default]
    Any,
    DefaultOnly,
    Named(Vec<String>),
}

/// Which of the sensitive interfaces are linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Neither `secrets` nor `reveal`.
    Plain = 0,
    /// `secrets`.
    Secrets = 1,
    /// `secrets` and `reveal`.
    Reveal = 2,
}

impl Grants {
    /// Of a component without a policy that counts: its own identity, inputs and result, no secrets, any
    /// export.
    pub fn plain() -> Self {
        Self::default()
    }

    /// Of a component whose policy counts, because it was decrypted under a key that the key broker
    /// released. Without `exports` in the policy only the default export may be invoked: the orchestrator
    /// chooses the export, and the owner of the component did not say that it may.
    pub fn from_policy(policy: &Policy) -> Self {
        Self {
            secrets: policy
                .secrets
                .iter()
                .map(|secret| (secret.uri.clone(), secret.reveal))
                .collect(),
            exports: match &policy.exports {
                None => Exports::DefaultOnly,
                Some(names) => Exports::Named(names.clone()),
            },
        }
    }

    /// Whether the component may ask for this secret.
    pub fn may_ask(&self, uri: &str) -> bool {
        self.secrets.contains_key(uri)
    }

    /// Whether the component may see the bytes of this secret.
    pub fn may_reveal(&self, uri: &str) -> bool {
        self.secrets.get(uri) == Some(&true)
    }

    pub(crate) fn level(&self) -> Level {
        if self.secrets.values().any(|reveal| *reveal) {
            Level::Reveal
        } else if self.secrets.is_empty() {
            Level::Plain
        } else {
            Level::Secrets
        }
    }

    /// Whether an export may be invoked. `names` says whether an entry of the policy means it.
    pub(crate) fn may_invoke(&self, is_default: bool, names: impl Fn(&str) -> bool) -> bool {
        match &self.exports {
            Exports::Any => true,
            Exports::DefaultOnly => is_default,
            Exports::Named(entries) => entries.iter().any(|entry| names(entry)),
        }
    }

    /// Checks the imports of a component.
    ///
    /// # Errors
    /// [`RuntimeError::ImportNotGranted`] with every import that is not granted.
    pub(crate) fn check_imports<'a>(
        &self,
        imports: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), RuntimeError> {
        let level = self.level();
        refuse(imports.into_iter().filter(|import| match needed(import) {
            Some(needed) => needed > level,
            None => true,
        }))
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

/// The interface without its version.
fn unversioned(import: &str) -> &str {
    import.split_once('@').map_or(import, |(name, _)| name)
}

/// What level an import needs; none when no level gives it.
fn needed(import: &str) -> Option<Level> {
    let name = unversioned(import);
    let package = name.split_once('/').map_or(name, |(package, _)| package);
    match (package, name) {
        (_, "propeller:confidential/secrets") => Some(Level::Secrets),
        (_, "propeller:confidential/reveal") => Some(Level::Reveal),
        (
            _,
            "propeller:confidential/attestation"
            | "propeller:confidential/inputs"
            | "propeller:confidential/results",
        ) => Some(Level::Plain),
        // No directory is ever opened for a guest, but the standard libraries import the interface.
        ("wasi:cli" | "wasi:io" | "wasi:clocks" | "wasi:random" | "wasi:filesystem", _) => {
            Some(Level::Plain)
        }
        _ => None,
    }
}

/// Whether the name is a published one, which says nothing of the component's owner.
fn is_public(import: &str) -> bool {
    matches!(
        unversioned(import),
        "propeller:confidential/secrets"
            | "propeller:confidential/reveal"
            | "wasi:sockets/tcp"
            | "wasi:sockets/tcp-create-socket"
            | "wasi:sockets/udp"
            | "wasi:sockets/udp-create-socket"
            | "wasi:sockets/network"
            | "wasi:sockets/instance-network"
            | "wasi:sockets/ip-name-lookup"
            | "wasi:http/types"
            | "wasi:http/outgoing-handler"
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

    fn refused(grants: &Grants, imports: &[&str]) -> (String, String) {
        let error = grants.check_imports(imports.iter().copied()).unwrap_err();
        assert_eq!(error.code(), "import-not-granted");
        (error.to_string(), error.detail().unwrap().to_owned())
    }

    #[test]
    fn a_plain_component_gets_no_secrets() {
        let grants = Grants::plain();
        grants.check_imports(ALL[..3].iter().copied()).unwrap();
        let (clear, all) = refused(&grants, &ALL);
        assert_eq!(all, format!("{}, {}", ALL[3], ALL[4]));
        assert!(clear.contains(ALL[3]) && clear.contains(ALL[4]), "{clear}");
    }

    #[test]
    fn reveal_needs_a_secret_that_may_be_revealed() {
        let held = policy("[[secrets]]\nuri = \"kbs:///a/b/c\"");
        held.check_imports(ALL[..4].iter().copied()).unwrap();
        assert_eq!(refused(&held, &ALL).1, ALL[4]);
        let shown = policy("[[secrets]]\nuri = \"kbs:///a/b/c\"\nreveal = true");
        shown.check_imports(ALL).unwrap();
        assert!(shown.may_reveal("kbs:///a/b/c") && !shown.may_reveal("kbs:///a/b/d"));
        assert!(held.may_ask("kbs:///a/b/c") && !held.may_reveal("kbs:///a/b/c"));
        assert!(!held.may_ask("kbs:///a/b/d"));
    }

    #[test]
    fn a_policy_without_secrets_grants_no_secrets() {
        assert_eq!(
            refused(&policy(""), &ALL).1,
            format!("{}, {}", ALL[3], ALL[4])
        );
    }

    #[test]
    fn wasi_without_network_is_granted() {
        let grants = Grants::plain();
        grants
            .check_imports([
                "wasi:cli/environment@0.2.6",
                "wasi:io/streams@0.2.0",
                "wasi:clocks/wall-clock@0.2.6",
                "wasi:random/random@0.2.6",
                "wasi:filesystem/preopens@0.2.6",
            ])
            .unwrap();
        for import in [
            "wasi:sockets/tcp@0.2.6",
            "wasi:http/outgoing-handler@0.2.0",
            "wasi",
            "run",
            "",
        ] {
            refused(&grants, &[import]);
        }
    }

    #[test]
    fn names_of_the_owner_stay_out_of_the_clear_text() {
        let imports = [
            "acme:patients/index@1.0.0",
            "wasi:sockets/tcp@0.2.6",
            "acme:x/y",
        ];
        let (clear, all) = refused(&Grants::plain(), &imports);
        assert!(
            clear.contains("wasi:sockets/tcp@0.2.6 and 2 others"),
            "{clear}"
        );
        assert!(!clear.contains("acme"), "{clear}");
        assert_eq!(all, imports.join(", "));
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
