use super::*;
use crate::firmware::tests::image;

/// The kernel of the vectors: 5000 bytes of a pattern.
fn kernel() -> Vec<u8> {
    (0..5000_u32).map(|at| (at * 11 / 3) as u8).collect()
}

fn digest(cpu: &str, vcpus: u32) -> String {
    let (image, kernel) = (image(), kernel());
    let firmware = Firmware::parse(&image).unwrap();
    let digest = launch_digest(
        &firmware,
        &Loaded::uki(&kernel),
        cpu.parse().unwrap(),
        vcpus,
    );
    hex::encode(digest.unwrap())
}

#[test]
fn digests_are_those_of_the_reference() {
    // sev-snp-measure 0.0.13 from PyPI, with the two files of this test written out:
    // sev-snp-measure --mode snp --vcpus N --vcpu-type TYPE --ovmf firmware --kernel kernel
    let vectors: &[(&str, u32, &str)] = &[
        (
            "EPYC-v4",
            1,
            "edd8f7fdafca9a9a718ee39e5a71677ed71e9a74885b28e7bf0142193aa65a9702df66aabf34d9c847a04e5c1233c35a",
        ),
        (
            "EPYC-v4",
            2,
            "3cee45399f9e534393606868d5678593df3a05d43d0b76bd08cb83c6ad1335cd51be66b6f92b5f2c61b5f09cec4c9cdc",
        ),
        (
            "EPYC-Rome",
            1,
            "a4987c96dc654d4f3672e7b70ae5c378e6be6d095c1a0bd80aa4115320841e81068eb83251d13915ddd2b1f3f892ef06",
        ),
        (
            "EPYC-Milan",
            4,
            "61d5a727f0099f3ea3f7201a2ef10eb9b5d4721406510b3a71568c8b25d874c012fb6422643fba871390ce5e089cc7cb",
        ),
        (
            "EPYC-Genoa",
            4,
            "1763bac01d258bbc12d25f197434d37e19976e1cbfbecbe703247954222c4b2b1bc19a394c0e8c55849025da7208f7a6",
        ),
        (
            "EPYC-Turin",
            64,
            "5cd808ef5ae69027f0477adeb77718e3978027454a9e22788048b6e52c68be1583e83a5c4f7ef450fad476aa0bc74341",
        ),
    ];
    for (cpu, vcpus, expected) in vectors {
        assert_eq!(digest(cpu, *vcpus), *expected, "{cpu} {vcpus}");
    }
}

#[test]
fn the_hash_table_is_that_of_the_reference() {
    // SevHashes(kernel, None, None).construct_table() of sev-snp-measure 0.0.13, the same kernel, hashed.
    let table = Loaded::uki(&kernel()).hash_table();
    assert_eq!(table.len(), 176);
    assert_eq!(
        hex::encode(sha256(&table)),
        "97f136e6c827163696bab732828f34eb077869fe54e1be5b94f7e9f0638776b0"
    );
}

#[test]
fn everything_that_is_loaded_counts() {
    let (image, kernel) = (image(), kernel());
    let firmware = Firmware::parse(&image).unwrap();
    let cpu = "EPYC-Milan".parse().unwrap();
    let of = |loaded: &Loaded<'_>| launch_digest(&firmware, loaded, cpu, 1).unwrap();
    let plain = of(&Loaded::uki(&kernel));
    assert_ne!(
        plain,
        of(&Loaded {
            initrd: b"x",
            ..Loaded::uki(&kernel)
        })
    );
    assert_ne!(
        plain,
        of(&Loaded {
            command_line: "x",
            ..Loaded::uki(&kernel)
        })
    );
    assert_ne!(plain, of(&Loaded::uki(&kernel[1..])));
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let error = "EPYC-Naples".parse::<CpuType>().unwrap_err();
    assert!(error.to_string().contains("EPYC-Turin"), "{error}");
    let image = image();
    let of = |image: &[u8], vcpus| {
        let firmware = Firmware::parse(image).unwrap();
        launch_digest(
            &firmware,
            &Loaded::uki(b"k"),
            "EPYC-v4".parse().unwrap(),
            vcpus,
        )
    };
    assert_eq!(of(&image, 0), Err(MeasureError::Vcpus(0)));
    assert_eq!(of(&image, 513), Err(MeasureError::Vcpus(513)));
    assert!(of(&image, 512).is_ok());
    assert!(
        matches!(of(&image[1..], 1), Err(MeasureError::NotFor { .. })),
        "no whole pages"
    );
    let list = image.len() - 0x1000;
    // A page of hashes that is something else; memory without end.
    let mut other = image.clone();
    other[list + 16 + 3 * 12 + 8] = 1;
    assert!(matches!(of(&other, 1), Err(MeasureError::NotFor { .. })));
    let mut other = image.clone();
    other[list + 16 + 4..][..4].copy_from_slice(&0xffff_f000_u32.to_le_bytes());
    assert_eq!(of(&other, 1), Err(MeasureError::TooMuchMemory));
}
