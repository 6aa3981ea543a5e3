//! `elastic:hal/platform`.

use wasmtime::component::{ComponentType, Lift, LinkerInstance, Lower};

use super::{
    call::Store,
    names::{SERVED, UNSERVED, unpackaged},
};
use crate::interfaces::attestation::WorkloadIdentity;
use crate::state::TaskState;

/// `platform-info` of the WIT.
#[derive(Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct PlatformInfo {
    #[component(name = "platform-type")]
    platform_type: String,
    version: String,
}

/// `capability-info` of the WIT.
#[derive(Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct CapabilityInfo {
    #[component(name = "feature-name")]
    feature_name: String,
    supported: bool,
    version: String,
}

pub(super) fn add_to_linker(platform: &mut LinkerInstance<'_, TaskState>) -> wasmtime::Result<()> {
    platform.func_wrap("get-platform-info", |store: Store<'_>, (): ()| {
        Ok((info(store.data().interfaces.attestation.identity()),))
    })?;
    platform.func_wrap("list-capabilities", |store: Store<'_>, (): ()| {
        Ok((capabilities(store.data().interfaces.attestation.identity()),))
    })?;
    platform.func_wrap("has-capability", |store: Store<'_>, (name,): (String,)| {
        let all = capabilities(store.data().interfaces.attestation.identity());
        let mut all = all.iter();
        Ok((all.any(|one| one.supported && one.feature_name == name),))
    })
}

pub(super) fn info(identity: &WorkloadIdentity) -> PlatformInfo {
    let (name, version) = match identity.tee.as_deref() {
        None => ("None", "0.0.0"),
        Some("snp") => ("AMD SEV-SNP", env!("CARGO_PKG_VERSION")),
        Some("tdx") => ("Intel TDX", env!("CARGO_PKG_VERSION")),
        Some(other) => (other, env!("CARGO_PKG_VERSION")),
    };
    PlatformInfo {
        platform_type: name.to_owned(),
        version: version.to_owned(),
    }
}

pub(super) fn capabilities(identity: &WorkloadIdentity) -> Vec<CapabilityInfo> {
    let one = |name: &str, supported| CapabilityInfo {
        feature_name: name.to_owned(),
        supported,
        version: "0.1.0".to_owned(),
    };
    let served = SERVED.iter().map(|name| match unpackaged(name) {
        "attestation" => one("attestation", identity.tee.is_some()),
        name => one(name, true),
    });
    let unserved = UNSERVED.iter().map(|name| one(unpackaged(name), false));
    served.chain(unserved).collect()
}
