//! The unified kernel image: systemd's stub with the kernel, its archive and its command line as sections.
//!
//! The stub is a PE file. Further sections go to its end, in memory and in the file; their headers go into the room
//! that the linker left after the stub's own. The kernel comes last, as `ukify` has it.

use proplet_measure::pe::{Pe, SECTION_HEADER};

use crate::BuildError;

/// What a section may be used for: data that is read, or a program.
const DATA: u32 = 0x4000_0040;
const CODE: u32 = 0x6000_0020;

/// What an image is put together of.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// systemd's stub.
    pub stub: &'a [u8],
    /// The kernel.
    pub kernel: &'a [u8],
    /// The archive that it unpacks.
    pub initrd: &'a [u8],
    /// Its command line.
    pub command_line: &'a str,
    /// Its version.
    pub version: &'a str,
}

/// Puts an image together. There is no `.osrel`: the stub would add an archive of its own for it.
///
/// # Errors
/// When the stub has no room for the sections.
pub fn assemble(parts: &Parts<'_>) -> Result<Vec<u8>, BuildError> {
    let sections: [(&[u8], &[u8], u32); 4] = [
        (b".cmdline", parts.command_line.as_bytes(), DATA),
        (b".uname", parts.version.as_bytes(), DATA),
        (b".initrd", parts.initrd, DATA),
        (b".linux", parts.kernel, CODE),
    ];
    let pe = Pe::parse(parts.stub)?;
    let no_room = || BuildError::Stub("it has no room for their headers");
    let optional = pe.optional_header();
    let number = |at: usize| {
        let bytes = parts.stub.get(at..at + 4)?.first_chunk()?;
        Some(u32::from_le_bytes(*bytes))
    };
    let (section_step, file_step) = (number(optional + 32), number(optional + 36));
    let (Some(section_step), Some(file_step), Some(headers_len)) =
        (section_step, file_step, number(optional + 60))
    else {
        return Err(no_room());
    };
    let is_step = |step: u32| step.is_power_of_two() && (512..=65536).contains(&step);
    if !is_step(section_step) || !is_step(file_step) {
        return Err(BuildError::Stub("its alignment is odd"));
    }
    let own = pe.sections();
    let table_end = pe.section_table() + (own.len() + sections.len()) * SECTION_HEADER;
    let first_raw = own
        .iter()
        .filter(|section| section.raw_len > 0)
        .map(|section| section.raw_offset)
        .min();
    let room = headers_len.min(first_raw.unwrap_or(headers_len));
    if u32::try_from(table_end).is_ok_and(|end| end > room) {
        return Err(no_room());
    }
    let too_large = || BuildError::Stub("they are larger than 4 GiB");
    let mut image = parts.stub.to_vec();
    let mut address = own
        .iter()
        .map(|section| section.virtual_address.saturating_add(section.virtual_len))
        .max()
        .unwrap_or(0);
    let mut headers = Vec::new();
    let mut data_len = 0_u32;
    for (name, contents, flags) in sections {
        address = address
            .checked_next_multiple_of(section_step)
            .ok_or_else(too_large)?;
        let len = u32::try_from(contents.len()).map_err(|_| too_large())?;
        let raw_len = len
            .checked_next_multiple_of(file_step)
            .ok_or_else(too_large)?;
        let raw_offset = image.len().next_multiple_of(file_step as usize);
        image.resize(raw_offset, 0);
        image.extend(contents);
        image.resize(raw_offset + raw_len as usize, 0);
        let mut padded = name.to_vec();
        padded.resize(8, 0);
        headers.extend(padded);
        let raw_offset = u32::try_from(raw_offset).map_err(|_| too_large())?;
        for value in [len, address, raw_len, raw_offset, 0, 0, 0, flags] {
            headers.extend(value.to_le_bytes());
        }
        address = address.checked_add(len).ok_or_else(too_large)?;
        data_len = data_len.saturating_add(raw_len);
    }
    let count = u16::try_from(own.len() + sections.len()).map_err(|_| no_room())?;
    let initialized = number(optional + 8).unwrap_or(0).saturating_add(data_len);
    let image_len = address
        .checked_next_multiple_of(section_step)
        .ok_or_else(too_large)?;
    let table_at = pe.section_table() + own.len() * SECTION_HEADER;
    // The number of sections stands before the optional header; the length of data, the image's and the checksum, which
    // firmware does not look at, in it.
    let patches: [(usize, &[u8]); 5] = [
        (optional - 18, &count.to_le_bytes()),
        (optional + 8, &initialized.to_le_bytes()),
        (optional + 56, &image_len.to_le_bytes()),
        (optional + 64, &[0; 4]),
        (table_at, &headers),
    ];
    for (at, bytes) in patches {
        image
            .get_mut(at..at + bytes.len())
            .ok_or_else(no_room)?
            .copy_from_slice(bytes);
    }
    Ok(image)
}

#[cfg(test)]
mod tests {
    use proplet_measure::tdx;
    use proptest::prelude::*;

    use super::*;

    /// A stub with one section and room for some more.
    fn stub(headers_len: u32) -> Vec<u8> {
        let mut file = vec![0; 0x400];
        file[..2].copy_from_slice(b"MZ");
        file[0x3c] = 0x80;
        file[0x80..0x84].copy_from_slice(b"PE\0\0");
        file[0x86] = 1;
        file[0x94] = 240;
        let optional = 0x98;
        for (at, value) in [
            (0, 0x20b),
            (8, 0x200),
            (32, 0x1000),
            (36, 0x200),
            (56, 0x2000),
            (60, headers_len),
            (108, 16),
        ] {
            file[optional + at..optional + at + 4].copy_from_slice(&u32::to_le_bytes(value));
        }
        let header = optional + 240;
        file[header..header + 5].copy_from_slice(b".text");
        for (at, value) in [(8, 0x1234_u32), (12, 0x1000), (16, 0x200), (20, 0x400)] {
            file[header + at..header + at + 4].copy_from_slice(&value.to_le_bytes());
        }
        file.extend([0xcc; 0x200]);
        file
    }

    fn assembled(stub: &[u8], initrd: &[u8]) -> Result<Vec<u8>, BuildError> {
        let kernel = self::stub(0x400);
        assemble(&Parts {
            stub,
            kernel: &kernel,
            initrd,
            command_line: "quiet",
            version: "6.12",
        })
    }

    #[test]
    fn sections_are_where_their_headers_say() {
        let initrd = vec![7; 5000];
        let image = assembled(&stub(0x400), &initrd).unwrap();
        let pe = Pe::parse(&image).unwrap();
        assert_eq!(pe.contents(".cmdline").unwrap(), Some(&b"quiet"[..]));
        assert_eq!(pe.contents(".uname").unwrap(), Some(&b"6.12"[..]));
        assert_eq!(pe.contents(".initrd").unwrap(), Some(&initrd[..]));
        assert_eq!(pe.contents(".linux").unwrap(), Some(&stub(0x400)[..]));
        let addresses: Vec<_> = pe
            .sections()
            .iter()
            .map(|section| section.virtual_address)
            .collect();
        assert_eq!(addresses, [0x1000, 0x3000, 0x4000, 0x5000, 0x7000]);
        // The length in memory, up to the end of the last section.
        assert_eq!(image[0x98 + 56..0x98 + 60], 0x8000_u32.to_le_bytes());
        assert!(tdx::events(&image).is_ok());
        assert_eq!(image, assembled(&stub(0x400), &initrd).unwrap());
    }

    #[test]
    fn stubs_without_room_are_refused() {
        let error = assembled(&stub(0x200), b"x").unwrap_err();
        assert!(error.to_string().contains("no room"), "{error}");
        let mut odd = stub(0x400);
        odd[0x98 + 32] = 1;
        assert!(matches!(assembled(&odd, b"x"), Err(BuildError::Stub(_))));
        assert!(matches!(
            assembled(b"MZ", b"x"),
            Err(BuildError::Measure(_))
        ));
    }

    proptest! {
        #[test]
        fn any_stub_is_taken_or_refused(
            changes in proptest::collection::vec((0_usize..0x200, any::<u8>()), 0..10),
            len in 0_usize..0x600,
        ) {
            let mut stub = stub(0x400);
            for (at, byte) in changes {
                stub[at] = byte;
            }
            stub.truncate(len);
            let _ = assembled(&stub, b"initrd");
        }
    }
}
