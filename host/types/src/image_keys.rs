//! Which resources decrypt images, and so are nothing else.
//!
//! A policy inside an image counts because only the owner of the image's key could have put it there. That
//! holds as long as nobody else knows the key. A secret is made to be known: a component may reveal it, and
//! a public key or a shared token never was private. If such a resource could pass for an image key, whoever
//! knows its bytes could encrypt an image of their own under its address, with a policy that grants itself
//! every secret of the repository.
//!
//! So the two are separate name spaces. The type, the second segment of `kbs:///repository/type/tag`, tells
//! them apart: resources of the types in [`ImageKeyTypes`] decrypt images and are given to no component;
//! resources of all other types decrypt nothing.

use std::{collections::BTreeSet, fmt};

use crate::resource_uri::{ResourceUri, is_segment};

/// The type that Propeller's own guide puts image keys under: `default/key/propeller-wasm`.
const USUAL: &str = "key";
/// Most types that a list may have.
const MAX_TYPES: usize = 16;

/// The resource types that decrypt images; `key` alone unless the settings name others.
///
/// ```
/// use proplet_types::{ImageKeyTypes, ResourceUri};
/// let types = ImageKeyTypes::default();
/// let key: ResourceUri = "kbs:///hospital/key/module".parse()?;
/// let secret: ResourceUri = "kbs:///hospital/db/password".parse()?;
/// assert!(types.may_decrypt(&key) && !types.may_be_given(&key));
/// assert!(types.may_be_given(&secret) && !types.may_decrypt(&secret));
/// # Ok::<(), proplet_types::ResourceUriError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageKeyTypes(BTreeSet<String>);

impl ImageKeyTypes {
    /// These types and no others.
    ///
    /// # Errors
    /// [`ImageKeyTypesError`] when there is none, when there are more than 16, or when one could not be a
    /// segment of an address.
    pub fn new(types: impl IntoIterator<Item = String>) -> Result<Self, ImageKeyTypesError> {
        let types: BTreeSet<String> = types.into_iter().take(MAX_TYPES + 1).collect();
        if types.is_empty() || types.len() > MAX_TYPES || !types.iter().all(|name| is_segment(name))
        {
            return Err(ImageKeyTypesError);
        }
        Ok(Self(types))
    }

    /// True when the resource may be asked for as the key of an image.
    #[must_use]
    pub fn may_decrypt(&self, uri: &ResourceUri) -> bool {
        self.0.contains(uri.resource_type())
    }

    /// True when the resource may be given to a component, or read on behalf of one. The case of letters
    /// makes no difference here: a key broker whose store makes none would give an image key under both
    /// names.
    #[must_use]
    pub fn may_be_given(&self, uri: &ResourceUri) -> bool {
        !self
            .0
            .iter()
            .any(|name| name.eq_ignore_ascii_case(uri.resource_type()))
    }
}

impl Default for ImageKeyTypes {
    fn default() -> Self {
        Self(BTreeSet::from([USUAL.to_owned()]))
    }
}

impl fmt::Display for ImageKeyTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, name) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}`{name}`")?;
        }
        Ok(())
    }
}

/// A list of types that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it must name 1 to {MAX_TYPES} resource types, each the second segment of \
     kbs:///repository/type/tag, such as `key`"
)]
pub struct ImageKeyTypesError;

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> ResourceUri {
        text.parse().unwrap()
    }

    #[test]
    fn no_resource_is_both() {
        let types = ImageKeyTypes::new(["key".to_owned(), "Image-Key".to_owned()]).unwrap();
        for key in ["kbs:///a/key/1", "kbs:///b/Image-Key/key"] {
            assert!(types.may_decrypt(&uri(key)), "{key}");
            assert!(!types.may_be_given(&uri(key)), "{key}");
        }
        for secret in ["kbs:///key/data/key", "kbs:///a/keys/1", "kbs:///a/ke/y"] {
            assert!(!types.may_decrypt(&uri(secret)), "{secret}");
            assert!(types.may_be_given(&uri(secret)), "{secret}");
        }
        for neither in ["kbs:///a/KEY/1", "kbs:///a/image-key/1"] {
            assert!(!types.may_decrypt(&uri(neither)), "{neither}");
            assert!(!types.may_be_given(&uri(neither)), "{neither}");
        }
    }

    #[test]
    fn only_lists_of_segments_are_taken() {
        let many = (0..=MAX_TYPES).map(|number| format!("t{number}")).collect();
        for bad in [
            Vec::new(),
            vec![String::new()],
            vec!["a/b".to_owned()],
            vec!["key".to_owned(), "..".to_owned()],
            many,
        ] {
            assert_eq!(
                ImageKeyTypes::new(bad.clone()),
                Err(ImageKeyTypesError),
                "{bad:?}"
            );
        }
        let types = ImageKeyTypes::new(["b".to_owned(), "a".to_owned(), "b".to_owned()]).unwrap();
        assert_eq!(types.to_string(), "`a`, `b`");
    }
}
