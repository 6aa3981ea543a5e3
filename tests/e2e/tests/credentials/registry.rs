//! Registries.

use std::time::Instant;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proplet_image::{Artifact, Credentials, ImageReference, push::push};
use proplet_lab::workload::registry_over_http;
use proplet_testkit::{
    broker::{Manager, Outcome, PATIENCE, Task, TestBroker},
    kbs::{Counts, DevKeyBroker, Policy},
    registry::{Access, Registry},
};
use proplet_types::ResourceUri;

use crate::scene::*;

fn stored() -> ResourceUri {
    "kbs:///fleet/host-credential/docker".parse().unwrap()
}

/// Docker's `config.json` for a registry.
fn config(registry: &Registry, password: &str) -> String {
    let auth = STANDARD.encode(format!("fleet:{password}"));
    serde_json::json!({"auths": {registry.host(): {"auth": auth}}}).to_string()
}

struct World {
    /// For as long as the world is.
    _broker: TestBroker,
    registry: Registry,
    reference: ImageReference,
    manager: Manager,
    kbs: DevKeyBroker,
    proplet: Proplet,
}

impl World {
    /// A registry that lets in who knows `right`, and a key broker with this resource.
    async fn of(access: Access, resource: impl Fn(&Registry) -> String, policy: Policy) -> Self {
        let registry = Registry::start_with(access).await.unwrap();
        let host = registry.host();
        let reference: ImageReference = format!("{host}/private/add:v1").parse().unwrap();
        let mut pusher = registry_over_http(&host);
        let right = config(&registry, "right");
        pusher.credentials = Credentials::from_docker_config(right.as_bytes()).ok();
        let image = Artifact::wasm(adder().into()).unwrap();
        push(&pusher, &reference, &image).await.unwrap();
        let broker = TestBroker::start().await.unwrap();
        let manager = Manager::connect(&broker, "t", "c").await.unwrap();
        let kbs = key_broker(None).await;
        kbs.set_policy(policy);
        kbs.set_resource(&stored(), resource(&registry).as_bytes());
        let tables = format!(
            "[mqtt]\naddress = {:?}\n[registry]\nhttp_hosts = [{host:?}]\nauth_resource = \"{}\"\n",
            broker.url(),
            stored()
        );
        let proplet = start("api_key = \"any\"", &tables, &kbs.url());
        manager.messages("control/proplet/alive", 1).await.unwrap();
        Self {
            _broker: broker,
            registry,
            reference,
            manager,
            kbs,
            proplet,
        }
    }

    async fn run(&self, id: &str) -> Outcome {
        let task = Task {
            image_url: self.reference.to_string(),
            file: None,
            inputs: vec!["10".into(), "20".into()],
            proplet_id: ENTITY.into(),
            ..Task::plain(id, "add", Vec::new())
        };
        self.manager.start(&task).await.unwrap();
        self.manager.result(id).await.unwrap()
    }

    async fn fails(&self, id: &str, code: &str, words: &str) {
        let error = self.run(id).await.error.unwrap();
        assert!(error.starts_with(&format!("{code}: ")), "{error}");
        assert!(error.contains(words), "{error}");
    }

    /// Waits until the key broker was asked so often.
    async fn asked(&self, times: u64) {
        self.counts(|counts| counts.resources >= times).await;
    }

    /// Waits until the key broker has released so many. One that was only asked may still read what is stored later.
    async fn released(&self, times: u64) {
        self.counts(|counts| counts.released >= times).await;
    }

    async fn counts(&self, are_there: impl Fn(Counts) -> bool) {
        let there = async {
            while !are_there(self.kbs.counts()) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, there).await.unwrap();
    }
}

fn basic() -> Access {
    Access::Basic {
        username: "fleet".into(),
        password: "right".into(),
    }
}

fn token() -> Access {
    Access::Token {
        username: "fleet".into(),
        password: "right".into(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_registry_is_shown_what_the_key_broker_gave() {
    for access in [basic(), token()] {
        let world = World::of(
            access,
            |registry| config(registry, "right"),
            Policy::Default,
        )
        .await;
        for id in ["a", "b"] {
            assert_eq!(world.run(id).await.results, "30");
        }
        assert_eq!(world.kbs.counts().resources, 1, "fetched once");
        world.proplet.stop().await;
    }
}

/// In the same pull, so that no task is lost to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_that_a_registry_refuses_are_fetched_again() {
    for access in [basic(), token()] {
        let world = World::of(access, |registry| config(registry, "old"), Policy::Default).await;
        world.released(1).await;
        let right = config(&world.registry, "right");
        world.kbs.set_resource(&stored(), right.as_bytes());
        assert_eq!(world.run("a").await.results, "30");
        assert_eq!(world.kbs.counts().resources, 2);
        world.proplet.stop().await;
    }
}

/// However many tasks a Manager sends, the key broker is not asked for each of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_pulls_do_not_flood_the_key_broker() {
    let world = World::of(
        basic(),
        |registry| config(registry, "wrong"),
        Policy::Default,
    )
    .await;
    let began = Instant::now();
    for id in 0..20 {
        world
            .fails(&format!("{id}"), "image-unauthorized", "private/add")
            .await;
    }
    let asked = world.kbs.counts().resources;
    // The first time, once for the first refusal, and then after each pause of five seconds.
    let most = 2 + began.elapsed().as_secs() / 5 + 1;
    assert!(asked <= most, "{asked}");
    world.proplet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_told_by_its_code_and_waited_for() {
    let world = World::of(
        basic(),
        |registry| config(registry, "right"),
        Policy::DenyAll,
    )
    .await;
    world
        .fails("denied", "kbs-denied", "[registry] auth_resource")
        .await;
    world.kbs.set_resource(&stored(), b"hunter2 is no JSON");
    world.kbs.set_policy(Policy::Default);
    let pause = world.kbs.counts().resources;
    world.asked(pause + 1).await;
    world
        .fails("invalid", "credential-invalid", "config.json")
        .await;
    let right = config(&world.registry, "right");
    world.kbs.set_resource(&stored(), right.as_bytes());
    let pause = world.kbs.counts().resources;
    world.asked(pause + 1).await;
    assert_eq!(world.run("right").await.results, "30");
    world.proplet.stop().await;
}

/// Images that need none are pulled without.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_public_registry_needs_none() {
    let world = World::of(Access::Anonymous, |_| "no JSON".to_owned(), Policy::Default).await;
    assert_eq!(world.run("a").await.results, "30");
    world.proplet.stop().await;
}
