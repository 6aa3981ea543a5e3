//! Evidence from the quoting service.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use proplet_hal::TeeProvider as _;
use proplet_hal::hardware::{Compared, HardwareKind, HardwareTee, Way};
use proplet_hal::tdx::provider::{Connection, Dial, QuotingError, QuotingService, TdReports};
use proplet_hal::tsm::TsmReports;
use proplet_testkit::tee::{
    EventLog, FakeTdx, QgsFault, QuotingServiceStandIn, TD_REPORT_LEN, TsmDevice, TsmTree,
    TsmTreeFiles,
};
use proplet_types::Code;
use tempfile::TempDir;

use super::{asked, outcome, tee};

/// `/dev/tdx_guest`, as far as a fake can be one.
struct Device(Arc<FakeTdx>);

impl TdReports for Device {
    fn td_report(&self, report_data: &[u8; 64]) -> Result<[u8; TD_REPORT_LEN], QuotingError> {
        Ok(self.0.td_report(report_data))
    }
}

/// The stand-in's socket in place of the host's port.
struct Socket(PathBuf);

impl Dial for Socket {
    fn address(&self) -> String {
        self.0.display().to_string()
    }

    fn dial(&self) -> io::Result<Box<dyn Connection>> {
        Ok(Box::new(UnixStream::connect(&self.0)?))
    }
}

struct World {
    service: QuotingServiceStandIn,
    tree: Arc<TsmTree>,
    _folder: TempDir,
    fake: Arc<FakeTdx>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fake = Arc::new(FakeTdx::builder().mr_config_id([9; 48]).build());
        let path = folder.path().join("qgs.sock");
        Self {
            service: QuotingServiceStandIn::start(&path, fake.clone()).unwrap(),
            tree: Arc::new(TsmTree::new(TsmDevice::tdx(FakeTdx::new()))),
            _folder: folder,
            fake,
        }
    }

    fn quoting(&self) -> Box<dyn Way> {
        let socket = Socket(self.service.path().to_path_buf());
        Box::new(QuotingService::with(Device(self.fake.clone()), socket))
    }

    fn alone(&self) -> HardwareTee {
        tee(HardwareKind::Tdx, vec![self.quoting()])
    }

    /// As on a machine: the service first, then configfs.
    fn both(&self) -> HardwareTee {
        let files = TsmTreeFiles::new(self.tree.clone());
        let reports = TsmReports::with(HardwareKind::Tdx, files);
        tee(HardwareKind::Tdx, vec![self.quoting(), Box::new(reports)])
    }
}

#[tokio::test(start_paused = true)]
async fn the_service_makes_evidence_that_verifies() {
    let world = World::new();
    for id in [&b""[..], b"a key id of any length"] {
        world.service.set_key_id(id);
        assert_eq!(outcome(&world.both()).await, Ok(()));
    }
    assert_eq!(world.service.requests(), 2);
    assert_eq!(world.tree.counts().reports, 0);
}

#[tokio::test(start_paused = true)]
async fn each_fault_of_the_service_ends_as_it_should() {
    let world = World::new();
    let tee = world.alone();
    for (fault, expected) in [
        (QgsFault::Refuses(0x1_2001), Code::TeeFailed),
        (QgsFault::Silent, Code::TeeBusy),
        (QgsFault::Truncated(2), Code::TeeBusy),
        (QgsFault::Truncated(500), Code::TeeBusy),
        (QgsFault::FrameLength(9), Code::TeeMalformed),
        (QgsFault::FrameLength(u32::MAX), Code::TeeMalformed),
        (QgsFault::Version(2), Code::TeeMalformed),
        (QgsFault::Type(0), Code::TeeMalformed),
        (QgsFault::QuoteLength(5), Code::TeeMalformed),
        (QgsFault::Empty, Code::TeeMalformed),
    ] {
        world.service.inject(fault.clone());
        assert_eq!(outcome(&tee).await, Err(expected), "{fault:?}");
        world.service.heal();
        assert_eq!(outcome(&tee).await, Ok(()), "after {fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_service_does_not_give_configfs_does() {
    let world = World::new();
    let tee = world.both();
    world.service.inject(QgsFault::Refuses(1));
    assert_eq!(outcome(&tee).await, Ok(()));
    assert_eq!(world.tree.counts().reports, 1);
    assert_eq!(tee.way(), Some("configfs-tsm"));
}

/// Each part of a VM that its own report and a quote both have, changed.
fn other_vms() -> Vec<(&'static str, FakeTdx)> {
    let vm = || FakeTdx::builder().mr_config_id([9; 48]);
    let one = |number: usize| {
        let mut rtmrs = FakeTdx::RTMRS;
        rtmrs[number] = [1; 48];
        rtmrs
    };
    vec![
        ("MRTD", vm().measurement([1; 48]).build()),
        ("MRCONFIGID", vm().mr_config_id([1; 48]).build()),
        ("RTMR0", vm().rtmrs(one(0)).build()),
        ("RTMR1", vm().rtmrs(one(1)).build()),
        ("RTMR2", vm().rtmrs(one(2)).build()),
        ("RTMR3", vm().rtmrs(one(3)).build()),
        (
            "TD attributes",
            vm().td_attributes(1 << 28 | 1 << 30).build(),
        ),
        ("XFAM", vm().xfam(0x3).build()),
        ("MROWNER", vm().mr_owner([1; 48]).build()),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_quote_of_another_vm_is_refused_and_not_replaced() {
    for (field, other) in other_vms() {
        let world = World::new();
        let tee = world.both();
        world.service.inject(QgsFault::OtherVm(Arc::new(other)));
        let error = tee.evidence(&asked()).await.unwrap_err();
        assert_eq!(error.code(), Code::TeeNotTrusted, "{field}: {error}");
        let words = format!("another {field} than the TDX module told");
        assert!(error.to_string().contains(&words), "{error}");
        assert_eq!(world.tree.counts().reports, 0);
        // Nothing of it is believed for good.
        world.service.heal();
        assert_eq!(outcome(&tee).await, Ok(()), "{field}");
    }
}

#[tokio::test(start_paused = true)]
async fn configfs_is_compared_too_where_the_device_is_there() {
    let world = World::new();
    let by_configfs = |vm: FakeTdx, device: &Arc<FakeTdx>| {
        let tree = Arc::new(TsmTree::new(TsmDevice::tdx(vm)));
        let reports = TsmReports::with(HardwareKind::Tdx, TsmTreeFiles::new(tree));
        let way = Compared::with(reports, Device(device.clone()));
        tee(HardwareKind::Tdx, vec![Box::new(way)])
    };
    let same = FakeTdx::builder().mr_config_id([9; 48]).build();
    assert_eq!(outcome(&by_configfs(same, &world.fake)).await, Ok(()));
    for (field, other) in other_vms() {
        let tee = by_configfs(other, &world.fake);
        let error = tee.evidence(&asked()).await.unwrap_err();
        assert_eq!(error.code(), Code::TeeNotTrusted, "{field}: {error}");
        assert!(error.to_string().contains(field), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_log_goes_along_when_it_leads_to_the_registers() {
    let fake = || FakeTdx::builder().event_log(EventLog::of_a_boot());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), fake().build().event_log().unwrap()).unwrap();
    let sent = async |vm: FakeTdx| {
        let tree = Arc::new(TsmTree::new(TsmDevice::tdx(vm)));
        let reports = TsmReports::with(HardwareKind::Tdx, TsmTreeFiles::new(tree));
        let tee = tee(HardwareKind::Tdx, vec![Box::new(reports)]);
        let tee = tee.with_event_log(file.path().to_path_buf());
        let evidence = tee.evidence(&asked()).await.unwrap();
        assert_eq!(outcome(&tee).await, Ok(()));
        !evidence.evidence["cc_eventlog"].is_null()
    };
    assert!(sent(fake().build()).await);
    // A program in the VM extended a register since, or the hypervisor wrote the log.
    assert!(!sent(fake().rtmrs([[1; 48]; 4]).build()).await);
}

#[tokio::test(start_paused = true)]
async fn without_a_service_it_is_unreachable() {
    let world = World::new();
    let tee = world.alone();
    drop(world.service);
    assert_eq!(outcome(&tee).await, Err(Code::TeeUnreachable));
}
