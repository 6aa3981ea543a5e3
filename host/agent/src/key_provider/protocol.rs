//! The JSON of OCIcrypt's key provider protocol.
//!
//! ```text
//! {"op":"keywrap","keywrapparams":{"ec":{"Parameters":{"attestation-agent":[bytes]},…},"optsdata":bytes},"keyunwrapparams":{…}}
//! {"op":"keyunwrap","keywrapparams":{…},"keyunwrapparams":{"dc":{…},"annotation":bytes}}
//! ```
//!
//! Bytes are base64 where Go wrote them and arrays of numbers where Rust did: both are read, and arrays are
//! written, because the Rust side takes nothing else and Go takes both. The half that is not asked for is null or
//! missing. Members that have no meaning here are passed over: they are the library's configuration.
//!
//! Sources: `keywrap/keyprovider/keyprovider.go` of `ocicrypt`, `keyprovider_structs.rs` of guest components.

use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};
use zeroize::Zeroizing;

/// Name of the provider whose parameters are ours.
const PROVIDER: &str = proplet_image::ocicrypt::KEY_PROVIDER;

/// What is asked for.
pub(super) enum Operation {
    /// To wrap the private options of a layer.
    Wrap(Wrapping),
    /// To unwrap them.
    Unwrap(Unwrapping),
}

/// Private options, and how they are to be wrapped.
pub(super) struct Wrapping {
    /// Parameters, as `skopeo copy --encryption-key provider:attestation-agent:PARAMETERS` has them.
    pub parameters: String,
    /// The private options, JSON.
    pub options: Zeroizing<Vec<u8>>,
}

/// A key packet.
pub(super) struct Unwrapping {
    /// Its JSON.
    pub packet: Zeroizing<Vec<u8>>,
}

/// Why an input is not one. Nothing of it is repeated: keys of layers are in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProtocolError {
    #[error("the input is not JSON of the key provider protocol (line {line}, column {column})")]
    Json { line: usize, column: usize },
    #[error("the operation is neither keywrap nor keyunwrap")]
    Operation,
    #[error("{0} is missing in the input")]
    Missing(&'static str),
    #[error("there must be one parameter for the provider {PROVIDER}, and it must be text")]
    Parameters,
}

#[derive(Deserialize)]
struct Input {
    op: String,
    #[serde(default)]
    keywrapparams: Option<WrapParameters>,
    #[serde(default)]
    keyunwrapparams: Option<UnwrapParameters>,
}

#[derive(Deserialize)]
struct WrapParameters {
    #[serde(default)]
    ec: Option<EncryptConfig>,
    #[serde(default)]
    optsdata: Option<Octets>,
}

#[derive(Deserialize)]
struct EncryptConfig {
    #[serde(default, rename = "Parameters")]
    parameters: Option<BTreeMap<String, Option<Vec<Octets>>>>,
}

#[derive(Deserialize)]
struct UnwrapParameters {
    #[serde(default)]
    annotation: Option<Octets>,
}

/// Bytes in either form.
struct Octets(Zeroizing<Vec<u8>>);

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Octets;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64 or an array of bytes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Octets, E> {
                let decoded = STANDARD.decode(text).map(Zeroizing::new);
                decoded.map(Octets).map_err(|_| E::custom("not base64"))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Octets, A::Error> {
                let mut bytes = Zeroizing::new(Vec::with_capacity(1024));
                while let Some(byte) = numbers.next_element::<u8>()? {
                    grow(&mut bytes);
                    bytes.push(byte);
                }
                Ok(Octets(bytes))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// Makes room for one more without leaving the bytes behind in freed memory.
fn grow(bytes: &mut Zeroizing<Vec<u8>>) {
    if bytes.len() == bytes.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(
            bytes.capacity().saturating_mul(2).max(64),
        ));
        larger.extend_from_slice(bytes);
        *bytes = larger;
    }
}

/// Reads an input.
pub(super) fn read(json: &[u8]) -> Result<Operation, ProtocolError> {
    let input: Input = serde_json::from_slice(json).map_err(|error| ProtocolError::Json {
        line: error.line(),
        column: error.column(),
    })?;
    match input.op.as_str() {
        "keywrap" => wrapping(input.keywrapparams).map(Operation::Wrap),
        "keyunwrap" => {
            let packet = input.keyunwrapparams.and_then(|all| all.annotation);
            let Octets(packet) =
                packet.ok_or(ProtocolError::Missing("keyunwrapparams.annotation"))?;
            Ok(Operation::Unwrap(Unwrapping { packet }))
        }
        _ => Err(ProtocolError::Operation),
    }
}

fn wrapping(all: Option<WrapParameters>) -> Result<Wrapping, ProtocolError> {
    let all = all.ok_or(ProtocolError::Missing("keywrapparams"))?;
    let Octets(options) = all
        .optsdata
        .ok_or(ProtocolError::Missing("keywrapparams.optsdata"))?;
    let mut parameters = all
        .ec
        .and_then(|config| config.parameters)
        .and_then(|mut parameters| parameters.remove(PROVIDER).flatten())
        .unwrap_or_default()
        .into_iter();
    match (parameters.next(), parameters.next()) {
        (Some(Octets(only)), None) => Ok(Wrapping {
            parameters: std::str::from_utf8(&only)
                .map_err(|_| ProtocolError::Parameters)?
                .to_owned(),
            options,
        }),
        _ => Err(ProtocolError::Parameters),
    }
}

/// The answer to `keywrap`: a key packet's JSON.
pub(super) fn wrapped(packet: &[u8]) -> Zeroizing<Vec<u8>> {
    output("{\"keywrapresults\":{\"annotation\":[", packet)
}

/// The answer to `keyunwrap`: private options' JSON.
pub(super) fn unwrapped(options: &[u8]) -> Zeroizing<Vec<u8>> {
    output("{\"keyunwrapresults\":{\"optsdata\":[", options)
}

fn output(start: &str, bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    // At most three digits and a comma for each, so the buffer does not move.
    let room = start.len() + bytes.len() * 4 + 3;
    let mut json = Zeroizing::new(Vec::with_capacity(room));
    json.extend_from_slice(start.as_bytes());
    for (place, byte) in bytes.iter().enumerate() {
        if place > 0 {
            json.push(b',');
        }
        let (hundreds, tens, ones) = (byte / 100, byte / 10 % 10, byte % 10);
        if hundreds > 0 {
            json.push(b'0' + hundreds);
        }
        if hundreds > 0 || tens > 0 {
            json.push(b'0' + tens);
        }
        json.push(b'0' + ones);
    }
    json.extend_from_slice(b"]}}");
    json
}

#[cfg(test)]
mod tests;
