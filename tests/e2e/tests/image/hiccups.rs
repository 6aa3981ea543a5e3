//! What passes is tried again, within bounds; what does not pass is told at once.

use super::*;

fn patient(registry: &Registry) -> RegistryConfig {
    RegistryConfig {
        retry_delay: Duration::from_millis(1),
        ..settings(registry)
    }
}

/// An encrypted image in a registry, and the three things that a pull reads.
async fn published(registry: &Registry) -> (Artifact, [Target; 3]) {
    let image = encrypted(400_000);
    push::push(&settings(registry), &named(registry, ":v1"), &image)
        .await
        .unwrap();
    let manifest = image.manifest().unwrap();
    let targets = [
        Target::Manifests,
        Target::Blob(manifest.config.digest.to_string()),
        Target::Blob(manifest.layer.digest.to_string()),
    ];
    (image, targets)
}

async fn pulled(config: &RegistryConfig, registry: &Registry) -> Result<Wasm, ImageError> {
    let puller = Puller::new(config.clone()).unwrap();
    pull(&puller, &named(registry, ":v1"), &Keys::one(KID, &KEK)).await
}

#[tokio::test]
async fn a_registry_in_trouble_is_asked_again() {
    let registry = Registry::start().await.unwrap();
    let config = patient(&registry);
    let (_, targets) = published(&registry).await;
    let later = |status, when: &str| Fault::Later(status, when.to_owned());
    for target in targets {
        for fault in [
            later(429, "0"),
            later(429, "Sun, 06 Nov 1994 08:49:37 GMT"),
            later(429, "soon"),
            Fault::Status(429),
            Fault::Status(408),
            Fault::Status(500),
            Fault::Status(502),
            later(503, "0"),
            Fault::Status(504),
            Fault::Break(0),
            Fault::Break(7),
        ] {
            registry.heal();
            registry.inject_times(2, target.clone(), fault.clone());
            let wasm = pulled(&config, &registry).await;
            let wasm = wasm.unwrap_or_else(|error| panic!("{target:?} {fault:?}: {error}"));
            assert!(wasm.component.bytes() == module(400_000));
        }
    }
}

#[tokio::test]
async fn a_layer_that_breaks_off_goes_on_where_it_stopped() {
    let registry = Registry::start().await.unwrap();
    let config = patient(&registry);
    let (_, [.., layer]) = published(&registry).await;
    let unchanged = || Fault::Header("x-cache", "hit".to_owned());
    for (faults, parts) in [
        (vec![Fault::Break(100_000)], 1),
        (vec![Fault::Break(1)], 1),
        (vec![Fault::Break(399_999), Fault::Break(200_000)], 1),
        // An end without an announced length that came too early.
        (vec![Fault::Cut(100_000)], 1),
        (vec![Fault::Cut(0)], 0),
        // Servers that do not know ranges give the whole again.
        (vec![Fault::Break(100_000), unchanged()], 0),
        // Or they refuse, in one way or another.
        (vec![Fault::Break(100_000), Fault::Status(416)], 0),
        (vec![Fault::Break(100_000), Fault::Status(400)], 0),
        (vec![Fault::Break(100_000), Fault::Status(501)], 0),
    ] {
        registry.heal();
        let before = registry.counts().parts_read;
        for fault in &faults {
            registry.inject_times(1, layer.clone(), fault.clone());
        }
        let wasm = pulled(&config, &registry).await;
        let wasm = wasm.unwrap_or_else(|error| panic!("{faults:?}: {error}"));
        assert!(wasm.component.bytes() == module(400_000), "{faults:?}");
        let read = registry.counts().parts_read - before;
        assert_eq!(read, parts, "{faults:?}");
    }
}

#[tokio::test]
async fn tries_end() {
    let registry = Registry::start().await.unwrap();
    let config = patient(&registry);
    let (_, [manifests, _, layer]) = published(&registry).await;
    for fault in [Fault::Status(503), Fault::Break(0)] {
        registry.heal();
        registry.inject(manifests.clone(), fault);
        let before = registry.counts().manifests_read;
        let error = pulled(&config, &registry).await.unwrap_err();
        assert_eq!(error.code(), "registry-unavailable");
        assert!(error.to_string().contains("tried 6 times"), "{error}");
        assert_eq!(registry.counts().manifests_read - before, 6);
    }
    // A byte more with each try is no reason to go on forever.
    registry.heal();
    for length in 1..20 {
        registry.inject_times(1, layer.clone(), Fault::Break(length));
    }
    let before = registry.counts().blobs_read;
    let error = pulled(&config, &registry).await.unwrap_err();
    assert_eq!(error.code(), "registry-unavailable");
    assert_eq!(registry.counts().blobs_read - before, 1 + 6);
}

#[tokio::test]
async fn whoever_asks_for_more_time_than_there_is_is_given_up_at_once() {
    let registry = Registry::start().await.unwrap();
    let config = patient(&registry);
    let (_, [manifests, ..]) = published(&registry).await;
    registry.inject(manifests, Fault::Later(429, "3600".to_owned()));
    let before = registry.counts().manifests_read;
    let error = pulled(&config, &registry).await.unwrap_err();
    assert_eq!(error.code(), "registry-unavailable");
    let words = error.to_string();
    assert!(words.contains("429") && words.contains("3600 s"), "{words}");
    assert_eq!(registry.counts().manifests_read - before, 1);
}

#[tokio::test]
async fn what_does_not_pass_is_not_tried_again() {
    let registry = Registry::start().await.unwrap();
    let config = patient(&registry);
    let (_, [manifests, ..]) = published(&registry).await;
    for fault in [
        Fault::Status(404),
        Fault::Status(403),
        Fault::Status(400),
        Fault::Status(501),
        Fault::FlipBit(9),
        Fault::Redirect("https://127.0.0.1:1/".to_owned()),
    ] {
        registry.heal();
        registry.inject(manifests.clone(), fault.clone());
        let before = registry.counts().manifests_read;
        pulled(&config, &registry).await.unwrap_err();
        let asked = registry.counts().manifests_read - before;
        assert_eq!(asked, 1, "{fault:?}");
    }
}

#[tokio::test]
async fn a_pull_that_waits_can_be_dropped() {
    let registry = Registry::start().await.unwrap();
    let config = patient(&registry);
    let (_, [manifests, ..]) = published(&registry).await;
    registry.inject(manifests, Fault::Later(503, "60".to_owned()));
    let asked = registry.next_request();
    tokio::select! {
        biased;
        () = asked => {}
        result = pulled(&config, &registry) => panic!("{result:?}"),
    }
    registry.heal();
    pulled(&config, &registry).await.unwrap();
}
