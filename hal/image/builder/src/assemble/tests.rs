use std::io::Read as _;

use super::*;
use crate::deb::tests::{package, xz};
use crate::elf::tests::{module, program};
use proplet_hal::Flavour;
use proplet_measure::pe::Pe;

/// A PE file with a section, as kernel and as stub.
fn pe() -> Vec<u8> {
    let mut file = vec![0; 0x400];
    file[..2].copy_from_slice(b"MZ");
    file[0x3c] = 0x80;
    file[0x80..0x84].copy_from_slice(b"PE\0\0");
    file[0x86] = 1;
    file[0x94] = 240;
    for (at, value) in [
        (0, 0x20b_u32),
        (32, 0x1000),
        (36, 0x200),
        (60, 0x400),
        (108, 16),
    ] {
        file[0x98 + at..0x98 + at + 4].copy_from_slice(&value.to_le_bytes());
    }
    let header = 0x98 + 240;
    file[header..header + 5].copy_from_slice(b".text");
    for (at, value) in [(8, 0x200_u32), (12, 0x1000), (16, 0x200), (20, 0x400)] {
        file[header + at..header + at + 4].copy_from_slice(&value.to_le_bytes());
    }
    file.extend([0xcc; 0x200]);
    file
}

struct Packages {
    kernel: Vec<u8>,
    stub: Vec<u8>,
    certificates: Vec<u8>,
}

fn packages() -> Packages {
    let modules: Vec<_> = modules::WANTED
        .iter()
        .map(|name| {
            (
                format!("./usr/lib/modules/6/kernel/{name}.ko.xz"),
                xz(&module(b"depends=\0")),
            )
        })
        .collect();
    let kernel = pe();
    let mut files: Vec<(&str, &[u8])> = modules
        .iter()
        .map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
        .collect();
    files.push(("./boot/vmlinuz-6.12-cloud", &kernel));
    Packages {
        kernel: package(&files),
        stub: package(&[("./usr/lib/systemd/boot/efi/linuxx64.efi.stub", &pe())]),
        certificates: package(&[
            ("./usr/share/ca-certificates/mozilla/b.crt", b"B"),
            ("./usr/share/ca-certificates/mozilla/a.crt", b"A\n"),
            ("./usr/share/doc/x", b"-"),
        ]),
    }
}

fn build(packages: &Packages, program: &[u8]) -> Result<Vec<u8>, BuildError> {
    image(&Ingredients {
        kernel: &packages.kernel,
        stub: &packages.stub,
        certificates: &packages.certificates,
        program,
        date: 1_700_000_000,
        extra: &[],
        debug: None,
        extra_modules: &[],
    })
}

#[test]
fn an_image_has_all_parts_and_is_the_same_each_time() {
    let packages = packages();
    let program = program(&[1]);
    let image = build(&packages, &program).unwrap();
    assert_eq!(image, build(&packages, &program).unwrap());
    let pe = Pe::parse(&image).unwrap();
    assert_eq!(pe.contents(".uname").unwrap(), Some(&b"6.12-cloud"[..]));
    assert_eq!(
        pe.contents(".cmdline").unwrap(),
        Some(COMMAND_LINE.as_bytes())
    );
    let archive = unpacked(&image);
    let has = |bytes: &[u8]| archive.windows(bytes.len()).any(|window| window == bytes);
    assert!(has(b"etc/proplet/cmdline\0") && has(COMMAND_LINE.as_bytes()) && has(b"1700000000\n"));
    assert!(has(b"A\nB\n"), "certificates in the order of their names");
    assert!(has(b"virtio_net.ko\nvirtio_blk.ko\n") && has(&program));
}

/// What an image has in its archive.
fn unpacked(image: &[u8]) -> Vec<u8> {
    let mut archive = Vec::new();
    let pe = Pe::parse(image).unwrap();
    flate2::read::GzDecoder::new(pe.contents(".initrd").unwrap().unwrap())
        .read_to_end(&mut archive)
        .unwrap();
    archive
}

#[test]
fn the_flavours_differ_in_what_is_measured_and_the_sealed_one_has_no_way_in() {
    let (packages, program) = (packages(), program(&[1]));
    let of = |debug: Option<&[debug::Package]>| {
        let image = image(&Ingredients {
            kernel: &packages.kernel,
            stub: &packages.stub,
            certificates: &packages.certificates,
            program: &program,
            date: 1,
            extra: &[],
            extra_modules: &[],
            debug,
        });
        image.unwrap()
    };
    let further = crate::debug::tests::packages();
    let (sealed, debug) = (of(None), of(Some(&further)));
    let command_line = |image: &[u8]| {
        let pe = Pe::parse(image).unwrap();
        let line = pe.contents(".cmdline").unwrap().unwrap();
        String::from_utf8(line.to_vec()).unwrap()
    };
    let has = |image: &[u8], text: &str| {
        let archive = unpacked(image);
        archive
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    assert_eq!(command_line(&sealed), COMMAND_LINE);
    assert_eq!(proplet_measure::flavour(&sealed).unwrap(), "sealed");
    for name in [
        "etc/proplet/flavour",
        "busybox",
        "dropbear",
        "passwd",
        "DEBUG",
    ] {
        assert!(!has(&sealed, name), "{name}");
        assert!(has(&debug, name), "{name}");
    }
    let line = command_line(&debug);
    assert_eq!(line, format!("{COMMAND_LINE} {DEBUG_WORD}"));
    assert!(
        has(&debug, &line),
        "the copy that the first process compares with"
    );
    assert_eq!(proplet_measure::flavour(&debug).unwrap(), "debug");
    assert!(Flavour::of_command_line(&line).is_debug());
    let events = |image: &[u8]| proplet_measure::tdx::events(image).unwrap();
    assert_ne!(events(&sealed).rtmr2, events(&debug).rtmr2);
}

#[test]
fn a_test_image_may_start_another_program_and_load_more_modules() {
    let mut packages = packages();
    let (program, other) = (program(&[1]), program(&[1, 1]));
    let test_image = |packages: &Packages| {
        image(&Ingredients {
            kernel: &packages.kernel,
            stub: &packages.stub,
            certificates: &packages.certificates,
            program: &program,
            date: 1,
            extra: &[("init".to_owned(), other.clone())],
            debug: None,
            extra_modules: &["qemu-fw-cfg".to_owned()],
        })
    };
    let error = test_image(&packages).unwrap_err();
    assert!(error.to_string().contains("qemu_fw_cfg"), "{error}");
    let kernel = pe();
    let further = xz(&module(b"depends=\0"));
    let mut files = vec![
        ("./boot/vmlinuz-6", kernel.as_slice()),
        ("./lib/modules/6/qemu_fw_cfg.ko.xz", further.as_slice()),
    ];
    let names: Vec<_> = modules::WANTED
        .iter()
        .map(|name| format!("./lib/modules/6/{name}.ko.xz"))
        .collect();
    files.extend(names.iter().map(|name| (name.as_str(), further.as_slice())));
    packages.kernel = package(&files);
    let archive = unpacked(&test_image(&packages).unwrap());
    let at = |bytes: &[u8]| {
        archive
            .windows(bytes.len())
            .position(|window| window == bytes)
            .unwrap()
    };
    assert!(at(b"evdev.ko\nqemu_fw_cfg.ko\n") > 0);
    // The end of the header, with the length of the name; the name, padded; the contents.
    let contents = |name: &[u8]| &archive[at(name) + name.len()..];
    assert!(contents(b"0000000500000000init\0\0").starts_with(&other));
    assert!(contents(b"0000000800000000proplet\0\0\0").starts_with(&program));
}

#[test]
fn what_is_missing_is_named() {
    let good = packages();
    let static_program = program(&[1]);
    let error =
        |packages: &Packages, program: &[u8]| build(packages, program).unwrap_err().to_string();
    assert!(error(&good, b"#!/bin/sh").contains("static"));
    assert!(error(&good, &program(&[3])).contains("dynamic linker"));
    let without = |what: &str| {
        let mut packages = packages();
        let empty = package(&[("./x", b"")]);
        match what {
            "kernel" => packages.kernel = empty,
            "stub" => packages.stub = empty,
            _ => packages.certificates = empty,
        }
        error(&packages, &static_program)
    };
    assert!(without("kernel").contains("no kernel"));
    assert!(without("stub").contains("no stub"));
    assert!(without("certificates").contains("no certificates"));
    let mut packages = packages();
    packages.kernel = package(&[("./boot/vmlinuz-6", &pe())]);
    assert!(error(&packages, &static_program).contains("virtio_net"));
}

#[test]
fn reference_values_admit_what_was_measured() {
    let measurements: Measurements = serde_json::from_value(serde_json::json!({
        "flavour": "sealed", "uki_sha256": "", "snp_firmware_sha256": "", "tdx_firmware_sha256": "",
        "snp": [{"cpu": "EPYC-v4", "vcpus": 1, "measurement": "0a".repeat(48)}],
        "tdx": {"mrtd": "0b".repeat(48), "rtmr1": "0c".repeat(48), "rtmr2": "0d".repeat(48)},
    }))
    .unwrap();
    let values = reference_values(&measurements);
    assert_eq!(
        ReferenceValues::from_toml(&values.to_toml()).unwrap(),
        values
    );
    assert_eq!(
        values.measurements().unwrap(),
        [vec![0x0a; 48], vec![0x0b; 48]]
    );
    let tdx = values.tdx.unwrap();
    assert_eq!(tdx.rtmrs[1], Some([[0x0c; 48]].into()));
    assert_eq!(tdx.rtmrs[2], Some([[0x0d; 48]].into()));
    assert!(tdx.rtmrs[0].is_none() && tdx.rtmrs[3].is_none());
}
