//! The outside world, as a VM sees it that was started here.

use std::time::Duration;

use proplet_image::ImageReference;
use proplet_jose::jwk::PrivateKey;
use proplet_lab::owner::open_result;
use proplet_lab::workload::with_recipients;
use proplet_lab::{API_KEY, KEY_ID, PROPLET, Services};
use proplet_results::Opened;
use proplet_results::verify::Expectations;
use proplet_testkit::broker::{Outcome, Task};
use proplet_testkit::kbs::{DevKeyBroker, Policy};
use proplet_testkit::tee::{FakeSnp, test_reference_values};

use crate::machine::{Machine, PATIENCE};

/// This machine, from inside one that QEMU's own network connects.
const HOST: &str = "10.0.2.2";
/// Waits of the Manager that fit into [`PATIENCE`].
const WAITS: u64 = PATIENCE.as_secs() / proplet_testkit::broker::PATIENCE.as_secs();

/// A heartbeat may still be on its way from a machine that has ended.
const ANNOUNCED: &str = "control/proplet/create";

const TASK: &str = "00000000-0000-4000-8000-000000000001";

const ADD: &str = r#"(module (func (export "add") (param i32 i32) (result i32)
    (i32.add (local.get 0) (local.get 1))))"#;

/// Services on this machine's loopback, and an encrypted workload for a VM of the test PKI.
pub struct World {
    services: Services,
    reader: PrivateKey,
    image: ImageReference,
}

impl World {
    /// A world whose key broker releases the key to a VM that is among the reference values.
    pub async fn new() -> Self {
        let key_broker = DevKeyBroker::builder()
            .reference_values(&test_reference_values())
            .policy(Policy::predicate(|request| request.is_affirming()));
        let services = Services::with(key_broker.start().await.unwrap());
        let services = services.await.unwrap();
        let reader = PrivateKey::generate_p256().unwrap();
        let policy = "version = 1\nexports = [\"add\"]\n";
        let policy = with_recipients(policy, std::slice::from_ref(reader.public()));
        let component = wat::parse_str(ADD).unwrap();
        let published = services.publish("add", &component, Some(&policy), KEY_ID.parse().unwrap());
        let (_, image) = published.await.unwrap();
        Self {
            services,
            reader,
            image,
        }
    }

    /// The init-data document of a VM in this world.
    pub fn init_data(&self) -> String {
        self.init_data_with("")
    }

    /// The same, with these tables in the settings too.
    pub fn init_data_with(&self, more: &str) -> String {
        let mut addresses = self.services.addresses();
        // Nobody helps an emulated processor with elliptic curves.
        addresses.key_broker_timeout = Duration::from_secs(120);
        for address in [
            &mut addresses.broker,
            &mut addresses.registry,
            &mut addresses.key_broker,
        ] {
            *address = seen_from_inside(address);
        }
        let settings = addresses.measured(more).unwrap();
        settings.init_data.unwrap().text().to_owned()
    }

    /// The operator's document of a VM in this world.
    pub fn operator() -> String {
        format!(
            "version = \"0.1.0\"\n[files]\n\"credentials.toml\" = '''\n[proplet]\napi_key = \"{API_KEY}\"\n'''\n"
        )
    }

    /// Waits until the machine's daemon says that it is there.
    pub async fn joined(&self, machine: &Machine) {
        let manager = &self.services.manager;
        let before = manager.on(ANNOUNCED).len();
        for _ in 0..WAITS {
            if manager.messages(ANNOUNCED, before + 1).await.is_ok() {
                return;
            }
            machine.must_run();
        }
        panic!("it does not join the broker: {}", machine.console());
    }

    /// Runs the encrypted task, and gives what comes of it.
    pub async fn task(&self, machine: &Machine) -> Outcome {
        self.start().await;
        self.result(machine).await
    }

    /// Starts the encrypted task.
    pub async fn start(&self) {
        let image = seen_from_inside(&self.image.to_string());
        let task = Task {
            cli_args: Some(vec!["--invoke".to_owned(), "add".to_owned()]),
            inputs: vec!["40".to_owned(), "2".to_owned()],
            proplet_id: PROPLET.to_owned(),
            ..Task::encrypted(TASK, "add", &image)
        };
        self.services.manager.start(&task).await.unwrap();
    }

    /// How often there was a result of it.
    pub fn results(&self) -> usize {
        self.services.manager.results_so_far(TASK)
    }

    /// Waits for its result.
    pub async fn result(&self, machine: &Machine) -> Outcome {
        for _ in 0..WAITS {
            if let Ok(outcome) = self.services.manager.result(TASK).await {
                return outcome;
            }
            machine.must_run();
        }
        panic!("the task has no result: {}", machine.console());
    }

    /// Opens a result, verified down to the test root.
    pub fn open(&self, outcome: &Outcome) -> Opened {
        let expected = Expectations::of_measurements([FakeSnp::MEASUREMENT.to_vec()]);
        open_result(&self.reader, &outcome.results, &expected).unwrap()
    }
}

fn seen_from_inside(address: &str) -> String {
    assert!(address.contains("127.0.0.1"), "{address}");
    address.replace("127.0.0.1", HOST)
}
