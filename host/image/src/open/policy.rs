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
    /// The path that the image's key id must have, for instance `default/key/hello` (a task's
    /// `kbs_resource_path`). A leading `/` or `kbs:///` is accepted.
    pub expected_kid_path: Option<String>,
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
            expected_kid_path: None,
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

/// Refuses a key of another KBS, and another key than the task expects, before any key is asked for.
pub(super) fn check_kid(kid: &ResourceUri, policy: &PullPolicy) -> Result<(), String> {
    let is_ours = match &policy.kbs {
        NamedKbs::Unconfigured => kid.host().is_none(),
        NamedKbs::Configured(host) => host.is_meant_by(kid),
        NamedKbs::Any => true,
    };
    if !is_ours {
        return Err(format!(
            "its key id {kid} names the key broker {:?}, and only the configured one is asked; \
             encrypt with a key id without host, kbs:///{}",
            kid.host().unwrap_or_default(),
            kid.path()
        ));
    }
    if let Some(expected) = policy.expected_kid_path.as_deref() {
        let path = expected.strip_prefix("kbs://").unwrap_or(expected);
        let path = path.strip_prefix('/').unwrap_or(path);
        if path != kid.path() {
            let shown: String = expected.chars().take(128).collect();
            return Err(format!(
                "the task expects {shown:?} (kbs_resource_path) and the image names {:?}; start \
                 the task with the right path or the right image",
                kid.path()
            ));
        }
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
        let check = |expected: &str| {
            let policy = PullPolicy {
                expected_kid_path: Some(expected.to_owned()),
                ..PullPolicy::default()
            };
            check_kid(&kid("kbs:///default/key/1"), &policy)
        };
        for good in ["default/key/1", "/default/key/1", "kbs:///default/key/1"] {
            check(good).unwrap();
        }
        for bad in [
            "default/key/2",
            "",
            "default/key/1/",
            "kbs://kbs:///default/key/1",
        ] {
            assert!(
                check(bad).unwrap_err().contains("kbs_resource_path"),
                "{bad}"
            );
        }
    }
}
