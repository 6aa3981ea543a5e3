//! What a pull may rely on, checked before any key is asked for.

use proplet_types::{ImageKeyTypes, KbsHost, ResourceUri};

use crate::error::ImageError;

/// What a pull of an encrypted image may rely on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullPolicy {
    /// Whether a key wrapped with A256CTR is used. Such a key was not authenticated, so anybody who
    /// can change the image chose the key: a policy in the component must not count
    /// ([`Wasm::wrap`](crate::Wasm::wrap)).
    pub allow_a256ctr: bool,
    /// The key that the image's key id must name (a task's `kbs_resource_path`), by its path. A host that it
    /// names must be the KBS's too.
    pub expected_key: Option<ResourceUri>,
    /// Which KBS a key id may name. One that names none always means the one that is asked.
    pub kbs: NamedKbs,
    /// Types that the key's resource may have; none allows all, which is for those who hold the key in
    /// their hands. A key of another type is refused before it is asked for: it is a secret, and others
    /// than the image's owner may know it.
    pub key_types: Option<ImageKeyTypes>,
}

impl Default for PullPolicy {
    fn default() -> Self {
        Self {
            allow_a256ctr: false,
            expected_key: None,
            kbs: NamedKbs::default(),
            key_types: Some(ImageKeyTypes::default()),
        }
    }
}

/// Which KBS the key id of an image may name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NamedKbs {
    /// None: no KBS is configured.
    #[default]
    Unconfigured,
    /// The configured one.
    Configured(KbsHost),
    /// Any: the key is at hand, and no KBS is asked.
    Any,
}

impl PullPolicy {
    /// Whether an image may be opened with the key of this id: it is kept by the KBS that is asked, and is
    /// the one that the task expects.
    #[must_use]
    pub fn admits(&self, kid: &ResourceUri) -> bool {
        check_kid(kid, self).is_ok()
    }
}

impl NamedKbs {
    /// Whether an address means this KBS.
    fn is_meant_by(&self, uri: &ResourceUri) -> bool {
        match self {
            Self::Unconfigured => uri.host().is_none(),
            Self::Configured(host) => host.is_meant_by(uri),
            Self::Any => true,
        }
    }
}

/// Refuses a key of another KBS, and another key than the task expects, before any key is asked for.
pub(super) fn check_kid(kid: &ResourceUri, policy: &PullPolicy) -> Result<(), String> {
    if !policy.kbs.is_meant_by(kid) {
        return Err(format!(
            "its key id {kid} names the key broker {:?}, and only the configured one is asked; \
             encrypt with a key id without host, kbs:///{}",
            kid.host().unwrap_or_default(),
            kid.path()
        ));
    }
    if let Some(expected) = &policy.expected_key
        && (expected.path() != kid.path() || !policy.kbs.is_meant_by(expected))
    {
        return Err(format!(
            "the task expects {expected} (kbs_resource_path) and the image names {:?}; start the task with \
             the right path or the right image",
            kid.path()
        ));
    }
    Ok(())
}

/// Refuses a resource that is not kept for images.
pub(super) fn check_key_type(kid: &ResourceUri, policy: &PullPolicy) -> Result<(), ImageError> {
    match &policy.key_types {
        Some(types) if !types.may_decrypt(kid) => Err(ImageError::KeyTypeRefused {
            kid: kid.to_string(),
            types: types.to_string(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kid(text: &str) -> ResourceUri {
        text.parse().unwrap()
    }

    #[test]
    fn keys_of_another_broker_are_refused() {
        let mut policy = PullPolicy::default();
        check_kid(&kid("kbs:///default/key/1"), &policy).unwrap();
        let error = check_kid(&kid("kbs://kbs.example/default/key/1"), &policy).unwrap_err();
        assert!(error.contains("kbs.example"));
        policy.kbs = NamedKbs::Configured(KbsHost::new("KBS.example", 8080));
        check_kid(&kid("kbs://kbs.example/default/key/1"), &policy).unwrap();
        check_kid(&kid("kbs:///default/key/1"), &policy).unwrap();
        check_kid(&kid("kbs://kbs.example:8080/default/key/1"), &policy).unwrap();
        check_kid(&kid("kbs://kbs.example:8081/default/key/1"), &policy).unwrap_err();
        check_kid(&kid("kbs://other.example/default/key/1"), &policy).unwrap_err();
        policy.kbs = NamedKbs::Any;
        check_kid(&kid("kbs://other.example/default/key/1"), &policy).unwrap();
    }

    #[test]
    fn a_secret_is_no_image_key() {
        let mut policy = PullPolicy::default();
        check_key_type(&kid("kbs:///default/key/1"), &policy).unwrap();
        for secret in [
            "kbs:///default/data/1",
            "kbs:///key/data/key",
            "kbs:///default/KEY/1",
        ] {
            let error = check_key_type(&kid(secret), &policy).unwrap_err();
            assert_eq!(error.code(), "image-key-type");
            assert!(error.to_string().contains("of type `key`"), "{error}");
        }
        policy.key_types = ImageKeyTypes::new(["data".to_owned()]).ok();
        check_key_type(&kid("kbs:///default/data/1"), &policy).unwrap();
        check_key_type(&kid("kbs:///default/key/1"), &policy).unwrap_err();
        policy.key_types = None;
        check_key_type(&kid("kbs:///default/any/1"), &policy).unwrap();
    }

    #[test]
    fn the_expected_path_must_be_the_images() {
        let image = kid("kbs:///default/key/1");
        let mut policy = PullPolicy {
            kbs: NamedKbs::Configured(KbsHost::new("kbs.example", 8080)),
            ..PullPolicy::default()
        };
        for good in ["kbs:///default/key/1", "kbs://kbs.example/default/key/1"] {
            policy.expected_key = Some(kid(good));
            check_kid(&image, &policy).unwrap();
            assert!(policy.admits(&image));
        }
        for bad in [
            "kbs:///default/key/2",
            "kbs:///other/key/1",
            "kbs://other.example/default/key/1",
        ] {
            policy.expected_key = Some(kid(bad));
            let error = check_kid(&image, &policy).unwrap_err();
            assert!(error.contains("kbs_resource_path"), "{bad}: {error}");
            assert!(!policy.admits(&image));
        }
    }
}
