//! Whose images are, before they are fetched.

use std::sync::{Arc, Mutex, PoisonError};

use crate::shares::{Bounds, Shares};

/// Most references that are remembered, and their bytes.
const BOUNDS: Bounds = Bounds {
    entries: 4096,
    bytes: 4 << 20,
};

/// References of images that were opened, with the repository of the key that each was opened with. Every repository
/// has a part that the others cannot take from it.
pub(crate) struct Owners(Mutex<Shares<String, Arc<str>>>);

impl Default for Owners {
    fn default() -> Self {
        Self(Mutex::new(Shares::new(BOUNDS)))
    }
}

impl Owners {
    /// The repository that this reference belonged to when it was opened last.
    pub(crate) fn of(&self, image: &str) -> Option<Arc<str>> {
        self.with(|owners| owners.get(&image.to_owned()).cloned())
    }

    /// The image that this reference led to was opened with a key of this repository.
    pub(crate) fn remember(&self, image: &str, repository: &str) {
        if self.of(image).is_some_and(|known| *known == *repository) {
            return;
        }
        let bytes = image.len().saturating_add(repository.len()) as u64;
        let image = image.to_owned();
        self.with(|owners| drop(owners.put(image, repository, bytes, repository.into())));
    }

    fn with<T>(&self, change: impl FnOnce(&mut Shares<String, Arc<str>>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_whose_it_was_opened_with_last() {
        let owners = Owners::default();
        assert_eq!(owners.of("image"), None);
        for repository in ["alice", "mallory"] {
            owners.remember("image", repository);
            assert_eq!(owners.of("image").as_deref(), Some(repository));
        }
        // Names beyond number push out their own only.
        owners.remember("alices", "alice");
        for number in 0..2 * BOUNDS.entries {
            owners.remember(&number.to_string(), "mallory");
        }
        assert_eq!(owners.of("alices").as_deref(), Some("alice"));
    }
}
