//! Evidence by the kernel's TSM report interface in configfs, the same for SNP and TDX.
//!
//! A report is a folder: making one below `/sys/kernel/config/tsm/report` makes the kernel's attributes in
//! it. The caller writes `inblob` (and, for SNP, the privilege level), reads `outblob` and `auxblob`, and
//! removes the folder. Nothing keeps two programs from using one folder, so the kernel counts the writes in
//! `generation`: evidence counts only when there were ours and no others. Names are random, and a folder is
//! removed whatever became of the request.
//!
//! The calls block, for seconds with TDX: [`crate::hardware::HardwareTee`] makes them on a thread for it.
//!
//! Source: Linux `Documentation/ABI/testing/configfs-tsm-report`.

mod error;
mod files;

use std::path::PathBuf;

use ring::rand::{SecureRandom as _, SystemRandom};
use rustix::io::Errno;

pub use self::error::TsmError;
pub use self::files::{FolderFiles, TsmFiles};
use crate::SystemError;
use crate::hardware::kind::{HardwareKind, Raw};
use crate::snp::REPORT_LEN;

/// Where the kernel has its reports.
pub const KERNEL_FOLDER: &str = "/sys/kernel/config/tsm/report";

/// Generations and names are short.
const TEXT_LIMIT: usize = 64;
/// Longest quote. The kernel's buffer for them has 128 KiB at most.
const QUOTE_LIMIT: usize = 128 * 1024;
/// Shortest quote: header, body and the length of the signature.
const QUOTE_MINIMUM: usize = 48 + 584 + 4;
/// Longest certificate table. The kernel's buffer for it has 16 KiB.
const TABLE_LIMIT: usize = 64 * 1024;

/// Evidence by configfs.
pub struct TsmReports {
    kind: HardwareKind,
    files: Box<dyn TsmFiles>,
}

impl TsmReports {
    /// The kernel's own interface.
    #[must_use]
    pub fn of_kernel(kind: HardwareKind) -> Self {
        Self::with(kind, FolderFiles::new(PathBuf::from(KERNEL_FOLDER)))
    }

    /// Other files that behave as the kernel's.
    #[must_use]
    pub fn with(kind: HardwareKind, files: impl TsmFiles) -> Self {
        Self {
            kind,
            files: Box::new(files),
        }
    }

    pub(crate) fn request(&self, report_data: &[u8; 64]) -> Result<Raw, TsmError> {
        let entry = Entry::create(self.files.as_ref())?;
        let expected = self.kind.tsm_provider();
        let found = entry.text("provider", "read provider")?;
        if found != expected {
            return Err(TsmError::OtherProvider { found, expected });
        }
        let mut generation = entry.generation()?;
        if self.kind == HardwareKind::Snp {
            entry.privilege_level_0()?;
            generation = generation.saturating_add(1);
        }
        entry.write("inblob", "write inblob", report_data)?;
        generation = generation.saturating_add(1);
        let (minimum, limit) = match self.kind {
            HardwareKind::Snp => (REPORT_LEN, REPORT_LEN),
            HardwareKind::Tdx => (QUOTE_MINIMUM, QUOTE_LIMIT),
        };
        let evidence = entry.read("outblob", "read outblob", limit)?;
        let certificates = match self.kind {
            HardwareKind::Snp => entry.certificates()?,
            HardwareKind::Tdx => Vec::new(),
        };
        let found = entry.generation()?;
        if found != generation {
            let expected = generation;
            return Err(TsmError::Conflict { expected, found });
        }
        let attribute = "outblob";
        match evidence.len() {
            0 => Err(TsmError::Empty { attribute }),
            len if len < minimum => Err(TsmError::Short {
                attribute,
                len,
                minimum,
            }),
            _ => Ok(Raw {
                evidence,
                certificates,
                ..Raw::default()
            }),
        }
    }
}

/// One entry, removed on drop.
struct Entry<'a> {
    files: &'a dyn TsmFiles,
    name: String,
}

impl<'a> Entry<'a> {
    fn create(files: &'a dyn TsmFiles) -> Result<Self, TsmError> {
        let step = "create an entry";
        let mut random = [0; 16];
        SystemRandom::new().fill(&mut random).map_err(|_| {
            let error = SystemError::from(Errno::NODATA);
            TsmError::Failed { step, error }
        })?;
        let name = format!("proplet-{}", hex::encode(random));
        let created = files.create(&name).map_err(SystemError::from);
        created.map_err(|error| match error {
            error if error.is_one_of(&[Errno::NOENT, Errno::NOTDIR]) => TsmError::NotMounted {
                path: files.folder().to_path_buf(),
                error,
            },
            error if error.is_one_of(&[Errno::NXIO, Errno::NODEV, Errno::OPNOTSUPP]) => {
                TsmError::NoProvider { error }
            }
            error => failure(step, error),
        })?;
        Ok(Self { files, name })
    }

    /// An attribute's bytes, refused beyond the limit.
    fn read(
        &self,
        attribute: &'static str,
        step: &'static str,
        limit: usize,
    ) -> Result<Vec<u8>, TsmError> {
        let bytes = self.files.read(&self.name, attribute, limit + 1);
        let bytes = bytes.map_err(|error| missing_or(attribute, step, error.into()))?;
        if bytes.len() > limit {
            return Err(TsmError::TooLarge { attribute, limit });
        }
        Ok(bytes)
    }

    fn text(&self, attribute: &'static str, step: &'static str) -> Result<String, TsmError> {
        let bytes = self.read(attribute, step, TEXT_LIMIT)?;
        let text = String::from_utf8_lossy(&bytes);
        // It is shown to people, so it is made of what such names are made of.
        Ok(text
            .trim()
            .chars()
            .map(|c| if c.is_ascii_graphic() { c } else { '?' })
            .collect())
    }

    fn generation(&self) -> Result<u64, TsmError> {
        let text = self.text("generation", "read generation")?;
        text.parse().map_err(|_| TsmError::Malformed {
            attribute: "generation",
            reason: format!("`{text}` is no number"),
        })
    }

    /// The host's certificates; a kernel or host without any has an empty attribute, or none.
    fn certificates(&self) -> Result<Vec<u8>, TsmError> {
        match self.read("auxblob", "read auxblob", TABLE_LIMIT) {
            Err(TsmError::NoAttribute { .. }) => Ok(Vec::new()),
            table => table,
        }
    }

    fn privilege_level_0(&self) -> Result<(), TsmError> {
        match self.write("privlevel", "write privlevel", b"0") {
            Err(TsmError::Failed { error, .. })
                if error.is_one_of(&[Errno::INVAL, Errno::RANGE]) =>
            {
                Err(TsmError::PrivilegeLevel { error })
            }
            written => written,
        }
    }

    fn write(
        &self,
        attribute: &'static str,
        step: &'static str,
        value: &[u8],
    ) -> Result<(), TsmError> {
        let written = self.files.write(&self.name, attribute, value);
        let written = written.map_err(|error| missing_or(attribute, step, error.into()))?;
        if written != value.len() {
            return Err(TsmError::ShortWrite { attribute, written });
        }
        Ok(())
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        // Nothing can be done about a failure. An entry that is left over takes some memory of the kernel's.
        if let Err(error) = self.files.remove(&self.name) {
            tracing::debug!(%error, entry = self.name, "a TSM entry could not be removed");
        }
    }
}

fn missing_or(attribute: &'static str, step: &'static str, error: SystemError) -> TsmError {
    if error.is(Errno::NOENT) {
        return TsmError::NoAttribute { attribute };
    }
    failure(step, error)
}

fn failure(step: &'static str, error: SystemError) -> TsmError {
    const BUSY: &[Errno] = &[Errno::BUSY, Errno::WOULDBLOCK, Errno::INTR];
    const GONE: &[Errno] = &[Errno::NXIO, Errno::NODEV, Errno::OPNOTSUPP];
    match error {
        error if error.is_one_of(&[Errno::ACCESS, Errno::PERM, Errno::ROFS]) => {
            TsmError::NoPermission { step, error }
        }
        error if error.is_one_of(BUSY) => TsmError::Busy { step, error },
        error if error.is(Errno::TIMEDOUT) => TsmError::TimedOut { step, error },
        error if error.is_one_of(GONE) => TsmError::Gone { step, error },
        error => TsmError::Failed { step, error },
    }
}

#[cfg(test)]
mod tests;
