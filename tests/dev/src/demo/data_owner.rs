//! The data owner: encrypts the component, chooses who may read the result, and opens it.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::SystemTime;

use proplet_image::ImageReference;
use proplet_jose::jwk::PrivateKey;
use proplet_lab::workload::with_recipients;
use proplet_lab::{KEY_ID, Services};
use proplet_results::digest::{of_arguments, of_environment, of_inputs};
use proplet_results::verify::{Expectations, ExpectedInvocation, Report, verify_bundle};
use proplet_results::{EvidenceBundle, Opened, ResultDocument, open};
use proplet_settings::Settings;
use proplet_testkit::guests::{
    INFERENCE_POLICY, INFERENCE_SAMPLES, INFERENCE_WEIGHTS, INFERENCE_WEIGHTS_URI,
};
use proplet_types::{Digest, ResourceUri};
use serde::Deserialize as _;
use serde_json::json;

use crate::tee::Fake;

/// `cli_args` of the task.
pub const ARGUMENTS: [&str; 2] = ["--invoke", "run"];

/// Who owns component, secret and result.
pub struct DataOwner {
    recipient: PrivateKey,
    /// The TEE that the owner was told of.
    tee: Fake,
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
    /// Digest of the policy.
    pub policy_digest: String,
    /// Identifier of the task.
    pub task_id: String,
    /// Chosen for this run, so that its result cannot be an older one.
    pub nonce: String,
    /// The input, with the nonce.
    pub input: String,
}

impl DataOwner {
    /// An owner with a fresh recipient key.
    pub fn new(tee: Fake) -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            recipient: PrivateKey::generate_p256()?,
            tee,
        })
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
        let nonce = uuid::Uuid::new_v4().to_string();
        let policy = if named {
            with_recipients(INFERENCE_POLICY, &[self.recipient.public().clone()])
        } else {
            INFERENCE_POLICY.to_owned()
        };
        let key_id: ResourceUri = KEY_ID.parse()?;
        let (workload, image) = services
            .publish("confidential-inference", component, Some(&policy), key_id)
            .await?;
        services.key_broker.set_resource(
            &INFERENCE_WEIGHTS_URI.parse()?,
            INFERENCE_WEIGHTS.as_bytes(),
        );
        Ok(Order {
            image,
            layer_digest: Digest::of(workload.image.layer()).to_string(),
            component_digest: workload.component_digest().to_string(),
            key_id: workload.key_id,
            policy_digest: Digest::of(policy.as_bytes()).to_string(),
            task_id: uuid::Uuid::new_v4().to_string(),
            input: question(&nonce),
            nonce,
        })
    }

    /// Verifies a result down to the test root against everything that the owner knows, and opens it.
    pub fn open(
        &self,
        order: &Order,
        settings: &Settings,
        results: &str,
    ) -> Result<Opened, Box<dyn Error>> {
        let expectations = Expectations {
            invocation: Some(ExpectedInvocation::Absent),
            export: Some("run".to_owned()),
            inputs: Some(of_inputs(&[&order.input])?),
            arguments: Some(of_arguments(&ARGUMENTS)?),
            environment: Some(of_environment(&BTreeMap::new())?),
            recipients: Some(vec![self.thumbprint()]),
            ..self.known(order, settings)?
        };
        let document = ResultDocument::from_text(results)?;
        Ok(open(
            &document,
            &self.recipient,
            &self.tee.trust(),
            &expectations,
            SystemTime::now(),
        )?)
    }

    /// Verifies the evidence that the component asked for and put into its answer.
    pub fn verify_evidence(
        &self,
        order: &Order,
        settings: &Settings,
        answer: &[u8],
    ) -> Result<Report, Box<dyn Error>> {
        let answer: serde_json::Value = serde_json::from_slice(answer)?;
        let evidence = answer
            .get("evidence")
            .ok_or("the answer holds no evidence")?;
        let bundle = EvidenceBundle::deserialize(evidence)?;
        let expectations = Expectations {
            challenge: Some(order.nonce.clone().into_bytes()),
            ..self.known(order, settings)?
        };
        Ok(verify_bundle(
            &bundle,
            &self.tee.trust(),
            &expectations,
            SystemTime::now(),
        )?)
    }

    /// What the owner knows before the task is started, whoever runs it.
    fn known(&self, order: &Order, settings: &Settings) -> Result<Expectations, Box<dyn Error>> {
        Ok(Expectations {
            settings: Some(settings.digest),
            component: Some(order.component_digest.parse()?),
            image: order.image.digest(),
            policy: Some(order.policy_digest.parse()?),
            task_id: Some(order.task_id.clone()),
            ..self.tee.expected(settings.init_data.as_ref())
        })
    }
}

/// Some samples of the data set, and the nonce.
fn question(nonce: &str) -> String {
    let samples: Vec<Vec<f64>> = INFERENCE_SAMPLES
        .lines()
        .filter_map(|line| {
            line.split(',')
                .take(4)
                .map(|number| number.trim().parse().ok())
                .collect()
        })
        .filter(|sample: &Vec<f64>| sample.len() == 4)
        .step_by(10)
        .collect();
    json!({ "nonce": nonce, "samples": samples }).to_string()
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
