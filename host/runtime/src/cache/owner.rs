//! Whose components are compiled.

use std::sync::Arc;

/// On whose behalf a component is compiled. What takes long to compile holds up its owner, and nobody else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// Whoever sent it: it came in clear, so nobody vouches for an owner. All of these share one part.
    Anybody,
    /// The owner of this name, which nobody else can take.
    Named(Arc<str>),
}
