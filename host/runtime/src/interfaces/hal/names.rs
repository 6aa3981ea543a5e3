//! The names of the package's interfaces.

/// Those that are served.
pub(super) const SERVED: [&str; 5] = [
    "elastic:hal/platform",
    "elastic:hal/attestation",
    "elastic:hal/crypto",
    "elastic:hal/clock",
    "elastic:hal/random",
];

/// Those that no host of this kind serves.
pub(crate) const UNSERVED: [&str; 6] = [
    "elastic:hal/sockets",
    "elastic:hal/gpu",
    "elastic:hal/resources",
    "elastic:hal/events",
    "elastic:hal/communication",
    "elastic:hal/storage",
];

/// The interface without its package.
pub(super) fn unpackaged(name: &str) -> &str {
    name.split_once('/')
        .map_or(name, |(_, interface)| interface)
}
