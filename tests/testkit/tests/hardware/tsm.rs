//! Evidence by configfs.

use std::sync::Arc;
use std::time::Duration;

use proplet_hal::TeeProvider as _;
use proplet_hal::hardware::{HardwareKind, HardwareTee};
use proplet_hal::tsm::{FolderFiles, TsmReports};
use proplet_testkit::tee::{
    FakeSnp, FakeTdx, TsmDevice, TsmFault, TsmMount, TsmStep, TsmTree, TsmTreeFiles,
};
use proplet_types::Code;

use super::{asked, outcome, tee};

const BOTH: [HardwareKind; 2] = [HardwareKind::Snp, HardwareKind::Tdx];
/// Errors of the kernel, by their numbers on Linux.
const EIO: i32 = 5;
const ENXIO: i32 = 6;
const EAGAIN: i32 = 11;
const EACCES: i32 = 13;
const EBUSY: i32 = 16;
const EINVAL: i32 = 22;
const EOPNOTSUPP: i32 = 95;
const ETIMEDOUT: i32 = 110;

fn tree(kind: HardwareKind) -> Arc<TsmTree> {
    Arc::new(TsmTree::new(match kind {
        HardwareKind::Snp => TsmDevice::snp(FakeSnp::builder().host_data([9; 32]).build()),
        HardwareKind::Tdx => TsmDevice::tdx(FakeTdx::builder().mr_config_id([9; 48]).build()),
    }))
}

fn in_memory(kind: HardwareKind, tree: &Arc<TsmTree>) -> HardwareTee {
    let files = TsmTreeFiles::new(tree.clone());
    tee(kind, vec![Box::new(TsmReports::with(kind, files))])
}

/// What each fault leads to: how often it comes, or always, and how asking ends.
fn faults() -> Vec<(TsmFault, Option<u32>, Result<(), Code>)> {
    use TsmFault::*;
    use TsmStep::*;
    vec![
        (Fails(Create, EBUSY), Some(2), Ok(())),
        (Fails(Create, EACCES), None, Err(Code::TeePermission)),
        (Fails(Create, ENXIO), None, Err(Code::TeeUnreachable)),
        (Fails(ReadProvider, ENXIO), None, Err(Code::TeeUnreachable)),
        (
            OtherProvider("arm_cca_guest".to_owned()),
            None,
            Err(Code::TeeNotTrusted),
        ),
        (Fails(WriteInblob, EBUSY), Some(1), Ok(())),
        (Fails(WriteInblob, EIO), None, Err(Code::TeeFailed)),
        (Fails(ReadOutblob, EBUSY), Some(3), Ok(())),
        (Fails(ReadOutblob, EBUSY), None, Err(Code::TeeBusy)),
        (Fails(ReadOutblob, EAGAIN), Some(1), Ok(())),
        (Fails(ReadOutblob, ETIMEDOUT), Some(1), Ok(())),
        (Fails(ReadOutblob, ETIMEDOUT), None, Err(Code::TeeBusy)),
        (Fails(ReadOutblob, EIO), None, Err(Code::TeeFailed)),
        (
            Fails(ReadOutblob, EOPNOTSUPP),
            None,
            Err(Code::TeeUnreachable),
        ),
        (Fails(ReadGeneration, EBUSY), Some(1), Ok(())),
        (Vanished, None, Err(Code::TeeUnreachable)),
        (Slow(Duration::from_millis(20)), None, Ok(())),
        (Conflict, Some(1), Ok(())),
        (Conflict, None, Err(Code::TeeBusy)),
        (OtherReportData, None, Err(Code::TeeNotTrusted)),
        (ZeroReportData, None, Err(Code::TeeNotTrusted)),
        (Truncated(0), None, Err(Code::TeeMalformed)),
        (Truncated(100), None, Err(Code::TeeMalformed)),
        (Padded(30_000), None, Err(Code::TeeMalformed)),
    ]
}

async fn each_fault_ends_as_it_should(kind: HardwareKind, tree: &Arc<TsmTree>, tee: &HardwareTee) {
    for (fault, times, expected) in faults() {
        // Zeros after a quote are usual, and a report has one length.
        let expected = match (&fault, kind) {
            (TsmFault::Padded(_), HardwareKind::Tdx) => Err(Code::TeeFailed),
            _ => expected,
        };
        match times {
            Some(times) => tree.inject_times(fault.clone(), times),
            None => tree.inject(fault.clone()),
        }
        assert_eq!(
            outcome(tee).await,
            expected,
            "{kind:?}: {fault:?} {times:?}"
        );
        tree.heal();
        assert_eq!(tree.entries(), 0, "{fault:?} leaves a folder behind");
        assert_eq!(outcome(tee).await, Ok(()), "{kind:?} after {fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn evidence_verifies_and_says_what_binds_the_vm() {
    for kind in BOTH {
        let tree = tree(kind);
        let tee = in_memory(kind, &tree);
        assert_eq!(outcome(&tee).await, Ok(()));
        let bound = tee.init_data().await.unwrap().unwrap();
        assert!(bound.iter().all(|byte| *byte == 9), "{kind:?}");
        assert_eq!((tee.way(), tee.is_hardware()), (Some("configfs-tsm"), true));
        let counts = tree.counts();
        assert_eq!((tree.entries(), counts.created), (0, counts.removed));
    }
}

#[tokio::test(start_paused = true)]
async fn each_fault_in_memory_ends_as_it_should() {
    for kind in BOTH {
        let tree = tree(kind);
        each_fault_ends_as_it_should(kind, &tree, &in_memory(kind, &tree)).await;
    }
}

#[tokio::test]
#[ignore = "needs root and /dev/fuse; .ci/run runs it"]
async fn each_fault_as_files_ends_as_it_should() {
    for kind in BOTH {
        let folder = tempfile::tempdir().unwrap();
        let tree = tree(kind);
        let _mount = TsmMount::new(tree.clone(), folder.path()).unwrap();
        let files = FolderFiles::new(folder.path().to_path_buf());
        let tee = tee(kind, vec![Box::new(TsmReports::with(kind, files))]);
        each_fault_ends_as_it_should(kind, &tree, &tee).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_without_certificates_gives_a_report_alone() {
    for device in [
        TsmDevice::snp(FakeSnp::new()).without_certificates(),
        TsmDevice::snp(FakeSnp::new()),
    ] {
        let tree = Arc::new(TsmTree::new(device));
        tree.inject(TsmFault::Certificates(Vec::new()));
        let tee = in_memory(HardwareKind::Snp, &tree);
        let evidence = tee.evidence(&asked()).await.unwrap();
        assert!(evidence.evidence["cert_chain"].is_null());
    }
}

#[tokio::test(start_paused = true)]
async fn a_vm_that_does_not_speak_for_itself_is_refused() {
    let below = TsmDevice::snp(FakeSnp::new()).below_svsm(2);
    let debug = FakeSnp::builder().debug(true).build();
    let migratable = FakeSnp::builder().migratable(true).build();
    let other_level = FakeSnp::builder().vmpl(1).build();
    for device in [
        below,
        TsmDevice::snp(debug),
        TsmDevice::snp(migratable),
        TsmDevice::snp(other_level),
    ] {
        let tree = Arc::new(TsmTree::new(device));
        let tee = in_memory(HardwareKind::Snp, &tree);
        assert_eq!(outcome(&tee).await, Err(Code::TeeNotTrusted), "{tree:?}");
    }
    for fake in [
        FakeTdx::builder().debug(true),
        FakeTdx::builder().migratable(true),
    ] {
        let tree = Arc::new(TsmTree::new(TsmDevice::tdx(fake.build())));
        let tee = in_memory(HardwareKind::Tdx, &tree);
        assert_eq!(outcome(&tee).await, Err(Code::TeeNotTrusted), "{tree:?}");
    }
    let tree = tree(HardwareKind::Snp);
    tree.inject(TsmFault::Fails(TsmStep::WritePrivlevel, EINVAL));
    let tee = in_memory(HardwareKind::Snp, &tree);
    assert_eq!(outcome(&tee).await, Err(Code::TeeNotTrusted));
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_cannot_be_removed_spoils_nothing() {
    let tree = tree(HardwareKind::Snp);
    tree.inject(TsmFault::Fails(TsmStep::Remove, EBUSY));
    let tee = in_memory(HardwareKind::Snp, &tree);
    assert_eq!(outcome(&tee).await, Ok(()));
    assert_eq!(tree.entries(), 1);
}
