//! Evidence from the quoting service.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use proplet_hal::hardware::{HardwareKind, HardwareTee, Way};
use proplet_hal::tdx::provider::{Connection, Dial, QuotingError, QuotingService, TdReports};
use proplet_hal::tsm::TsmReports;
use proplet_testkit::tee::{
    FakeTdx, QgsFault, QuotingServiceStandIn, TD_REPORT_LEN, TsmDevice, TsmTree, TsmTreeFiles,
};
use proplet_types::Code;
use tempfile::TempDir;

use super::{outcome, tee};

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

#[tokio::test(start_paused = true)]
async fn without_a_service_it_is_unreachable() {
    let world = World::new();
    let tee = world.alone();
    drop(world.service);
    assert_eq!(outcome(&tee).await, Err(Code::TeeUnreachable));
}
