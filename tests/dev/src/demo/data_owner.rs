//! The data owner: encrypts the component, chooses who may read the result, and opens it.

use std::error::Error;
use std::time::SystemTime;

use proplet_hal::verify::TrustPolicy;
use proplet_image::{Digest, ImageReference};
use proplet_jose::jwk::PrivateKey;
use proplet_kbs::ResourceUri;
use proplet_results::digest::{of_arguments, of_inputs};
use proplet_results::verify::Expectations;
use proplet_results::{Opened, ResultDocument, open};
use proplet_testkit::guests::{
    INFERENCE_POLICY, INFERENCE_SAMPLES, INFERENCE_WEIGHTS, INFERENCE_WEIGHTS_URI,
};
use proplet_testkit::lab::{KEY_ID, Services};
use proplet_testkit::tee::{FakeSnp, test_roots};
use proplet_testkit::workload::with_recipients;
use serde_json::json;

/// Who owns component, secret and result.
pub struct DataOwner {
    recipient: PrivateKey,
}

/// A workload that is ready to be started.
pub struct Order {
    /// The image, by digest.
    pub image: ImageReference,
    /// Digest of the image's encrypted layer.
    pub layer_digest: String,
    /// Digest of the component, policy included.
    pub component_digest: String,
    /// Where the key broker holds the key.
    pub key_id: ResourceUri,
    /// The input, with a nonce for freshness.
    pub input: String,
}

impl DataOwner {
    /// An owner with a fresh recipient key.
    pub fn new() -> Result<Self, Box<dyn Error>> {
        Ok(Self { recipient: PrivateKey::generate_p256()? })
    }

    /// Thumbprint of the recipient key.
    pub fn thumbprint(&self) -> String {
        self.recipient.public().thumbprint()
    }

    /// Encrypts and pushes the component, and gives its key and its model to the key broker.
    pub async fn publish(
        &self,
        services: &Services,
        component: &[u8],
        named: bool,
    ) -> Result<Order, Box<dyn Error>> {
        let policy = if named {
            with_recipients(INFERENCE_POLICY, &[self.recipient.public().clone()])
        } else {
            INFERENCE_POLICY.to_owned()
        };
        let key_id: ResourceUri = KEY_ID.parse()?;
        let (workload, image) =
            services.publish("confidential-inference", component, Some(&policy), key_id).await?;
        services
            .key_broker
            .set_resource(&INFERENCE_WEIGHTS_URI.parse()?, INFERENCE_WEIGHTS.as_bytes());
        Ok(Order {
            image,
            layer_digest: Digest::of(workload.image.layer()).to_string(),
            component_digest: workload.component_digest().to_string(),
            key_id: workload.key_id,
            input: question()?,
        })
    }

    /// Verifies a result down to the test root against everything that the owner knows, and opens it.
    pub fn open(
        &self,
        order: &Order,
        settings_digest: &str,
        results: &str,
    ) -> Result<Opened, Box<dyn Error>> {
        let settings = proplet_results::Digest::try_from(settings_digest.to_owned())?;
        let expectations = Expectations {
            measurements: vec![FakeSnp::MEASUREMENT.to_vec()],
            init_data: Some(hex::decode(settings_digest.trim_start_matches("sha256:"))?),
            settings: Some(settings),
            component: Some(order.component_digest.clone().try_into()?),
            image: order.image.digest().map(|digest| digest.to_string().try_into()).transpose()?,
            export: Some("run".to_owned()),
            inputs: Some(of_inputs(&[&order.input])?),
            arguments: Some(of_arguments(&["--invoke", "run"])?),
            recipients: Some(vec![self.thumbprint()]),
            ..Expectations::default()
        };
        let document = ResultDocument::from_text(results)?;
        let trust = TrustPolicy::with_snp_roots(test_roots());
        Ok(open(&document, &self.recipient, &trust, &expectations, SystemTime::now())?)
    }
}

/// The first samples of the data set, and a nonce.
fn question() -> Result<String, Box<dyn Error>> {
    let samples: Vec<Vec<f64>> = INFERENCE_SAMPLES
        .lines()
        .filter_map(|line| line.split(',').take(4).map(|number| number.trim().parse().ok()).collect())
        .filter(|sample: &Vec<f64>| sample.len() == 4)
        .step_by(10)
        .collect();
    Ok(json!({ "nonce": uuid::Uuid::new_v4().to_string(), "samples": samples }).to_string())
}

/// The opened answer, with its long evidence shortened.
pub fn shown(content: &[u8]) -> Result<String, Box<dyn Error>> {
    let mut answer: serde_json::Value = serde_json::from_slice(content)?;
    if let Some(evidence) = answer.get_mut("evidence") {
        let claims = evidence.get("claims").cloned().unwrap_or_default();
        *evidence = json!({ "claims": claims, "evidence": "…" });
    }
    Ok(serde_json::to_string_pretty(&answer)?)
}
