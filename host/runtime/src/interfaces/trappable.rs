//! How a host function fails.

use wasmtime::component::{Resource, ResourceTable, ResourceTableError};

/// What a host function fails with.
#[derive(Debug)]
pub enum Trappable<E> {
    /// An error of its WIT, which the guest gets and can do something about.
    Error(E),
    /// What no correct guest causes. It ends the task.
    Trap(wasmtime::Error),
}

/// An error of the WIT that a host function may return.
pub(crate) trait WitError: Sized {
    /// The error for what has no case of its own, in words.
    fn other(words: String) -> Self;

    /// The error for a task that holds this many handles, as many as it may.
    fn too_many_handles(limit: usize) -> Self {
        Self::other(format!(
            "the task holds {limit} handles, as many as it may; drop some first"
        ))
    }
}

impl<E> Trappable<E> {
    /// For `convert_…_error` of the generated traits.
    pub(crate) fn into_wit(self) -> wasmtime::Result<E> {
        match self {
            Self::Error(error) => Ok(error),
            Self::Trap(error) => Err(error),
        }
    }
}

impl<E: WitError> From<E> for Trappable<E> {
    fn from(error: E) -> Self {
        Self::Error(error)
    }
}

/// A handle that is not the guest's, or one that is dropped while it is lent.
impl<E: WitError> From<ResourceTableError> for Trappable<E> {
    fn from(error: ResourceTableError) -> Self {
        Self::Trap(error.into())
    }
}

/// Gives a value a handle. A guest that holds as many as it may is told so, since it can drop some.
///
/// # Errors
/// [`WitError::too_many_handles`].
pub(crate) fn push<T: Send + 'static, E: WitError>(
    table: &mut ResourceTable,
    value: T,
) -> Result<Resource<T>, Trappable<E>> {
    let limit = table.max_capacity();
    table.push(value).map_err(|error| match error {
        ResourceTableError::Full => Trappable::Error(E::too_many_handles(limit)),
        error => error.into(),
    })
}
