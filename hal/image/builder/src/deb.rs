//! Debian's packages: an `ar` archive with a `tar` archive in it.
//!
//! Source: `deb(5)`. Members are taken out one at a time and only as far as they are asked for.

use std::io::{self, Read};

use lzma_rust2::XzReader;

use crate::BuildError;

/// The beginning of an `ar` archive.
const MAGIC: &[u8] = b"!<arch>\n";
/// Length of a member's header.
const HEADER: usize = 60;
/// Members that are looked at: a package has three.
const MAX_MEMBERS: usize = 16;
/// The largest file that is taken out of a package.
const MAX_FILE: u64 = 128 * 1024 * 1024;
/// How much a package may unpack to. The kernel's is 150 MiB.
const MAX_UNPACKED: u64 = 2 * 1024 * 1024 * 1024;

/// A file of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedFile {
    /// Its path, without a dot or slash before it.
    pub path: String,
    /// What it holds.
    pub contents: Vec<u8>,
}

/// Takes the files out of a package whose path is wanted.
///
/// # Errors
/// When it is no package, or is packed in a way that is not known.
pub fn files(
    name: &str,
    package: &[u8],
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<PackedFile>, BuildError> {
    let failed = |reason: String| BuildError::package(name, reason);
    let data = member(package, "data.tar").map_err(failed)?;
    let unpacked: Box<dyn Read> = match data {
        (suffix, bytes) if suffix == ".xz" => Box::new(XzReader::new(bytes, true)),
        (suffix, bytes) if suffix.is_empty() => Box::new(bytes),
        (suffix, _) => {
            return Err(failed(format!(
                "data.tar{suffix} is packed in a way that is not known here"
            )));
        }
    };
    let broken = |error: io::Error| BuildError::package(name, error);
    let mut archive = tar::Archive::new(unpacked.take(MAX_UNPACKED));
    let mut files = Vec::new();
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let path = entry.path().map_err(broken)?;
        let path = path.to_string_lossy();
        let path = path
            .trim_start_matches("./")
            .trim_start_matches('/')
            .to_owned();
        if !entry.header().entry_type().is_file() || !wanted(&path) {
            continue;
        }
        if entry.size() > MAX_FILE {
            return Err(failed(format!("{path} is larger than 128 MiB")));
        }
        let mut contents = Vec::new();
        entry.read_to_end(&mut contents).map_err(broken)?;
        files.push(PackedFile { path, contents });
    }
    Ok(files)
}

/// The first member whose name begins so, with the rest of its name.
fn member<'a>(archive: &'a [u8], begins: &str) -> Result<(String, &'a [u8]), String> {
    let mut rest = archive
        .strip_prefix(MAGIC)
        .ok_or("it is no Debian package")?;
    for _ in 0..MAX_MEMBERS {
        let Some((header, after)) = rest.split_at_checked(HEADER) else {
            break;
        };
        let field = |from: usize, to: usize| {
            let bytes = header.get(from..to)?;
            Some(std::str::from_utf8(bytes).ok()?.trim_end())
        };
        let name = field(0, 16).map(|name| name.trim_end_matches('/'));
        let len = field(48, 58).and_then(|len| len.parse::<usize>().ok());
        let (Some(name), Some(len), Some(b"`\n")) = (name, len, header.get(58..)) else {
            return Err("a member has a broken header".to_owned());
        };
        let contents = after.get(..len).ok_or("a member is cut off")?;
        if let Some(suffix) = name.strip_prefix(begins) {
            return Ok((suffix.to_owned(), contents));
        }
        // Members begin at even places.
        rest = after.get(len.next_multiple_of(2)..).unwrap_or_default();
    }
    Err(format!("it has no member {begins}"))
}

/// Unpacks a file that is packed as xz.
///
/// # Errors
/// When it is not, or is too large.
pub fn unxz(name: &str, bytes: &[u8]) -> Result<Vec<u8>, BuildError> {
    let mut unpacked = Vec::new();
    XzReader::new(bytes, true)
        .take(MAX_FILE + 1)
        .read_to_end(&mut unpacked)
        .map_err(|error| BuildError::package(name, error))?;
    if unpacked.len() as u64 > MAX_FILE {
        return Err(BuildError::package(name, "it unpacks to more than 128 MiB"));
    }
    Ok(unpacked)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write as _;

    use lzma_rust2::{XzOptions, XzWriter};
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut writer = XzWriter::new(Vec::new(), XzOptions::with_preset(1)).unwrap();
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    /// A package with these files.
    pub(crate) fn package(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, contents) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(contents.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, path, *contents).unwrap();
        }
        archive(&[
            ("debian-binary", b"2.0\n"),
            ("control.tar.xz", b"odd"),
            ("data.tar.xz", &xz(&tar.into_inner().unwrap())),
        ])
    }

    fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = MAGIC.to_vec();
        for (name, contents) in members {
            let header = format!(
                "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
                0,
                0,
                0,
                100_644,
                contents.len()
            );
            archive.extend(header.as_bytes());
            archive.extend(*contents);
            archive.resize(archive.len().next_multiple_of(2), b'\n');
        }
        archive
    }

    #[test]
    fn wanted_files_come_out() {
        let package = package(&[
            ("./boot/vmlinuz-6", b"kernel"),
            ("./boot/config-6", b"y"),
            ("./usr/x", b""),
        ]);
        let files = files("k", &package, |path| path.starts_with("boot/v")).unwrap();
        assert_eq!(files.len(), 1);
        assert_eq!(
            (files[0].path.as_str(), &files[0].contents[..]),
            ("boot/vmlinuz-6", &b"kernel"[..])
        );
    }

    #[test]
    fn what_is_no_package_is_refused_by_what_is_wrong() {
        let error = |bytes: &[u8]| files("k", bytes, |_| true).unwrap_err().to_string();
        assert!(error(b"").contains("no Debian package"));
        assert!(error(MAGIC).contains("data.tar"));
        assert!(error(&archive(&[("data.tar.lz", b"x")])).contains("data.tar.lz"));
        assert!(error(&archive(&[("data.tar.xz", b"no xz")])).contains("cache"));
        let whole = archive(&[("data.tar.xz", &[7; 100])]);
        assert!(error(&whole[..100]).contains("cut off"));
        let mut broken = whole;
        broken[8 + 58] = b'x';
        assert!(error(&broken).contains("broken header"));
        assert!(unxz("m", b"no").is_err());
        assert_eq!(unxz("m", &xz(b"yes")).unwrap(), b"yes");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
            changes in proptest::collection::vec((0_usize..700, any::<u8>()), 0..4),
        ) {
            let _ = files("k", &bytes, |_| true);
            bytes.splice(0..0, MAGIC.iter().copied());
            let _ = files("k", &bytes, |_| true);
            let mut package = package(&[("./a", b"b")]);
            for (at, byte) in changes {
                if let Some(to) = package.get_mut(at) {
                    *to = byte;
                }
            }
            let _ = files("k", &package, |_| true);
        }
    }
}
