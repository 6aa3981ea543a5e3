use proptest::prelude::*;

use super::*;
use crate::firmware::tests::image;
use crate::pe::tests::file;

fn uki() -> Vec<u8> {
    let kernel = file(&[(".text", &[0x90; 1000])], &[]);
    file(
        &[
            (".text", &[0xcc; 300]),
            (".sbat", b"sbat,1\n"),
            (".cmdline", b"console=ttyS0 quiet"),
            (".uname", b"6.12"),
            (".initrd", &[0x5a; 2000]),
            (".linux", &kernel),
        ],
        &[],
    )
}

#[test]
fn the_vectors_are_what_these_tests_make() {
    let vector = |name: &str| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/");
        std::fs::read(format!("{folder}{name}")).unwrap()
    };
    assert_eq!(vector("firmware.fd"), image());
    assert_eq!(vector("image.efi"), uki());
}

#[test]
fn registers_are_those_of_the_experiment() {
    // The script that was compared with the event log of a vTPM, with the two files of these tests written out.
    let image = image();
    let firmware = Firmware::parse(&image).unwrap();
    let events = events(&uki()).unwrap();
    assert_eq!(
        hex::encode(mrtd(&firmware).unwrap()),
        "cdf6cc4155c7eb66d27e4e135704c8985cc58f2d0eda3a5f1bd163f831cb549276a4487700bbcbbc92a895849d6fe2a0"
    );
    assert_eq!(
        hex::encode(extended(&events.rtmr1)),
        "da465f18388dfa029ad07a35db91e4b63e8d78b82513f32461babd03f4a0b1a3e556d2475e48e7641b25be670ffe5555"
    );
    assert_eq!(
        hex::encode(extended(&events.rtmr2)),
        "541b9247edd6ad301c86248d0518cb65be2aad001c8e0346ff312d8a3ce6b680cf51a665dcfe7e9605f469fcd5b169c0"
    );
}

#[test]
fn every_part_of_the_image_counts_in_its_register() {
    let plain = events(&uki()).unwrap();
    let with = |name: &str| {
        let mut file = uki();
        let pe = Pe::parse(&file).unwrap();
        let section = pe
            .sections()
            .iter()
            .find(|section| section.name == name.as_bytes());
        let at = usize::try_from(section.unwrap().raw_offset).unwrap();
        file[at + 0x1ff] ^= 1;
        file[at] ^= 1;
        events(&file)
    };
    for name in [".cmdline", ".initrd", ".uname", ".sbat"] {
        let other = with(name).unwrap();
        assert_ne!(extended(&plain.rtmr1), extended(&other.rtmr1), "{name}");
        assert_ne!(extended(&plain.rtmr2), extended(&other.rtmr2), "{name}");
    }
    let code = with(".text").unwrap();
    assert_ne!(extended(&plain.rtmr1), extended(&code.rtmr1));
    assert_eq!(extended(&plain.rtmr2), extended(&code.rtmr2));
}

#[test]
fn what_cannot_be_measured_is_refused() {
    assert!(matches!(events(b"x"), Err(MeasureError::Image(_))));
    let without = file(&[(".cmdline", b"x"), (".initrd", b"x")], &[]);
    assert_eq!(events(&without), Err(MeasureError::NoSection(".linux")));
    let kernel = file(&[], &[]);
    let odd = file(
        &[
            (".cmdline", &[0xff]),
            (".initrd", b"x"),
            (".linux", &kernel),
        ],
        &[],
    );
    assert!(
        matches!(events(&odd), Err(MeasureError::Image(_))),
        "a command line that is no text"
    );
    let list = image().len() - 0x800 + 16;
    for (at, bytes, expected_too_much) in [
        (16, 0x1800_u64, false),
        (16, 1 << 40, true),
        (8, u64::MAX - 0xfff, false),
    ] {
        let mut image = image();
        image[list + at..][..8].copy_from_slice(&bytes.to_le_bytes());
        let error = mrtd(&Firmware::parse(&image).unwrap()).unwrap_err();
        assert_eq!(
            error == MeasureError::TooMuchMemory,
            expected_too_much,
            "{at} {bytes:#x}: {error}"
        );
    }
}

proptest! {
    #[test]
    fn any_firmware_is_measured_or_refused(
        changes in proptest::collection::vec((0_usize..160, any::<u8>()), 0..6),
    ) {
        let mut image = image();
        let list = image.len() - 0x800;
        for (at, byte) in changes {
            image[list + at] = byte;
        }
        if let Ok(firmware) = Firmware::parse(&image) {
            let few = firmware.tdx_sections().is_ok_and(|sections| {
                sections.iter().all(|section| section.len < 0x10_0000)
            });
            // Many pages take long in a test that is not optimised.
            if few {
                let _ = mrtd(&firmware);
            }
        }
    }
}
