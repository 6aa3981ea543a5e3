//! Both firmwares from edk2's sources.
//!
//! Debian's packages have no OVMF that checks the hashes of the kernel for SNP, and none that is made for TDX, so
//! both are built here, from Debian's sources of edk2. What the linker makes of them depends on their path: it is
//! always `/mnt`, in a namespace of mounts that ends with the build. Other programs decide as well: the compiler, the
//! assembler, ACPI's compiler. A folder with a root file system that has them (`--tools`) makes that the same
//! everywhere.

use std::fs;
use std::io::Cursor;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use lzma_rust2::XzReader;

use crate::BuildError;

/// What is run on the sources.
const SCRIPT: &str = include_str!("../../firmware/build.sh");
/// What comes out: for SNP and for TDX.
pub const SNP: &str = "OVMF.amdsev.fd";
/// For TDX.
pub const TDX: &str = "OVMF.inteltdx.fd";

/// What firmware is built from and with.
#[derive(Debug)]
pub struct Sources<'a> {
    /// edk2 as its authors publish it.
    pub upstream: &'a [u8],
    /// Debian's changes.
    pub debian: &'a [u8],
    /// A root file system with the tools; none takes this machine's.
    pub tools: Option<&'a Path>,
    /// Where it is built; what was there before is deleted.
    pub work: &'a Path,
}

/// Builds both, into a folder.
///
/// # Errors
/// When a tool is missing or fails.
pub fn build(sources: &Sources<'_>, out: &Path) -> Result<(), BuildError> {
    let work = sources.work;
    if work.exists() {
        fs::remove_dir_all(work).map_err(BuildError::file(work))?;
    }
    let tree = work.join("edk2");
    fs::create_dir_all(&tree).map_err(BuildError::file(&tree))?;
    // The authors' tarball has one folder around all, Debian's has none.
    unpack("edk2", sources.upstream, &tree, 1)?;
    unpack("edk2-debian", sources.debian, &tree, 0)?;
    let script = work.join("build.sh");
    fs::write(&script, SCRIPT).map_err(BuildError::file(&script))?;
    run(sources)?;
    fs::create_dir_all(out).map_err(BuildError::file(out))?;
    for name in [SNP, TDX] {
        let (from, to) = (work.join(name), out.join(name));
        fs::copy(&from, &to).map_err(BuildError::file(&from))?;
    }
    fs::remove_dir_all(work).map_err(BuildError::file(work))
}

fn run(sources: &Sources<'_>) -> Result<(), BuildError> {
    let failed = |reason: String| BuildError::Tool {
        program: "the build of the firmware".to_owned(),
        reason,
    };
    // Root has its own namespace of mounts; others need one of users around it.
    let is_root =
        fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]);
    if !is_root {
        command.arg("--map-root-user");
    }
    command.args(["bash", "-euc"]);
    match sources.tools {
        None => command.arg("mount --bind \"$1\" /mnt; exec bash /mnt/build.sh"),
        Some(_) => command.arg(
            "mount --rbind /proc \"$2/proc\"; mount --rbind /dev \"$2/dev\"; mount --bind \"$1\" \"$2/mnt\"; \
             exec chroot \"$2\" bash /mnt/build.sh",
        ),
    };
    command.arg("firmware").arg(sources.work);
    if let Some(tools) = sources.tools {
        command.arg(tools);
    }
    // What the machine's user has set is not for the compiler.
    let status = command
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .stdin(Stdio::null())
        .status()
        .map_err(|error| {
            failed(format!(
                "{error}; unshare is in Debian's package util-linux"
            ))
        })?;
    if status.success() {
        Ok(())
    } else {
        let namespaces = match is_root {
            true => "",
            false => {
                "; where they say that something is not permitted, this system allows its users no namespaces (on \
                 Ubuntu: sysctl kernel.apparmor_restrict_unprivileged_userns)"
            }
        };
        let why = format!("{status}; its last lines above say why{namespaces}");
        Err(failed(why))
    }
}

/// Unpacks a tarball without its first `strip` folders.
fn unpack(name: &str, tarball: &[u8], folder: &Path, strip: usize) -> Result<(), BuildError> {
    let broken = |error: std::io::Error| BuildError::package(name, error);
    let mut archive = tar::Archive::new(XzReader::new(Cursor::new(tarball), true));
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let path = entry.path().map_err(broken)?;
        let Some(path) = inside(&path, strip) else {
            continue;
        };
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(BuildError::file(parent))?;
        }
        entry.unpack(&path).map_err(broken)?;
    }
    Ok(())
}

/// A path below the folder that it is unpacked to; nothing for one that leads out, or that is stripped as a whole.
fn inside(path: &Path, strip: usize) -> Option<PathBuf> {
    let mut inside = PathBuf::new();
    let names = path
        .components()
        .filter(|component| *component != Component::CurDir);
    for component in names.skip(strip) {
        match component {
            Component::Normal(name) => inside.push(name),
            _ => return None,
        }
    }
    (!inside.as_os_str().is_empty()).then_some(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        let inside = |path: &str, strip| inside(Path::new(path), strip);
        assert_eq!(
            inside("./edk2-2025/Conf/a", 1),
            Some(PathBuf::from("Conf/a"))
        );
        assert_eq!(
            inside("debian/rules", 0),
            Some(PathBuf::from("debian/rules"))
        );
        for out in ["../a", "/etc/passwd", "a/../../b", ".", ""] {
            assert_eq!(inside(out, 0), None, "{out}");
        }
        assert_eq!(inside("edk2-2025", 1), None);
    }

    #[test]
    fn what_is_no_tarball_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = unpack("edk2", b"no", folder.path(), 1).unwrap_err();
        assert!(error.to_string().contains("edk2"), "{error}");
    }
}
