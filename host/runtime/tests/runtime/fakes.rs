//! Services without a TEE or a key broker, and short forms for running a task.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};

use async_trait::async_trait;
use proplet_component::{Component, Policy};
use proplet_runtime::{
    AttestationError, Attestor, Compiled, Grants, Input, Outcome, Owner, PublishError,
    PublishedReceipt, ResultSink, Runtime, RuntimeConfig, RuntimeError, SecretError, SecretSource,
    Services, TaskRecord, TaskSpec, WorkloadEvidence, WorkloadIdentity,
};
use proplet_types::{Digest, ResourceUri};
use zeroize::Zeroizing;

/// One runtime for all tests: nothing that a task does may be seen by another.
pub static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Runtime::new(RuntimeConfig {
        concurrent_tasks: 16,
        ..RuntimeConfig::default()
    })
    .unwrap()
});

/// Services of a task, as each test wants them.
pub struct Fake {
    pub policy_digest: Option<Digest>,
    pub tee: Option<&'static str>,
    pub evidence: Option<AttestationError>,
    /// Never answers.
    pub evidence_hangs: bool,
    pub secrets: BTreeMap<&'static str, Result<Vec<u8>, SecretError>>,
    pub may_reveal: bool,
    pub publish: Option<PublishError>,
    pub published: Mutex<Vec<(Vec<u8>, String)>>,
    pub asked: Mutex<Vec<String>>,
    pub record: Vec<&'static str>,
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            policy_digest: None,
            tee: Some("snp"),
            evidence: None,
            evidence_hangs: false,
            secrets: BTreeMap::new(),
            may_reveal: true,
            publish: None,
            published: Mutex::default(),
            asked: Mutex::default(),
            record: Vec::new(),
        }
    }
}

#[async_trait]
impl Attestor for Fake {
    fn identity(&self) -> WorkloadIdentity {
        WorkloadIdentity {
            component_digest: Digest::of(b"component"),
            image_digest: None,
            policy_digest: self.policy_digest,
            settings_digest: Digest::of(b"settings"),
            tee: self.tee.map(str::to_owned),
            is_hardware: self.tee == Some("snp"),
        }
    }

    async fn evidence(&self, challenge: &[u8]) -> Result<WorkloadEvidence, AttestationError> {
        if self.evidence_hangs {
            std::future::pending::<()>().await;
        }
        match &self.evidence {
            Some(error) => Err(error.clone()),
            None => Ok(WorkloadEvidence {
                tee: "snp".into(),
                claims: format!(
                    "{{\"eat_nonce\":\"{}\"}}",
                    String::from_utf8_lossy(challenge)
                ),
                evidence: b"{}".to_vec(),
                document: b"[]".to_vec(),
            }),
        }
    }
}

#[async_trait]
impl SecretSource for Fake {
    async fn secret(&self, uri: &ResourceUri) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        let uri = uri.to_string();
        self.asked.lock().unwrap().push(uri.clone());
        match self.secrets.get(uri.as_str()) {
            Some(Ok(bytes)) => Ok(Zeroizing::new(bytes.clone())),
            Some(Err(error)) => Err(error.clone()),
            None => Err(SecretError::NotFound(uri)),
        }
    }

    fn may_reveal(&self, _uri: &ResourceUri) -> bool {
        self.may_reveal
    }
}

impl ResultSink for Fake {
    fn publish(&self, content: &[u8], media_type: &str) -> Result<PublishedReceipt, PublishError> {
        if let Some(error) = &self.publish {
            return Err(error.clone());
        }
        self.published
            .lock()
            .unwrap()
            .push((content.to_vec(), media_type.to_owned()));
        Ok(PublishedReceipt {
            jws: Some("e30.e30.AA".into()),
            digest: "sha256:0f".into(),
        })
    }

    fn recipients(&self) -> Vec<String> {
        vec!["thumb".into(), "print".into()]
    }
}

impl TaskRecord for Fake {
    fn count(&self) -> u32 {
        self.record.len().try_into().unwrap()
    }

    fn entry(&self, index: u32) -> Option<String> {
        let entry = self.record.get(usize::try_from(index).unwrap());
        entry.map(|entry| (*entry).to_owned())
    }

    fn head(&self) -> String {
        format!("sha256:{}", self.record.len())
    }
}

/// The fake as all services.
pub fn services(fake: &Arc<Fake>) -> Services {
    Services {
        attestation: fake.clone(),
        secrets: fake.clone(),
        results: fake.clone(),
        record: fake.clone(),
    }
}

/// A component as the runtime takes it.
pub fn component(wasm: &[u8]) -> Arc<Component> {
    Arc::new(Component::of(wasm.to_vec()))
}

pub async fn compile(wasm: &[u8]) -> Result<Compiled, RuntimeError> {
    RUNTIME.compile(component(wasm), &Owner::Anybody).await
}

/// A task that invokes an export with these inputs.
pub fn task(invoke: &str, inputs: &[&str]) -> TaskSpec {
    TaskSpec {
        invoke: Some(invoke.to_owned()),
        inputs: inputs.iter().map(|input| Input::text(*input)).collect(),
        ..TaskSpec::new("task-1", "test")
    }
}

/// Grants of a policy, which is given without its version.
pub fn grants(policy: &str) -> Grants {
    Grants::from_policy(Policy::parse(format!("version = 1\n{policy}").as_bytes()).unwrap())
}

pub async fn run_with(wasm: &[u8], task: TaskSpec, fake: &Arc<Fake>) -> Outcome {
    RUNTIME
        .run(&compile(wasm).await.unwrap(), task, services(fake))
        .await
}

pub async fn run(wasm: &[u8], task: TaskSpec) -> Outcome {
    run_with(wasm, task, &Arc::new(Fake::default())).await
}

/// The value as text for a plain task.
pub fn value(outcome: &Outcome) -> String {
    match outcome.plain_text() {
        Some(text) => text.to_string(),
        None => panic!("{}", *outcome.value.as_ref().unwrap_err().full_text()),
    }
}

/// Code and detail of the error.
pub fn error(outcome: &Outcome) -> (&'static str, String) {
    let error = outcome.value.as_ref().expect_err("the task ended well");
    (
        error.code().as_str(),
        error.detail().unwrap_or_default().to_owned(),
    )
}
