//! A data owner, a Manager and a proplet.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use proplet_image::ImageReference;
use proplet_jose::jwk::{PrivateKey, PublicKey};
pub(crate) use proplet_lab::owner::trust;
use proplet_lab::{
    RunningProplet, Services,
    owner::open_result,
    workload::{EncryptedComponent, with_recipients},
};
use proplet_results::{Opened, failure::Failure, verify::Expectations};
use proplet_testkit::{
    broker::{Outcome, Task},
    guests::{GuestName, build},
    tee::FakeSnp,
};
use proplet_types::ResourceUri;

/// Where the owner's key lies.
pub(crate) const KEY: &str = "kbs:///alice/key/module";
/// A secret of the owner's.
pub(crate) const SECRET: &str = "kbs:///alice/data/secret";
/// What it holds. It must turn up nowhere but in memory and in sealed results.
pub(crate) const CANARY: &str = "CANARY-4711-of-alice";

/// A deployment with one proplet.
pub(crate) struct Scene {
    pub services: Services,
    pub proplet: RunningProplet,
    pub tee: Arc<FakeSnp>,
    /// The data owner's key for results.
    pub owner: PrivateKey,
}

impl Scene {
    /// A proplet on a fake TEE, with the lab's settings.
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// The same with more text after the settings.
    pub(crate) async fn with(more: &str) -> Self {
        Self::among(Services::start().await.unwrap(), more).await
    }

    /// A proplet in a world that is there already.
    pub(crate) async fn among(services: Services, more: &str) -> Self {
        let settings = services.settings(more);
        let tee = Arc::new(FakeSnp::new());
        let proplet = RunningProplet::start(&settings, Some(tee.clone())).unwrap();
        Self::of(services, proplet, tee).await
    }

    /// A proplet that was started by the caller.
    pub(crate) async fn of(services: Services, proplet: RunningProplet, tee: Arc<FakeSnp>) -> Self {
        let alive = "control/proplet/alive";
        services.manager.messages(alive, 1).await.unwrap();
        services
            .key_broker
            .set_resource(&uri(SECRET), CANARY.as_bytes());
        let owner = PrivateKey::generate_p256().unwrap();
        Self {
            services,
            proplet,
            tee,
            owner,
        }
    }

    /// Encrypts a component under the owner's key, with a policy that names the owner as recipient, and
    /// pushes it.
    pub(crate) async fn publish(
        &self,
        component: &[u8],
        more: &str,
    ) -> (EncryptedComponent, ImageReference) {
        self.publish_as(component, &self.policy(more), KEY).await
    }

    /// The same with any policy and key.
    pub(crate) async fn publish_as(
        &self,
        component: &[u8],
        policy: &str,
        key: &str,
    ) -> (EncryptedComponent, ImageReference) {
        self.services
            .publish("module", component, Some(policy), uri(key))
            .await
            .unwrap()
    }

    /// A policy that names the owner as recipient.
    pub(crate) fn policy(&self, more: &str) -> String {
        policy_for(self.owner.public(), more)
    }

    /// Sends a task and gives what the Manager gets: one results message.
    pub(crate) async fn run(&self, task: &Task) -> Outcome {
        self.services.manager.start(task).await.unwrap();
        let outcome = self.services.manager.result(&task.id).await.unwrap();
        assert_eq!(self.services.manager.results_so_far(&task.id), 1);
        outcome
    }

    /// Runs an encrypted component on one input, and opens its result.
    pub(crate) async fn ask(&self, image: &ImageReference, input: &str) -> Vec<u8> {
        let outcome = self.run(&task(image, &[input])).await;
        assert_eq!(outcome.error, None, "{input}");
        let opened = self.open(&outcome);
        assert!(opened.failure().is_none(), "{input}");
        opened.content.to_vec()
    }

    /// Runs an encrypted component that must fail with this code, and opens what it said.
    pub(crate) async fn ask_in_vain(
        &self,
        image: &ImageReference,
        input: &str,
        code: &str,
    ) -> Failure {
        let outcome = self.run(&task(image, &[input])).await;
        assert_code(&outcome, code);
        self.open(&outcome).failure().unwrap()
    }

    /// Opens a result with the owner's key.
    pub(crate) fn open(&self, outcome: &Outcome) -> Opened {
        open_with(&self.owner, outcome, &Expectations::of_any_measurement())
    }

    /// True when these bytes went over the broker, in any topic or payload.
    pub(crate) fn was_told(&self, bytes: &str) -> bool {
        self.services.broker.has_seen(bytes.as_bytes())
    }
}

/// Verifies and opens a result.
pub(crate) fn open_with(key: &PrivateKey, outcome: &Outcome, expected: &Expectations) -> Opened {
    open_result(key, &outcome.results, expected).unwrap()
}

/// A policy that names one recipient.
pub(crate) fn policy_for(recipient: &PublicKey, more: &str) -> String {
    with_recipients(
        &format!("version = 1\n{more}"),
        std::slice::from_ref(recipient),
    )
}

/// The lines of a policy that let the component see these secrets.
pub(crate) fn revealing(uris: &[&str]) -> String {
    uris.iter()
        .map(|uri| format!("[[secrets]]\nuri = {uri:?}\nreveal = true\n"))
        .collect()
}

/// An encrypted task under a new id.
pub(crate) fn task(image: &ImageReference, inputs: &[&str]) -> Task {
    Task {
        inputs: inputs.iter().map(|input| (*input).to_owned()).collect(),
        ..Task::encrypted(&new_id(), "job", &image.to_string())
    }
}

/// A plain task under a new id, with the component inside the start message.
pub(crate) fn plain_task(component: &[u8], input: &str) -> Task {
    Task {
        inputs: vec![input.to_owned()],
        ..Task::plain(&new_id(), "job", component.to_vec())
    }
}

/// An id that no other task of this process has.
pub(crate) fn new_id() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("task-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// Asserts the code of a failed task.
pub(crate) fn assert_code(outcome: &Outcome, code: &str) {
    let error = outcome.error.as_deref().unwrap_or("no error");
    assert!(error.starts_with(&format!("{code}: ")), "{code}: {error}");
}

/// Asserts that a task was refused: the code, and nothing else came of it.
pub(crate) fn assert_refused(outcome: &Outcome, code: &str) {
    assert_code(outcome, code);
    assert_eq!(outcome.results, "");
}

/// The component of a guest.
pub(crate) async fn guest(name: GuestName) -> Vec<u8> {
    let build = tokio::task::spawn_blocking(move || build(name));
    build.await.unwrap().unwrap().bytes.clone()
}

/// A resource address.
pub(crate) fn uri(text: &str) -> ResourceUri {
    text.parse().unwrap()
}

/// True when one contains the other.
pub(crate) fn contains(hay: &[u8], needle: &[u8]) -> bool {
    hay.windows(needle.len()).any(|window| window == needle)
}
