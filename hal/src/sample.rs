//! The sample TEE of Confidential Containers.
//!
//! Its evidence is read, not verified, because there is nothing to verify: anybody can write it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::{FormError, ReportData};

/// `{"svn":"1","report_data":base64}`.
#[derive(Deserialize)]
struct SampleEvidence<'a> {
    /// Always text, and its value says nothing; it is demanded because the form has it.
    #[serde(rename = "svn")]
    _svn: &'a str,
    report_data: &'a str,
}

/// Takes the report data out of sample evidence.
pub(crate) fn report_data(evidence: &serde_json::Value) -> Result<Vec<u8>, FormError> {
    let sample = SampleEvidence::deserialize(evidence)
        .map_err(|error| FormError::malformed("sample evidence", error))?;
    let limit = 4 * ReportData::MAX_LEN.div_ceil(3);
    FormError::check_size("report_data", sample.report_data.len(), limit)?;
    let report_data = STANDARD
        .decode(sample.report_data)
        .map_err(|error| FormError::malformed("report_data", error))?;
    ReportData::new(&report_data).map_err(|error| FormError::malformed("report_data", error))?;
    Ok(report_data)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn report_data_is_read() {
        let evidence = json!({"svn": "1", "report_data": STANDARD.encode([9; 48])});
        assert_eq!(report_data(&evidence).unwrap(), [9; 48]);
    }

    #[test]
    fn malformed_sample_evidence_is_refused() {
        for value in [
            json!(null),
            json!({"svn": "1"}),
            json!({"svn": 1, "report_data": "AAAA"}),
            json!({"svn": "1", "report_data": "AAA"}),
            json!({"svn": "1", "report_data": "_-_-"}),
            json!({"svn": "1", "report_data": ""}),
        ] {
            let refused = report_data(&value);
            assert!(
                matches!(refused, Err(FormError::Malformed { .. })),
                "{value}: {refused:?}"
            );
        }
        let long = json!({"svn": "1", "report_data": STANDARD.encode([0; 67])});
        assert!(matches!(
            report_data(&long),
            Err(FormError::TooLarge { limit: 88, .. })
        ));
    }

    proptest! {
        #[test]
        fn any_report_data_text_is_refused_or_round_trips(text in ".{0,100}") {
            let sample = json!({"svn": "1", "report_data": text});
            if let Ok(read) = report_data(&sample) {
                prop_assert_eq!(STANDARD.encode(read), text);
            }
        }
    }
}
