//! Where the certificate of the key that signs a machine's reports may come from, besides the report.

use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use rustix::fs::OFlags;
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser as _;
use thiserror::Error;
use x509_cert::der::Document;

use super::kinds::{EndorsementKeyKind, Generation, Tcb};

/// Larger than any endorsement certificate.
const MAX_FILE_LEN: u64 = 64 * 1024;
/// More files than a folder of certificates of one machine has.
const MAX_FILES: usize = 256;

/// The key whose certificate is looked for, as the report names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endorsement {
    /// Its kind.
    pub key: EndorsementKeyKind,
    /// The CPU's generation, when the report tells it.
    pub generation: Option<Generation>,
    /// The chip; zeros where the host masks it.
    pub chip_id: [u8; 64],
    /// The TCB that the key was derived for.
    pub tcb: Tcb,
}

impl Endorsement {
    /// The key that a report names.
    #[must_use]
    pub fn of(report: &[u8]) -> Option<Self> {
        let report = AttestationReport::from_bytes(report).ok()?;
        Some(Self {
            key: match report.key_info.signing_key() {
                0 => EndorsementKeyKind::Vcek,
                1 => EndorsementKeyKind::Vlek,
                _ => EndorsementKeyKind::None,
            },
            generation: report
                .cpuid_fam_id
                .zip(report.cpuid_mod_id)
                .and_then(|(family, model)| Generation::identify(family, model)),
            chip_id: report.chip_id,
            tcb: report.reported_tcb.into(),
        })
    }

    /// Path and query of the certificate at AMD's key distribution service, or at a mirror of it
    /// (AMD 57230, section 4.1). None for keys that the service does not know by chip: VLEKs, masked chips,
    /// and generations that it has no name for.
    #[must_use]
    pub fn kds_path(&self) -> Option<String> {
        let masked = self.chip_id.iter().all(|byte| *byte == 0);
        if self.key != EndorsementKeyKind::Vcek || masked {
            return None;
        }
        let product = match self.generation? {
            Generation::Milan => "Milan",
            Generation::Genoa => "Genoa",
            Generation::Turin => "Turin",
            Generation::Venice => return None,
        };
        let Tcb {
            fmc,
            bootloader,
            tee,
            snp,
            microcode,
        } = self.tcb;
        let levels = format!(
            "blSPL={bootloader:02}&teeSPL={tee:02}&snpSPL={snp:02}&ucodeSPL={microcode:02}"
        );
        let (id, levels) = match fmc {
            // From Turin on, an id has 8 bytes, and there is one more level.
            Some(fmc) => (self.chip_id.first_chunk::<8>().map(hex::encode)?, {
                format!("fmcSPL={fmc:02}&{levels}")
            }),
            None => (hex::encode(self.chip_id), levels),
        };
        Some(format!("/vcek/v1/{product}/{id}?{levels}"))
    }

    /// A name for the certificate's file, different for each key.
    #[must_use]
    pub fn file_name(&self) -> String {
        let Tcb {
            fmc,
            bootloader,
            tee,
            snp,
            microcode,
        } = self.tcb;
        let key = match self.key {
            EndorsementKeyKind::Vcek => "vcek",
            EndorsementKeyKind::Vlek => "vlek",
            EndorsementKeyKind::None => "none",
        };
        let fmc = fmc.map(|fmc| format!("{fmc}-")).unwrap_or_default();
        let id = hex::encode(self.chip_id);
        format!("{key}-{id}-{fmc}{bootloader}-{tee}-{snp}-{microcode}.der")
    }
}

/// Why a source gave no certificate.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("no endorsement certificate from {place}: {reason}")]
pub struct CertificateError {
    /// The folder or address.
    pub place: String,
    /// What failed, and what to do next.
    pub reason: String,
}

/// A place where endorsement certificates may be found. They are public, and whether one fits is decided by
/// the report's signature: a source is trusted with nothing.
#[async_trait]
pub trait CertificateSource: Send + Sync + 'static {
    /// Certificates (DER) at hand that may be the key's. None is no error.
    ///
    /// # Errors
    /// [`CertificateError`].
    async fn candidates(&self, wanted: &Endorsement) -> Result<Vec<Vec<u8>>, CertificateError>;

    /// A certificate from further away. Called when none at hand fits.
    ///
    /// # Errors
    /// [`CertificateError`].
    async fn fetch(&self, wanted: &Endorsement) -> Result<Option<Vec<u8>>, CertificateError> {
        let _ = wanted;
        Ok(None)
    }

    /// Keeps what was fetched at hand. Called with nothing but a certificate that a report verifies under, so
    /// that a stranger's bytes are not kept.
    async fn keep(&self, wanted: &Endorsement, certificate: &[u8]) {
        let _ = (wanted, certificate);
    }
}

/// A folder with certificates in DER or PEM, under any names.
#[derive(Debug, Clone)]
pub struct CertificateFolder(PathBuf);

impl CertificateFolder {
    /// The certificates in `folder`.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    fn error(&self, reason: impl fmt::Display) -> CertificateError {
        CertificateError {
            place: self.0.display().to_string(),
            reason: reason.to_string(),
        }
    }

    fn read(&self) -> Result<Vec<Vec<u8>>, CertificateError> {
        let entries = fs::read_dir(&self.0).map_err(|error| self.error(error))?;
        let mut certificates = Vec::new();
        for (number, entry) in entries.flatten().enumerate() {
            if number >= MAX_FILES {
                return Err(self.error(format!("it has more than {MAX_FILES} files")));
            }
            certificates.extend(certificate(&entry.path()));
        }
        Ok(certificates)
    }
}

#[async_trait]
impl CertificateSource for CertificateFolder {
    async fn candidates(&self, _wanted: &Endorsement) -> Result<Vec<Vec<u8>>, CertificateError> {
        let folder = self.clone();
        tokio::task::spawn_blocking(move || folder.read())
            .await
            .unwrap_or_else(|error| Err(self.error(error)))
    }
}

/// The certificate in a file; files that are none are passed over.
fn certificate(path: &Path) -> Option<Vec<u8>> {
    // Not to wait for the other end of a pipe.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_LEN).read_to_end(&mut bytes).ok()?;
    if !bytes.starts_with(b"-----") {
        return Some(bytes);
    }
    let text = std::str::from_utf8(&bytes).ok()?;
    let (label, document) = Document::from_pem(text).ok()?;
    (label == "CERTIFICATE").then(|| document.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn wanted(generation: Generation, fmc: Option<u8>) -> Endorsement {
        Endorsement {
            key: EndorsementKeyKind::Vcek,
            generation: Some(generation),
            chip_id: [0xab; 64],
            tcb: Tcb {
                fmc,
                bootloader: 3,
                tee: 0,
                snp: 8,
                microcode: 115,
            },
        }
    }

    #[test]
    fn paths_are_those_of_the_key_distribution_service() {
        let milan = wanted(Generation::Milan, None).kds_path().unwrap();
        let id = "ab".repeat(64);
        let query = "blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115";
        assert_eq!(milan, format!("/vcek/v1/Milan/{id}?{query}"));
        let turin = wanted(Generation::Turin, Some(1)).kds_path().unwrap();
        let id = "ab".repeat(8);
        assert_eq!(turin, format!("/vcek/v1/Turin/{id}?fmcSPL=01&{query}"));
        let [milan, turin] = [(Generation::Milan, None), (Generation::Turin, Some(1))]
            .map(|(generation, fmc)| wanted(generation, fmc).file_name());
        assert_ne!(milan, turin);
    }

    #[test]
    fn what_the_service_cannot_know_is_not_asked_for() {
        let milan = wanted(Generation::Milan, None);
        for unknown in [
            Endorsement {
                key: EndorsementKeyKind::Vlek,
                ..milan.clone()
            },
            Endorsement {
                chip_id: [0; 64],
                ..milan.clone()
            },
            Endorsement {
                generation: None,
                ..milan.clone()
            },
            wanted(Generation::Venice, None),
        ] {
            assert_eq!(unknown.kds_path(), None);
        }
    }

    #[tokio::test]
    async fn folders_hold_der_and_pem_and_other_things() {
        let folder = TempDir::new().unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
        write("a.der", b"\x30\x03\x02\x01\x07");
        write(
            "b.pem",
            b"-----BEGIN CERTIFICATE-----\nMAMCAQg=\n-----END CERTIFICATE-----\n",
        );
        write(
            "key.pem",
            b"-----BEGIN PRIVATE KEY-----\nMAMCAQg=\n-----END PRIVATE KEY-----\n",
        );
        fs::create_dir(folder.path().join("more")).unwrap();
        let source = CertificateFolder::new(folder.path().to_path_buf());
        let wanted = wanted(Generation::Milan, None);
        let mut found = source.candidates(&wanted).await.unwrap();
        found.sort();
        assert_eq!(found, [b"\x30\x03\x02\x01\x07", b"\x30\x03\x02\x01\x08"]);

        let missing = CertificateFolder::new(folder.path().join("missing"));
        let error = missing.candidates(&wanted).await.unwrap_err();
        assert!(error.to_string().contains("missing"), "{error}");
        for number in 0..=MAX_FILES {
            write(&number.to_string(), b"x");
        }
        assert!(source.candidates(&wanted).await.is_err());
    }
}
