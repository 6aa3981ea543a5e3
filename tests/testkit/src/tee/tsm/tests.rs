//! The tree as the kernel's documentation and sources describe it; then the same through real files.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tempfile::TempDir;

use super::tree::Node;
use super::*;
use crate::tee::{FakeSnp, FakeTdx, TD_REPORT_LEN};

const DATA: [u8; 64] = [0x5a; 64];
const REPORT_DATA_AT: usize = 80;

fn snp() -> TsmTree {
    TsmTree::new(TsmDevice::snp(FakeSnp::new()))
}

fn tdx() -> TsmTree {
    TsmTree::new(TsmDevice::tdx(FakeTdx::new()))
}

/// One entry of a tree, used as a program would.
struct Used<'a> {
    tree: &'a TsmTree,
    entry: Node,
}

impl<'a> Used<'a> {
    fn new(tree: &'a TsmTree) -> Self {
        let entry = tree.mkdir(Node::Reports, "entry").unwrap();
        Self { tree, entry }
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, Errno> {
        let node = self.tree.lookup(self.entry, name)?;
        let handle = self.tree.open(node, true, false)?;
        let content = self.tree.read(handle, 0, 1 << 20);
        self.tree.release(handle);
        content
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name).unwrap()).unwrap()
    }

    fn write(&self, name: &str, value: &[u8]) -> Result<usize, Errno> {
        let node = self.tree.lookup(self.entry, name)?;
        let handle = self.tree.open(node, false, true)?;
        let written = self.tree.write(handle, 0, value);
        self.tree.release(handle);
        written
    }
}

#[test]
fn each_driver_shows_its_attributes() {
    let names = |tree: &TsmTree| {
        let entry = Used::new(tree).entry;
        let children = tree.children(entry).unwrap();
        let mut names: Vec<_> = children.into_iter().map(|(name, _)| name).collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(names(&tdx()), "generation inblob outblob provider");
    let svsm = TsmTree::new(TsmDevice::snp(FakeSnp::new()).below_svsm(2));
    let below_svsm = names(&svsm);
    assert_eq!(
        names(&snp()),
        "auxblob generation inblob outblob privlevel privlevel_floor provider"
    );
    assert!(below_svsm.contains("manifestblob"));
    assert!(below_svsm.contains("service_provider"));
}

#[test]
fn a_report_is_over_what_was_written() {
    let tree = snp();
    let entry = Used::new(&tree);
    assert_eq!(entry.text("provider"), "sev_guest\n");
    assert_eq!(entry.text("generation"), "0\n");
    assert_eq!(
        entry.read("outblob"),
        Err(Errno::INVAL),
        "nothing was written"
    );
    entry.write("privlevel", b"0").unwrap();
    assert_eq!(entry.text("generation"), "1\n");
    assert_eq!(entry.write("inblob", &DATA), Ok(64));
    assert_eq!(entry.text("generation"), "2\n");
    let report = entry.read("outblob").unwrap();
    assert_eq!(report.len(), 1184);
    assert_eq!(report[REPORT_DATA_AT..][..64], DATA);
    assert_eq!(
        entry.read("auxblob").unwrap(),
        FakeSnp::new().certificate_table()
    );
    assert_eq!(entry.text("generation"), "2\n", "reading counts nothing");
    assert_eq!(entry.read("outblob").unwrap(), report, "it is made once");
    assert_eq!(tree.counts().reports, 1);
    entry.write("inblob", &[1; 64]).unwrap();
    assert_eq!(entry.read("outblob").unwrap()[REPORT_DATA_AT], 1);
    assert_eq!(tree.counts().reports, 2);
}

#[test]
fn a_quote_is_over_what_was_written() {
    let tree = tdx();
    let entry = Used::new(&tree);
    assert_eq!(entry.text("provider"), "tdx_guest\n");
    entry.write("inblob", &DATA).unwrap();
    let quote = entry.read("outblob").unwrap();
    assert!(quote.len() > TD_REPORT_LEN);
    assert_eq!(quote[568..632], DATA);
    assert_eq!(entry.read("auxblob"), Err(Errno::NOENT));
}

#[test]
fn wrong_uses_are_refused_as_the_kernel_does() {
    let tree = snp();
    let entry = Used::new(&tree);
    assert_eq!(entry.write("inblob", &[0; 65]), Err(Errno::FBIG));
    entry.write("inblob", &[0; 63]).unwrap();
    assert_eq!(
        entry.read("outblob"),
        Err(Errno::INVAL),
        "the driver wants 64"
    );
    assert_eq!(entry.write("outblob", b"x"), Err(Errno::ACCESS));
    assert_eq!(entry.read("inblob"), Err(Errno::ACCESS));
    for level in ["4", "-1", "zero", ""] {
        assert_eq!(
            entry.write("privlevel", level.as_bytes()),
            Err(Errno::INVAL)
        );
    }
    assert_eq!(
        entry.write("privlevel", &[0]),
        Err(Errno::INVAL),
        "a raw byte"
    );
    assert_eq!(tree.mkdir(Node::Reports, "entry"), Err(Errno::EXIST));
    assert_eq!(tree.mkdir(entry.entry, "below"), Err(Errno::PERM));
    let svsm = TsmTree::new(TsmDevice::snp(FakeSnp::new()).below_svsm(2));
    let entry = Used::new(&svsm);
    assert_eq!(entry.text("privlevel_floor"), "2\n");
    assert_eq!(entry.write("privlevel", b"0"), Err(Errno::INVAL));
    entry.write("privlevel", b"2\n").unwrap();
}

#[test]
fn a_write_takes_effect_when_the_file_is_closed() {
    let tree = snp();
    let entry = Used::new(&tree);
    let node = tree.lookup(entry.entry, "inblob").unwrap();
    let handle = tree.open(node, false, true).unwrap();
    tree.write(handle, 0, &DATA[..32]).unwrap();
    tree.write(handle, 32, &DATA[32..]).unwrap();
    assert_eq!(entry.text("generation"), "0\n");
    tree.flush(handle);
    assert_eq!(entry.text("generation"), "1\n");
    tree.release(handle);
    assert_eq!(entry.text("generation"), "1\n", "once");
    assert_eq!(entry.read("outblob").unwrap()[REPORT_DATA_AT..][..64], DATA);
}

#[test]
fn what_was_removed_is_gone_for_who_has_it_open() {
    let tree = snp();
    let entry = Used::new(&tree);
    let node = tree.lookup(entry.entry, "generation").unwrap();
    let handle = tree.open(node, true, false).unwrap();
    tree.rmdir(Node::Reports, "entry").unwrap();
    assert_eq!(tree.read(handle, 0, 10), Err(Errno::NOENT));
    assert_eq!(tree.lookup(Node::Reports, "entry"), Err(Errno::NOENT));
    assert_eq!(tree.rmdir(Node::Reports, "entry"), Err(Errno::NOENT));
    assert_eq!(
        tree.counts(),
        TsmCounts {
            created: 1,
            removed: 1,
            reports: 0
        }
    );
    assert_eq!(tree.entries(), 0);
}

#[test]
fn every_fault_comes_as_often_as_told() {
    let busy = Errno::BUSY.raw_os_error();
    let steps = [
        (TsmStep::ReadProvider, "provider"),
        (TsmStep::ReadGeneration, "generation"),
        (TsmStep::ReadOutblob, "outblob"),
        (TsmStep::ReadAuxblob, "auxblob"),
    ];
    for (step, name) in steps {
        let tree = snp();
        let entry = Used::new(&tree);
        entry.write("inblob", &DATA).unwrap();
        tree.inject_times(TsmFault::Fails(step, busy), 2);
        for _ in 0..2 {
            assert_eq!(entry.read(name), Err(Errno::BUSY), "{step:?}");
        }
        entry.read(name).unwrap();
    }
    let tree = snp();
    let entry = Used::new(&tree);
    for (step, name) in [
        (TsmStep::WriteInblob, "inblob"),
        (TsmStep::WritePrivlevel, "privlevel"),
    ] {
        tree.inject(TsmFault::Fails(step, busy));
        assert_eq!(entry.write(name, b"1"), Err(Errno::BUSY), "{step:?}");
    }
    tree.heal();
    entry.write("privlevel", b"1").unwrap();
    tree.inject(TsmFault::Fails(TsmStep::Create, busy));
    assert_eq!(tree.mkdir(Node::Reports, "other"), Err(Errno::BUSY));
    tree.inject(TsmFault::Fails(TsmStep::Remove, busy));
    assert_eq!(tree.rmdir(Node::Reports, "entry"), Err(Errno::BUSY));
}

#[test]
fn faults_of_the_report_show_in_it() {
    let with = |fault: TsmFault| {
        let tree = snp();
        tree.inject(fault);
        let entry = Used::new(&tree);
        entry.write("inblob", &DATA).unwrap();
        let outblob = entry.read("outblob").unwrap();
        let auxblob = entry.read("auxblob").unwrap();
        (outblob, auxblob, entry.text("generation"))
    };
    assert_eq!(with(TsmFault::OtherReportData).0[REPORT_DATA_AT], 0x5b);
    assert_eq!(with(TsmFault::ZeroReportData).0[REPORT_DATA_AT], 0);
    assert_eq!(with(TsmFault::Truncated(100)).0.len(), 100);
    assert_eq!(with(TsmFault::Truncated(0)).0.len(), 0);
    assert_eq!(with(TsmFault::Padded(16)).0.len(), 1200);
    assert_eq!(with(TsmFault::Flipped(0)).0[0], 3 ^ 1);
    assert_eq!(with(TsmFault::Certificates(vec![1, 2])).1, [1, 2]);
    assert_eq!(with(TsmFault::Conflict).2, "2\n");

    // Signed over other data it is still a report.
    let (other, ..) = with(TsmFault::OtherReportData);
    assert_eq!(other.len(), 1184);
    assert_ne!(other[REPORT_DATA_AT..][..64], DATA);
    let tree = snp();
    tree.inject(TsmFault::OtherProvider("arm_cca_guest".to_owned()));
    assert_eq!(Used::new(&tree).text("provider"), "arm_cca_guest\n");
}

#[test]
fn a_driver_that_is_gone_gives_nothing() {
    let tree = snp();
    let entry = Used::new(&tree);
    entry.write("inblob", &DATA).unwrap();
    tree.inject(TsmFault::Vanished);
    assert_eq!(entry.read("outblob"), Err(Errno::NXIO));
    assert_eq!(entry.read("provider"), Err(Errno::NXIO));
    assert_eq!(entry.write("privlevel", b"0"), Err(Errno::NXIO));
    assert_eq!(tree.mkdir(Node::Reports, "other"), Err(Errno::NXIO));
    tree.rmdir(Node::Reports, "entry").unwrap();
}

#[test]
fn a_blob_that_the_kernel_would_not_hand_out_is_refused() {
    let tree = snp();
    tree.inject(TsmFault::Padded(32 * 1024));
    let entry = Used::new(&tree);
    entry.write("inblob", &DATA).unwrap();
    assert_eq!(entry.read("outblob"), Err(Errno::FBIG));
}

/// The tree as files.
struct Mounted {
    tree: Arc<TsmTree>,
    mount: TsmMount,
    folder: TempDir,
}

impl Mounted {
    fn new(device: TsmDevice) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tree = Arc::new(TsmTree::new(device));
        let mount = TsmMount::new(tree.clone(), folder.path()).unwrap();
        Self {
            tree,
            mount,
            folder,
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn write(&self, path: &str, value: &[u8]) -> io::Result<usize> {
        OpenOptions::new()
            .write(true)
            .open(self.path(path))?
            .write(value)
    }
}

fn errno<T: std::fmt::Debug>(result: io::Result<T>) -> Errno {
    Errno::from_raw_os_error(result.unwrap_err().raw_os_error().unwrap())
}

#[test]
#[ignore = "needs root and /dev/fuse; .ci/run runs it"]
fn plain_files_give_a_report_that_verifies() {
    let mounted = Mounted::new(TsmDevice::snp(FakeSnp::new()));
    let before = mounted.mount.served();
    fs::create_dir(mounted.path("a")).unwrap();
    let served = mounted.mount.served();
    assert!(served.requests > before.requests && served.time > before.time);
    let names: Vec<_> = fs::read_dir(mounted.path("a"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        names.contains(&"outblob".to_owned()) && names.len() == 7,
        "{names:?}"
    );
    assert_eq!(
        fs::read_to_string(mounted.path("a/provider")).unwrap(),
        "sev_guest\n"
    );
    fs::write(mounted.path("a/privlevel"), "0").unwrap();
    assert_eq!(mounted.write("a/inblob", &DATA).unwrap(), 64);
    assert_eq!(
        fs::read_to_string(mounted.path("a/generation")).unwrap(),
        "2\n"
    );
    let report = fs::read(mounted.path("a/outblob")).unwrap();
    let table = fs::read(mounted.path("a/auxblob")).unwrap();
    assert_eq!(table, FakeSnp::new().certificate_table());
    assert_eq!(report.len(), 1184);
    assert_eq!(report[REPORT_DATA_AT..][..64], DATA);
    fs::remove_dir(mounted.path("a")).unwrap();
    assert!(!mounted.path("a").exists());
    assert_eq!(mounted.tree.entries(), 0);
}

#[test]
#[ignore = "needs root and /dev/fuse; .ci/run runs it"]
fn a_long_quote_is_read_whole() {
    let mounted = Mounted::new(TsmDevice::tdx(FakeTdx::builder().padding(20_000).build()));
    fs::create_dir(mounted.path("a")).unwrap();
    mounted.write("a/inblob", &DATA).unwrap();
    let mut file = fs::File::open(mounted.path("a/outblob")).unwrap();
    let (mut begin, mut rest) = ([0; 1000], Vec::new());
    file.read_exact(&mut begin).unwrap();
    file.read_to_end(&mut rest).unwrap();
    assert!(rest.len() > 20_000);
    assert_eq!(begin[568..632], DATA);
    let again = fs::read(mounted.path("a/outblob")).unwrap();
    assert_eq!(again, [&begin[..], &rest].concat());
}

#[test]
#[ignore = "needs root and /dev/fuse; .ci/run runs it"]
fn errors_arrive_by_their_numbers() {
    let mounted = Mounted::new(TsmDevice::snp(FakeSnp::new()));
    fs::create_dir(mounted.path("a")).unwrap();
    assert_eq!(errno(fs::create_dir(mounted.path("a"))), Errno::EXIST);
    assert_eq!(errno(fs::create_dir(mounted.path("a/b"))), Errno::PERM);
    assert_eq!(
        errno(fs::remove_file(mounted.path("a/inblob"))),
        Errno::PERM
    );
    assert_eq!(errno(fs::read(mounted.path("a/inblob"))), Errno::ACCESS);
    assert_eq!(
        errno(fs::write(mounted.path("a/outblob"), "x")),
        Errno::ACCESS
    );
    assert_eq!(errno(fs::read(mounted.path("a/outblob"))), Errno::INVAL);
    assert_eq!(errno(mounted.write("a/inblob", &[0; 65])), Errno::FBIG);
    assert_eq!(errno(fs::read(mounted.path("none/outblob"))), Errno::NOENT);
    mounted.write("a/inblob", &DATA).unwrap();
    for number in [Errno::BUSY, Errno::TIMEDOUT, Errno::IO, Errno::OPNOTSUPP] {
        let fault = TsmFault::Fails(TsmStep::ReadOutblob, number.raw_os_error());
        mounted.tree.inject_times(fault, 1);
        assert_eq!(errno(fs::read(mounted.path("a/outblob"))), number);
    }
    mounted.tree.inject(TsmFault::Vanished);
    assert_eq!(errno(fs::create_dir(mounted.path("b"))), Errno::NXIO);
    fs::remove_dir(mounted.path("a")).unwrap();
}

#[test]
#[ignore = "needs root and /dev/fuse; .ci/run runs it"]
fn everybody_waits_for_a_slow_device() {
    let mounted = Mounted::new(TsmDevice::tdx(FakeTdx::new()));
    let delay = Duration::from_millis(200);
    mounted.tree.inject(TsmFault::Slow(delay));
    let started = Instant::now();
    std::thread::scope(|scope| {
        for name in ["a", "b", "c"] {
            let mounted = &mounted;
            scope.spawn(move || {
                fs::create_dir(mounted.path(name)).unwrap();
                mounted.write(&format!("{name}/inblob"), &DATA).unwrap();
                let quote = fs::read(mounted.path(&format!("{name}/outblob"))).unwrap();
                assert_eq!(quote[568..632], DATA);
            });
        }
    });
    assert!(started.elapsed() >= 3 * delay);
    assert_eq!(mounted.tree.counts().reports, 3);
}
