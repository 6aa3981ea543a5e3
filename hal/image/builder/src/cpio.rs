//! The archive that the kernel unpacks into memory before it starts `/init`: cpio in its `newc` form.
//!
//! Source: Linux `Documentation/driver-api/early-userspace/buffer-format.rst`. The archive depends on names,
//! modes and contents only: times are zero, everything is root's, numbers count from one in the order of the names.

use std::collections::BTreeMap;

/// Kinds of members, in the mode.
const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
/// Name of the member that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// The members of an archive, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Archive {
    members: BTreeMap<String, Member>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    mode: u32,
    contents: Vec<u8>,
}

impl Archive {
    /// Adds a file with its permissions. Folders above it come by themselves.
    pub fn file(&mut self, path: &str, permissions: u32, contents: impl Into<Vec<u8>>) {
        self.add(path, FILE | (permissions & 0o7777), contents.into());
    }

    /// Adds a folder.
    pub fn folder(&mut self, path: &str) {
        self.add(path, FOLDER | 0o755, Vec::new());
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, to: &str) {
        self.add(path, LINK | 0o777, to.as_bytes().to_vec());
    }

    fn add(&mut self, path: &str, mode: u32, contents: Vec<u8>) {
        let path = path.trim_matches('/');
        for (at, _) in path.match_indices('/') {
            if let Some(folder) = path.get(..at) {
                self.members
                    .entry(folder.to_owned())
                    .or_insert_with(|| Member {
                        mode: FOLDER | 0o755,
                        contents: Vec::new(),
                    });
            }
        }
        self.members
            .insert(path.to_owned(), Member { mode, contents });
    }

    /// The archive. A folder's name is shorter than those of what is in it, so it comes before them.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, (path, member)) in (1_u32..).zip(&self.members) {
            let links = if member.mode & FOLDER == FOLDER { 2 } else { 1 };
            write(
                &mut bytes,
                path,
                number,
                member.mode,
                links,
                &member.contents,
            );
        }
        write(&mut bytes, TRAILER, 0, 0, 1, &[]);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }
}

fn write(bytes: &mut Vec<u8>, path: &str, number: u32, mode: u32, links: u32, contents: &[u8]) {
    let len = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
    let fields = [
        number,
        mode,
        0, // user
        0, // group
        links,
        0, // time
        len(contents.len()),
        0, // device of the archive
        0,
        0, // device that the member is
        0,
        len(path.len() + 1),
        0, // no checksum in this form
    ];
    bytes.extend(b"070701");
    for field in fields {
        bytes.extend(format!("{field:08x}").as_bytes());
    }
    bytes.extend(path.as_bytes());
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(contents);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    fn archive() -> Archive {
        let mut archive = Archive::default();
        archive.file("init", 0o755, b"program".as_slice());
        archive.file("lib/modules/load", 0o644, b"a\n".as_slice());
        archive.link("etc/resolv.conf", "/run/resolv.conf");
        archive.folder("proc");
        archive
    }

    #[test]
    fn the_order_of_adding_does_not_matter() {
        let mut other = Archive::default();
        other.folder("/proc/");
        other.link("/etc/resolv.conf", "/run/resolv.conf");
        other.file("/lib/modules/load", 0o644, b"a\n".as_slice());
        other.file("/init", 0o755, b"program".as_slice());
        assert_eq!(archive().to_bytes(), other.to_bytes());
    }

    #[test]
    fn folders_come_before_what_is_in_them() {
        let archive = archive();
        let names: Vec<_> = archive.members.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "etc",
                "etc/resolv.conf",
                "init",
                "lib",
                "lib/modules",
                "lib/modules/load",
                "proc"
            ]
        );
    }

    #[test]
    fn a_member_has_the_kernels_layout() {
        let mut archive = Archive::default();
        archive.file("a", 0o644, b"hello".as_slice());
        let bytes = archive.to_bytes();
        let expected = "07070100000001000081a400000000000000000000000100000000000000050000000000000000\
                        00000000000000000000000200000000a\0hello\0\0\0";
        assert_eq!(&bytes[..expected.len()], expected.as_bytes());
        assert_eq!(bytes.len() % 512, 0);
    }

    #[test]
    fn the_system_s_own_program_reads_it() {
        // Where there is one; the kernel reads it in the test of the whole image.
        let Ok(mut child) = Command::new("cpio")
            .args(["-tv", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
        else {
            return;
        };
        child
            .stdin
            .take()
            .unwrap()
            .write_all(&archive().to_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let listed = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success() && listed.contains("etc/resolv.conf -> /run/resolv.conf"),
            "{listed}"
        );
    }
}
