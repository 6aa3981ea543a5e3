//! Choosing the layer of an image that holds the module.

use super::descriptor::{Entry, RawDescriptor};
use crate::media::{self, LayerForm};

/// The name of a layer's file, for tools that push single files.
pub(super) const TITLE: &str = "org.opencontainers.image.title";

/// The one layer that can hold the module. Layers without files and layers of other kinds (texts, lists
/// of parts, signatures) are passed over; several that could be meant are refused.
pub(super) fn choose_layer(layers: Vec<Entry>) -> Result<RawDescriptor, String> {
    let mut wasm = Vec::new();
    let mut archives = Vec::new();
    let mut empty = Vec::new();
    let mut other = None;
    for layer in layers.into_iter().filter_map(Entry::read) {
        match LayerForm::of(layer.plain_media_type()) {
            _ if layer.is_empty_layer() => empty.push(layer),
            Ok(LayerForm::Wasm) => wasm.push(layer),
            Ok(LayerForm::Archive) => archives.push(layer),
            Err(_) if layer.plain_media_type() == media::EMPTY => {}
            Err(why) => other = other.or(Some(why)),
        }
    }
    let mut candidates = [wasm, archives, empty]
        .into_iter()
        .find(|candidates| !candidates.is_empty())
        .unwrap_or_default();
    let count = candidates.len();
    if count > 1 {
        let titled = |layer: &RawDescriptor| {
            let title = layer.annotation(TITLE);
            title.is_some_and(|title| title.ends_with(".wasm"))
        };
        if candidates.iter().filter(|layer| titled(layer)).count() == 1 {
            candidates.retain(titled);
        }
    }
    match (candidates.pop(), candidates.is_empty(), other) {
        (Some(only), true, _) => Ok(only),
        (None, _, Some(why)) => Err(why),
        _ => Err(format!(
            "it has {count} layers that could hold the module; a Wasm image has one, so put the \
             module and what it needs into one layer"
        )),
    }
}
