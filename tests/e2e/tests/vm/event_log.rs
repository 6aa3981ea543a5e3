//! What the image is predicted to extend TDX's registers with, beside what a boot of it extends a TPM with.
//!
//! Firmware, stub and kernel measure into a TPM what they measure into the registers of TDX: PCR 4 and 5 are RTMR1,
//! 8 to 15 RTMR2. How a register is folded is another matter, and cannot be seen here.

use std::fs;

use proplet_hal::tdx::ccel::{EventLog, Record};
use proplet_measure::tdx::{Event, events};

use crate::machine::{Firmware, Made, Setup};
use crate::world::World;

/// `EV_NO_ACTION`, which measures nothing, and the separator between what firmware does and what it starts.
const NO_ACTION: u32 = 3;
const SEPARATOR: u32 = 4;

fn logged(log: &EventLog, of: impl Fn(&Record) -> bool) -> Vec<[u8; 48]> {
    let records = log.records.iter();
    records
        .filter(|record| record.kind != NO_ACTION && of(record))
        .map(|record| record.digest.expect("a digest by SHA-384"))
        .collect()
}

fn compare(register: &str, predicted: &[Event], logged: &[[u8; 48]]) {
    for (event, digest) in predicted.iter().zip(logged) {
        assert_eq!(
            hex::encode(event.digest),
            hex::encode(digest),
            "{register}: {}",
            event.name
        );
    }
    assert_eq!(predicted.len(), logged.len(), "{register}");
}

#[test]
#[ignore = "needs root and PROPLET_VM, the folder of `.ci/vm FOLDER`; .ci/run runs it"]
fn predictions_for_tdx_are_what_a_tpm_was_extended_with() {
    let setup = Setup::new(&World::operator());
    setup.init_data(
        "version = \"0.1.0\"\nalgorithm = \"sha256\"\n[data]\n\"proplet.toml\" = \"\"\n",
    );
    let machine = setup.start(Firmware::Debian, &[("event-log", "1")]);
    let console = machine.ends();
    let lines = console.lines().filter_map(|line| line.split_once("EL:"));
    let log: String = lines.map(|(_, digits)| digits.trim()).collect();
    let log = hex::decode(log).unwrap();
    assert!(!log.is_empty(), "{console}");
    let log = EventLog::parse(&log).unwrap();

    let predicted = events(&fs::read(Made::here().image()).unwrap()).unwrap();
    // The separator of PCR 5 belongs to the table of partitions, and there is no disk with one.
    let rtmr1 = logged(&log, |record| match record.register {
        4 => true,
        5 => record.kind != SEPARATOR,
        _ => false,
    });
    let rtmr2 = logged(&log, |record| (8..=15).contains(&record.register));
    compare("RTMR1", &predicted.rtmr1, &rtmr1);
    compare("RTMR2", &predicted.rtmr2, &rtmr2);
}
