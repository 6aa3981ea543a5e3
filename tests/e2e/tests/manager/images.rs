//! Images of plain tasks in chunks.

use proplet_lab::workload::registry_over_http;
use proplet_testkit::{
    broker::{Outcome, chunk},
    tee::FakeSnp,
};

use super::*;

fn images(components: &[(&str, Vec<u8>)]) -> HashMap<String, Vec<u8>> {
    let named = components.iter();
    named
        .map(|(name, bytes)| ((*name).to_owned(), bytes.clone()))
        .collect()
}

impl Scene {
    async fn outcome(&self, id: &str) -> Outcome {
        self.services.manager.result(id).await.unwrap()
    }

    async fn chunk(&self, message: String) {
        let manager = &self.services.manager;
        manager.send("registry/server", message).await.unwrap();
    }
}

fn code(outcome: &Outcome) -> &str {
    let error = outcome.error.as_deref().unwrap_or("none: ");
    error.split_once(": ").unwrap().0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_come_in_chunks_or_from_a_registry_and_encrypted_ones_are_always_ours() {
    let images = images(&[("addition", adder()), ("sum:v2", adder())]);
    let scene = Scene::set(Some(Arc::new(FakeSnp::new())), images, "", "").await;
    let manager = &scene.services.manager;
    for (id, image) in [("one", "addition"), ("two", "sum:v2")] {
        let task = plain_image(id, "add", image, &["10", "20"]);
        manager.start(&task).await.unwrap();
        let outcome = scene.outcome(id).await;
        assert_eq!((outcome.results.as_str(), outcome.error), ("30", None));
    }
    let host = scene.services.registry.host();
    let reference = format!("{host}/plain/add:v1").parse().unwrap();
    let artifact = proplet_image::Artifact::wasm(adder().into()).unwrap();
    let config = registry_over_http(&host);
    let pushed = proplet_image::push::push(&config, &reference, &artifact);
    pushed.await.unwrap();
    let task = plain_image("three", "add", &format!("oci://{reference}"), &["1", "2"]);
    manager.start(&task).await.unwrap();
    assert_eq!(scene.outcome("three").await.results, "3");
    let task = Task {
        encrypted: true,
        ..plain_image("four", "add", &format!("{host}/none/none:v1"), &[])
    };
    manager.start(&task).await.unwrap();
    assert_eq!(code(&scene.outcome("four").await), "image-not-found");
    assert_eq!(scene.proxy.asked(), ["addition", "sum:v2"]);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_proxy_never_sends_is_answered() {
    let scene = Scene::set(None, HashMap::new(), "timeout_seconds = 1", "").await;
    let task = plain_image("missing", "add", "nothing", &[]);
    scene.services.manager.start(&task).await.unwrap();
    let outcome = scene.outcome("missing").await;
    assert_eq!(code(&outcome), "registry-unavailable");
    assert!(outcome.error.unwrap().contains("image proxy"));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_allow_list_counts_for_the_proxy_too() {
    let images = images(&[("ghcr.io/others/add", adder())]);
    let registry = "repositories = [\"ghcr.io/ours/*\"]";
    let scene = Scene::set(None, images, registry, "").await;
    let task = plain_image("others", "add", "ghcr.io/others/add", &["1", "2"]);
    scene.services.manager.start(&task).await.unwrap();
    assert_eq!(code(&scene.outcome("others").await), "image-not-allowed");
    assert!(scene.proxy.asked().is_empty());
    scene.end().await;
}

/// Chunks of a stranger's: out of range, doubled, of two images interleaved, contradicting, too large.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_chunks_make_no_component() {
    let limits = "max_layer_bytes = 1000";
    let scene = Scene::set(None, HashMap::new(), limits, "").await;
    let manager = &scene.services.manager;
    let start = async |id: &str, image: &str| {
        let task = plain_image(id, "add", image, &["10", "20"]);
        manager.start(&task).await.unwrap();
        scene.proxy.wait_for(image).await.unwrap();
    };
    let bytes = adder();
    let (first, second) = bytes.split_at(20);

    start("a", "app-a").await;
    start("b", "app-b").await;
    for message in [
        "{".to_owned(),
        "[]".to_owned(),
        chunk("app-a", 0, 0, first),
        chunk("app-a", 2, 2, first),
        chunk("app-a", usize::MAX, 2, first),
        chunk("app-a", 0, usize::MAX, first),
        r#"{"app_name":"app-a","chunk_idx":-1,"total_chunks":2,"data":""}"#.to_owned(),
        r#"{"app_name":"app-a","chunk_idx":0,"total_chunks":2,"data":"%"}"#.to_owned(),
        chunk("app-a", 1, 2, second),
        chunk("app-b", 1, 2, second),
        chunk("app-a", 1, 2, second),
        chunk("app-c", 0, 2, first),
        chunk("app-b", 0, 2, first),
        chunk("app-a", 0, 2, first),
    ] {
        scene.chunk(message).await;
    }
    for id in ["a", "b"] {
        assert_eq!(scene.outcome(id).await.results, "30", "{id}");
    }

    start("two-senders", "app-d").await;
    scene.chunk(chunk("app-d", 0, 2, first)).await;
    scene.chunk(chunk("app-d", 0, 2, second)).await;
    let outcome = scene.outcome("two-senders").await;
    assert_eq!(code(&outcome), "registry-unavailable");
    assert!(outcome.error.unwrap().contains("contradict"));

    start("too-large", "app-e").await;
    scene.chunk(chunk("app-e", 0, 2, &[0; 2000])).await;
    assert_eq!(code(&scene.outcome("too-large").await), "image-too-large");

    start("no-wasm", "app-f").await;
    scene.chunk(chunk("app-f", 0, 1, b"no component")).await;
    assert_eq!(code(&scene.outcome("no-wasm").await), "component-invalid");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_without_end_are_not_waited_for_without_end() {
    let scene = Scene::set(None, HashMap::new(), "timeout_seconds = 2", "").await;
    let manager = &scene.services.manager;
    let task = plain_image("endless", "add", "app", &["10", "20"]);
    manager.start(&task).await.unwrap();
    // Chunk after chunk, and never the last one.
    for number in 0.. {
        scene.chunk(chunk("app", number % 9, 10, b"part")).await;
        if manager.results_so_far("endless") > 0 {
            break;
        }
    }
    let outcome = scene.outcome("endless").await;
    assert_eq!(code(&outcome), "registry-unavailable");
    scene.end().await;
}
