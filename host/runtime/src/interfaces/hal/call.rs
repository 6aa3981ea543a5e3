//! What every function of the package works on and returns.

use wasmtime::StoreContextMut;

use crate::state::TaskState;

/// Bytes that a guest may hand over, or ask for, in one call.
pub(super) const MAX_BYTES: usize = 16 << 20;

/// What a call works on.
pub(super) type Store<'a> = StoreContextMut<'a, TaskState>;
/// What a function returns: its value, or why there is none.
pub(super) type Answer<T> = Result<T, String>;

/// Holds bytes that go in or out to what one call may carry.
pub(super) fn check_length(what: &str, length: usize) -> Answer<()> {
    if length <= MAX_BYTES {
        return Ok(());
    }
    Err(format!(
        "{what} of {length} bytes are more than the {MAX_BYTES} of one call; use several"
    ))
}
