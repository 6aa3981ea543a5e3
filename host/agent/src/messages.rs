//! The messages on the wire, written by hand so that nothing needs `protoc`.
//!
//! Sources: `protos/attestation-agent/attestation-agent.proto` and `protos/confidential-data-hub/keyprovider.proto`
//! of Confidential Containers' guest components, `utils/keyprovider/keyprovider.proto` of `ocicrypt`.

/// Request of `GetEvidence`, and of `GetAdditionalEvidence`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetEvidenceRequest {
    /// The caller's challenge.
    #[prost(bytes = "vec", tag = "1")]
    pub runtime_data: Vec<u8>,
}

/// Answer of `GetEvidence`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetEvidenceResponse {
    /// The TEE's evidence, JSON as Trustee's verifier takes it.
    #[prost(bytes = "vec", tag = "1")]
    pub evidence: Vec<u8>,
}

/// Request of `GetToken`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetTokenRequest {
    /// `coco_as` or `kbs`.
    #[prost(string, tag = "1")]
    pub token_type: String,
}

/// Answer of `GetToken`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetTokenResponse {
    /// The token: for `coco_as` the text of a JWT.
    #[prost(bytes = "vec", tag = "1")]
    pub token: Vec<u8>,
}

/// Answer of `ExtendRuntimeMeasurement`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExtendRuntimeMeasurementResponse {
    /// What became of it.
    #[prost(enumeration = "RuntimeMeasurementResult", tag = "1")]
    pub result: i32,
}

/// What became of an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum RuntimeMeasurementResult {
    /// The register was extended.
    Ok = 0,
    /// Nothing here extends registers.
    NotSupported = 1,
    /// It could be, and is not switched on.
    NotEnabled = 2,
}

/// Request of `BindInitData`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BindInitDataRequest {
    /// The digest that the caller expects the VM to have been started with.
    #[prost(bytes = "vec", tag = "1")]
    pub digest: Vec<u8>,
}

/// Answer of `GetTeeType`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetTeeTypeResponse {
    /// The TEE's name as key brokers spell it: `snp`, `tdx`.
    #[prost(string, tag = "1")]
    pub tee: String,
}

/// Request and answer of both methods of the key provider: JSON inside one field. Keys of layers are in it, so it
/// has no `Debug`.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct KeyProviderMessage {
    /// The JSON text.
    #[prost(bytes = "vec", tag = "1")]
    pub json: Vec<u8>,
}
