//! The same machine with everything that the kernel and the device can do wrong.

use std::time::Duration;

use proplet_hal::hardware::HardwareKind;
use proplet_testkit::tee::{TsmFault, TsmStep};

use crate::machine::Machine;

/// Errors of the kernel, by their numbers on Linux.
const ENXIO: i32 = 6;
const EAGAIN: i32 = 11;
const EBUSY: i32 = 16;
const ETIMEDOUT: i32 = 110;

/// The code of what is wrong with the TEE, and words beside it.
type Told = (&'static str, &'static str);

/// What goes wrong, how often, and what the Manager reads; nothing where the daemon gets over it.
fn faults() -> Vec<(TsmFault, Option<u32>, Option<Told>)> {
    use TsmFault::*;
    use TsmStep::*;
    vec![
        (Fails(Create, EBUSY), Some(1), None),
        (Fails(ReadOutblob, EBUSY), Some(3), None),
        (Fails(ReadOutblob, EAGAIN), Some(1), None),
        (Fails(ReadOutblob, ETIMEDOUT), Some(1), None),
        (Slow(Duration::from_secs(1)), None, None),
        (Conflict, Some(1), None),
        (
            Fails(ReadOutblob, EBUSY),
            None,
            Some(("tee-busy", "the TSM interface is busy")),
        ),
        (
            Conflict,
            None,
            Some(("tee-busy", "somebody else uses this process's TSM entries")),
        ),
        (
            Fails(ReadOutblob, ENXIO),
            None,
            Some(("tee-unreachable", "does not answer any more")),
        ),
        (
            Vanished,
            None,
            Some(("tee-unreachable", "no provider of TSM reports")),
        ),
        (
            OtherProvider("arm_cca_guest".to_owned()),
            None,
            Some(("tee-not-trusted", "come from `arm_cca_guest`")),
        ),
        (
            OtherReportData,
            None,
            Some(("tee-not-trusted", "other report data than was asked")),
        ),
        (
            ZeroReportData,
            None,
            Some(("tee-not-trusted", "over zeros")),
        ),
        (
            Truncated(100),
            None,
            Some(("tee-malformed", "has 100 bytes")),
        ),
        (Truncated(0), None, Some(("tee-malformed", "is empty"))),
    ]
}

async fn each_fault_is_survived_or_named(kind: HardwareKind) {
    let machine = Machine::new(kind).await;
    for (fault, times, told) in faults() {
        // Another daemon for each: one that has attested asks its TEE for nothing for a while.
        let daemon = machine.daemon().await;
        let before = machine.tree.counts().created;
        match times {
            Some(times) => machine.tree.inject_times(fault.clone(), times),
            None => machine.tree.inject(fault.clone()),
        }
        let outcome = machine.task().await;
        let error = outcome.error.clone().unwrap_or_default();
        match told {
            Some((code, words)) => {
                assert!(error.starts_with("kbs-no-evidence: "), "{fault:?}: {error}");
                let of_tee = format!(": no evidence for the KBS: {code}: ");
                assert!(error.contains(&of_tee), "{fault:?}: {error}");
                assert!(error.contains(words), "{fault:?}: {error}");
                daemon.logs(&format!("code={code}")).await;
            }
            None => assert_eq!(error, "", "{fault:?}: {}", daemon.log()),
        }
        machine.tree.heal();
        let after = machine.task().await;
        assert_eq!(after.error, None, "after {fault:?}: {}", daemon.log());
        assert_eq!(machine.open(&after).content.as_slice(), b"42");
        assert!(
            machine.tree.counts().created > before,
            "{fault:?}: the TEE was not asked"
        );
        assert_eq!(machine.tree.entries(), 0, "{fault:?} leaves folders behind");
        daemon.stop();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root, /dev/fuse and the commands mount and unshare; .ci/run runs it"]
async fn an_snp_guest_survives_or_names_each_fault() {
    each_fault_is_survived_or_named(HardwareKind::Snp).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root, /dev/fuse and the commands mount and unshare; .ci/run runs it"]
async fn a_tdx_guest_survives_or_names_each_fault() {
    each_fault_is_survived_or_named(HardwareKind::Tdx).await;
}
