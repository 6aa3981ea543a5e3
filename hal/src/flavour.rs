//! Which flavour of the VM image this host runs in.
//!
//! There are two. The *sealed* one has no shell, no ssh and no way in. The *debug* one has all three, for whoever wants
//! to look into a VM while it runs; nothing in it is confidential towards whoever starts it. Each has its own
//! measurement: the flavour stands in the image's archive and on its command line, both of which are measured, and no
//! setting, variable or disk changes it. Whatever is no image at all counts as sealed here, since nobody was let in by
//! an image.
//!
//! A host that is of the debug flavour says so in its claims and receipts. That is a courtesy to whoever forgot to look:
//! who is root in that VM can have evidence made with other claims. What tells the two apart for certain is the
//! measurement.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The file of an image that holds its flavour, below the root. The sealed image has none.
pub const FLAVOUR_FILE: &str = "etc/proplet/flavour";
/// The word on the command line of the debug flavour.
pub const DEBUG_WORD: &str = "proplet.flavour=debug";
/// What the debug flavour is called in files, claims and receipts.
pub const DEBUG: &str = "debug";

/// The flavour of a VM image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Flavour {
    /// Nobody gets in. Also whatever is no image.
    #[default]
    Sealed,
    /// With a shell on the console and ssh.
    Debug,
}

/// A text is the name of no flavour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a flavour is `sealed` or `debug`")]
pub struct FlavourError;

impl Flavour {
    /// The flavour of the machine whose files are below `root`: debug when the image's file or the kernel's command
    /// line says so, and also when the file is there and says something else or cannot be read. A folder that this
    /// process may not look into is no image's, where everything is root's.
    #[must_use]
    pub fn of_machine(root: &Path) -> Self {
        let file = match fs::read(root.join(FLAVOUR_FILE)) {
            Ok(_) => true,
            Err(error) => !matches!(
                error.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::PermissionDenied
            ),
        };
        let on_command_line = fs::read_to_string(root.join("proc/cmdline"))
            .is_ok_and(|line| Self::of_command_line(&line) == Self::Debug);
        match file || on_command_line {
            true => Self::Debug,
            false => Self::Sealed,
        }
    }

    /// The flavour that a kernel's command line names.
    #[must_use]
    pub fn of_command_line(line: &str) -> Self {
        match line.split_ascii_whitespace().any(|word| word == DEBUG_WORD) {
            true => Self::Debug,
            false => Self::Sealed,
        }
    }

    /// Whether it is the sealed one.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        *self == Self::Sealed
    }

    /// Whether it is the debug one.
    #[must_use]
    pub fn is_debug(&self) -> bool {
        *self == Self::Debug
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sealed => "sealed",
            Self::Debug => DEBUG,
        }
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Flavour {
    type Err = FlavourError;

    fn from_str(text: &str) -> Result<Self, FlavourError> {
        match text {
            "sealed" => Ok(Self::Sealed),
            DEBUG => Ok(Self::Debug),
            _ => Err(FlavourError),
        }
    }
}

impl Serialize for Flavour {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Flavour {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_debug_is_debug() {
        let root = tempfile::tempdir().unwrap();
        let of = || Flavour::of_machine(root.path());
        assert_eq!(of(), Flavour::Sealed, "no image");
        let proc = root.path().join("proc");
        fs::create_dir_all(&proc).unwrap();
        for (line, flavour) in [
            ("console=ttyS0 quiet\n", Flavour::Sealed),
            ("console=ttyS0 proplet.flavour=debug\n", Flavour::Debug),
            ("console=ttyS0 xproplet.flavour=debug\n", Flavour::Sealed),
            ("proplet.flavour=debugger", Flavour::Sealed),
        ] {
            fs::write(proc.join("cmdline"), line).unwrap();
            assert_eq!(of(), flavour, "{line}");
            assert_eq!(Flavour::of_command_line(line), flavour);
        }
        let file = root.path().join(FLAVOUR_FILE);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        // What nobody knows may be anything.
        for text in ["debug\n", "", "sealed\n", "other"] {
            fs::write(&file, text).unwrap();
            assert_eq!(of(), Flavour::Debug, "{text:?}");
        }
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert_eq!(of(), Flavour::Debug, "unreadable");
        fs::remove_dir_all(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc"), "").unwrap();
        fs::write(proc.join("cmdline"), "quiet\n").unwrap();
        assert_eq!(of(), Flavour::Sealed, "no image either");
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for flavour in [Flavour::Sealed, Flavour::Debug] {
            assert_eq!(flavour.to_string().parse(), Ok(flavour));
        }
        for other in ["", "Debug", "sealed ", "test"] {
            assert_eq!(other.parse::<Flavour>(), Err(FlavourError));
        }
    }
}
