use proptest::prelude::*;

use super::*;

/// A small image in OVMF's format: 16 KiB of a pattern with a list for each TEE and the table at the end.
pub(crate) fn image() -> Vec<u8> {
    let mut image: Vec<u8> = (0..16_384_u32).map(|at| (at / 7 + at) as u8).collect();
    let len = image.len();
    // The list for SNP, 0x1000 before the end.
    let snp = [
        (0x80_0000_u32, 0x3000_u32, 1_u32),
        (0x80_d000, 0x1000, 2),
        (0x80_e000, 0x1000, 3),
        (0x81_0000, 0x1000, 0x10),
        (0x81_f000, 0x2000, 4),
    ];
    let mut list = b"ASEV".to_vec();
    for word in [16 + 12 * 5_u32, 1, 5] {
        list.extend(word.to_le_bytes());
    }
    for (address, len, purpose) in snp {
        list.extend([address, len, purpose].map(u32::to_le_bytes).concat());
    }
    image[len - 0x1000..][..list.len()].copy_from_slice(&list);
    // The list for TDX, 0x800 before the end: the code, memory without contents, and memory that comes late.
    let mut list = b"TDVF".to_vec();
    for word in [16 + 32 * 4_u32, 1, 4] {
        list.extend(word.to_le_bytes());
    }
    let tdx = [
        (
            0x1000_u32,
            0x3000_u32,
            0xffff_d000_u64,
            0x3000_u64,
            0_u32,
            1_u32,
        ),
        (0, 0x1000, 0xffff_c000, 0x1000, 1, 0),
        (0, 0, 0x80_9000, 0x2000, 2, 0),
        (0, 0, 0x90_0000, 0x4000, 4, 2),
    ];
    for (offset, raw, address, len, kind, attributes) in tdx {
        list.extend([offset, raw].map(u32::to_le_bytes).concat());
        list.extend([address, len].map(u64::to_le_bytes).concat());
        list.extend([kind, attributes].map(u32::to_le_bytes).concat());
    }
    image[len - 0x800..][..list.len()].copy_from_slice(&list);
    let mut table = Vec::new();
    for (data, guid) in [
        (0x0081_0c00_u32.to_le_bytes().to_vec(), HASH_TABLE),
        (0x0080_b004_u32.to_le_bytes().to_vec(), RESET_BLOCK),
        (0x1000_u32.to_le_bytes().to_vec(), SEV_METADATA),
        (0x800_u32.to_le_bytes().to_vec(), TDX_METADATA),
        (Vec::new(), FOOTER),
    ] {
        let is_footer = guid == FOOTER;
        let entry = if is_footer {
            table.len() + ENTRY
        } else {
            data.len() + ENTRY
        };
        table.extend(data);
        table.extend(u16::try_from(entry).unwrap().to_le_bytes());
        table.extend(guid);
    }
    let start = len - BELOW_END - table.len();
    image[start..len - BELOW_END].copy_from_slice(&table);
    image
}

#[test]
fn guids_are_stored_as_edk2_stores_them() {
    // uuid.UUID('96b582de-1fb2-45f7-baea-a366c55a082d').bytes_le.hex()
    assert_eq!(hex::encode(FOOTER), "de82b596b21ff745baeaa366c55a082d");
}

#[test]
fn the_table_and_both_lists_are_read() {
    let image = image();
    let firmware = Firmware::parse(&image).unwrap();
    assert_eq!(firmware.address(), 0xffff_c000);
    assert_eq!(firmware.hash_table_address(), Some(0x0081_0c00));
    assert_eq!(firmware.reset_address(), Some(0x0080_b004));
    let snp = firmware.snp_sections().unwrap();
    let purposes: Vec<_> = snp.iter().map(|section| section.purpose).collect();
    assert_eq!(
        purposes,
        [
            SnpUse::Zero,
            SnpUse::Secrets,
            SnpUse::Cpuid,
            SnpUse::KernelHashes,
            SnpUse::Zero
        ]
    );
    assert_eq!((snp[0].address, snp[0].len), (0x80_0000, 0x3000));
    let tdx = firmware.tdx_sections().unwrap();
    assert_eq!(tdx.len(), 4);
    assert_eq!(tdx[0].data, &image[0x1000..0x4000]);
    assert!(tdx[0].is_measured && !tdx[0].is_late && !tdx[1].is_measured && tdx[3].is_late);
}

#[test]
fn what_is_no_firmware_is_refused() {
    let refused = |image: &[u8]| matches!(Firmware::parse(image), Err(MeasureError::Firmware(_)));
    assert!(refused(&[]) && refused(&[0; 49]) && refused(&[0; 4096]));
    let mut other = image();
    let footer = other.len() - BELOW_END - ENTRY;
    other[footer + 2] ^= 1;
    assert!(refused(&other), "another GUID");
    for len in [0_u16, 17, 0xffff] {
        let mut other = image();
        other[footer..footer + 2].copy_from_slice(&len.to_le_bytes());
        assert!(refused(&other), "a table of {len} bytes");
    }
}

#[test]
fn lists_that_are_broken_are_refused() {
    let len = image().len();
    let snp = |at: usize, word: u32| {
        let mut image = image();
        image[len - 0x1000 + at..][..4].copy_from_slice(&word.to_le_bytes());
        Firmware::parse(&image).unwrap().snp_sections().is_err()
    };
    assert!(snp(0, 0) && snp(8, 2) && snp(12, 65) && snp(16 + 8, 0x99));
    let tdx = |at: usize, word: u32| {
        let mut image = image();
        image[len - 0x800 + at..][..4].copy_from_slice(&word.to_le_bytes());
        Firmware::parse(&image).unwrap().tdx_sections().is_err()
    };
    assert!(tdx(0, 0) && tdx(8, 2) && tdx(12, 1000) && tdx(16, 0x4000));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(
        changes in proptest::collection::vec((0_usize..0x1100, any::<u8>()), 0..24),
        cut in 0_usize..64,
    ) {
        let mut image = image();
        let len = image.len();
        for (back, byte) in changes {
            image[len - 1 - back] = byte;
        }
        let image = &image[cut..];
        if let Ok(firmware) = Firmware::parse(image) {
            let _ = (firmware.hash_table_address(), firmware.reset_address());
            let _ = firmware.snp_sections();
            let _ = firmware.tdx_sections();
        }
    }
}
