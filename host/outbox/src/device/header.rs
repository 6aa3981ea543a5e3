//! What says that a device is ours, and how much of it is in use.
//!
//! A header fits into one sector, the least that a disk writes whole, and lies on the device twice. The copies are written
//! in turn, each under the next number and with a checksum, and the next one only once the last is on the disk. So
//! whatever is left of a write that was cut short, the copy before it is whole and says what was so before.
//!
//! The checksum finds accidents. Whoever has the disk can write any header.

use ring::digest::{SHA256, digest};

/// The length of a header, in bytes.
pub(super) const LEN: usize = 512;

const MAGIC: &[u8; 16] = b"proplet outbox\r\n";
const VERSION: u64 = 1;
/// What the checksum is of: the magic, the version, the number, the length.
const SUMMED: usize = 40;

/// How much of a device is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// The number of this writing. The copy with the larger one holds.
    pub(super) generation: u64,
    /// The length of the store, in bytes. None of it is worth anything at 0.
    pub(super) length: u64,
}

/// Where a copy lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    First,
    Second,
}

impl Place {
    pub(super) fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    /// Apart by more than the sectors of any disk.
    pub(super) fn offset(self) -> u64 {
        match self {
            Self::First => 0,
            Self::Second => 4096,
        }
    }
}

/// What the two places have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A header, and where.
    Header(Place, Header),
    /// Zeros.
    Nothing,
    /// What began as a header.
    Broken,
    /// A header of a later version.
    Later,
    /// Something else.
    Foreign,
}

impl Header {
    pub(super) fn bytes(&self) -> [u8; LEN] {
        let summed = [
            MAGIC.as_slice(),
            &VERSION.to_le_bytes(),
            &self.generation.to_le_bytes(),
            &self.length.to_le_bytes(),
        ]
        .concat();
        let sum = digest(&SHA256, &summed);
        let mut bytes = [0; LEN];
        for (byte, written) in bytes.iter_mut().zip(summed.iter().chain(sum.as_ref())) {
            *byte = *written;
        }
        bytes
    }
}

/// Looks at both places.
pub(super) fn find(first: &[u8], second: &[u8]) -> Found {
    let found = [
        of_place(Place::First, first),
        of_place(Place::Second, second),
    ];
    match found {
        [Found::Later, _] | [_, Found::Later] => Found::Later,
        [Found::Header(_, one), Found::Header(place, two)] if two.generation > one.generation => {
            Found::Header(place, two)
        }
        [header @ Found::Header(..), _] | [_, header @ Found::Header(..)] => header,
        [Found::Nothing, Found::Nothing] => Found::Nothing,
        [Found::Broken, _] | [_, Found::Broken] => Found::Broken,
        _ => Found::Foreign,
    }
}

fn of_place(place: Place, bytes: &[u8]) -> Found {
    if bytes.iter().all(|byte| *byte == 0) {
        return Found::Nothing;
    }
    if !bytes.starts_with(MAGIC) {
        return Found::Foreign;
    }
    let Some(Fields {
        version,
        generation,
        length,
        sum,
    }) = Fields::of(bytes)
    else {
        return Found::Broken;
    };
    let summed = bytes.get(..SUMMED).unwrap_or_default();
    if digest(&SHA256, summed).as_ref() != sum {
        return Found::Broken;
    }
    if u64::from_le_bytes(version) != VERSION {
        return Found::Later;
    }
    let header = Header {
        generation: u64::from_le_bytes(generation),
        length: u64::from_le_bytes(length),
    };
    Found::Header(place, header)
}

struct Fields {
    version: [u8; 8],
    generation: [u8; 8],
    length: [u8; 8],
    sum: [u8; 32],
}

impl Fields {
    fn of(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (version, rest) = rest.split_first_chunk()?;
        let (generation, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        Some(Self {
            version: *version,
            generation: *generation,
            length: *length,
            sum: *rest.first_chunk()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOTHING: [u8; LEN] = [0; LEN];

    fn header(generation: u64, length: u64) -> Header {
        Header { generation, length }
    }

    #[test]
    fn the_later_copy_holds() {
        let (old, new) = (header(7, 4096), header(8, 8192));
        let found = find(&old.bytes(), &new.bytes());
        assert_eq!(found, Found::Header(Place::Second, new));
        let found = find(&new.bytes(), &old.bytes());
        assert_eq!(found, Found::Header(Place::First, new));
        let found = find(&new.bytes(), &NOTHING);
        assert_eq!(found, Found::Header(Place::First, new));
        let found = find(&[7; LEN], &new.bytes());
        assert_eq!(found, Found::Header(Place::Second, new));
    }

    #[test]
    fn what_is_no_header_is_told_apart() {
        let whole = header(1, 0).bytes();
        let mut broken = whole;
        broken[30] ^= 1;
        assert_eq!(find(&NOTHING, &NOTHING), Found::Nothing);
        assert_eq!(find(&broken, &NOTHING), Found::Broken);
        assert_eq!(find(&broken, &broken), Found::Broken);
        assert_eq!(find(&NOTHING, &[7; LEN]), Found::Foreign);
        assert_eq!(find(b"\x7fELF", &NOTHING), Found::Foreign);
        // The next version, with its checksum.
        let mut later = whole;
        later[16] = 2;
        let sum = digest(&SHA256, &later[..SUMMED]);
        later[SUMMED..SUMMED + 32].copy_from_slice(sum.as_ref());
        assert_eq!(find(&whole, &later), Found::Later);
    }

    proptest! {
        /// However much of a copy was written over the one before the last, a header is found: this one or the last.
        #[test]
        fn a_torn_copy_leaves_the_one_before(
            generation in 2_u64..1 << 40,
            lengths in any::<[u64; 3]>(),
            written in 0..=LEN,
            from_the_end in any::<bool>(),
        ) {
            let [before, last, next] = lengths;
            let last = header(generation, last);
            let next = header(generation + 1, next);
            let mut torn = header(generation - 1, before).bytes();
            let part = if from_the_end { LEN - written..LEN } else { 0..written };
            torn[part.clone()].copy_from_slice(&next.bytes()[part]);
            let found = find(&torn, &last.bytes());
            prop_assert!(
                found == Found::Header(Place::Second, last)
                    || found == Found::Header(Place::First, next)
            );
        }

        #[test]
        fn any_bytes_are_a_header_or_none(
            first in proptest::collection::vec(any::<u8>(), 0..600),
            second in proptest::collection::vec(any::<u8>(), 0..600),
        ) {
            prop_assert!(!matches!(find(&first, &second), Found::Header(..) | Found::Later));
            let begun = [MAGIC.as_slice(), &first].concat();
            prop_assert_eq!(find(&begun, &second), Found::Broken);
        }
    }
}
