//! The interfaces that a guest can import, each in a module that owns all of it.
//!
//! A module has the names of its imports, what a policy must grant for them, what a task keeps, the
//! functions, and its errors. [`ALL`] lists the modules; what a component may import, which linker it meets
//! and what its store holds are folds over that list, so an interface is added by its WIT, its module and
//! its line in the list.
//!
//! # What lives how long
//!
//! | type | made | shared by |
//! | --- | --- | --- |
//! | [`Interface`] | by the compiler | all |
//! | [`Linkers`](crate::linkers::Linkers) | once per engine, a linker for each [`Set`] that was granted | all; holds functions only |
//! | [`Imports`](crate::imports::Imports), [`Linked`](crate::linkers::Linked) | when a component is compiled | tasks with the same component; read-only |
//! | [`States`] | when a task starts | nobody |
//! | a module's view, as `Secrets<'_>` | for one call | nobody |
//!
//! # What keeps tasks apart
//!
//! A linker holds functions and no data. What a function works on is the view that its module makes of the
//! calling store, and the view borrows what its interface needs and nothing else: `inputs` cannot reach
//! a secret, because its view has none. Identity, inputs and grants come from the store and never from an
//! argument, so a guest cannot name another task, and a handle means something in its own table only.
//!
//! # Errors
//!
//! What a guest may cause is answered with the error variants of the WIT. The generated type is the only
//! one there is: the services of the host give it, the functions pass it on. Only what no correct guest does,
//! such as passing a handle that is not its own, traps ([`Trappable`](trappable::Trappable)).
//!
//! Functions without I/O are synchronous and cost some tens of nanoseconds. Those that reach the TEE or the
//! key broker are asynchronous, and a task that waits for one uses no processor time.

use std::sync::Arc;

use proplet_component::Policy;
use wasmtime::component::Linker;

use crate::state::{Common, TaskState};
use crate::task::TaskSpec;

pub(crate) mod attestation;
pub(crate) mod audit;
pub(crate) mod hal;
pub(crate) mod http;
pub(crate) mod inputs;
pub(crate) mod results;
pub(crate) mod reveal;
pub(crate) mod secrets;
mod trappable;
pub(crate) mod wasi;

/// Makes the list of interfaces and the state of a task from the names of their modules.
macro_rules! interfaces {
    ($($module:ident),+ $(,)?) => {
        /// Every interface that a guest can import.
        pub(crate) const ALL: &[Interface] = &[$($module::INTERFACE),+];

        /// What one task keeps of each interface. It is dropped with the task's store.
        pub(crate) struct States {
            $(
                #[allow(dead_code, reason = "an interface may keep nothing")]
                pub(crate) $module: $module::State
            ),+
        }

        impl States {
            /// Of a task that is about to start.
            pub(crate) fn new(start: &Start<'_>) -> Self {
                Self { $($module: PerTask::new(start)),+ }
            }
        }
    };
}

interfaces!(
    wasi,
    http,
    attestation,
    audit,
    inputs,
    results,
    secrets,
    reveal,
    hal
);

/// One interface, or several that belong together.
pub(crate) struct Interface {
    /// What it serves, without versions: `package/interface`, or a package for all that is in it.
    pub(crate) names: &'static [&'static str],
    /// Who may import it.
    pub(crate) grant: Grant,
    /// Adds its functions to a linker.
    pub(crate) add_to_linker: fn(&mut Linker<TaskState>) -> wasmtime::Result<()>,
}

/// Who may import an interface.
pub(crate) enum Grant {
    /// Every component.
    Always,
    /// A component with a policy that counts and grants it.
    Policy {
        /// Whether a policy grants it.
        grants: fn(&Policy) -> bool,
        /// What to write into a policy that does not, for an error message.
        remedy: &'static str,
    },
}

/// What the host offers to one task beyond the engine.
///
/// The runtime checks what needs no I/O (quotas, sizes, addresses, grants) and hands the rest to these. They
/// are made for one task: whoever implements them knows whose component it is.
#[derive(Clone)]
pub struct Services {
    /// Identity and evidence.
    pub attestation: Arc<dyn attestation::Attestor>,
    /// Secrets from the key broker.
    pub secrets: Arc<dyn secrets::SecretSource>,
    /// Where the result goes.
    pub results: Arc<dyn results::ResultSink>,
    /// What is on record about the task.
    pub record: Arc<dyn audit::TaskRecord>,
}

/// What the state of an interface is made from.
pub(crate) struct Start<'a> {
    /// The task.
    pub(crate) task: &'a Arc<TaskSpec>,
    /// What the host offers to it.
    pub(crate) services: &'a Services,
    /// Its streams and counters.
    pub(crate) common: &'a Common,
    /// Its command line.
    pub(crate) command: &'a [String],
}

/// What a task keeps of an interface.
pub(crate) trait PerTask {
    /// At the start of the task.
    fn new(start: &Start<'_>) -> Self;
}

/// An interface that keeps nothing.
impl PerTask for () {
    fn new(_: &Start<'_>) -> Self {}
}

impl Interface {
    /// Whether an import is this interface's to serve.
    fn serves(&self, import: &str) -> bool {
        let name = unversioned(import);
        let Some((package, _)) = name.split_once('/') else {
            return false;
        };
        let is_named = |served: &&str| *served == name || *served == package;
        self.names.iter().any(is_named)
    }
}

/// The interface without its version.
pub(crate) fn unversioned(import: &str) -> &str {
    import.split_once('@').map_or(import, |(name, _)| name)
}

/// A set of interfaces, one bit for each place in [`ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Set(u32);

const _: () = assert!(ALL.len() <= u32::BITS as usize);

impl Set {
    /// What a component may import under this policy, or without one that counts.
    pub(crate) fn granted(policy: Option<&Policy>) -> Self {
        Self::of(|interface| match interface.grant {
            Grant::Always => true,
            Grant::Policy { grants, .. } => policy.is_some_and(grants),
        })
    }

    /// The interfaces that serve an import: one, or none when this host has no such interface.
    pub(crate) fn serving(import: &str) -> Self {
        Self::of(|interface| interface.serves(import))
    }

    /// The interfaces of which this is true.
    fn of(is_in: impl Fn(&Interface) -> bool) -> Self {
        let bits = ALL.iter().enumerate();
        Self(bits.fold(0, |set, (place, interface)| {
            set | u32::from(is_in(interface)) << place
        }))
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether everything of `other` is in it.
    pub(crate) fn covers(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// The interfaces in it, in the order of [`ALL`].
    pub(crate) fn iter(self) -> impl Iterator<Item = &'static Interface> {
        let is_in = move |place: usize| self.0 >> place & 1 == 1;
        let all = ALL.iter().enumerate();
        all.filter_map(move |(place, interface)| is_in(place).then_some(interface))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_served_once() {
        for interface in ALL {
            for name in interface.names {
                let import = match name.contains('/') {
                    true => format!("{name}@1.2.3"),
                    false => format!("{name}/some@1.2.3"),
                };
                let serving = Set::serving(&import);
                assert_eq!(serving.iter().count(), 1, "{import}");
                assert!(serving.iter().all(|it| it.names == interface.names));
            }
        }
    }

    #[test]
    fn a_name_that_only_looks_like_one_is_not_served() {
        for import in [
            "",
            "wasi",
            "wasi:cli",
            "wasi:cli@0.2.0",
            "wasi:clive/run",
            "propeller:confidential",
            "propeller:confidential/secrets-of-mine",
            "acme:cli/environment",
        ] {
            assert!(Set::serving(import).is_empty(), "{import}");
        }
    }

    #[test]
    fn sets_are_sets() {
        let one = Set::serving("propeller:confidential/inputs@0.1.0");
        let other = Set::serving("propeller:confidential/secrets");
        let both = one.and(other);
        assert!(both.covers(one) && both.covers(other) && both.covers(Set::default()));
        assert!(!one.covers(both) && !one.covers(other) && !one.is_empty());
        assert_eq!(both.iter().count(), 2);
    }
}
