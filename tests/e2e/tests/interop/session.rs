//! One session of everything that a Manager starts, with the settings of this proplet and with upstream's variables.

use std::collections::HashMap;
use std::time::Duration;

use proplet_hal::init_data::DigestAlgorithm;
use proplet_image::ImageReference;
use proplet_lab::{API_KEY, CHANNEL, PROPLET, TENANT};
use proplet_settings::{Settings, environment::Environment, init_data::init_data};
use proplet_testkit::broker::{ImageProxy, Manager, Outcome, Task};
use proplet_testkit::guests::{GuestName, build};
use proplet_types::Digest;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::docker_registry::Access;
use super::process::free_port;
use super::scene::{Layout, Scene, task};

/// Until the HTTP guest listens.
const LONG: Duration = Duration::from_secs(60);

/// Names that upstream has given to the four variables.
const TODAY: [&str; 4] = [
    "PROPLET_TENANT_ID",
    "PROPLET_CHANNEL_ID",
    "PROPLET_ENTITY_ID",
    "PROPLET_API_KEY",
];
const EARLY: [&str; 4] = [
    "PROPLET_DOMAIN_ID",
    "PROPLET_CHANNEL_ID",
    "PROPLET_CLIENT_ID",
    "PROPLET_CLIENT_KEY",
];

/// A guest, built apart from the threads of the scheduler.
async fn guest(name: GuestName) -> std::sync::Arc<proplet_testkit::guests::Guest> {
    let built = tokio::task::spawn_blocking(move || build(name).unwrap());
    built.await.unwrap()
}

/// What the environment of upstream's worker has.
fn environment(scene: &Scene, names: [&str; 4], http_port: u16) -> String {
    let [tenant, channel, entity, key] = names;
    format!(
        "{tenant}={TENANT}\n{channel}={CHANNEL}\n{entity}={PROPLET}\n{key}='{API_KEY}'\n\
         PROPLET_MQTT_ADDRESS=tcp://127.0.0.1:{}\nPROPLET_MQTT_QOS=2\nPROPLET_LIVELINESS_INTERVAL=\"1s\"\n\
         PROPLET_METRICS_INTERVAL=1s\nPROPLET_ENABLE_MONITORING=true\n\
         PROPLET_HTTP_ENABLED=true\nPROPLET_HTTP_PROXY_PORT={http_port}\n\
         PROPLET_KBS_URI=http://10.0.2.2:8082\nPROPLET_EXTERNAL_WASM_RUNTIME=/usr/local/bin/wasmtime\n",
        scene.mosquitto.port()
    )
}

/// What no variable may say.
async fn document(scene: &Scene) -> String {
    let plugin = guest(GuestName::PolicyPlugin).await;
    format!(
        "[registry]\nplain_images = \"proxy\"\nhttp_hosts = [{:?}]\n\
         [kbs]\nurl = {:?}\nallow_http = true\n\
         [metrics]\ninterval_seconds = 1\n\
         [[plugins]]\npath = {:?}\ndigest = \"{}\"\n",
        scene.registry.host(),
        scene.key_broker.url(),
        plugin.path.display().to_string(),
        Digest::of(&plugin.bytes),
    )
}

fn plain(id: &str, name: &str, image: &str, inputs: &[&str]) -> Task {
    Task {
        id: id.into(),
        name: name.into(),
        image_url: image.into(),
        inputs: inputs.iter().map(|input| (*input).to_owned()).collect(),
        proplet_id: PROPLET.into(),
        ..Task::default()
    }
}

async fn run(manager: &Manager, task: &Task) -> Outcome {
    manager.start(task).await.unwrap();
    manager.result(&task.id).await.unwrap()
}

fn assert_result(outcome: &Outcome, text: &str) {
    let told = (outcome.results.as_str(), outcome.error.as_deref());
    assert_eq!(told, (text, None));
}

/// Runs a task of each kind on a proplet with these settings.
async fn session(scene: &Scene, settings: Settings, http_port: u16) {
    let order = scene.publish(Layout::Cncf).await;
    let manager = scene.manager().await;
    let adder = guest(GuestName::AddCore).await.bytes.clone();
    let images = HashMap::from([("addition".to_owned(), adder.clone())]);
    let proxy = ImageProxy::connect_to(scene.mosquitto.port(), TENANT, CHANNEL, images, 100);
    let proxy = proxy.await.unwrap();
    let reference = format!("{}/plain/add:v1", scene.registry.host());
    let artifact = proplet_image::Artifact::wasm(adder.clone().into()).unwrap();
    let pushed = reference.parse().unwrap();
    proplet_image::push::push(&scene.registry.config(), &pushed, &artifact)
        .await
        .unwrap();
    let proplet = scene.proplet(&settings, &manager).await;

    let by_chunks = plain("by-chunks", "add", "addition", &["10", "20"]);
    assert_result(&run(&manager, &by_chunks).await, "30");
    let by_oci = plain("by-oci", "add", &format!("oci://{reference}"), &["1", "2"]);
    assert_result(&run(&manager, &by_oci).await, "3");
    let in_message = Task {
        inputs: vec!["3".into(), "4".into()],
        proplet_id: PROPLET.into(),
        ..Task::plain("in-message", "add", adder)
    };
    assert_result(&run(&manager, &in_message).await, "7");
    assert_eq!(proxy.asked(), ["addition"]);

    let encrypted = task("encrypted", &order.by_tag);
    let outcome = run(&manager, &encrypted).await;
    scene.check(&order, &settings, &encrypted, &outcome);

    for denied in [
        plain("plain-denied", "denied", "addition", &["1", "2"]),
        task("denied", &order.by_digest),
    ] {
        let error = run(&manager, &denied).await.error.unwrap();
        assert!(error.starts_with("plugin-denied: "), "{error}");
        assert!(error.contains("on the list"), "{error}");
    }

    let server = Task {
        proplet_id: PROPLET.into(),
        monitoring_profile: Some(json!({"enabled": true, "interval": 1_000_000_000})),
        ..Task::plain(
            "server",
            "serve",
            guest(GuestName::WebServer).await.bytes.clone(),
        )
    };
    manager.start(&server).await.unwrap();
    let connected = tokio::time::timeout(LONG, async {
        loop {
            match TcpStream::connect(("127.0.0.1", http_port)).await {
                Ok(stream) => break stream,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    });
    let mut stream = connected.await.unwrap();
    let request = b"GET /there HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("Hello from /there"), "{answer}");
    for topic in ["control/proplet/metrics", "control/proplet/task_metrics"] {
        let messages = manager.messages(topic, 2).await.unwrap();
        assert!(messages.iter().all(|m| m["proplet_id"] == PROPLET));
    }
    let of_tasks = manager.on("control/proplet/task_metrics");
    assert!(
        of_tasks.iter().all(|m| m["task_id"] == "server"),
        "{of_tasks:?}"
    );
    manager.stop(&server).await.unwrap();
    let outcome = manager.result("server").await.unwrap();
    assert_result(&outcome, &format!("started at port {http_port}"));

    daemon(&manager).await;
    latent(&manager, &order.by_digest).await;
    proplet.stop().await.unwrap();
}

/// A plain daemon that works until it is stopped.
async fn daemon(manager: &Manager) {
    // Under a name that the plugin has no opinion on.
    let works = wat::parse_str("(module (func (export \"works\") (loop $again (br $again))))");
    let daemon = Task {
        daemon: true,
        proplet_id: PROPLET.into(),
        ..Task::plain("daemon", "works", works.unwrap())
    };
    // It runs, as far as the Manager knows to its end.
    assert_result(&run(manager, &daemon).await, "");
    manager.stop(&daemon).await.unwrap();
    let ended = loop {
        let all = manager
            .messages("control/proplet/results", 1)
            .await
            .unwrap();
        let mut ours = all.into_iter().filter(|m| m["task_id"] == "daemon");
        if let Some(ended) = ours.nth(1) {
            break ended;
        }
        tokio::task::yield_now().await;
    };
    let error = ended["error"].as_str().unwrap();
    assert!(error.starts_with("stopped: "), "{error}");
}

/// An encrypted latent task, with ten invocations in parallel.
async fn latent(manager: &Manager, image: &ImageReference) {
    let latent = Task {
        latent: true,
        ..task("latent", image)
    };
    manager.start(&latent).await.unwrap();
    for number in 0.. {
        let id = format!("ready-{number}");
        manager.invoke(&latent, &id, None).await.unwrap();
        match manager.invoked(&id).await.unwrap().error {
            None => break,
            Some(error) => assert!(error.contains("has not been precompiled"), "{error}"),
        }
    }
    let ids: Vec<String> = (0..10)
        .map(|number| format!("invocation-{number}"))
        .collect();
    for id in &ids {
        manager.invoke(&latent, id, None).await.unwrap();
    }
    for id in &ids {
        let outcome = manager.invoked(id).await.unwrap();
        assert_eq!(outcome.error, None, "{id}");
        assert!(outcome.results.starts_with("{\"jwe\":"), "{id} is sealed");
    }
    assert_eq!(manager.results_so_far("latent"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs mosquitto and docker-registry; .ci/run installs and runs them"]
async fn every_kind_of_task_in_one_session() {
    let scene = Scene::set(Access::Anonymous).await;
    let http_port = free_port();
    let text = format!(
        "[proplet]\ntenant_id = \"{TENANT}\"\nchannel_id = \"{CHANNEL}\"\nentity_id = \"{PROPLET}\"\n\
         [mqtt]\naddress = \"{}\"\n[http]\nlisten = \"127.0.0.1:{http_port}\"\n{}",
        scene.mosquitto.url(),
        document(&scene).await
    );
    let bound = init_data(&text, DigestAlgorithm::Sha256).unwrap();
    let settings = Settings::parse_with_credentials(
        Some(bound.text()),
        Some(&format!("[proplet]\napi_key = \"{API_KEY}\"\n")),
        &Environment::default(),
    );
    session(&scene, settings.unwrap(), http_port).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs mosquitto and docker-registry; .ci/run installs and runs them"]
async fn the_same_with_upstreams_variables_of_both_generations() {
    for names in [TODAY, EARLY] {
        let scene = Scene::set(Access::Anonymous).await;
        let http_port = free_port();
        let variables = Environment::from_file(&environment(&scene, names, http_port)).unwrap();
        let document = document(&scene).await;
        // Without a word of the document, the variables open no port here.
        let bound = init_data(&document, DigestAlgorithm::Sha256).unwrap();
        let silent = Settings::parse(Some(bound.text()), &variables).unwrap();
        assert!(silent.http.listen.is_none());
        let notices = silent.notices.join("\n");
        assert!(
            notices.contains("PROPLET_HTTP_ENABLED is ignored"),
            "{notices}"
        );
        let document = format!("{document}[http]\nlisten = \"127.0.0.1:{http_port}\"\n");
        let bound = init_data(&document, DigestAlgorithm::Sha256).unwrap();
        let settings = Settings::parse(Some(bound.text()), &variables).unwrap();
        let ignored = settings.notices.join("\n");
        for name in ["PROPLET_KBS_URI", "PROPLET_EXTERNAL_WASM_RUNTIME"] {
            assert!(ignored.contains(name), "{ignored}");
        }
        session(&scene, settings, http_port).await;
    }
}
