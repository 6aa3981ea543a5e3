//! The bytes that a caller has a TEE sign.

use thiserror::Error;

/// Caller-chosen bytes for a TEE to sign, 1 to 64 of them: a digest as a rule.
///
/// SNP and TDX have a field of exactly 64 bytes: shorter data goes in padded with zeros at the end
/// ([`ReportData::padded`]), as the Trustee verifiers expect. The `sample` TEE carries the bytes
/// unpadded.
#[derive(Clone, PartialEq, Eq)]
pub struct ReportData(Vec<u8>);

impl ReportData {
    /// The most bytes that report data can hold: the size of REPORT_DATA (SNP) and REPORTDATA (TDX).
    pub const MAX_LEN: usize = 64;

    /// Takes 1 to 64 bytes.
    ///
    /// # Errors
    /// [`ReportDataError`] when `bytes` is empty or longer than 64.
    pub fn new(bytes: &[u8]) -> Result<Self, ReportDataError> {
        if bytes.is_empty() || bytes.len() > Self::MAX_LEN {
            return Err(ReportDataError { len: bytes.len() });
        }
        Ok(Self(bytes.to_vec()))
    }

    /// The bytes as given, without padding.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes followed by zeros, 64 in all.
    pub fn padded(&self) -> [u8; Self::MAX_LEN] {
        let mut padded = [0; Self::MAX_LEN];
        for (to, from) in padded.iter_mut().zip(&self.0) {
            *to = *from;
        }
        padded
    }
}

impl std::fmt::Debug for ReportData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReportData({})", hex::encode(&self.0))
    }
}

impl From<[u8; ReportData::MAX_LEN]> for ReportData {
    fn from(bytes: [u8; ReportData::MAX_LEN]) -> Self {
        Self(bytes.to_vec())
    }
}

/// Report data of an impossible length.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("report data has {len} bytes, a TEE signs 1 to 64: pass a digest such as SHA-512")]
pub struct ReportDataError {
    /// The length that was given.
    pub len: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_1_to_64_are_accepted_and_padded_at_the_end() {
        for len in 1..=64 {
            let data = ReportData::new(&vec![7; len]).unwrap();
            assert_eq!(data.as_bytes().len(), len);
            let padded = data.padded();
            assert!(padded[..len].iter().all(|b| *b == 7));
            assert!(padded[len..].iter().all(|b| *b == 0));
        }
    }

    #[test]
    fn empty_and_too_long_data_are_refused() {
        assert_eq!(ReportData::new(&[]), Err(ReportDataError { len: 0 }));
        assert_eq!(ReportData::new(&[0; 65]), Err(ReportDataError { len: 65 }));
    }
}
