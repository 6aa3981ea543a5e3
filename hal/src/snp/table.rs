//! The certificate table that an SNP host gives with a report.
//!
//! The table is the hypervisor's bytes: entries of 24 bytes (a GUID, an offset and a length), ended by one of
//! zeros, and the certificates somewhere behind. Offsets and lengths are checked against the table.
//!
//! Source: GHCB specification (AMD 56421), section 4.1.8.1.

use std::fmt;

use thiserror::Error;

use super::kinds::EndorsementKeyKind;

const ENTRY_LEN: usize = 24;
/// More than there are kinds of entries.
const MAX_ENTRIES: usize = 32;
/// Certificates have less than 2 KiB; revocation lists grow.
const MAX_ENTRY_BYTES: usize = 32 * 1024;

/// What an entry of the table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TableKind {
    /// Versioned chip endorsement key.
    Vcek,
    /// Versioned loaded endorsement key.
    Vlek,
    /// The key that signs VCEKs.
    Ask,
    /// AMD's root key.
    Ark,
    /// Revocation list.
    Crl,
    /// Anything else, for instance a cloud's own data.
    Other([u8; 16]),
}

impl TableKind {
    fn of(guid: [u8; 16]) -> Self {
        // As text: 63da758d-e664-4564-adc5-f4b93be8accd and so on.
        match u128::from_be_bytes(guid) {
            0x63da_758d_e664_4564_adc5_f4b9_3be8_accd => Self::Vcek,
            0xa807_4bc2_a25a_483e_aae6_39c0_45a0_b8a1 => Self::Vlek,
            0x4ab7_b379_bbac_4fe4_a02f_05ae_f327_c782 => Self::Ask,
            0xc0b4_06a4_a803_4952_9743_3fb6_014c_d0ae => Self::Ark,
            0x92f8_1bc3_5811_4d3d_97ff_d19f_88dc_67ea => Self::Crl,
            _ => Self::Other(guid),
        }
    }
}

impl fmt::Display for TableKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vcek => f.write_str("VCEK"),
            Self::Vlek => f.write_str("VLEK"),
            Self::Ask => f.write_str("ASK"),
            Self::Ark => f.write_str("ARK"),
            Self::Crl => f.write_str("CRL"),
            Self::Other(guid) => write!(f, "other ({})", hex::encode(guid)),
        }
    }
}

/// Why a table cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "the host's certificate table is malformed: {reason}; have the host's certificates installed anew"
)]
pub struct TableError {
    reason: String,
}

/// The certificates that the host gave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CertificateTable {
    entries: Vec<(TableKind, Vec<u8>)>,
}

impl CertificateTable {
    /// Reads a table. No bytes, and a table of zeros, hold no certificates.
    ///
    /// # Errors
    /// [`TableError`] when an entry lies outside the table, or there is no end.
    pub fn parse(table: &[u8]) -> Result<Self, TableError> {
        let mut entries = Vec::new();
        if table.is_empty() {
            return Ok(Self { entries });
        }
        let malformed = |reason: String| TableError { reason };
        for at in 0..=MAX_ENTRIES {
            let header = table
                .get(at * ENTRY_LEN..)
                .and_then(|rest| rest.first_chunk::<ENTRY_LEN>())
                .ok_or_else(|| malformed("it has no end".to_owned()))?;
            let Some((guid, place)) = header.split_first_chunk::<16>() else {
                break;
            };
            if *guid == [0; 16] {
                return Ok(Self { entries });
            }
            let [a, b, c, d, e, f, g, h] = *place else {
                break;
            };
            let kind = TableKind::of(*guid);
            let offset = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
            let len = usize::try_from(u32::from_le_bytes([e, f, g, h])).unwrap_or(usize::MAX);
            if len > MAX_ENTRY_BYTES {
                return Err(malformed(format!("its {kind} entry has {len} bytes")));
            }
            let bytes = table
                .get(offset..)
                .and_then(|rest| rest.get(..len))
                .ok_or_else(|| malformed(format!("its {kind} entry lies outside of it")))?;
            entries.push((kind, bytes.to_vec()));
        }
        Err(malformed("it has too many entries".to_owned()))
    }

    /// The kinds that are there.
    pub fn kinds(&self) -> impl Iterator<Item = TableKind> {
        self.entries.iter().map(|(kind, _)| *kind)
    }

    /// The certificate of the key that signs reports, when it is there.
    #[must_use]
    pub fn endorsement(&self, key: EndorsementKeyKind) -> Option<&[u8]> {
        let wanted = match key {
            EndorsementKeyKind::Vcek => TableKind::Vcek,
            EndorsementKeyKind::Vlek => TableKind::Vlek,
            EndorsementKeyKind::None => return None,
        };
        self.entries
            .iter()
            .find(|(kind, bytes)| *kind == wanted && !bytes.is_empty())
            .map(|(_, bytes)| bytes.as_slice())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) const VCEK: u128 = 0x63da_758d_e664_4564_adc5_f4b9_3be8_accd;
    const VLEK: u128 = 0xa807_4bc2_a25a_483e_aae6_39c0_45a0_b8a1;

    pub(crate) fn table(entries: &[(u128, &[u8])]) -> Vec<u8> {
        let mut offset = (entries.len() + 1) * ENTRY_LEN;
        let (mut head, mut data) = (Vec::new(), Vec::new());
        for (guid, bytes) in entries {
            head.extend(guid.to_be_bytes());
            head.extend(u32::try_from(offset).unwrap().to_le_bytes());
            head.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
            data.extend_from_slice(bytes);
            offset += bytes.len();
        }
        head.extend([0; ENTRY_LEN]);
        head.extend(data);
        head
    }

    #[test]
    fn entries_are_found_by_their_guid() {
        // The bytes that the crate `sev` has in its tests: ARK, ASK and VCEK.
        let guids = [
            (
                [
                    192, 180, 6, 164, 168, 3, 73, 82, 151, 67, 63, 182, 1, 76, 208, 174,
                ],
                TableKind::Ark,
            ),
            (
                [
                    74, 183, 179, 121, 187, 172, 79, 228, 160, 47, 5, 174, 243, 39, 199, 130,
                ],
                TableKind::Ask,
            ),
            (
                [
                    99, 218, 117, 141, 230, 100, 69, 100, 173, 197, 244, 185, 59, 232, 172, 205,
                ],
                TableKind::Vcek,
            ),
        ];
        for (guid, kind) in guids {
            assert_eq!(TableKind::of(guid), kind);
        }
        let bytes = table(&[(VCEK, b"vcek"), (VLEK, b"vlek"), (1, b"else"), (VCEK, b"2")]);
        let table = CertificateTable::parse(&bytes).unwrap();
        assert_eq!(
            table.endorsement(EndorsementKeyKind::Vcek),
            Some(&b"vcek"[..])
        );
        assert_eq!(
            table.endorsement(EndorsementKeyKind::Vlek),
            Some(&b"vlek"[..])
        );
        assert_eq!(table.endorsement(EndorsementKeyKind::None), None);
        let kinds: Vec<_> = table.kinds().map(|kind| kind.to_string()).collect();
        assert_eq!(kinds[..2], ["VCEK", "VLEK"]);
        assert!(kinds[2].starts_with("other (0000"));
    }

    #[test]
    fn hosts_without_certificates_have_empty_tables() {
        for empty in [&[][..], &[0; 24], &[0; 4096]] {
            let table = CertificateTable::parse(empty).unwrap();
            assert_eq!(table, CertificateTable::default());
            assert_eq!(table.endorsement(EndorsementKeyKind::Vcek), None);
        }
        let nothing = CertificateTable::parse(&table(&[(VCEK, b"")])).unwrap();
        assert_eq!(nothing.endorsement(EndorsementKeyKind::Vcek), None);
    }

    #[test]
    fn entries_outside_of_the_table_are_refused() {
        let good = table(&[(VCEK, b"vcek")]);
        let with = |at: usize, value: u32| {
            let mut bytes = good.clone();
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            CertificateTable::parse(&bytes).unwrap_err().to_string()
        };
        let end = u32::try_from(good.len()).unwrap();
        for offset in [end - 3, end, end + 1, u32::MAX] {
            assert!(with(16, offset).contains("outside"), "{offset}");
        }
        for len in [5, 32 * 1024] {
            assert!(with(20, len).contains("outside"), "{len}");
        }
        for len in [32 * 1024 + 1, u32::MAX] {
            assert!(with(20, len).contains("bytes"), "{len}");
        }
        let mut endless = good[..24].to_vec();
        endless[16..24].copy_from_slice(&[0, 0, 0, 0, 4, 0, 0, 0]);
        let cut = CertificateTable::parse(&endless).unwrap_err();
        assert!(cut.to_string().contains("no end"), "{cut}");
        let long = vec![1; (MAX_ENTRIES + 2) * ENTRY_LEN];
        assert!(CertificateTable::parse(&long).is_err());
        let many: Vec<(u128, &[u8])> = vec![(1, b"x"); MAX_ENTRIES + 1];
        let many = CertificateTable::parse(&table(&many)).unwrap_err();
        assert!(many.to_string().contains("too many"), "{many}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_within_their_bounds(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            guids in proptest::collection::vec((0_u128..3, 0_u32..300, 0_u32..300), 0..6),
        ) {
            let _ = CertificateTable::parse(&bytes);
            let mut table: Vec<u8> = Vec::new();
            for (guid, offset, len) in guids {
                table.extend(guid.to_be_bytes());
                table.extend(offset.to_le_bytes());
                table.extend(len.to_le_bytes());
            }
            table.extend(&bytes);
            if let Ok(parsed) = CertificateTable::parse(&table) {
                for (_, entry) in &parsed.entries {
                    let inside = entry.is_empty() || table.windows(entry.len()).any(|w| w == entry);
                    prop_assert!(inside);
                }
            }
        }

        #[test]
        fn what_was_written_is_read(entries in proptest::collection::vec((1_u128.., proptest::collection::vec(any::<u8>(), 0..40)), 0..8)) {
            let written: Vec<(u128, &[u8])> = entries.iter().map(|(guid, bytes)| (*guid, &bytes[..])).collect();
            let parsed = CertificateTable::parse(&table(&written)).unwrap();
            prop_assert_eq!(parsed.entries.len(), entries.len());
            for ((kind, bytes), (guid, expected)) in parsed.entries.iter().zip(&entries) {
                prop_assert_eq!(*kind, TableKind::of(guid.to_be_bytes()));
                prop_assert_eq!(bytes, expected);
            }
        }
    }
}
