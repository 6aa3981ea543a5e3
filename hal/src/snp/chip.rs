//! Which chips are accepted.
//!
//! Evidence says that a genuine chip signed, not that it is the chip in *your* machine: an attacker can relay the
//! requests of your users to a VM of the same image on a machine of his own, where he has the bus probes. A list of
//! chips rules that out. Only a VCEK can show which chip it was; a VLEK is the same on all machines of a provider.

use std::fmt;
use std::str::FromStr;

/// Length of the ids of Milan and Genoa, and of the field in the report.
const LEN: usize = 64;
/// Length of the ids of Turin, with zeros after them in the report.
const SHORT_LEN: usize = 8;

/// The id of one chip, as reports and VCEK certificates name it (`hwid`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChipId([u8; LEN]);

/// Not the id of a chip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not the id of a chip: write 64 bytes, or the 8 of a Turin CPU, in hexadecimal; all zeros is how hosts mask it"
)]
pub struct ChipIdError;

impl ChipId {
    /// An id of 64 bytes, or of the 8 that Turin has.
    ///
    /// # Errors
    /// [`ChipIdError`] for another length, and for zeros, which is a masked id.
    pub fn new(id: &[u8]) -> Result<Self, ChipIdError> {
        let mut padded = [0; LEN];
        let (true, Some(start)) = (
            matches!(id.len(), SHORT_LEN | LEN),
            padded.get_mut(..id.len()),
        ) else {
            return Err(ChipIdError);
        };
        start.copy_from_slice(id);
        if padded == [0; LEN] {
            return Err(ChipIdError);
        }
        Ok(Self(padded))
    }

    /// The id as the report has it: 64 bytes, with zeros after the 8 of Turin.
    pub fn as_bytes(&self) -> &[u8; LEN] {
        &self.0
    }
}

impl fmt::Display for ChipId {
    /// All 64 bytes in hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ChipId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChipId({self})")
    }
}

impl FromStr for ChipId {
    type Err = ChipIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(&hex::decode(text).map_err(|_| ChipIdError)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_ids_are_those_of_the_report() {
        let mut report = [0; 64];
        report[..8].copy_from_slice(b"fakechip");
        let id = ChipId::new(b"fakechip").unwrap();
        assert_eq!(id.as_bytes(), &report);
        assert_eq!(ChipId::new(&report), Ok(id));
        assert_eq!("66616b6563686970".parse(), Ok(id));
    }

    #[test]
    fn masked_ids_and_other_lengths_are_no_chips() {
        for wrong in [
            &[][..],
            &[1; 7],
            &[1; 9],
            &[1; 63],
            &[1; 65],
            &[0; 8],
            &[0; 64],
        ] {
            assert_eq!(ChipId::new(wrong), Err(ChipIdError));
        }
        assert_eq!("zz".repeat(64).parse::<ChipId>(), Err(ChipIdError));
    }

    proptest! {
        #[test]
        fn ids_read_back(bytes in proptest::collection::vec(any::<u8>(), 0..80), text in ".{0,140}") {
            if let Ok(id) = ChipId::new(&bytes) {
                prop_assert_eq!(id.to_string().parse(), Ok(id));
            }
            let _ = text.parse::<ChipId>();
        }
    }
}
