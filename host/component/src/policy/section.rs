//! Finding and writing the policy section in the binary format.

use wasmparser::{Parser, Payload};

use super::error::PolicyError;
use super::format::SECTION;

/// The contents of the policy section at the top level. The whole binary structure is walked, so bytes
/// that only look like a section do not count.
pub(super) fn find(wasm: &[u8]) -> Result<Option<&[u8]>, PolicyError> {
    let mut depth = 0_usize;
    let mut found = None;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(|error| PolicyError::NotWasm(error.to_string()))? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if depth == 0 && section.name() == SECTION => {
                let earlier = found.replace(section.data());
                if earlier.is_some() {
                    return Err(PolicyError::Duplicate);
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

/// The binary with one more custom section at its end, which is top level by construction.
pub(super) fn append(wasm: &[u8], contents: &[u8]) -> Vec<u8> {
    let mut body = leb128(SECTION.len());
    body.extend_from_slice(SECTION.as_bytes());
    body.extend_from_slice(contents);
    let mut bytes = Vec::with_capacity(wasm.len() + body.len() + 6);
    bytes.extend_from_slice(wasm);
    bytes.push(0);
    bytes.extend(leb128(body.len()));
    bytes.extend(body);
    bytes
}

fn leb128(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(5);
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
