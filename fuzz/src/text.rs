//! Documents in TOML, components and names.

use proplet_component::{Component, Policy, policy::secret_uri};
use proplet_hal::InitData;
use proplet_hal::reference_values::ReferenceValues;
use proplet_types::{Digest, MediaType, ResourceUri};

use crate::text as utf8;

/// The smallest component.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// A policy: as it reads alone it reads inside a component, and its digest is over its bytes.
pub fn policy(bytes: &[u8]) -> bool {
    let policy = Policy::parse(bytes);
    match (policy, Policy::embed(COMPONENT, bytes)) {
        (Ok(policy), Ok(component)) => {
            let component = Component::of(component);
            let Ok(Some(embedded)) = component.policy() else {
                panic!("an embedded policy is not found");
            };
            assert_eq!(*embedded.policy, policy);
            assert_eq!(embedded.digest, Digest::of(bytes));
        }
        (Err(_), Err(_)) => return false,
        (policy, _) => panic!("embedding and reading differ: {policy:?}"),
    }
    true
}

/// A component: its digest is over its bytes, and a policy in it is found or refused.
pub fn component(bytes: &[u8]) -> bool {
    let mut is_found = false;
    for bytes in [bytes.to_vec(), [COMPONENT, bytes].concat()] {
        let component = Component::of(bytes.clone());
        assert_eq!(component.digest(), Digest::of(&bytes));
        if let Ok(Some(embedded)) = component.policy() {
            is_found = true;
            let policy = b"version = 1";
            assert!(!embedded.digest.hex().is_empty());
            assert!(
                Policy::embed(&bytes, policy).is_err(),
                "a second policy was taken"
            );
        }
    }
    is_found
}

/// Init-data: kept byte for byte, and bound by its own digest only.
pub fn init_data(bytes: &[u8]) -> bool {
    let Some(text) = utf8(bytes) else {
        return false;
    };
    let meant = InitData::is_meant_by(text);
    let Ok(init_data) = InitData::parse(text) else {
        return false;
    };
    assert!(meant, "init-data that is not recognised as such");
    assert_eq!(init_data.text(), text);
    assert!(init_data.is_bound_by(&init_data.digest()));
    assert!(!init_data.is_bound_by(&[]) && !init_data.is_bound_by(&[0; 32]));
    for (name, file) in init_data.files() {
        assert_eq!(init_data.file(name), Some(file));
    }
    true
}

/// Reference values: they read as the same again.
pub fn reference_values(bytes: &[u8]) -> bool {
    let Some(Ok(values)) = utf8(bytes).map(ReferenceValues::from_toml) else {
        return false;
    };
    assert_eq!(
        ReferenceValues::from_toml(&values.to_toml()).ok(),
        Some(values)
    );
    true
}

/// Addresses of resources and media types: they read as the same again.
pub fn resource_uri(bytes: &[u8]) -> bool {
    let Some(text) = utf8(bytes) else {
        return false;
    };
    let read = text.parse::<ResourceUri>();
    if let Ok(uri) = &read {
        assert_eq!(uri.to_string().parse::<ResourceUri>(), read);
        assert!(
            !uri.path()
                .split('/')
                .any(|segment| segment.starts_with('.')),
            "{uri}"
        );
    }
    if let Ok(uri) = ResourceUri::from_path(text) {
        assert_eq!(uri.to_string().parse::<ResourceUri>(), Ok(uri));
    }
    let _ = secret_uri(text);
    if let Ok(media_type) = text.parse::<MediaType>() {
        assert_eq!(media_type.to_string().parse::<MediaType>(), Ok(media_type));
    }
    read.is_ok()
}
