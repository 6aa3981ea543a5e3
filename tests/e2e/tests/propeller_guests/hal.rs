//! `elastic:hal`.

use std::time::SystemTime;

use proplet_lab::owner::trust;
use proplet_results::{
    EvidenceBundle,
    verify::{Expectations, verify_bundle},
};
use proplet_testkit::tee::FakeSnp;
use proplet_types::Digest;

use super::*;

fn line<'a>(text: &'a str, name: &str) -> &'a str {
    let start = format!("{name}=");
    let found = text.lines().find_map(|line| line.strip_prefix(&start));
    found.unwrap_or_else(|| panic!("no {name} in {text}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attestation_test_runs_and_its_evidence_verifies() {
    let executor = host("", Some(Arc::new(FakeSnp::new())));
    let said = text(&run(&executor, GuestName::HalProbe, "run-attestation", &[]).await);
    assert!(
        line(&said, "platform").starts_with("AMD SEV-SNP "),
        "{said}"
    );
    let nonce = hex::decode(line(&said, "nonce")).unwrap();
    assert_eq!(nonce.len(), 32);
    let evidence: EvidenceBundle = line(&said, "evidence").parse().unwrap();
    let expected = Expectations {
        challenge: Some(nonce.clone()),
        component: Some(Digest::of(&guest(GuestName::HalProbe).await)),
        task_id: Some("task-1".into()),
        ..Expectations::of_any_measurement()
    };
    verify_bundle(&evidence, &trust(), &expected, SystemTime::now()).unwrap();
    let other = Expectations {
        component: Some(Digest::of(b"another component")),
        ..expected
    };
    verify_bundle(&evidence, &trust(), &other, SystemTime::now()).unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_tee_there_is_no_evidence_and_the_guest_is_told() {
    let executor = host("", None);
    let said = text(&run(&executor, GuestName::HalProbe, "run-attestation", &[]).await);
    assert_eq!(line(&said, "platform"), "None 0.0.0");
    assert!(
        line(&said, "evidence").starts_with("error: this machine has no TEE"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hal_test_runs() {
    let executor = host("", None);
    let said = text(&run(&executor, GuestName::HalProbe, "run-hal-test", &[]).await);
    assert!(
        line(&said, "sha256").starts_with("Ok([44, 242, 77, 186, "),
        "{said}"
    );
    for (name, expected) in [
        ("sha512", "Ok(64)"),
        ("nonces-differ", "true"),
        ("opened", "true"),
        ("keys-differ", "true"),
        ("verified", "Ok(true)"),
        ("forged", "Ok(false)"),
        ("context", "Ok(())"),
        ("random", "Ok(16)"),
        ("slept", "Ok(())"),
        ("time-passed", "true"),
        ("after-2020", "Ok(true)"),
        ("resolution", "Ok(1)"),
        (
            "capabilities",
            "[\"platform\", \"crypto\", \"clock\", \"random\"]",
        ),
        ("has-crypto", "true"),
        ("has-sockets", "false"),
    ] {
        assert_eq!(line(&said, name), expected, "{name} in {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_refused_in_words() {
    let executor = host("", Some(Arc::new(FakeSnp::new())));
    let said = text(&run(&executor, GuestName::HalProbe, "run-refusals", &[]).await);
    for (name, words) in [
        ("blake3", "use sha256 or sha512"),
        ("key", "must have 32"),
        ("open", "does not open"),
        ("sign", "must have 32"),
        ("context", "42 is no context"),
        ("entropy", "does not measure entropy"),
        ("reseed", "not mixed in"),
        ("much", "of one call"),
        ("report-data", "at most 64"),
    ] {
        let said = line(&said, name);
        assert!(
            said.starts_with("Err(") && said.contains(words),
            "{name}: {said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evidence_counts_against_the_tasks_quota() {
    let settings = "[limits]\nevidence_quota = 0\n";
    let executor = host(settings, Some(Arc::new(FakeSnp::new())));
    let said = text(&run(&executor, GuestName::HalProbe, "run-attestation", &[]).await);
    assert!(line(&said, "evidence").contains("quota of 0"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_interfaces_of_the_package_are_refused_by_name() {
    let executor = host("", None);
    for interface in [
        "sockets",
        "gpu",
        "resources",
        "events",
        "communication",
        "storage",
    ] {
        let component = wat::parse_str(format!(
            "(component (import \"elastic:hal/{interface}@0.1.0\" (instance (export \"f\" (func)))))"
        ))
        .unwrap();
        let request = Request {
            source: Source::File(component),
            task: task("", &[]),
        };
        let outcome = executor.execute(request, CancelToken::new()).await;
        assert_eq!(code(&outcome), "import-not-granted");
        let words = outcome.error.unwrap().refusal().words().to_owned();
        assert!(
            words.contains(&format!("elastic:hal/{interface}@0.1.0")),
            "{words}"
        );
    }
}
