//! The debug flavour of the VM image: whoever starts it can log in, so nothing is released to it unless the settings say
//! so, and all that it signs says what it is.

use std::sync::Arc;

use proplet_executor::{Host, harden::SwapRule};
use proplet_hal::Flavour;
use proplet_lab::{RunningProplet, Services};
use proplet_results::EvidenceBundle;
use proplet_settings::{Settings, environment::Environment};
use proplet_testkit::{guests::GuestName, tee::FakeSnp};
use serde_json::Value;

use crate::support::*;

/// A proplet in an image of this flavour.
async fn scene(flavour: Flavour, more: &str) -> Scene {
    let services = Services::start().await.unwrap();
    let text = services.settings(more);
    let settings = Settings::parse(Some(&text), &Environment::default()).unwrap();
    let tee = Arc::new(FakeSnp::new());
    let mut host = Host::new(Arc::new(settings), Some(tee.clone()));
    host.swap_rule = SwapRule::Warn;
    assert_eq!(host.flavour, Flavour::Sealed, "this machine is no image");
    host.flavour = flavour;
    Scene::of(services, RunningProplet::on(host).unwrap(), tee).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_released_to_it_by_default() {
    let scene = scene(Flavour::Debug, "").await;
    let (_, image) = scene
        .publish(&guest(GuestName::HelloAttest).await, "")
        .await;
    let before = scene.services.registry.counts();
    for _ in 0..2 {
        let outcome = scene.run(&task(&image, &["x"])).await;
        assert_refused(&outcome, "debug-image");
        let error = outcome.error.unwrap();
        assert!(error.contains("allow_debug_image = true"), "{error}");
    }
    assert_eq!(scene.services.key_broker.counts(), Default::default());
    assert_eq!(scene.services.registry.counts(), before);

    // A plain task runs, and its evidence says where.
    let plain = plain_task(&guest(GuestName::HelloAttest).await, "x");
    let outcome = scene.run(&plain).await;
    assert_eq!(outcome.error, None);
    let evidence: EvidenceBundle = outcome.results.parse().unwrap();
    assert_eq!(evidence.claims["flavour"], "debug");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_settings_allow_it_everything_signed_says_debug() {
    let allowed = "[confidential]\nallow_debug_image = true\n";
    let scene = scene(Flavour::Debug, allowed).await;
    let (_, image) = scene
        .publish(&guest(GuestName::HelloAttest).await, "")
        .await;
    let outcome = scene.run(&task(&image, &["x"])).await;
    assert_eq!(outcome.error, None);
    let document: Value = serde_json::from_str(&outcome.results).unwrap();
    assert_eq!(document["evidence"]["claims"]["flavour"], "debug");
    let opened = scene.open(&outcome);
    let receipt = opened.report.receipt.unwrap();
    assert_eq!(receipt.flavour, Flavour::Debug);
    let warnings = opened.report.warnings;
    assert!(
        warnings
            .iter()
            .any(|warning| warning.contains("DEBUG FLAVOUR")),
        "{warnings:?}"
    );
    let own = std::str::from_utf8(&opened.content).unwrap();
    let own: EvidenceBundle = own.parse().unwrap();
    assert_eq!(own.claims["flavour"], "debug", "of the component");
}

/// What the settings allow makes nothing of a sealed image a debug one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealed_image_is_sealed_whatever_the_settings_say() {
    let allowed = "[confidential]\nallow_debug_image = true\n";
    let scene = scene(Flavour::Sealed, allowed).await;
    let (_, image) = scene
        .publish(&guest(GuestName::HelloAttest).await, "")
        .await;
    let outcome = scene.run(&task(&image, &["x"])).await;
    assert_eq!(outcome.error, None);
    assert!(!outcome.results.contains("flavour"));
    let report = scene.open(&outcome).report;
    assert!(report.receipt.unwrap().flavour.is_sealed());
    assert!(!report.warnings.concat().contains("DEBUG FLAVOUR"));
}
