//! The table in `docs/hardware.md` of everything that the kernel and the services can answer, held against the code
//! both ways: each row is what the errors say, and each error has a row.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use proplet_hal::SystemError;
use proplet_hal::hardware::{ReadBackError, WayError};
use proplet_hal::snp::provider::SevGuestError;
use proplet_hal::tdx::provider::QuotingError;
use proplet_hal::tsm::{KERNEL_FOLDER, TsmError};

const DOCUMENT: &str = include_str!("../../docs/hardware.md");
const HEAD: &str = "| way | what happens | code | what proplet says, and what to do |\n\
                    | --- | --- | --- | --- |\n";

const CONFIGFS: &str = "`configfs-tsm`";
const SEV_GUEST: &str = "`sev-guest`";
const SERVICE: &str = "`quoting-service`";
const ANY: &str = "any";

/// Errors of the system, by their numbers on Linux.
fn system(number: i32) -> SystemError {
    io::Error::from_raw_os_error(number).into()
}

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const EIO: i32 = 5;
const ENXIO: i32 = 6;
const EACCES: i32 = 13;
const EBUSY: i32 = 16;
const EINVAL: i32 = 22;
const ENOTTY: i32 = 25;
const ETIMEDOUT: i32 = 110;
const ECONNREFUSED: i32 = 111;

/// One row: the way, what happens, and the error that comes of it.
type Row = (&'static str, &'static str, WayError);

fn of_configfs() -> Vec<Row> {
    let outblob = "outblob";
    let step = "read outblob";
    let row = |happens, error: TsmError| (CONFIGFS, happens, error.into());
    vec![
        row(
            "the folder is not there (`ENOENT`, `ENOTDIR`)",
            TsmError::NotMounted {
                path: KERNEL_FOLDER.into(),
                error: system(ENOENT),
            },
        ),
        row(
            "no provider (`ENXIO`, `ENODEV`, `EOPNOTSUPP` at `mkdir`)",
            TsmError::NoProvider {
                error: system(ENXIO),
            },
        ),
        row(
            "no permission (`EACCES`, `EPERM`, `EROFS`)",
            TsmError::NoPermission {
                step: "create an entry",
                error: system(EACCES),
            },
        ),
        row(
            "another provider than the TEE's",
            TsmError::OtherProvider {
                found: "arm_cca_guest".to_owned(),
                expected: "sev_guest",
            },
        ),
        row(
            "an attribute is missing (`ENOENT`)",
            TsmError::NoAttribute { attribute: outblob },
        ),
        row(
            "`privlevel` refused (`EINVAL`, `ERANGE`)",
            TsmError::PrivilegeLevel {
                error: system(EINVAL),
            },
        ),
        row(
            "busy (`EBUSY`, `EAGAIN`, `EINTR`): tried again by itself",
            TsmError::Busy {
                step,
                error: system(EBUSY),
            },
        ),
        row(
            "`ETIMEDOUT`: tried again by itself",
            TsmError::TimedOut {
                step,
                error: system(ETIMEDOUT),
            },
        ),
        row(
            "another generation than ours: tried again by itself",
            TsmError::Conflict {
                expected: 2,
                found: 3,
            },
        ),
        row(
            "gone (`ENXIO`, `ENODEV`, `EOPNOTSUPP` after `mkdir`)",
            TsmError::Gone {
                step,
                error: system(ENXIO),
            },
        ),
        row(
            "any other error",
            TsmError::Failed {
                step,
                error: system(EIO),
            },
        ),
        row(
            "a part of a value was taken",
            TsmError::ShortWrite {
                attribute: "inblob",
                written: 10,
            },
        ),
        row(
            "a generation that is no number",
            TsmError::Malformed {
                attribute: "generation",
                reason: "`x` is no number".to_owned(),
            },
        ),
        row("nothing", TsmError::Empty { attribute: outblob }),
        row(
            "less than a report or quote",
            TsmError::Short {
                attribute: outblob,
                len: 100,
                minimum: 1184,
            },
        ),
        row(
            "more than any report or quote",
            TsmError::TooLarge {
                attribute: outblob,
                limit: 131_072,
            },
        ),
    ]
}

fn of_sev_guest() -> Vec<Row> {
    let path = || PathBuf::from("/dev/sev-guest");
    let row = |happens, error: SevGuestError| (SEV_GUEST, happens, error.into());
    vec![
        row(
            "no device",
            SevGuestError::NoDevice {
                path: path(),
                error: system(ENOENT),
            },
        ),
        row(
            "no permission (`EACCES`, `EPERM`)",
            SevGuestError::NoPermission {
                path: path(),
                error: system(EACCES),
            },
        ),
        row(
            "throttled (the hypervisor's error 2), `EBUSY`, `EAGAIN`, `ETIMEDOUT`, `EINTR`: tried again by itself; \
             the kernel waits two seconds between tries of its own",
            SevGuestError::Busy {
                error: system(EBUSY),
            },
        ),
        row(
            "another device, or a channel that is closed (`ENOTTY`, `EBADF`, `ENXIO`, `ENODEV`)",
            SevGuestError::Unusable {
                error: system(ENOTTY),
            },
        ),
        row(
            "an error of hypervisor or firmware",
            SevGuestError::Refused {
                error: system(EIO),
                vmm: 0,
                firmware: 0x1f,
            },
        ),
        row(
            "a status other than 0, or no report",
            SevGuestError::NoReport {
                status: 0x16,
                size: 0,
                hint: "it refuses the parameters",
            },
        ),
    ]
}

fn of_the_service() -> Vec<Row> {
    let path = || PathBuf::from("/dev/tdx_guest");
    let address = || "vsock port 4050 of the host".to_owned();
    let row = |happens, error: QuotingError| (SERVICE, happens, error.into());
    vec![
        row(
            "no `/dev/tdx_guest`",
            QuotingError::NoDevice {
                path: path(),
                error: system(ENOENT),
            },
        ),
        row(
            "no permission (`EACCES`, `EPERM`)",
            QuotingError::NoPermission {
                path: path(),
                error: system(EPERM),
            },
        ),
        row(
            "no TDREPORT; `EBUSY`, `EAGAIN`, `EINTR` are tried again by themselves",
            QuotingError::NoReport { error: system(EIO) },
        ),
        row(
            "nobody answers",
            QuotingError::NoService {
                address: address(),
                error: system(ECONNREFUSED),
            },
        ),
        row(
            "the connection breaks, or the answer does not end within 20 s: tried again by itself",
            QuotingError::Broken {
                address: address(),
                error: system(ETIMEDOUT),
            },
        ),
        row(
            "an error of the service",
            QuotingError::Refused { error: 0x1_2001 },
        ),
        row("an empty quote", QuotingError::Empty),
        row(
            "no answer of that protocol",
            QuotingError::Malformed {
                reason: "it is of the version 2".to_owned(),
            },
        ),
        (
            "any (TDX)",
            "a register was extended meanwhile: tried again by itself",
            QuotingError::Extended.into(),
        ),
    ]
}

fn of_any() -> Vec<Row> {
    let row = |happens, error: ReadBackError| (ANY, happens, error.into());
    let (tee, field) = ("snp", "guest policy");
    vec![
        (
            ANY,
            "no answer in time: the next way is tried",
            WayError::TimedOut { seconds: 30 },
        ),
        (ANY, "a defect of proplet", WayError::Aborted),
        row(
            "no report or quote",
            ReadBackError::Malformed {
                tee: "tdx",
                reason: "it has 10 bytes".to_owned(),
            },
        ),
        row(
            "over other report data than was asked",
            ReadBackError::OtherReportData { tee },
        ),
        row(
            "over report data of zeros",
            ReadBackError::ZeroReportData { tee },
        ),
        row(
            "the VM may be debugged",
            ReadBackError::Debug { tee, field },
        ),
        row(
            "the VM may be migrated",
            ReadBackError::Migratable { tee, field },
        ),
        row(
            "another measurement or init-data than before",
            ReadBackError::OtherVm { tee },
        ),
        row("VMPL other than 0", ReadBackError::Vmpl { vmpl: 1 }),
        (
            "any (TDX)",
            "something else than the TDX module told the VM",
            ReadBackError::OtherThanModule { field: "MRTD" }.into(),
        ),
    ]
}

fn rows() -> Vec<Row> {
    [of_configfs(), of_sev_guest(), of_the_service(), of_any()].concat()
}

#[test]
fn the_table_of_the_document_is_what_the_code_says() {
    let mut table = HEAD.to_owned();
    for (way, happens, error) in rows() {
        let words = error.to_string().replace('|', "\\|");
        table.push_str(&format!(
            "| {way} | {happens} | `{}` | {words} |\n",
            error.code()
        ));
    }
    let (_, section) = DOCUMENT.split_once("## What each refusal means\n").unwrap();
    let start = section.find("| way |").unwrap();
    let end = section[start..]
        .find("\n\n")
        .map_or(section.len(), |end| start + end + 1);
    let documented = &section[start..end];
    assert!(
        documented == table,
        "docs/hardware.md has another table; this is the code's:\n{table}"
    );
}

/// The variants of an enum, as its source names them.
fn variants(source: &str, name: &str) -> BTreeSet<String> {
    let (_, body) = source.split_once(&format!("pub enum {name} {{\n")).unwrap();
    let (body, _) = body.split_once("\n}\n").unwrap();
    let named = body.lines().filter_map(|line| {
        let line = line.strip_prefix("    ")?;
        let end = line.find(|letter: char| !letter.is_alphanumeric())?;
        line.starts_with(|letter: char| letter.is_ascii_uppercase())
            .then(|| line[..end].to_owned())
    });
    named.collect()
}

#[test]
fn every_error_has_a_row() {
    let shown = |error: &dyn std::fmt::Debug| {
        let text = format!("{error:?}");
        let end = text.find(|letter: char| !letter.is_alphanumeric());
        text[..end.unwrap_or(text.len())].to_owned()
    };
    let mut found = [const { BTreeSet::new() }; 5];
    for (_, _, error) in rows() {
        let (of, name) = match &error {
            WayError::Tsm(inner) => (0, shown(inner)),
            WayError::SevGuest(inner) => (1, shown(inner)),
            WayError::Quoting(inner) => (2, shown(inner)),
            WayError::ReadBack(inner) => (3, shown(inner)),
            other => (4, shown(other)),
        };
        found[of].insert(name);
        // Every one is of a kind that the codes of a TEE have.
        assert!(error.code().as_str().starts_with("tee-"), "{error}");
    }
    // What stands for the errors of each way.
    found[4].extend(["Tsm", "SevGuest", "Quoting", "ReadBack"].map(str::to_owned));
    let sources = [
        (include_str!("../src/tsm/error.rs"), "TsmError"),
        (
            include_str!("../src/snp/provider/error.rs"),
            "SevGuestError",
        ),
        (include_str!("../src/tdx/provider/error.rs"), "QuotingError"),
        (
            include_str!("../src/hardware/read_back.rs"),
            "ReadBackError",
        ),
        (include_str!("../src/hardware/way.rs"), "WayError"),
    ];
    for ((source, name), found) in sources.into_iter().zip(found) {
        let variants = variants(source, name);
        assert!(variants.len() > 3, "{variants:?}");
        assert_eq!(found, variants, "{name}");
    }
}
