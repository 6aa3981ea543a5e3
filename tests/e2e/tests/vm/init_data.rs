//! Init-data that a machine was started with, and other ones.

use std::process::{Command, Output};

use proplet_testkit::tee::{TEST_REFERENCE_VALUES, TEST_ROOTS_PEM};

use crate::machine::{Firmware, Setup};
use crate::program::proplet;
use crate::world::World;

/// `proplet verify` as a relying party types it, with the binding that it expects.
fn verify(setup: &Setup, results: &str, init_data: &str) -> Output {
    Command::new(proplet())
        .args(["--json", "verify", &setup.write("result.json", results)])
        .args(["--roots", &setup.write("roots.pem", TEST_ROOTS_PEM)])
        .arg("--reference-values")
        .arg(setup.write("reference-values.toml", TEST_REFERENCE_VALUES))
        .args(["--expect-init-data", init_data])
        .output()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and PROPLET_VM, the folder of `.ci/vm FOLDER`; .ci/run runs it"]
async fn an_encrypted_task_runs_and_its_receipt_is_bound_to_the_init_data() {
    let world = World::new().await;
    let setup = Setup::new(&World::operator());
    let digest = setup.init_data(&world.init_data());
    let machine = setup.start(Firmware::Snp, &[("host-data", &digest)]);
    world.joined(&machine).await;
    let console = machine.console();
    let bound = format!("init: HOST_DATA is the digest of the init-data, {digest}");
    assert!(console.contains(&bound), "{console}");
    assert!(!console.contains("PLAIN MODE"), "{console}");

    let outcome = world.task(&machine).await;
    assert_eq!(outcome.error, None, "{}", machine.console());
    let opened = world.open(&outcome);
    assert_eq!(opened.content.as_slice(), b"42");
    let receipt = opened.report.receipt.as_ref().unwrap();
    assert_eq!(receipt.attester, "snp");

    let accepted = verify(&setup, &outcome.results, &digest);
    assert!(accepted.status.success(), "{accepted:?}");
    let other = "5a".repeat(32);
    let refused = verify(&setup, &outcome.results, &other);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and PROPLET_VM, the folder of `.ci/vm FOLDER`; .ci/run runs it"]
async fn other_init_data_than_the_vm_was_started_with_ends_in_power_off() {
    let world = World::new().await;
    let setup = Setup::new(&World::operator());
    let document = world.init_data();
    let digest = setup.init_data(&document);
    let changed = document.replace("timeout_seconds = 120", "timeout_seconds = 121");
    assert_ne!(setup.init_data(&changed), digest);
    let machine = setup.start(Firmware::Snp, &[("host-data", &digest)]);
    let console = machine.ends();
    assert!(
        console.contains("init: POWER OFF: vm-init-data-mismatch: "),
        "{console}"
    );
    assert!(console.contains(&digest), "{console}");
}
