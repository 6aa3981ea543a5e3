//! Event logs that replay to the RTMRs that they say.

use ring::digest::{SHA384, digest};

/// TCG algorithm id of SHA-384.
const SHA384_ID: u16 = 0x0c;
const EV_NO_ACTION: u32 = 3;
const EV_EVENT_TAG: u32 = 6;
/// `AAEL`, the tag of the attestation agent's events.
const AAEL: u32 = 0x4141_454c;
/// What stands in place of a record after the last one.
const END: [u8; 8] = [0xff; 8];

/// A TCG2 event log of a trust domain (CCEL), and the runtime registers that it leads to.
#[derive(Debug, Clone)]
#[must_use]
pub struct EventLog {
    records: Vec<u8>,
    rtmrs: [[u8; 48]; 4],
}

impl EventLog {
    /// A log with its header only.
    pub fn new() -> Self {
        let specification = [
            b"Spec ID Event03\0".as_slice(),
            // Platform class, version 2.0, errata, size of a native word.
            &[0, 0, 0, 0, 0, 2, 0, 2],
            &1_u32.to_le_bytes(),
            &SHA384_ID.to_le_bytes(),
            &48_u16.to_le_bytes(),
            &[0],
        ]
        .concat();
        let records = [
            &0_u32.to_le_bytes()[..],
            &EV_NO_ACTION.to_le_bytes(),
            &[0; 20],
            &length(&specification),
            &specification,
        ]
        .concat();
        Self {
            records,
            rtmrs: [[0; 48]; 4],
        }
    }

    /// A short log of a boot: firmware, loader, kernel and command line.
    pub fn of_a_boot() -> Self {
        Self::new()
            .event(0, 0x8000_0001, b"fake firmware variable")
            .event(0, 4, &[0; 4])
            .event(1, 0x8000_0003, b"fake boot loader")
            .event(2, 0x0d, b"kernel_cmdline: console=ttyS0")
    }

    /// Appends an event that extends RTMR `rtmr` (0 to 3) with the digest of its data.
    pub fn event(self, rtmr: u8, kind: u32, data: &[u8]) -> Self {
        self.event_over(rtmr, kind, data, data)
    }

    /// Appends an event whose digest is over other bytes than it shows.
    pub fn event_over(mut self, rtmr: u8, kind: u32, data: &[u8], measured: &[u8]) -> Self {
        let measured = digest(&SHA384, measured);
        if let Some(register) = self.rtmrs.get_mut(usize::from(rtmr)) {
            let extended = digest(&SHA384, &[&register[..], measured.as_ref()].concat());
            register.copy_from_slice(extended.as_ref());
        }
        self.record(rtmr, kind, data, measured.as_ref())
    }

    /// Appends a record of type EV_NO_ACTION, which extends nothing.
    pub fn no_action(self, rtmr: u8, data: &[u8]) -> Self {
        self.record(rtmr, EV_NO_ACTION, data, &[0; 48])
    }

    /// Appends an event of the attestation agent to RTMR 3.
    pub fn aael(self, domain: &str, operation: &str, content: &str) -> Self {
        let text = format!("{domain} {operation} {content}");
        let tagged = [
            &AAEL.to_le_bytes()[..],
            &length(text.as_bytes()),
            text.as_bytes(),
        ]
        .concat();
        self.event(3, EV_EVENT_TAG, &tagged)
    }

    /// What the registers hold after these events.
    #[must_use]
    pub fn rtmrs(&self) -> [[u8; 48]; 4] {
        self.rtmrs
    }

    /// The log as an attester sends it: the records and the mark after the last one.
    #[must_use]
    pub fn trimmed(&self) -> Vec<u8> {
        [&self.records[..], &END].concat()
    }

    /// The log as the ACPI table CCEL holds it: an area of at least this size, filled up with 0xff.
    #[must_use]
    pub fn ccel(&self, size: usize) -> Vec<u8> {
        let mut area = self.trimmed();
        area.resize(area.len().max(size), 0xff);
        area
    }

    fn record(mut self, rtmr: u8, kind: u32, data: &[u8], digest: &[u8]) -> Self {
        // Register 0 of the log is MRTD.
        self.records.extend((u32::from(rtmr) + 1).to_le_bytes());
        self.records.extend(kind.to_le_bytes());
        self.records.extend(1_u32.to_le_bytes());
        self.records.extend(SHA384_ID.to_le_bytes());
        self.records.extend(digest);
        self.records.extend(length(data));
        self.records.extend(data);
        self
    }
}

impl Default for EventLog {
    fn default() -> Self {
        Self::new()
    }
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_event_has_the_digest_of_the_specification() {
        let known = "dad5f0e226318ffa9839b75a472c6aa7fdb5834949d0a0a22990cf04d5692440\
                     fb00f3aa0609db7e49cd8d793f670d02";
        let log = EventLog::new().aael("domain", "operation", "content");
        let digest_at = EventLog::new().records.len() + 14;
        assert_eq!(hex::encode(&log.records[digest_at..digest_at + 48]), known);
        let mut extended = vec![0; 48];
        extended.extend(hex::decode(known).unwrap());
        assert_eq!(log.rtmrs()[3], digest(&SHA384, &extended).as_ref());
        assert_eq!(log.rtmrs()[..3], [[0; 48]; 3]);
    }

    #[test]
    fn only_events_extend() {
        let log = EventLog::of_a_boot();
        assert_eq!(log.clone().no_action(1, b"note").rtmrs(), log.rtmrs());
        assert_ne!(log.clone().event(1, 4, b"more").rtmrs(), log.rtmrs());
        assert!(log.ccel(4096).starts_with(&log.trimmed()));
        assert_eq!(log.ccel(4096).len(), 4096);
    }
}
