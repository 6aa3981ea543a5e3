//! `attestation`, `inputs` and `results`, as a component meets them in a daemon. Secrets have a module
//! of their own, and evidence is with invariant 2.

use proplet_results::{digest::of_inputs, receipt::RunOutcome, verify::Expectations};
use proplet_testkit::guests::GuestName;
use proplet_types::Digest;
use serde_json::Value;

use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_learns_who_it_is_from_the_host() {
    let scene = Scene::new().await;
    let component = guest(GuestName::Hostile).await;
    let policy = scene.policy("");
    let (workload, image) = scene.publish_as(&component, &policy, KEY).await;
    let task = task(&image, &["identity"]);
    let outcome = scene.run(&task).await;
    let text = String::from_utf8(scene.open(&outcome).content.to_vec()).unwrap();
    let settings = scene.services.settings("");
    for expected in [
        format!(
            "component_digest: {:?}",
            Digest::of(&workload.component).to_string()
        ),
        format!(
            "image_digest: Some({:?})",
            workload.image_digest().to_string()
        ),
        format!(
            "policy_digest: Some({:?})",
            Digest::of(policy.as_bytes()).to_string()
        ),
        format!(
            "settings_digest: {:?}",
            Digest::of(settings.as_bytes()).to_string()
        ),
        format!("task_id: {:?}", task.id),
        "tee: Some(\"snp\")".to_owned(),
        "is_hardware: false".to_owned(),
    ] {
        assert!(text.contains(&expected), "{expected} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_component_attests_what_it_is_and_claims_no_policy() {
    let scene = Scene::new().await;
    let component = guest(GuestName::HelloAttest).await;
    let embedded = proplet_component::Policy::embed(&component, b"version = 1\n").unwrap();
    let outcome = scene.run(&plain_task(&embedded, "nonce")).await;
    assert_eq!(outcome.error, None);
    let bundle: Value = serde_json::from_str(&outcome.results).unwrap();
    let claims = &bundle["claims"];
    assert_eq!(
        claims["component_digest"],
        Digest::of(&embedded).to_string()
    );
    assert_eq!(claims["kind"], "workload");
    for absent in ["policy_digest", "image_digest", "tee-pubkey"] {
        assert!(claims.get(absent).is_none(), "{absent}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inputs_come_as_they_were_sent() {
    let scene = Scene::new().await;
    let (_, image) = scene.publish(&guest(GuestName::Hostile).await, "").await;
    let inputs = ["inputs", "", "0042", "zwei Wörter\n", "null"];
    let outcome = scene.run(&task(&image, &inputs)).await;
    let expected = Expectations {
        inputs: Some(of_inputs(&inputs).unwrap()),
        ..Expectations::of_any_measurement()
    };
    let opened = open_with(&scene.owner, &outcome, &expected);
    assert_eq!(opened.content[..], *inputs.join("\n").as_bytes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_published_result_goes_out_with_the_receipt_that_the_component_got() {
    let scene = Scene::new().await;
    let (_, image) = scene.publish(&guest(GuestName::Hostile).await, "").await;
    let outcome = scene
        .run(&task(
            &image,
            &["publish-typed application/x-own the result"],
        ))
        .await;
    let opened = scene.open(&outcome);
    assert_eq!(opened.media_type, "application/x-own");
    assert_eq!(opened.content[..], *b"the result");
    let receipt = opened.report.receipt.unwrap();
    assert_eq!(
        (receipt.outcome, receipt.export.as_str()),
        (RunOutcome::Completed, "run")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refusal_of_a_result_has_its_own_words() {
    let scene = Scene::with("[limits]\noutput_bytes = 1000\n").await;
    let component = guest(GuestName::Hostile).await;
    let (_, image) = scene.publish(&component, "").await;
    for (input, words) in [
        ("publish-twice x", "published its result already"),
        ("publish-big 1001", "larger than the 1000 bytes"),
        ("publish-typed nonsense x", "not a media type"),
    ] {
        let failure = scene.ask_in_vain(&image, input, "guest-failed").await;
        assert!(failure.error.contains(words), "{input}: {}", failure.error);
    }
    // Bytes that are no text can be sealed, and cannot be a plain task's result.
    assert_eq!(scene.ask(&image, "publish-bytes").await, [0xff, 0xfe]);
    let outcome = scene.run(&plain_task(&component, "publish-bytes")).await;
    assert_refused(&outcome, "guest-failed");
    assert!(outcome.error.unwrap().contains("text in UTF-8 only"));
    assert_eq!(
        scene
            .run(&plain_task(&component, "publish in clear"))
            .await
            .results,
        "in clear"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_published_before_a_failure_does_not_go_out() {
    let scene = Scene::new().await;
    let component = guest(GuestName::Hostile).await;
    let (_, image) = scene.publish(&component, "").await;
    for (word, code) in [
        ("publish-then-fail", "guest-failed"),
        ("publish-then-trap", "guest-trapped"),
    ] {
        let input = format!("{word} half a result");
        let failure = scene.ask_in_vain(&image, &input, code).await;
        assert!(!failure.error.contains("half a result"));
        assert_refused(&scene.run(&plain_task(&component, &input)).await, code);
    }
}
