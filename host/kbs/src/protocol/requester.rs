//! What runs in the VM, as its host says it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proplet_types::Digest;
use serde::Serialize;
use serde_json::json;

use super::{HashAlgorithm, MessageError, RuntimeData, runtime_data::digest_of};

/// The type of device that carries a workload in the handshake's additional evidence.
const CARRIER: &str = "sampledevice";

/// A component, as far as its host knows it when it asks for something on its behalf: before decryption
/// that is the image alone. Texts only, since numbers lose digits in canonical JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Requester {
    /// Digest of the component's bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component_digest: Option<Digest>,
    /// Digest of the image's manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<Digest>,
    /// Digest of the policy that counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_digest: Option<Digest>,
}

impl Requester {
    /// The text of the handshake's additional evidence that says so: the device's own report data, which the
    /// KBS demands, and the workload. The report data of the CPU's TEE covers the text as it is.
    ///
    /// The device's `svn` is a free text that shows in tokens also where the KBS leaves additional evidence
    /// out of them: the component's digest, where it is known.
    ///
    /// # Errors
    /// [`MessageError::Encode`].
    pub fn additional_evidence(
        &self,
        runtime_data: &RuntimeData,
        algorithm: HashAlgorithm,
    ) -> Result<String, MessageError> {
        let report_data = runtime_data.device_digest(algorithm)?;
        let component = self.component_digest.map(|digest| digest.hex());
        let device = json!({
            "report_data": STANDARD.encode(report_data),
            "svn": component.as_deref().unwrap_or("1"),
            "workload": self,
        });
        proplet_jose::jcs::to_string(&json!({ CARRIER: device }))
            .map_err(|_| MessageError::Encode("additional evidence"))
    }
}

/// Runtime data for an attestation service: the object that it hashes, and shows in its token.
///
/// The host makes all of it. Without a workload it says no more than [`RuntimeData`] does.
#[derive(Debug, Clone, Serialize)]
pub struct StructuredRuntimeData<'a> {
    #[serde(flatten)]
    runtime_data: &'a RuntimeData,
    #[serde(skip_serializing_if = "Option::is_none")]
    workload: Option<&'a Requester>,
}

impl<'a> StructuredRuntimeData<'a> {
    /// Nonce and key, and the workload beside them.
    pub fn new(runtime_data: &'a RuntimeData, workload: Option<&'a Requester>) -> Self {
        Self {
            runtime_data,
            workload,
        }
    }

    /// The report data: SHA-384 over the canonical JSON.
    ///
    /// # Errors
    /// [`MessageError::Encode`].
    pub fn digest(&self) -> Result<Vec<u8>, MessageError> {
        let value = serde_json::to_value(self).map_err(|_| MessageError::Encode("runtime data"))?;
        digest_of(&value, HashAlgorithm::Sha384)
    }
}

#[cfg(test)]
mod tests {
    use proplet_jose::jwk;

    use super::*;
    use crate::protocol::TeePublicKey;

    // Of recorded exchanges with a stock Trustee, which accepted both.
    const X: &str = "v7BP6I8Y75vi2CFG0xjcd4PC5oR--tOhiwM_lXEGQtU";
    const Y: &str = "1Kk9EPMYso4uEZZJi-O2z1i2EJJcMhlPdpZDGLbZo_U";
    const COMPONENT: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn runtime_data(nonce: &str) -> RuntimeData {
        let jwk = json!({ "kty": "EC", "crv": "P-256", "x": X, "y": Y });
        let key = jwk::PublicKey::from_jwk(&jwk).unwrap();
        RuntimeData {
            nonce: nonce.to_owned(),
            tee_pubkey: TeePublicKey::new(&key).unwrap(),
        }
    }

    fn workload() -> Requester {
        Requester {
            component_digest: Some(format!("sha256:{COMPONENT}").parse().unwrap()),
            ..Requester::default()
        }
    }

    #[test]
    fn known_answer_of_structured_runtime_data() {
        let data = runtime_data("8SIdEzu2TtfRN/aAAkxPoEWicr9ipyBxHolfE07Dy00=");
        let workload = workload();
        let digest = StructuredRuntimeData::new(&data, Some(&workload)).digest();
        assert_eq!(
            hex::encode(digest.unwrap()),
            "01980151c931d912669e69df5e6103f5de9ac7d7a395539d08832dc8067a3ba5d07666e66d6774d7b557ce3eb1950e8e"
        );
        // Without a workload it is what the protocol has devices sign.
        assert_eq!(
            StructuredRuntimeData::new(&data, None).digest(),
            data.device_digest(HashAlgorithm::Sha384)
        );
    }

    #[test]
    fn known_answer_of_additional_evidence() {
        let data = runtime_data("rA+I+61AFf+aa3hUyeTo0iRK04ijwo9NalO80jHiAgo=");
        let text = workload().additional_evidence(&data, HashAlgorithm::Sha384);
        let expected = format!(
            "{{\"sampledevice\":{{\"report_data\":\
             \"bDd3gb6XZ1VGYmCkheczJLKZJGNv+Jw4fuF159LOb4ce15s2QD6rGlC2ZgS340Pz\",\
             \"svn\":\"{COMPONENT}\",\
             \"workload\":{{\"component_digest\":\"sha256:{COMPONENT}\"}}}}}}"
        );
        assert_eq!(text.as_deref(), Ok(expected.as_str()));
        let digest = data.primary_digest(&expected, HashAlgorithm::Sha384);
        assert_eq!(
            STANDARD.encode(digest.unwrap()),
            "J34NZBC1O6xxhdlFszMMLwJajhTLOPeQuaA36Xd+SZQg1TwUJY+rNdkJddTKK8O3"
        );
    }

    #[test]
    fn an_image_is_not_taken_for_a_component() {
        let data = runtime_data("AAAA");
        let image = Requester {
            image_digest: Some(Digest::of(b"image")),
            ..Requester::default()
        };
        let text = image.additional_evidence(&data, HashAlgorithm::Sha384);
        let value: serde_json::Value = serde_json::from_str(&text.unwrap()).unwrap();
        let device = &value["sampledevice"];
        assert_eq!(device["svn"], "1");
        assert_eq!(
            device["workload"],
            json!({ "image_digest": Digest::of(b"image") })
        );
    }
}
