//! The production program on a machine that looks like a confidential VM.
//!
//! What stands in for the hardware sits below the program: in a private mount namespace the emulated TSM
//! interface lies where the kernel has its own, and the device files that detection looks for are there. So
//! the binary that is shipped detects a TEE, attests to the development key broker under the test root, runs
//! an encrypted task, and its result verifies with that root and with no other.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![cfg(target_os = "linux")]

mod detection;
mod faults;
mod machine;
mod program;

use proplet_hal::hardware::HardwareKind;

use crate::machine::Machine;

async fn the_whole_way(kind: HardwareKind) {
    let machine = Machine::new(kind).await;
    let found = machine.run(&["detect"]);
    assert!(found.status.success(), "{found:?}");
    let found = String::from_utf8(found.stdout).unwrap();
    assert!(
        found.contains(&format!("TEE: {}", kind.as_str())),
        "{found}"
    );

    let daemon = machine.daemon().await;
    let outcome = machine.task().await;
    assert_eq!(outcome.error, None, "{}", daemon.log());
    assert_eq!(machine.tree.entries(), 0, "folders are left behind");
    assert!(machine.tree.counts().reports > 0);
    let opened = machine.open(&outcome);
    assert_eq!(opened.content.as_slice(), b"42");
    let receipt = opened.report.receipt.as_ref().unwrap();
    assert_eq!(
        receipt.attester,
        kind.as_str(),
        "it is no fake that attests"
    );

    let accepted = machine.verify(&outcome, true);
    assert!(accepted.status.success(), "{accepted:?}");
    let refused = machine.verify(&outcome, false);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("not-verified"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root, /dev/fuse and the commands mount and unshare; .ci/run runs it"]
async fn an_snp_guest_attests_and_runs_an_encrypted_task() {
    the_whole_way(HardwareKind::Snp).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root, /dev/fuse and the commands mount and unshare; .ci/run runs it"]
async fn a_tdx_guest_attests_and_runs_an_encrypted_task() {
    the_whole_way(HardwareKind::Tdx).await;
}
