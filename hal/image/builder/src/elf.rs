//! What is read of programs and of the kernel's modules: whether a program is static, and what a module depends on.
//!
//! Source: the System V ABI, "Object Files", for 64-bit little-endian files.

/// Kinds of program headers.
const INTERPRETER: u32 = 3;
/// Names are not longer than this.
const MAX_INFO: usize = 1024 * 1024;

fn slice(file: &[u8], at: u64, len: u64) -> Option<&[u8]> {
    let (at, len) = (usize::try_from(at).ok()?, usize::try_from(len).ok()?);
    file.get(at..at.checked_add(len)?)
}

fn number<const N: usize>(file: &[u8], at: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    bytes
        .get_mut(..N)?
        .copy_from_slice(slice(file, at, N as u64)?);
    Some(u64::from_le_bytes(bytes))
}

fn is_elf64(file: &[u8]) -> bool {
    // 64 bits, little-endian, version 1.
    file.starts_with(b"\x7fELF\x02\x01\x01")
}

/// Why a program cannot be the first one of an image; nothing when it can.
#[must_use]
pub fn why_not_static(file: &[u8]) -> Option<&'static str> {
    const X86_64: u64 = 62;
    if !is_elf64(file) {
        return Some("it is no 64-bit ELF file");
    }
    if number::<2>(file, 18) != Some(X86_64) {
        return Some("it is not for x86-64");
    }
    let headers = || {
        let (at, len, count) = (
            number::<8>(file, 32)?,
            number::<2>(file, 54)?,
            number::<2>(file, 56)?,
        );
        (0..count)
            .map(|index| number::<4>(file, at.checked_add(index * len)?))
            .collect::<Option<Vec<_>>>()
    };
    match headers() {
        None => Some("its headers are cut off"),
        Some(kinds) if kinds.contains(&u64::from(INTERPRETER)) => {
            Some("it needs a dynamic linker, and the image has none")
        }
        Some(_) => None,
    }
}

/// The lines `name=value` of a module's `.modinfo`; nothing when it is no module.
#[must_use]
pub fn module_info(file: &[u8]) -> Option<Vec<(String, String)>> {
    if !is_elf64(file) {
        return None;
    }
    let (table, len) = (number::<8>(file, 40)?, number::<2>(file, 58)?);
    let (count, names) = (number::<2>(file, 60)?, number::<2>(file, 62)?);
    let header = |index: u64| table.checked_add(index.checked_mul(len)?);
    let place = |index: u64| {
        let header = header(index)?;
        Some((
            number::<8>(file, header.checked_add(24)?)?,
            number::<8>(file, header.checked_add(32)?)?,
        ))
    };
    let (names_at, names_len) = place(names)?;
    let names = slice(file, names_at, names_len)?;
    let section = (0..count).find(|index| {
        let name = header(*index)
            .and_then(|header| number::<4>(file, header))
            .and_then(|at| names.get(usize::try_from(at).ok()?..));
        name.is_some_and(|name| name.starts_with(b".modinfo\0"))
    })?;
    let (at, len) = place(section)?;
    let info = slice(file, at, len).filter(|info| info.len() <= MAX_INFO)?;
    let lines = info.split(|byte| *byte == 0).filter_map(|line| {
        let (name, value) = std::str::from_utf8(line).ok()?.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    });
    Some(lines.collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An object file with this `.modinfo` and a table of section names.
    pub(crate) fn module(info: &[u8]) -> Vec<u8> {
        let names = b"\0.modinfo\0.shstrtab\0";
        let mut file = vec![0; 64];
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        let info_at = file.len();
        file.extend(info);
        let names_at = file.len();
        file.extend(names);
        let table = file.len();
        for (name, at, len) in [
            (0, 0, 0),
            (1_u32, info_at, info.len()),
            (10, names_at, names.len()),
        ] {
            let mut header = vec![0; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[24..32].copy_from_slice(&(at as u64).to_le_bytes());
            header[32..40].copy_from_slice(&(len as u64).to_le_bytes());
            file.extend(header);
        }
        file[40..48].copy_from_slice(&(table as u64).to_le_bytes());
        for (at, value) in [(58, 64_u16), (60, 3), (62, 2)] {
            file[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        file
    }

    /// The beginning of a program with program headers of these kinds.
    pub(crate) fn program(kinds: &[u32]) -> Vec<u8> {
        let mut file = vec![0; 64];
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        file[18] = 62;
        file[32] = 64;
        file[54] = 56;
        file[56] = u8::try_from(kinds.len()).unwrap();
        for kind in kinds {
            let mut header = vec![0; 56];
            header[..4].copy_from_slice(&kind.to_le_bytes());
            file.extend(header);
        }
        file
    }

    #[test]
    fn a_module_says_what_it_depends_on() {
        let info = module_info(&module(
            b"license=GPL\0depends=net_failover,virtio\0name=virtio_net\0odd\0",
        ));
        let info = info.unwrap();
        assert_eq!(info.len(), 3);
        assert_eq!(
            info[1],
            ("depends".to_owned(), "net_failover,virtio".to_owned())
        );
        assert_eq!(module_info(b"text"), None);
        assert_eq!(module_info(&module(b"")[..100]), None);
    }

    #[test]
    fn static_programs_are_told_from_others() {
        assert_eq!(why_not_static(&program(&[1, 1, 2])), None);
        assert!(
            why_not_static(&program(&[6, 3, 1]))
                .unwrap()
                .contains("linker")
        );
        assert!(
            why_not_static(&program(&[1, 1])[..100])
                .unwrap()
                .contains("cut off")
        );
        assert!(why_not_static(b"#!/bin/sh").unwrap().contains("ELF"));
        let mut other = program(&[1]);
        other[18] = 183;
        assert!(why_not_static(&other).unwrap().contains("x86-64"));
        // This very test needs a linker, unless the target is a static one.
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(
            why_not_static(&own).is_some(),
            cfg!(not(target_feature = "crt-static"))
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            changes in proptest::collection::vec((0_usize..300, any::<u8>()), 0..12),
            len in 0_usize..320,
        ) {
            for mut file in [module(b"depends=a\0"), program(&[1, 3])] {
                for (at, byte) in &changes {
                    if let Some(to) = file.get_mut(*at) {
                        *to = *byte;
                    }
                }
                file.truncate(len);
                let _ = (module_info(&file), why_not_static(&file));
            }
        }
    }
}
