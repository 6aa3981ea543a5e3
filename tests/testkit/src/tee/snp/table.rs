//! The certificate table that a host gives with a report (GHCB specification, section 4.1.8.1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proplet_hal::snp::EndorsementKeyKind;
use uuid::{Uuid, uuid};

use crate::tee::trust::TEST_ROOTS_PEM;

const ARK: Uuid = uuid!("c0b406a4-a803-4952-9743-3fb6014cd0ae");
const ASK: Uuid = uuid!("4ab7b379-bbac-4fe4-a02f-05aef327c782");
const VCEK: Uuid = uuid!("63da758d-e664-4564-adc5-f4b93be8accd");
const VLEK: Uuid = uuid!("a8074bc2-a25a-483e-aae6-39c045a0b8a1");
/// GUID, offset and length.
const ENTRY_LEN: usize = 24;

/// A table of these certificates: entries, one of zeros, and the certificates.
pub(super) fn table(certificates: &[(Uuid, &[u8])]) -> Vec<u8> {
    let mut offset = ENTRY_LEN * (certificates.len() + 1);
    let mut table = Vec::new();
    for (guid, certificate) in certificates {
        table.extend(guid.as_bytes());
        for number in [offset, certificate.len()] {
            table.extend(u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
        }
        offset += certificate.len();
    }
    table.extend([0; ENTRY_LEN]);
    for (_, certificate) in certificates {
        table.extend(*certificate);
    }
    table
}

/// The test PKI's certificates with this endorsement.
pub(super) fn of_test_pki(kind: EndorsementKeyKind, endorsement: &[u8]) -> Vec<u8> {
    let roots = pem_certificates(TEST_ROOTS_PEM);
    let mut certificates = vec![(
        match kind {
            EndorsementKeyKind::Vlek => VLEK,
            _ => VCEK,
        },
        endorsement,
    )];
    certificates.extend([ARK, ASK].into_iter().zip(roots.iter().map(Vec::as_slice)));
    table(&certificates)
}

fn pem_certificates(pem: &str) -> Vec<Vec<u8>> {
    let blocks = pem.split("-----END CERTIFICATE-----");
    let base64 = blocks.map(|block| {
        let lines = block.lines().filter(|line| !line.starts_with("-----"));
        lines.collect::<String>()
    });
    base64
        .filter(|text| !text.is_empty())
        .filter_map(|text| STANDARD.decode(text).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use sev::firmware::host::{CertTableEntry, CertType};

    use super::*;

    #[test]
    fn the_crate_sev_reads_the_table() {
        let mut bytes = of_test_pki(EndorsementKeyKind::Vcek, b"endorsement");
        let mut entries = CertTableEntry::vec_bytes_to_cert_table(&mut bytes).unwrap();
        entries.sort_by_key(|entry| entry.data().len());
        assert_eq!(entries.len(), 3);
        assert_eq!(entries[0].cert_type, CertType::VCEK);
        assert_eq!(entries[0].data(), b"endorsement");
        assert!(entries[1].data().starts_with(&[0x30, 0x82]));
    }
}
