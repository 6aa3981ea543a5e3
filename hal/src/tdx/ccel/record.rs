//! One record of a log, and what it says.

use proplet_types::text::short_line;
use ring::digest::{SHA384, digest};

/// Length of a SHA-384 digest in bytes.
pub(super) const SHA384_LEN: usize = 48;
/// A record that is not measured.
pub(super) const NO_ACTION: u32 = 3;
/// A record whose data has a number of its own for what it is.
const EVENT_TAG: u32 = 6;
/// The tag of what CoCo's attestation agent measured: `AAEL`.
const AAEL: u32 = 0x4141_454c;
/// The registers of a log that are RTMRs; 0 is MRTD.
const RTMR_REGISTERS: std::ops::RangeInclusive<u32> = 1..=4;
/// How much of a record's text is shown, in characters.
const MAX_TEXT: usize = 200;

/// One measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// 0 for MRTD, 1 to 4 for RTMR0 to RTMR3.
    pub register: u32,
    /// TCG's number of the kind of event, see [`Record::kind_name`].
    pub kind: u32,
    /// The SHA-384 digest that was extended. `None` when the record has none: it measured nothing here.
    pub digest: Option<[u8; SHA384_LEN]>,
    /// The record's data. Vouched for only when [`Record::is_measured_data`].
    pub data: Vec<u8>,
}

/// The data of an `EV_EVENT_TAG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaggedEvent<'a> {
    /// Whose data this is.
    pub tag: u32,
    /// The data.
    pub data: &'a [u8],
}

/// An event of CoCo's attestation agent: `domain operation content`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AaelEvent<'a> {
    /// Who measured, `github.com/confidential-containers` for example.
    pub domain: &'a str,
    /// What happened, `PullImage` for example.
    pub operation: &'a str,
    /// To what; often JSON.
    pub content: &'a str,
}

impl Record {
    /// The index of the RTMR that this was extended into; None for MRTD and for anything else.
    pub fn rtmr(&self) -> Option<usize> {
        let index = self.register.checked_sub(1)?;
        RTMR_REGISTERS
            .contains(&self.register)
            .then(|| usize::try_from(index).ok())
            .flatten()
    }

    /// Whether the record's data is what was measured, so that it is as good as its digest.
    pub fn is_measured_data(&self) -> bool {
        let measured = digest(&SHA384, &self.data);
        self.kind != NO_ACTION
            && self
                .digest
                .is_some_and(|extended| measured.as_ref() == extended)
    }

    /// TCG's name of the kind of event.
    pub fn kind_name(&self) -> &'static str {
        let known = KINDS.iter().find(|(kind, _)| *kind == self.kind);
        known.map_or("unknown kind", |(_, name)| name)
    }

    /// The tag and data of an `EV_EVENT_TAG`. `None` for other kinds, and for a wrong length.
    pub fn tagged(&self) -> Option<TaggedEvent<'_>> {
        let (tag, rest) = self.data.split_first_chunk()?;
        let (length, data) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        (self.kind == EVENT_TAG && length == data.len()).then_some(TaggedEvent {
            tag: u32::from_le_bytes(*tag),
            data,
        })
    }

    /// What CoCo's attestation agent measured. `None` for anything else.
    pub fn aael(&self) -> Option<AaelEvent<'_>> {
        let tagged = self.tagged().filter(|tagged| tagged.tag == AAEL)?;
        let text = std::str::from_utf8(tagged.data).ok()?;
        let (domain, rest) = text.split_once(' ')?;
        let (operation, content) = rest.split_once(' ')?;
        let whole = !domain.is_empty() && !operation.is_empty() && !content.contains('\n');
        whole.then_some(AaelEvent {
            domain,
            operation,
            content,
        })
    }

    /// The text in the data, if it is of a kind that has some: one line of at most 200 characters and dots, fit
    /// for a terminal.
    pub fn text(&self) -> Option<String> {
        let text = if let Some(AaelEvent {
            domain,
            operation,
            content,
        }) = self.aael()
        {
            format!("{domain} {operation} {content}")
        } else if VARIABLES.contains(&self.kind) {
            self.variable_name()?
        } else if TEXTS.contains(&self.kind) {
            let text = std::str::from_utf8(&self.data).ok()?;
            text.trim_end_matches('\0').to_owned()
        } else {
            return None;
        };
        Some(short_line(&text, MAX_TEXT))
    }

    /// UEFI_VARIABLE_DATA: GUID, length of the name in characters, length of the data, name, data.
    fn variable_name(&self) -> Option<String> {
        let rest = self.data.get(16..)?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let name = rest.get(8..)?.get(..length.checked_mul(2)?)?;
        let units = name
            .as_chunks()
            .0
            .iter()
            .map(|pair| u16::from_le_bytes(*pair));
        Some(String::from_utf16_lossy(&units.collect::<Vec<_>>()))
    }
}

/// Kinds whose data is the text of what happened.
const TEXTS: [u32; 6] = [0x01, 0x05, 0x07, 0x0d, 0x0e, 0x8000_0007];
/// Kinds whose data is a UEFI variable.
const VARIABLES: [u32; 4] = [0x8000_0001, 0x8000_0002, 0x8000_000c, 0x8000_00e0];

/// TCG PC Client Platform Firmware Profile 1.06, table 27.
const KINDS: [(u32, &str); 36] = [
    (0x00, "EV_PREBOOT_CERT"),
    (0x01, "EV_POST_CODE"),
    (0x02, "EV_UNUSED"),
    (NO_ACTION, "EV_NO_ACTION"),
    (0x04, "EV_SEPARATOR"),
    (0x05, "EV_ACTION"),
    (EVENT_TAG, "EV_EVENT_TAG"),
    (0x07, "EV_S_CRTM_CONTENTS"),
    (0x08, "EV_S_CRTM_VERSION"),
    (0x09, "EV_CPU_MICROCODE"),
    (0x0a, "EV_PLATFORM_CONFIG_FLAGS"),
    (0x0b, "EV_TABLE_OF_DEVICES"),
    (0x0c, "EV_COMPACT_HASH"),
    (0x0d, "EV_IPL"),
    (0x0e, "EV_IPL_PARTITION_DATA"),
    (0x0f, "EV_NONHOST_CODE"),
    (0x10, "EV_NONHOST_CONFIG"),
    (0x11, "EV_NONHOST_INFO"),
    (0x12, "EV_OMIT_BOOT_DEVICE_EVENTS"),
    (0x13, "EV_POST_CODE2"),
    (0x8000_0000, "EV_EFI_EVENT_BASE"),
    (0x8000_0001, "EV_EFI_VARIABLE_DRIVER_CONFIG"),
    (0x8000_0002, "EV_EFI_VARIABLE_BOOT"),
    (0x8000_0003, "EV_EFI_BOOT_SERVICES_APPLICATION"),
    (0x8000_0004, "EV_EFI_BOOT_SERVICES_DRIVER"),
    (0x8000_0005, "EV_EFI_RUNTIME_SERVICES_DRIVER"),
    (0x8000_0006, "EV_EFI_GPT_EVENT"),
    (0x8000_0007, "EV_EFI_ACTION"),
    (0x8000_0008, "EV_EFI_PLATFORM_FIRMWARE_BLOB"),
    (0x8000_0009, "EV_EFI_HANDOFF_TABLES"),
    (0x8000_000a, "EV_EFI_PLATFORM_FIRMWARE_BLOB2"),
    (0x8000_000b, "EV_EFI_HANDOFF_TABLES2"),
    (0x8000_000c, "EV_EFI_VARIABLE_BOOT2"),
    (0x8000_0010, "EV_EFI_HCRTM_EVENT"),
    (0x8000_00e0, "EV_EFI_VARIABLE_AUTHORITY"),
    (0x8000_00e1, "EV_EFI_SPDM_FIRMWARE_BLOB"),
];
