//! Choosing the entry of an index that is a Wasm image.

use super::descriptor::{Descriptor, Entry, RawDescriptor};
use crate::error::ImageError;

/// What an entry is that describes another one.
pub(super) const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// The entry of an index that is a Wasm image, or an index that has one. Several platforms may be
/// there, so WASI 0.2 comes before WASI 0.1; two entries for the same platform leave a choice open that
/// nobody made.
pub(super) fn choose(what: &str, manifests: Vec<Entry>) -> Result<Descriptor, ImageError> {
    const ORDER: [&str; 5] = ["wasip2", "wasi", "wasip1", "wasi0.2", "wasi0.1"];
    let mut entries: Vec<RawDescriptor> = manifests
        .into_iter()
        .filter_map(Entry::read)
        // Statements of build tools about their entries.
        .filter(|entry| {
            let (os, architecture) = entry.platform();
            (os, architecture) != ("unknown", "unknown")
                && entry.annotation(REFERENCE_TYPE).is_none()
        })
        .collect();
    let wasm = |entry: &RawDescriptor| matches!(entry.platform().1, "wasm" | "wasm32");
    let use_at = |entries: &mut Vec<RawDescriptor>, at: usize| {
        entries.swap_remove(at).used().map_err(|why| {
            ImageError::layout(what, format!("the entry of the index that is meant: {why}"))
        })
    };
    let several = |platform: &str| {
        ImageError::layout(
            what,
            format!("the index has several {platform} entries; pin one by its digest"),
        )
    };
    for os in ORDER {
        let mut found = (0..entries.len()).filter(|at| {
            let entry = entries.get(*at);
            entry.is_some_and(|entry| wasm(entry) && entry.platform().0 == os)
        });
        match (found.next(), found.next()) {
            (Some(at), None) => return use_at(&mut entries, at),
            (Some(_), Some(_)) => return Err(several(&format!("wasm/{os}"))),
            (None, _) => {}
        }
    }
    match entries.iter().filter(|entry| wasm(entry)).count() {
        0 => {}
        1 => entries.retain(wasm),
        _ => return Err(several("wasm")),
    }
    // Tools that index a single artifact leave its platform out, and those that build containers write
    // the one of the machine. Whether there is a module in it, its layers tell.
    if entries.len() == 1 {
        return use_at(&mut entries, 0);
    }
    let offered: Vec<String> = entries
        .iter()
        .take(16)
        .map(|entry| match entry.platform() {
            ("", "") => "no platform".to_owned(),
            (os, architecture) => format!("{os}/{architecture}"),
        })
        .collect();
    Err(ImageError::layout(
        what,
        format!(
            "the index has no wasm entry, only: {}; push a Wasm image",
            offered.join(", ")
        ),
    ))
}
