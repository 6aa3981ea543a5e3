//! The lock file: every part of an image that comes from elsewhere.
//!
//! ```toml
//! date = 1764288000
//!
//! [[part]]
//! name = "kernel"
//! version = "6.12.118-1"
//! file = "linux-image-6.12.118+deb13-cloud-amd64_6.12.118-1_amd64.deb"
//! sha256 = "…"
//! size = 34699820
//! urls = ["https://…", "https://…"]
//! ```
//!
//! A part has several addresses, because Debian's pool drops a version when the next one comes; its digest makes them
//! equal. `date` is the time that the image says it was made: the clock inside is never before it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use proplet_hal::Flavour;
use serde::Deserialize;

use crate::BuildError;

/// The kernel's package.
pub const KERNEL: &str = "kernel";
/// The package with systemd's stub.
pub const STUB: &str = "stub";
/// The package with the certificates of public authorities.
pub const CERTIFICATES: &str = "ca-certificates";
/// edk2 as its authors publish it.
pub const EDK2: &str = "edk2";
/// Debian's changes to it.
pub const EDK2_DEBIAN: &str = "edk2-debian";
/// What the debug flavour has besides, by the name in the lock file and that of Debian's package: a shell, an ssh server
/// and the libraries that it needs. No other image has anything of it.
pub const DEBUG_PARTS: &[(&str, &str)] = &[
    ("debug-busybox", "busybox-static"),
    ("debug-dropbear", "dropbear-bin"),
    ("debug-libc6", "libc6"),
    ("debug-libcrypt1", "libcrypt1"),
    ("debug-libgmp10", "libgmp10"),
    ("debug-libtomcrypt1", "libtomcrypt1"),
    ("debug-libtommath1", "libtommath1"),
    ("debug-zlib1g", "zlib1g"),
];
/// The largest part, in bytes.
pub const MAX_SIZE: u64 = 512 * 1024 * 1024;

/// A lock file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Seconds since 1970.
    pub date: u64,
    /// The parts.
    #[serde(rename = "part")]
    pub parts: Vec<Part>,
}

/// Something that comes from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// What it is for the builder.
    pub name: String,
    /// Its publisher's version.
    pub version: String,
    /// Its publisher's file name.
    pub file: String,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
    /// Its length in bytes.
    pub size: u64,
    /// Where it may be had.
    pub urls: Vec<String>,
}

impl Lock {
    /// Reads a lock file.
    ///
    /// # Errors
    /// When it cannot be read or a part of it is not sensible.
    pub fn read(path: &Path) -> Result<Self, BuildError> {
        let text = fs::read_to_string(path).map_err(BuildError::file(path))?;
        Self::parse(&text).map_err(|reason| BuildError::Lock {
            path: path.to_owned(),
            reason,
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let lock: Self = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        for part in &lock.parts {
            let name = &part.name;
            let is_digest = part.sha256.len() == 64
                && part
                    .sha256
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            if !is_digest {
                return Err(format!("{name}: sha256 is not 64 digits in lower case"));
            }
            if part.size == 0 || part.size > MAX_SIZE {
                return Err(format!("{name}: size is not between 1 byte and 512 MiB"));
            }
            if part.urls.is_empty() || !part.urls.iter().all(|url| url.starts_with("https://")) {
                return Err(format!("{name}: urls has to name https:// addresses"));
            }
        }
        Ok(lock)
    }

    /// One part.
    ///
    /// # Errors
    /// When it is not there.
    pub fn part(&self, name: &'static str) -> Result<&Part, BuildError> {
        let found = self.parts.iter().find(|part| part.name == name);
        found.ok_or(BuildError::NoPart(name))
    }

    /// The parts of an image of this flavour, and of the firmware.
    #[must_use]
    pub fn of_flavour(&self, flavour: Flavour) -> Self {
        let is_debug = |part: &Part| DEBUG_PARTS.iter().any(|(name, _)| *name == part.name);
        Self {
            date: self.date,
            parts: self
                .parts
                .iter()
                .filter(|part| flavour.is_debug() || !is_debug(part))
                .cloned()
                .collect(),
        }
    }

    /// The text of the file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = format!(
            "# What an image is made of that comes from elsewhere, made by `proplet-image-builder lock --update`.\n\
             # A change here changes what images measure.\ndate = {}\n",
            self.date
        );
        for part in &self.parts {
            let Part {
                name,
                version,
                file,
                sha256,
                size,
                urls,
            } = part;
            let urls: Vec<_> = urls.iter().map(|url| format!("    {url:?},\n")).collect();
            let _ = write!(
                text,
                "\n[[part]]\nname = {name:?}\nversion = {version:?}\nfile = {file:?}\nsha256 = {sha256:?}\nsize = \
                 {size}\nurls = [\n{}]\n",
                urls.concat()
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock() -> Lock {
        Lock {
            date: 1,
            parts: vec![Part {
                name: KERNEL.to_owned(),
                version: "6.12-1".to_owned(),
                file: "k.deb".to_owned(),
                sha256: "0a".repeat(32),
                size: 7,
                urls: vec![
                    "https://one.example/k".to_owned(),
                    "https://two.example/k".to_owned(),
                ],
            }],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(Lock::parse(&lock().to_toml()).unwrap(), lock());
        assert_eq!(lock().part(KERNEL).unwrap().version, "6.12-1");
        assert!(matches!(lock().part(STUB), Err(BuildError::NoPart(STUB))));
    }

    #[test]
    fn parts_that_are_not_pinned_are_refused() {
        let refused = |change: &dyn Fn(&mut Part)| {
            let mut lock = lock();
            change(&mut lock.parts[0]);
            Lock::parse(&lock.to_toml()).unwrap_err()
        };
        assert!(refused(&|part| part.sha256 = "0A".repeat(32)).contains("sha256"));
        assert!(refused(&|part| part.sha256.truncate(63)).contains("sha256"));
        assert!(refused(&|part| part.size = 0).contains("size"));
        assert!(refused(&|part| part.size = MAX_SIZE + 1).contains("size"));
        assert!(refused(&|part| part.urls.clear()).contains("urls"));
        assert!(refused(&|part| part.urls[0] = "http://one.example".to_owned()).contains("urls"));
        assert!(Lock::parse("date = 1\npart = []\nextra = 1\n").is_err());
    }

    #[test]
    fn the_lock_file_of_this_tree_has_every_part() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../image.lock");
        let lock = Lock::read(&path).unwrap();
        let debug = DEBUG_PARTS.iter().map(|(name, _)| *name);
        let sealed = [KERNEL, STUB, CERTIFICATES, EDK2, EDK2_DEBIAN];
        for name in sealed.into_iter().chain(debug.clone()) {
            assert!(lock.part(name).unwrap().urls.len() > 1, "{name}");
        }
        assert_eq!(lock.of_flavour(Flavour::Debug), lock);
        let names = |lock: Lock| lock.parts.into_iter().map(|part| part.name);
        assert!(names(lock.of_flavour(Flavour::Sealed)).eq(sealed));
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            lock.to_toml(),
            "in the form in which it is written"
        );
    }
}
