//! What a task may do with its component.

use std::sync::Arc;

use proplet_component::Policy;

/// What a component may import, ask for and have invoked: what its policy says, when it has one that counts.
///
/// A plain component gets [`Grants::plain`], whatever stands in its policy section.
#[derive(Clone, Debug)]
pub struct Grants {
    policy: Option<Arc<Policy>>,
}

impl Grants {
    /// Of a component without a policy that counts: its own identity, inputs and result, no secrets, any
    /// export.
    pub fn plain() -> Self {
        Self { policy: None }
    }

    /// Of a component whose policy counts, because it was decrypted under a key that the key broker
    /// released. Without `exports` in the policy only the default export may be invoked: the orchestrator
    /// chooses the export, and the owner of the component did not say that it may.
    pub fn from_policy(policy: impl Into<Arc<Policy>>) -> Self {
        Self {
            policy: Some(policy.into()),
        }
    }

    /// The policy that counts.
    pub(crate) fn policy(&self) -> Option<&Policy> {
        self.policy.as_deref()
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(toml: &str) -> Grants {
        Grants::from_policy(Policy::parse(format!("version = 1\n{toml}").as_bytes()).unwrap())
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
