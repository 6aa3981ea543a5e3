use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use proplet_types::Code;
use tempfile::TempDir;

use super::*;

const ASKED: [u8; 64] = [7; 64];

/// What goes wrong, and where: an operation such as `read outblob`.
type Fault = (&'static str, Errno);

/// A folder of real files that behaves as the kernel's: attributes appear with an entry, writes count.
#[derive(Clone)]
struct Kernel {
    files: FolderFiles,
    state: Arc<Mutex<State>>,
    _root: Arc<TempDir>,
}

struct State {
    provider: &'static str,
    outblob: Vec<u8>,
    auxblob: Option<Vec<u8>>,
    faults: Vec<Fault>,
    foreign_writes: u64,
    taken: Option<usize>,
    written: Vec<(String, Vec<u8>)>,
    names: BTreeSet<String>,
}

impl Kernel {
    fn new(provider: &'static str, outblob: Vec<u8>) -> Self {
        let root = TempDir::new().unwrap();
        Self {
            files: FolderFiles::new(root.path().to_path_buf()),
            state: Arc::new(Mutex::new(State {
                provider,
                outblob,
                auxblob: Some(Vec::new()),
                faults: Vec::new(),
                foreign_writes: 0,
                taken: None,
                written: Vec::new(),
                names: BTreeSet::new(),
            })),
            _root: Arc::new(root),
        }
    }

    fn snp() -> Self {
        Self::new("sev_guest", vec![9; REPORT_LEN])
    }

    fn with(self, change: impl FnOnce(&mut State)) -> Self {
        change(&mut self.state.lock().unwrap());
        self
    }

    fn failing(self, operation: &'static str, errno: Errno) -> Self {
        self.with(|state| state.faults.push((operation, errno)))
    }

    fn fail(&self, operation: &str) -> io::Result<()> {
        let state = self.state.lock().unwrap();
        match state.faults.iter().find(|(name, _)| *name == operation) {
            Some((_, errno)) => Err((*errno).into()),
            None => Ok(()),
        }
    }

    fn left_over(&self) -> usize {
        fs::read_dir(self.files.folder()).unwrap().count()
    }

    fn ask(&self, kind: HardwareKind) -> Result<Raw, TsmError> {
        let result = TsmReports::with(kind, self.clone()).request(&ASKED);
        assert_eq!(self.left_over(), 0, "an entry is left over");
        result
    }

    fn refused(&self, kind: HardwareKind) -> TsmError {
        self.ask(kind).unwrap_err()
    }
}

impl TsmFiles for Kernel {
    fn folder(&self) -> &Path {
        self.files.folder()
    }

    fn create(&self, entry: &str) -> io::Result<()> {
        self.fail("create")?;
        self.files.create(entry)?;
        let mut state = self.state.lock().unwrap();
        assert!(state.names.insert(entry.to_owned()), "a name came twice");
        let attribute =
            |name: &str, value: &[u8]| fs::write(self.folder().join(entry).join(name), value);
        attribute("provider", format!("{}\n", state.provider).as_bytes())?;
        attribute("generation", b"0\n")?;
        attribute("inblob", b"")?;
        attribute("outblob", &state.outblob)?;
        if let Some(auxblob) = &state.auxblob {
            attribute("auxblob", auxblob)?;
        }
        if state.provider == "sev_guest" {
            attribute("privlevel", b"")?;
        }
        Ok(())
    }

    fn remove(&self, entry: &str) -> io::Result<()> {
        fs::remove_dir_all(self.folder().join(entry))
    }

    fn read(&self, entry: &str, attribute: &str, limit: usize) -> io::Result<Vec<u8>> {
        self.fail(&format!("read {attribute}"))?;
        self.files.read(entry, attribute, limit)
    }

    fn write(&self, entry: &str, attribute: &str, value: &[u8]) -> io::Result<usize> {
        self.fail(&format!("write {attribute}"))?;
        let written = self.files.write(entry, attribute, value)?;
        let mut state = self.state.lock().unwrap();
        state.written.push((attribute.to_owned(), value.to_vec()));
        let generation = state.written.len() as u64 + state.foreign_writes;
        let path = self.folder().join(entry).join("generation");
        fs::write(path, format!("{generation}\n"))?;
        Ok(state.taken.unwrap_or(written))
    }
}

#[test]
fn an_snp_report_and_its_certificates_are_read() {
    let kernel = Kernel::snp().with(|state| state.auxblob = Some(b"a table".to_vec()));
    let raw = kernel.ask(HardwareKind::Snp).unwrap();
    assert_eq!(raw.evidence, [9; REPORT_LEN]);
    assert_eq!(raw.certificates, b"a table");
    let written = kernel.state.lock().unwrap().written.clone();
    let expected = [
        ("privlevel".to_owned(), b"0".to_vec()),
        ("inblob".to_owned(), ASKED.to_vec()),
    ];
    assert_eq!(
        written, expected,
        "the level as text, the data by one write"
    );
}

#[test]
fn a_tdx_quote_is_read_without_levels_or_certificates() {
    let quote = vec![5; 5006];
    let kernel = Kernel::new("tdx_guest", quote.clone());
    let raw = kernel.ask(HardwareKind::Tdx).unwrap();
    assert_eq!((raw.evidence, raw.certificates), (quote, Vec::new()));
    let written = kernel.state.lock().unwrap().written.clone();
    assert_eq!(written, [("inblob".to_owned(), ASKED.to_vec())]);
}

#[test]
fn names_do_not_repeat_and_nothing_is_left_over() {
    let kernel = Kernel::snp();
    for _ in 0..20 {
        kernel.state.lock().unwrap().written.clear();
        kernel.ask(HardwareKind::Snp).unwrap();
    }
    assert_eq!(kernel.state.lock().unwrap().names.len(), 20);
}

#[test]
fn hosts_without_certificates_are_no_error() {
    for auxblob in [None, Some(Vec::new())] {
        let kernel = Kernel::snp().with(|state| state.auxblob = auxblob);
        let raw = kernel.ask(HardwareKind::Snp).unwrap();
        assert_eq!(raw.certificates, [0; 0]);
    }
}

#[test]
fn without_the_folder_the_operator_is_told_to_mount_it() {
    let root = TempDir::new().unwrap();
    let files = FolderFiles::new(root.path().join("tsm/report"));
    let error = TsmReports::with(HardwareKind::Snp, files)
        .request(&ASKED)
        .unwrap_err();
    assert!(matches!(error, TsmError::NotMounted { .. }), "{error}");
    assert!(error.to_string().contains("mount -t configfs"), "{error}");
    assert_eq!(error.code(), Code::TeeUnreachable);
}

#[test]
fn a_folder_that_is_no_configfs_has_no_attributes() {
    let root = TempDir::new().unwrap();
    let files = FolderFiles::new(root.path().to_path_buf());
    let error = TsmReports::with(HardwareKind::Snp, files)
        .request(&ASKED)
        .unwrap_err();
    let attribute = "provider";
    assert_eq!(error, TsmError::NoAttribute { attribute });
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn another_provider_is_refused() {
    for (kernel, kind) in [
        (Kernel::snp(), HardwareKind::Tdx),
        (Kernel::new("tdx_guest", vec![5; 5000]), HardwareKind::Snp),
        (
            Kernel::new("arm_cca_guest", vec![5; 5000]),
            HardwareKind::Snp,
        ),
    ] {
        let error = kernel.refused(kind);
        assert!(matches!(error, TsmError::OtherProvider { .. }), "{error}");
        assert_eq!(error.code(), Code::TeeNotTrusted);
        assert!(!error.is_retryable());
    }
    let hostile = Kernel::new("a\u{1b}[31m\u{7}", vec![]).refused(HardwareKind::Snp);
    assert!(!hostile.to_string().contains('\u{1b}'), "{hostile:?}");
}

/// Every error that the kernel gives, where it gives it: the code, and whether it is tried again.
#[test]
fn each_error_of_the_kernel_has_its_own_meaning() {
    let cases: &[(Fault, Code, bool)] = &[
        (("create", Errno::NOENT), Code::TeeUnreachable, false),
        (("create", Errno::NXIO), Code::TeeUnreachable, false),
        (("create", Errno::NODEV), Code::TeeUnreachable, false),
        (("create", Errno::ACCESS), Code::TeePermission, false),
        (("create", Errno::PERM), Code::TeePermission, false),
        (("create", Errno::ROFS), Code::TeePermission, false),
        (("create", Errno::NOMEM), Code::TeeFailed, false),
        (("read provider", Errno::ACCESS), Code::TeePermission, false),
        (
            ("write privlevel", Errno::INVAL),
            Code::TeeNotTrusted,
            false,
        ),
        (
            ("write privlevel", Errno::NOENT),
            Code::TeeUnreachable,
            false,
        ),
        (("write inblob", Errno::BUSY), Code::TeeBusy, true),
        (("write inblob", Errno::INVAL), Code::TeeFailed, false),
        (("read outblob", Errno::BUSY), Code::TeeBusy, true),
        (("read outblob", Errno::WOULDBLOCK), Code::TeeBusy, true),
        (("read outblob", Errno::INTR), Code::TeeBusy, true),
        (("read outblob", Errno::TIMEDOUT), Code::TeeBusy, true),
        (("read outblob", Errno::NXIO), Code::TeeUnreachable, false),
        (
            ("read outblob", Errno::OPNOTSUPP),
            Code::TeeUnreachable,
            false,
        ),
        (("read outblob", Errno::IO), Code::TeeFailed, false),
        (("read auxblob", Errno::IO), Code::TeeFailed, false),
        (("read generation", Errno::IO), Code::TeeFailed, false),
    ];
    for ((operation, errno), code, retryable) in cases {
        let error = Kernel::snp()
            .failing(operation, *errno)
            .refused(HardwareKind::Snp);
        assert_eq!(error.code(), *code, "{operation} {errno:?}: {error}");
        assert_eq!(error.is_retryable(), *retryable, "{operation}: {error}");
        let words = error.to_string();
        assert!(words.contains(": "), "no advice in: {words}");
    }
}

#[test]
fn somebody_elses_writes_are_a_conflict() {
    let kernel = Kernel::snp().with(|state| state.foreign_writes = 1);
    let error = kernel.refused(HardwareKind::Snp);
    let (expected, found) = (2, 3);
    assert_eq!(error, TsmError::Conflict { expected, found });
    assert!(error.is_retryable());
}

#[test]
fn evidence_of_the_wrong_size_is_refused() {
    let refused = |provider, kind, len| Kernel::new(provider, vec![1; len]).refused(kind);
    let attribute = "outblob";
    for (provider, kind) in [
        ("sev_guest", HardwareKind::Snp),
        ("tdx_guest", HardwareKind::Tdx),
    ] {
        let error = refused(provider, kind, 0);
        assert_eq!(error, TsmError::Empty { attribute });
        assert_eq!(error.code(), Code::TeeMalformed);
    }
    for (provider, kind, len) in [
        ("sev_guest", HardwareKind::Snp, REPORT_LEN - 1),
        ("tdx_guest", HardwareKind::Tdx, QUOTE_MINIMUM - 1),
    ] {
        let error = refused(provider, kind, len);
        assert!(matches!(error, TsmError::Short { .. }), "{error}");
    }
    for (provider, kind, limit) in [
        ("sev_guest", HardwareKind::Snp, REPORT_LEN),
        ("tdx_guest", HardwareKind::Tdx, QUOTE_LIMIT),
    ] {
        let error = refused(provider, kind, limit + 1);
        assert_eq!(error, TsmError::TooLarge { attribute, limit });
    }
    let attribute = "auxblob";
    let kernel = Kernel::snp().with(|state| state.auxblob = Some(vec![0; TABLE_LIMIT + 1]));
    let limit = TABLE_LIMIT;
    assert_eq!(
        kernel.refused(HardwareKind::Snp),
        TsmError::TooLarge { attribute, limit }
    );
}

#[test]
fn a_write_that_is_taken_in_part_is_refused() {
    let kernel = Kernel::new("tdx_guest", vec![5; 5000]).with(|state| state.taken = Some(63));
    let error = kernel.refused(HardwareKind::Tdx);
    let (attribute, written) = ("inblob", 63);
    assert_eq!(error, TsmError::ShortWrite { attribute, written });
}

#[test]
fn a_generation_that_is_no_number_is_refused() {
    struct Odd(Kernel);
    impl TsmFiles for Odd {
        fn folder(&self) -> &Path {
            self.0.folder()
        }
        fn create(&self, entry: &str) -> io::Result<()> {
            self.0.create(entry)?;
            fs::write(self.folder().join(entry).join("generation"), "-1")
        }
        fn remove(&self, entry: &str) -> io::Result<()> {
            self.0.remove(entry)
        }
        fn read(&self, entry: &str, attribute: &str, limit: usize) -> io::Result<Vec<u8>> {
            self.0.read(entry, attribute, limit)
        }
        fn write(&self, entry: &str, attribute: &str, value: &[u8]) -> io::Result<usize> {
            self.0.write(entry, attribute, value)
        }
    }
    let error = TsmReports::with(HardwareKind::Snp, Odd(Kernel::snp()))
        .request(&ASKED)
        .unwrap_err();
    assert_eq!(error.code(), Code::TeeMalformed);
}
