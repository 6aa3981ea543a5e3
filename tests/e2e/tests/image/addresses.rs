//! A registry, its token service and its redirects lead to public addresses, unless the settings name
//! them, and what refused hosts are is not told.

use super::*;

/// The settings that name one registry only.
fn naming(registry: &Registry) -> RegistryConfig {
    settings(registry)
}

async fn resolved(config: &RegistryConfig, registry: &Registry) -> ImageError {
    let puller = Puller::new(config.clone()).unwrap();
    puller.resolve(&named(registry, ":v1")).await.unwrap_err()
}

#[tokio::test]
async fn a_registry_that_the_settings_do_not_name_must_be_public() {
    let registry = Registry::start_tls().await.unwrap();
    let port = registry.host().rsplit_once(':').unwrap().1.to_owned();
    let config = RegistryConfig {
        ca_pem: registry.ca_pem().map(|pem| pem.as_bytes().to_vec()),
        ..RegistryConfig::default()
    };
    let puller = Puller::new(config.clone()).unwrap();
    for host in [
        "127.0.0.1",
        "localhost",
        "127.1",
        "[::1]",
        "169.254.169.254",
        "10.0.0.1",
    ] {
        let Ok(reference) = format!("{host}:{port}/team/module:v1").parse() else {
            // Not every spelling of an address can stand in a reference.
            continue;
        };
        let error = puller.resolve(&reference).await.unwrap_err();
        assert_eq!(error.code(), "image-not-allowed", "{host}: {error}");
        assert!(error.to_string().contains("private_hosts"), "{error}");
    }
    assert_eq!(registry.counts().manifests_read, 0);

    let named_too = RegistryConfig {
        private_hosts: vec![registry.host()],
        ..config
    };
    assert_eq!(
        resolved(&named_too, &registry).await.code(),
        "image-not-found"
    );
}

#[tokio::test]
async fn redirects_and_realms_tell_nothing_about_the_network() {
    let registry = Registry::start().await.unwrap();
    let image = plain(100);
    let config = naming(&registry);
    push::push(&config, &named(&registry, ":v1"), &image)
        .await
        .unwrap();
    // A service that is there, one that answers differently, and one that is not there.
    let inside = Registry::start_tls().await.unwrap();
    let plain_inside = Registry::start().await.unwrap();
    let mut words = std::collections::BTreeSet::new();
    for to in [
        format!("https://{}/v2/", inside.host()),
        format!(
            "https://{}/v2/",
            inside.host().replace("127.0.0.1", "localhost")
        ),
        format!("http://{}/v2/", plain_inside.host()),
        format!("http://{}/nothing", plain_inside.host()),
        "https://127.0.0.1:1/v2/".to_owned(),
        "https://[::ffff:127.0.0.1]:1/v2/".to_owned(),
        "https://169.254.169.254/latest/meta-data/".to_owned(),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "https://10.255.255.1/".to_owned(),
    ] {
        let host = to
            .split('/')
            .nth(2)
            .unwrap()
            .replace("::ffff:127.0.0.1", "::ffff:7f00:1");
        for fault in [
            Fault::Redirect(to.clone()),
            Fault::Challenge(format!("Bearer realm=\"{to}\",service=\"x\"")),
        ] {
            registry.heal();
            registry.inject(Target::Manifests, fault);
            let error = resolved(&config, &registry).await;
            assert_eq!(error.code(), "registry-unavailable", "{to}: {error}");
            words.insert(error.to_string().replace(&host, "HOST"));
        }
    }
    assert_eq!(words.len(), 1, "{words:#?}");
    assert_eq!(inside.counts(), Default::default());
    assert_eq!(plain_inside.counts(), Default::default());
}

#[tokio::test]
async fn statuses_of_hosts_that_a_registry_sends_us_to_are_not_told() {
    let registry = Registry::start().await.unwrap();
    let image = plain(100);
    let elsewhere = Registry::start().await.unwrap();
    let config = RegistryConfig {
        http_hosts: vec![registry.host(), elsewhere.host()],
        ..RegistryConfig::default()
    };
    push::push(&config, &named(&registry, ":v1"), &image)
        .await
        .unwrap();
    let layer = image.manifest().unwrap().layer.digest.to_string();
    elsewhere.insert_blob(image.layer().clone());
    let url = format!("http://{}/v2/store/blobs/{layer}", elsewhere.host());
    registry.inject(Target::Blob(layer), Fault::Redirect(url));
    pull_plain(&config, &named(&registry, ":v1")).await.unwrap();
    let mut words = std::collections::BTreeSet::new();
    let config = RegistryConfig {
        retry_delay: Duration::from_millis(1),
        ..config
    };
    let statuses = [400, 401, 403, 404, 410, 418, 429, 500, 503].map(Fault::Status);
    // Nor sizes, digests, encodings.
    let others = [
        Fault::Break(3),
        Fault::Cut(3),
        Fault::Longer(1),
        Fault::Truncate(3),
        Fault::FlipBit(3),
        Fault::ContentLength(7),
    ];
    for fault in statuses.into_iter().chain(others) {
        elsewhere.heal();
        elsewhere.inject(Target::Blobs, fault.clone());
        let error = pull_plain(&config, &named(&registry, ":v1"))
            .await
            .unwrap_err();
        assert_eq!(error.code(), "registry-unavailable", "{fault:?}: {error}");
        words.insert(error.to_string());
    }
    assert_eq!(words.len(), 1, "{words:#?}");
}
