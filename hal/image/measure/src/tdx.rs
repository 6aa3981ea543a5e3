//! MRTD, RTMR1 and RTMR2 of a TDX VM that starts from OVMF and one UKI.
//!
//! MRTD is made while the VM is built: the TDX module folds the address of every page, and the contents of
//! those that the firmware's list asks for. KVM measures a page right after it added it.
//!
//! RTMR1 and RTMR2 are made while it boots. The firmware extends RTMR1 with the UKI that it starts, and with
//! what it does before and after; systemd's stub and the kernel extend RTMR2 with the UKI's sections, the
//! command line and the initrd. The rules are those of measured boot with a TPM (PCR 4 and 5 are RTMR1; 8 to 15
//! are RTMR2), so a log of a vTPM of the same UKI has the same digests. How they are folded into registers
//! follows published code; it was not confirmed on hardware.
//!
//! A UKI with `.osrel` makes the stub add an archive of its own to the initrd, so images are built without.

use ring::digest::{Context, SHA384};

use crate::firmware::Firmware;
use crate::pe::Pe;
use crate::{MAX_PAGES, MeasureError, PAGE, sha384, sized};

/// How much of a page is folded at once.
const CHUNK: usize = 256;
/// The sections that the stub measures, in its order.
const MEASURED: &[&str] = &[
    ".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".uname", ".sbat",
];

/// One entry of what boot extends a register with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What it is, for people.
    pub name: String,
    /// What the register is extended with.
    pub digest: [u8; 48],
}

/// What boot extends registers with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Events {
    /// In RTMR1.
    pub rtmr1: Vec<Event>,
    /// In RTMR2.
    pub rtmr2: Vec<Event>,
}

/// What the TDX module measured when the VM was built.
///
/// # Errors
/// When the firmware is not for TDX.
pub fn mrtd(firmware: &Firmware<'_>) -> Result<[u8; 48], MeasureError> {
    let sections = firmware.tdx_sections()?;
    let pages = sections.iter().try_fold(0_u64, |sum, section| {
        sum.checked_add(section.len / PAGE as u64)
    });
    if pages.is_none_or(|pages| pages > MAX_PAGES) {
        return Err(MeasureError::TooMuchMemory);
    }
    let mut digest = Context::new(&SHA384);
    let mut fold = |operation: &[u8], address: u64, contents: &[u8]| {
        let mut block = operation.to_vec();
        block.resize(16, 0);
        block.extend(address.to_le_bytes());
        block.resize(128, 0);
        digest.update(&block);
        digest.update(contents);
    };
    for section in sections {
        let wrong = MeasureError::NotFor {
            tee: "TDX",
            missing: "its list of memory has no whole pages",
        };
        let is_sensible = section.len.is_multiple_of(PAGE as u64)
            && section.address.checked_add(section.len).is_some()
            && section.data.len() as u64 <= section.len;
        if !is_sensible {
            return Err(wrong);
        }
        let mut rest = section.data;
        for address in (section.address..section.address + section.len).step_by(PAGE) {
            let (page, after) = rest.split_at(rest.len().min(PAGE));
            rest = after;
            if !section.is_late {
                fold(b"MEM.PAGE.ADD", address, &[]);
            }
            if section.is_measured {
                let mut page = page.to_vec();
                page.resize(PAGE, 0);
                for (chunk, at) in page.chunks(CHUNK).zip((address..).step_by(CHUNK)) {
                    fold(b"MR.EXTEND", at, chunk);
                }
            }
        }
    }
    Ok(sized(digest.finish().as_ref()))
}

/// What boot of a UKI extends registers with.
///
/// # Errors
/// When it is no UKI.
pub fn events(uki: &[u8]) -> Result<Events, MeasureError> {
    let pe = Pe::parse(uki)?;
    let needed = |name: &'static str| pe.contents(name)?.ok_or(MeasureError::NoSection(name));
    let (kernel, command_line, initrd) =
        (needed(".linux")?, needed(".cmdline")?, needed(".initrd")?);
    let event = |name: &str, digest| Event {
        name: name.to_owned(),
        digest,
    };
    let text = |text: &str| event(text, sha384(text.as_bytes()));
    let rtmr1 = vec![
        event("the UKI", authenticode(&pe)?),
        text("Calling EFI Application from Boot Option"),
        event("separator", sha384(&[0; 4])),
        event("the kernel in it", authenticode(&Pe::parse(kernel)?)?),
        text("Exit Boot Services Invocation"),
        text("Exit Boot Services Returned with Success"),
    ];
    let mut rtmr2 = Vec::new();
    for name in MEASURED {
        if let Some(contents) = pe.contents(name)? {
            rtmr2.push(event(
                &format!("name {name}"),
                sha384(&[name.as_bytes(), &[0]].concat()),
            ));
            rtmr2.push(event(&format!("section {name}"), sha384(contents)));
        }
    }
    // The kernel measures its command line as it got it, and the initrd as it was handed over.
    let command_line = command_line.strip_suffix(&[0]).unwrap_or(command_line);
    let command_line = std::str::from_utf8(command_line)
        .map_err(|_| MeasureError::Image("its command line is not text"))?;
    let wide: Vec<u8> = command_line
        .encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect();
    rtmr2.push(event("command line", sha384(&wide)));
    rtmr2.push(event("initrd", sha384(initrd)));
    Ok(Events { rtmr1, rtmr2 })
}

/// A register after it was extended with these.
#[must_use]
pub fn extended(events: &[Event]) -> [u8; 48] {
    events.iter().fold([0; 48], |register, event| {
        sha384(&[register, event.digest].concat())
    })
}

fn authenticode(pe: &Pe<'_>) -> Result<[u8; 48], MeasureError> {
    let mut digest = Context::new(&SHA384);
    for part in pe.authenticode()? {
        digest.update(part);
    }
    Ok(sized(digest.finish().as_ref()))
}

#[cfg(test)]
mod tests;
