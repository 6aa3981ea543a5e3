use proptest::prelude::*;

use super::*;

/// A PE file with these sections, and bytes after them.
pub(crate) fn file(sections: &[(&str, &[u8])], after: &[u8]) -> Vec<u8> {
    let headers_len = 0x400_usize;
    let mut file = vec![0; headers_len];
    file[..2].copy_from_slice(b"MZ");
    file[0x3c..0x40].copy_from_slice(&0x80_u32.to_le_bytes());
    file[0x80..0x84].copy_from_slice(b"PE\0\0");
    file[0x86..0x88].copy_from_slice(&u16::try_from(sections.len()).unwrap().to_le_bytes());
    let optional = 0x98;
    file[0x94..0x96].copy_from_slice(&240_u16.to_le_bytes());
    file[optional..optional + 2].copy_from_slice(&PE32_PLUS.to_le_bytes());
    file[optional + 60..optional + 64]
        .copy_from_slice(&u32::try_from(headers_len).unwrap().to_le_bytes());
    file[optional + 64..optional + 68].copy_from_slice(&[1, 2, 3, 4]);
    file[optional + 108..optional + 112].copy_from_slice(&16_u32.to_le_bytes());
    for (number, (name, contents)) in sections.iter().enumerate() {
        let header = optional + 240 + number * SECTION_HEADER;
        let raw = contents.len().next_multiple_of(512);
        let offset = file.len();
        file[header..header + name.len()].copy_from_slice(name.as_bytes());
        for (at, value) in [
            (8, contents.len()),
            (12, 0x1000 * (number + 1)),
            (16, raw),
            (20, offset),
        ] {
            file[header + at..header + at + 4]
                .copy_from_slice(&u32::try_from(value).unwrap().to_le_bytes());
        }
        file.extend(*contents);
        file.resize(offset + raw, 0);
    }
    file.extend(after);
    file
}

#[test]
fn sections_are_found_by_name() {
    let file = file(&[(".cmdline", b"quiet"), (".linux", &[7; 600])], &[]);
    let pe = Pe::parse(&file).unwrap();
    assert_eq!(pe.contents(".cmdline").unwrap(), Some(&b"quiet"[..]));
    assert_eq!(pe.contents(".linux").unwrap(), Some(&[7; 600][..]));
    assert_eq!(pe.contents(".osrel").unwrap(), None);
    assert_eq!(pe.sections().len(), 2);
}

#[test]
fn the_digest_leaves_out_checksum_and_certificates() {
    let digest = |file: &[u8]| Pe::parse(file).unwrap().authenticode().unwrap().concat();
    let plain = file(&[(".text", &[1; 100])], &[9; 8]);
    let mut other = plain.clone();
    other[0x98 + 64] ^= 1;
    assert_eq!(digest(&plain), digest(&other), "the checksum");
    // Certificates at the end, and the entry that leads to them.
    let mut signed = plain.clone();
    signed.extend([5; 24]);
    signed[0x98 + 148..0x98 + 152].copy_from_slice(&24_u32.to_le_bytes());
    assert_eq!(digest(&plain), digest(&signed));
    let mut changed = plain.clone();
    changed[0x400] ^= 1;
    assert_ne!(digest(&plain), digest(&changed), "a section");
    let mut changed = plain.clone();
    *changed.last_mut().unwrap() ^= 1;
    assert_ne!(
        digest(&plain),
        digest(&changed),
        "what follows the sections"
    );
}

#[test]
fn what_is_no_pe_file_is_refused() {
    let good = file(&[(".text", &[1; 100])], &[]);
    let refused = |at: usize, bytes: &[u8]| {
        let mut file = good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        matches!(Pe::parse(&file), Err(MeasureError::Image(_)))
    };
    assert!(refused(0, b"ZM") && refused(0x80, b"NE") && refused(0x98, &[0x0b, 1]));
    assert!(refused(0x3c, &[0xff; 4]) && refused(0x86, &[97, 0]) && refused(0x94, &[0xff, 0xff]));
    assert!(matches!(Pe::parse(b"MZ"), Err(MeasureError::Image(_))));
    // A section that is not in the file, or longer in memory.
    for (at, value) in [(20, 0xffff_0000_u32), (16, 0xffff_ffff), (8, 0x1000)] {
        let mut file = good.clone();
        file[0x98 + 240 + at..][..4].copy_from_slice(&value.to_le_bytes());
        let pe = Pe::parse(&file).unwrap();
        assert!(
            pe.contents(".text").is_err() || pe.authenticode().is_err(),
            "{at}"
        );
    }
    let mut file = good.clone();
    file[0x98 + 108..][..4].copy_from_slice(&4_u32.to_le_bytes());
    assert!(
        Pe::parse(&file).unwrap().authenticode().is_err(),
        "no certificate directory"
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(
        changes in proptest::collection::vec((0_usize..0x200, any::<u8>()), 0..16),
        len in 0_usize..0x900,
    ) {
        let mut file = file(&[(".linux", &[1; 700]), (".cmdline", b"x")], &[3; 5]);
        for (at, byte) in changes {
            file[at] = byte;
        }
        file.truncate(len);
        if let Ok(pe) = Pe::parse(&file) {
            let _ = (pe.contents(".linux"), pe.authenticode());
        }
    }
}
