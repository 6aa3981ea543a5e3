//! What a task reaches outside of itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proplet_net::reach::outgoing::Outgoing;

/// What a task reaches outside of itself. Nothing, unless it is given.
#[derive(Clone, Debug, Default)]
pub struct Outside {
    /// The way to hosts that were listed for it.
    pub http: Option<Outgoing>,
    /// Directories of this machine.
    pub directories: Arc<[Directory]>,
}

/// A directory of this machine that a task may use. Whatever is asked for below it, by `..` or by a link, stays
/// below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Where it is.
    pub path: PathBuf,
    /// What the task calls it.
    pub name: String,
    /// Whether the task may change what is in it.
    pub is_writable: bool,
}

/// Where the kernel shows itself, and the memory of processes: this one's holds the secrets of other tasks.
const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];

impl Directory {
    /// Whether the kernel's own files would be in it, or it in them. `path` is absolute, without links.
    #[must_use]
    pub fn is_of_the_kernel(path: &Path) -> bool {
        KERNEL
            .iter()
            .any(|kernel| path.starts_with(kernel) || Path::new(kernel).starts_with(path))
    }

    /// Where it really is.
    ///
    /// # Errors
    /// Why it cannot be given, in words.
    pub(crate) fn real_path(&self) -> Result<PathBuf, String> {
        let path = self
            .path
            .canonicalize()
            .map_err(|error| error.to_string())?;
        match Self::is_of_the_kernel(&path) {
            true => Err("the kernel's own files are never given to tasks".to_owned()),
            false => Ok(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_told_from_others() {
        for path in [
            "/",
            "/proc",
            "/proc/self",
            "/sys/kernel",
            "/dev",
            "/dev/shm",
        ] {
            assert!(Directory::is_of_the_kernel(Path::new(path)), "{path}");
        }
        for path in [
            "/srv",
            "/srv/proc",
            "/process",
            "/developer",
            "/var/lib/data",
        ] {
            assert!(!Directory::is_of_the_kernel(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn a_link_to_the_kernels_files_is_seen_through() {
        let folder = std::env::temp_dir().join(format!("proplet-outside-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let link = folder.join("link");
        std::os::unix::fs::symlink("/proc/self", &link).unwrap();
        let directory = |path: &Path| Directory {
            path: path.to_owned(),
            name: "/data".to_owned(),
            is_writable: false,
        };
        assert!(directory(&link).real_path().unwrap_err().contains("kernel"));
        assert!(directory(&folder).real_path().is_ok());
        directory(&folder.join("missing")).real_path().unwrap_err();
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
