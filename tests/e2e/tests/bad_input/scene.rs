//! A daemon that is fed with bad input, and what must hold after each helping.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use proplet_image::media::OCI_MANIFEST;
use proplet_jose::jwk::PrivateKey;
use proplet_lab::owner::open_result;
use proplet_lab::workload::with_recipients;
use proplet_lab::{RunningProplet, Services};
use proplet_results::Opened;
use proplet_results::verify::Expectations;
use proplet_settings::Settings;
use proplet_settings::environment::Environment;
use proplet_testkit::broker::{Outcome, Task};
use proplet_testkit::tee::FakeSnp;
use serde_json::{Value, json};

/// No answer may take longer, however the other side behaves. The waits of the settings are 3 s.
const PROMPT: Duration = Duration::from_secs(60);

/// A daemon and its surroundings.
pub struct Scene {
    pub services: Services,
    pub reader: PrivateKey,
    proplet: RunningProplet,
    number: AtomicU64,
}

impl Scene {
    /// Starts a daemon that waits 1 s for others, with these limits for tasks.
    pub async fn set(limits: &str) -> Self {
        let services = Services::start().await.unwrap();
        let reader = PrivateKey::generate_p256().unwrap();
        let recipients = with_recipients("", &[reader.public().clone()]);
        let settings = services
            .settings(&format!(
                "[confidential]\n{recipients}\n[limits]\ntasks = 2\n{limits}"
            ))
            .replace("timeout_seconds = 5", "timeout_seconds = 3")
            .replace(
                "[kbs]",
                "timeout_seconds = 3\nmax_layer_bytes = 1048576\n[kbs]",
            );
        let digest = Settings::parse(Some(&settings), &Environment::default())
            .unwrap()
            .digest;
        let tee = FakeSnp::builder().host_data(*digest.as_bytes()).build();
        let proplet = RunningProplet::start(&settings, Some(Arc::new(tee))).unwrap();
        let manager = &services.manager;
        manager.messages("control/proplet/alive", 1).await.unwrap();
        Self {
            services,
            reader,
            proplet,
            number: AtomicU64::new(0),
        }
    }

    /// A name that was not used before, for a task or an image.
    pub fn fresh(&self, kind: &str) -> String {
        format!("{kind}-{}", self.number.fetch_add(1, Ordering::Relaxed))
    }

    /// Publishes on the start topic.
    pub async fn send(&self, payload: impl AsRef<[u8]>) {
        let sent = self.services.manager.send("control/manager/start", payload);
        sent.await.unwrap();
    }

    /// What the daemon said about a task, in time.
    pub async fn answer(&self, id: &str) -> Outcome {
        let asked = Instant::now();
        let outcome = self.services.manager.result(id).await.unwrap();
        assert!(asked.elapsed() < PROMPT, "{id} took {:?}", asked.elapsed());
        outcome
    }

    pub async fn run(&self, task: &Task) -> Outcome {
        self.services.manager.start(task).await.unwrap();
        self.answer(&task.id).await
    }

    /// The next task is served.
    pub async fn goes_on(&self) {
        let message = good(&self.fresh("good"));
        self.send(message.to_string()).await;
        let outcome = self.answer(message["id"].as_str().unwrap()).await;
        assert_eq!((outcome.results.as_str(), outcome.error), ("30", None));
    }

    /// Encrypts and pushes a component under a key of its own. Gives the reference, by digest.
    pub async fn publish(&self, component: &[u8], policy: Option<&str>) -> String {
        let name = self.fresh("image");
        let key = format!("kbs:///default/key/{name}").parse().unwrap();
        let published = self.services.publish(&name, component, policy, key).await;
        published.unwrap().1.to_string()
    }

    /// What the recipient reads.
    pub fn open(&self, outcome: &Outcome) -> Opened {
        let expected = Expectations::of_any_measurement();
        open_result(&self.reader, &outcome.results, &expected).unwrap()
    }

    /// How many results messages have come for a task.
    pub fn answers_so_far(&self, id: &str) -> usize {
        self.services.manager.results_so_far(id)
    }

    /// Ends the daemon, which must still be there.
    pub async fn end(self) {
        self.goes_on().await;
        self.proplet.stop().await.unwrap();
    }
}

/// The code of a refusal. Its words must be text that fits a message. (A plain component's own words, and
/// only they, may have several lines.)
pub fn code<'a>(what: &str, outcome: &'a Outcome) -> &'a str {
    let Some(error) = &outcome.error else {
        panic!("{what}: it was not refused: {outcome:?}");
    };
    let (code, words) = error
        .split_once(": ")
        .unwrap_or_else(|| panic!("{what}: {error}"));
    assert!(
        code.chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
        "{what}: {error}"
    );
    assert!(words.split_whitespace().count() >= 4, "{what}: {error}");
    assert!(
        words.len() < 2000 && !words.replace('\n', "").contains(char::is_control),
        "{what}: {error}"
    );
    code
}

/// A start message for 10 + 20.
pub fn good(id: &str) -> Value {
    let file = base64(&adder());
    json!({ "id": id, "name": "add", "file": file, "inputs": ["10", "20"] })
}

pub fn adder() -> Vec<u8> {
    wat::parse_str(
        "(module (func (export \"add\") (param i32 i32) (result i32)
           (i32.add (local.get 0) (local.get 1))))",
    )
    .unwrap()
}

/// Changes one member of a message.
pub fn with(mut message: Value, member: &str, value: Value) -> Value {
    message[member] = value;
    message
}

pub fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

impl Scene {
    /// Runs a task that must be refused with this code, and then a good one.
    pub async fn refused(&self, what: &str, task: &Task, expected: &str) -> Outcome {
        let outcome = self.run(task).await;
        assert_eq!(code(what, &outcome), expected, "{what}: {outcome:?}");
        self.goes_on().await;
        assert_eq!(self.answers_so_far(&task.id), 1, "{what}");
        outcome
    }

    /// Runs an encrypted task that must end well, and gives what its recipient reads.
    pub async fn served(&self, what: &str, image: &str) -> Vec<u8> {
        let task = Task {
            inputs: vec!["10".into(), "20".into()],
            ..Task::encrypted(&self.fresh("served"), "add", image)
        };
        let outcome = self.run(&task).await;
        assert_eq!(outcome.error, None, "{what}");
        self.open(&outcome).content.to_vec()
    }

    /// Puts an image into the registry, whatever it is, and gives its reference by digest.
    pub fn put(&self, manifest: &Value, blobs: &[&[u8]]) -> String {
        for blob in blobs {
            self.services.registry.insert_blob(blob.to_vec());
        }
        let name = self.fresh("made");
        let kind = manifest["mediaType"].as_str().unwrap_or(OCI_MANIFEST);
        let text = manifest.to_string();
        let digest = self
            .services
            .registry
            .insert_manifest(&name, "bad", kind, text);
        format!("{}/{name}@{digest}", self.services.registry.host())
    }
}
