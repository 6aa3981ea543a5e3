//! A Manager, a proplet on a fake TEE, a data owner, and components in text.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use proplet_image::ImageReference;
use proplet_jose::jwk::PrivateKey;
use proplet_lab::{
    LabError, PROPLET, RunningProplet, Services, owner::open_result, workload::with_recipients,
};
use proplet_results::{
    Opened,
    verify::{Expectations, ExpectedInvocation},
};
use proplet_testkit::{
    broker::{InvocationOutcome, Manager, Outcome, Task},
    kbs::DevKeyBroker,
    tee::FakeSnp,
};

/// The owner's key for images.
pub const KEY: &str = "kbs:///alice/key/module";

pub struct Scene {
    pub services: Services,
    proplet: Mutex<Option<RunningProplet>>,
    pub owner: PrivateKey,
}

impl Scene {
    /// With more text after the settings.
    pub async fn new(more: &str) -> Self {
        Self::among(Services::start().await.unwrap(), more).await
    }

    /// With sessions of some seconds: short, and long enough that one is renewed in time on a machine with more to do.
    pub async fn with_short_sessions(more: &str) -> Self {
        Self::among(with_short_tokens().await, more).await
    }

    /// The same, where a key broker that says nothing is waited for much longer than a session lasts.
    pub async fn with_patience() -> Self {
        let services = with_short_tokens().await;
        let settings = services.settings("");
        let patient = settings.replace("timeout_seconds = 5", "timeout_seconds = 30");
        assert_ne!(patient, settings);
        Self::of(services, &patient).await
    }

    async fn among(services: Services, more: &str) -> Self {
        let settings = services.settings(more);
        Self::of(services, &settings).await
    }

    async fn of(services: Services, settings: &str) -> Self {
        let provider = Arc::new(FakeSnp::new());
        let proplet = RunningProplet::start(settings, Some(provider)).unwrap();
        let manager = &services.manager;
        manager.messages("control/proplet/alive", 1).await.unwrap();
        Self {
            services,
            proplet: Mutex::new(Some(proplet)),
            owner: PrivateKey::generate_p256().unwrap(),
        }
    }

    /// Stops the proplet as a signal would.
    pub async fn stop(&self) {
        let proplet = self.proplet.lock().unwrap().take();
        proplet.unwrap().stop().await.unwrap();
    }

    /// Starts another one, and waits until it is there.
    pub async fn start(&self, more: &str) {
        let created = self.manager().on("control/proplet/create").len();
        let settings = self.services.settings(more);
        let provider = Arc::new(FakeSnp::new());
        let proplet = RunningProplet::start(&settings, Some(provider)).unwrap();
        *self.proplet.lock().unwrap() = Some(proplet);
        let announced = self
            .manager()
            .messages("control/proplet/create", created + 1);
        announced.await.unwrap();
    }

    pub fn manager(&self) -> &Manager {
        &self.services.manager
    }

    /// Encrypts a component for the owner, who lets these exports be invoked.
    pub async fn publish(&self, component: &[u8], exports: &[&str]) -> ImageReference {
        self.publish_with(component, &format!("exports = {exports:?}\n"))
            .await
    }

    /// The same with any policy that names the owner as recipient.
    pub async fn publish_with(&self, component: &[u8], more: &str) -> ImageReference {
        self.publish_under(KEY, component, more).await
    }

    /// The same under a key of any owner.
    pub async fn publish_under(&self, key: &str, component: &[u8], more: &str) -> ImageReference {
        let policy = format!("version = 1\n{more}");
        let policy = with_recipients(&policy, &[self.owner.public().clone()]);
        let key = key.parse().unwrap();
        let published = self
            .services
            .publish("module", component, Some(&policy), key);
        published.await.unwrap().1
    }

    /// Opens a sealed result.
    pub fn open(&self, results: &str) -> Opened {
        let expected = Expectations::of_any_measurement();
        open_result(&self.owner, results, &expected).unwrap()
    }

    /// What an invocation of this id left for the owner, who expects that one.
    pub fn open_invocation(&self, results: &str, id: &str) -> Result<Opened, LabError> {
        let expected = Expectations {
            invocation: Some(ExpectedInvocation::Id(id.to_owned())),
            ..Expectations::of_any_measurement()
        };
        open_result(&self.owner, results, &expected)
    }

    /// The results of a task, once there are so many.
    pub async fn results(&self, task: &Task, count: usize) -> Vec<Outcome> {
        loop {
            let all = self.manager().messages("control/proplet/results", 1);
            let all = all.await.unwrap().into_iter();
            let ours = all.filter(|message| message["task_id"] == task.id);
            let ours: Vec<Outcome> = ours
                .map(|message| serde_json::from_value(message).unwrap())
                .collect();
            if ours.len() >= count {
                return ours;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Starts a daemon, and waits until it is said to run.
    pub async fn run_daemon(&self, task: &Task) {
        self.manager().start(task).await.unwrap();
        let said = self.results(task, 1).await;
        assert_eq!((said[0].results.as_str(), &said[0].error), ("", &None));
    }

    /// How a daemon that was said to run ended.
    pub async fn end_of(&self, task: &Task) -> Outcome {
        let mut said = self.results(task, 2).await;
        assert_eq!(said.len(), 2);
        said.remove(1)
    }

    /// Starts a latent task, and waits until it can be invoked.
    pub async fn prepare(&self, task: &Task) {
        self.manager().start(task).await.unwrap();
        self.prepared(task).await;
    }

    /// Waits until a latent task can be invoked: until an invocation with inputs that no export takes is refused for
    /// another reason.
    pub async fn prepared(&self, task: &Task) {
        let none_takes = ["x"; 9];
        while self
            .invoke(task, Some(&none_takes))
            .await
            .is_not_precompiled()
        {}
    }

    /// Invokes a latent task, and gives the answer.
    pub async fn invoke(&self, task: &Task, inputs: Option<&[&str]>) -> InvocationOutcome {
        let id = new_id();
        self.manager().invoke(task, &id, inputs).await.unwrap();
        let outcome = self.manager().invoked(&id).await.unwrap();
        assert_eq!(outcome.task_id, task.id);
        assert_eq!(outcome.proplet_id, PROPLET);
        outcome
    }
}

async fn with_short_tokens() -> Services {
    let mut services = Services::start().await.unwrap();
    let broker = DevKeyBroker::builder().token_lifetime(Duration::from_secs(12));
    services.key_broker = broker.start().await.unwrap();
    services
}

/// What is asked of an outcome.
pub trait Answer {
    /// The code of the failure, or nothing.
    fn code(&self) -> &str;

    /// What the Manager looks for.
    fn is_not_precompiled(&self) -> bool;
}

impl Answer for Outcome {
    fn code(&self) -> &str {
        code(self.error.as_deref())
    }

    fn is_not_precompiled(&self) -> bool {
        false
    }
}

impl Answer for InvocationOutcome {
    fn code(&self) -> &str {
        code(self.error.as_deref())
    }

    fn is_not_precompiled(&self) -> bool {
        let error = self.error.as_deref().unwrap_or_default();
        error.contains("has not been precompiled")
    }
}

/// The code of an error.
pub fn code(error: Option<&str>) -> &str {
    let code = error.and_then(|error| error.split_once(": "));
    code.map_or("", |(code, _)| code)
}

/// An id that nothing else of this process has.
pub fn new_id() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("id-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

pub fn daemon(task: Task) -> Task {
    Task {
        daemon: true,
        proplet_id: PROPLET.into(),
        ..task
    }
}

/// A plain daemon that works until it is stopped.
pub fn working() -> Task {
    daemon(Task::plain(&new_id(), "spin", spinner()))
}

pub fn latent(task: Task) -> Task {
    Task {
        latent: true,
        proplet_id: PROPLET.into(),
        ..task
    }
}

/// A plain latent task that adds.
pub fn adding() -> Task {
    latent(Task::plain(&new_id(), "add", adder()))
}

/// A plain latent task that never ends.
pub fn spinning() -> Task {
    latent(Task::plain(&new_id(), "spin", spinner()))
}

pub fn adder() -> Vec<u8> {
    wat::parse_str(
        "(module (func (export \"add\") (param i32 i32) (result i32)
           (i32.add (local.get 0) (local.get 1))))",
    )
    .unwrap()
}

/// A component that fails at once.
pub fn failing() -> Vec<u8> {
    wat::parse_str("(module (func (export \"fail\") unreachable))").unwrap()
}

pub fn spinner() -> Vec<u8> {
    wat::parse_str("(module (func (export \"spin\") (loop $again (br $again))))").unwrap()
}
