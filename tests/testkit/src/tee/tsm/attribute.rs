//! The attributes of a report.

use rustix::io::Errno;

/// An attribute of a report, as the kernel names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Attribute {
    Inblob,
    Outblob,
    Auxblob,
    Manifestblob,
    Generation,
    Provider,
    Privlevel,
    PrivlevelFloor,
    ServiceProvider,
    ServiceGuid,
    ServiceManifestVersion,
}

impl Attribute {
    /// Every attribute.
    pub const ALL: [Self; 11] = [
        Self::Inblob,
        Self::Outblob,
        Self::Auxblob,
        Self::Manifestblob,
        Self::Generation,
        Self::Provider,
        Self::Privlevel,
        Self::PrivlevelFloor,
        Self::ServiceProvider,
        Self::ServiceGuid,
        Self::ServiceManifestVersion,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Inblob => "inblob",
            Self::Outblob => "outblob",
            Self::Auxblob => "auxblob",
            Self::Manifestblob => "manifestblob",
            Self::Generation => "generation",
            Self::Provider => "provider",
            Self::Privlevel => "privlevel",
            Self::PrivlevelFloor => "privlevel_floor",
            Self::ServiceProvider => "service_provider",
            Self::ServiceGuid => "service_guid",
            Self::ServiceManifestVersion => "service_manifest_version",
        }
    }

    /// Whether it takes and does not give. No attribute does both.
    pub fn is_written(self) -> bool {
        matches!(
            self,
            Self::Inblob
                | Self::Privlevel
                | Self::ServiceProvider
                | Self::ServiceGuid
                | Self::ServiceManifestVersion
        )
    }
}

/// A number as the kernel reads one: decimal, or hexadecimal after `0x`, or octal after `0`, one line end
/// after it.
pub(super) fn number(text: &[u8]) -> Result<u32, Errno> {
    let text = std::str::from_utf8(text).map_err(|_| Errno::INVAL)?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    u32::from_str_radix(digits, radix).map_err(|_| Errno::INVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_the_kernel_reads_them() {
        for (text, value) in [("0", 0), ("3\n", 3), ("0x10", 16), ("010", 8)] {
            assert_eq!(number(text.as_bytes()), Ok(value), "{text:?}");
        }
        for text in ["", "\n", "1 ", "one", "0x", "5000000000", "1\n\n"] {
            assert_eq!(number(text.as_bytes()), Err(Errno::INVAL), "{text:?}");
        }
        assert_eq!(number(&[0]), Err(Errno::INVAL), "a raw byte is no number");
    }
}
