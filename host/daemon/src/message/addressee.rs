//! Whom a message is for.

/// Whether a message that names `proplet_id` is for `entity`. An empty name counts as absent, and a
/// message without a name is for everybody: Managers before 2026-04 never named one.
#[must_use]
pub(crate) fn addressed_to(proplet_id: Option<&str>, broadcast: bool, entity: &str) -> bool {
    broadcast || proplet_id.is_none_or(|id| id.is_empty() || id == entity)
}
