//! What is private otherwise, for the fuzzers in `fuzz/`.

use proplet_component::Hashed;
use proplet_types::Digest;

use crate::challenge::{self, Challenge};
use crate::manifest::{self, Parsed};
use crate::media::LayerForm;
use crate::unpack::{self, Abandoned};
use crate::{Descriptor, ImageError};

/// The entry of an index that would be pulled; none when the bytes are no index.
pub fn index(bytes: &[u8]) -> Option<Descriptor> {
    match manifest::parse(bytes) {
        Ok(Parsed::Index(entry)) => Some(entry),
        _ => None,
    }
}

/// The digests of all layers, as they stand in a manifest.
pub fn layer_digests(manifest: &[u8]) -> Vec<String> {
    manifest::layer_digests(manifest)
}

/// The module in an archive, plain or gzipped, and the digest that it is handed on with.
///
/// # Errors
/// [`ImageError`] when there is not exactly one of at most `max_bytes`.
pub fn unpack(archive: &[u8], max_bytes: u64) -> Result<(Vec<u8>, Digest), ImageError> {
    let layer = Hashed::of(archive.to_vec());
    let given_up = Abandoned::default();
    let module = unpack::wasm(LayerForm::Archive, layer, "layer", max_bytes, &given_up)?;
    Ok((module.bytes().to_vec(), module.digest()))
}

/// What a `WWW-Authenticate` header asks for: realm and scope, empty for Basic and where there is no scope.
pub fn challenge(header: &str) -> Option<(String, String)> {
    match challenge::parse(header.split('\n'))? {
        Challenge::Basic => Some(<(String, String)>::default()),
        Challenge::Bearer { realm, scope, .. } => Some((realm, scope.unwrap_or_default())),
    }
}
