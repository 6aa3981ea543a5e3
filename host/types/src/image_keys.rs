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
//!
//! A third name space is this host's own: what lets it in at its broker and at registries stands under
//! [`HOST_CREDENTIAL_TYPE`]. Such a resource decrypts nothing and is given to no component, whatever the settings
//! and a component's policy say. The type is fixed, so that a host whose settings name no such resource keeps
//! those of other hosts from its components all the same.

use std::{collections::BTreeSet, fmt};

use crate::resource_uri::{ResourceUri, is_segment};

/// The type that Propeller's own guide puts image keys under: `default/key/propeller-wasm`.
const USUAL: &str = "key";
/// The type of resources that are credentials of a host: `kbs:///repository/host-credential/tag`.
pub const HOST_CREDENTIAL_TYPE: &str = "host-credential";
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
    /// [`ImageKeyTypesError`] when there is none, when there are more than 16, when one could not be a segment of
    /// an address, or when one is [`HOST_CREDENTIAL_TYPE`].
    pub fn new(types: impl IntoIterator<Item = String>) -> Result<Self, ImageKeyTypesError> {
        let types: BTreeSet<String> = types.into_iter().take(MAX_TYPES + 1).collect();
        let may_be_one = |name: &String| is_segment(name) && !is_of_hosts(name);
        if types.is_empty() || types.len() > MAX_TYPES || !types.iter().all(may_be_one) {
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
    /// names. A credential of a host is given to none either.
    #[must_use]
    pub fn may_be_given(&self, uri: &ResourceUri) -> bool {
        !is_host_credential(uri)
            && !self
                .0
                .iter()
                .any(|name| name.eq_ignore_ascii_case(uri.resource_type()))
    }
}

/// Whether a resource is a credential of a host, and so nobody else's. The case of letters makes no difference, as
/// with [`ImageKeyTypes::may_be_given`].
#[must_use]
pub fn is_host_credential(uri: &ResourceUri) -> bool {
    is_of_hosts(uri.resource_type())
}

fn is_of_hosts(resource_type: &str) -> bool {
    resource_type.eq_ignore_ascii_case(HOST_CREDENTIAL_TYPE)
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
     kbs:///repository/type/tag, such as `key`, and none of them `{HOST_CREDENTIAL_TYPE}`"
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
    fn a_credential_of_a_host_is_neither_key_nor_secret() {
        let types = ImageKeyTypes::default();
        for credential in ["kbs:///a/host-credential/1", "kbs:///a/HOST-Credential/1"] {
            assert!(is_host_credential(&uri(credential)), "{credential}");
            assert!(!types.may_decrypt(&uri(credential)), "{credential}");
            assert!(!types.may_be_given(&uri(credential)), "{credential}");
        }
        for other in ["kbs:///host-credential/a/b", "kbs:///a/host-credentials/b"] {
            assert!(!is_host_credential(&uri(other)), "{other}");
            assert!(types.may_be_given(&uri(other)), "{other}");
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
            vec!["key".to_owned(), "Host-Credential".to_owned()],
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
