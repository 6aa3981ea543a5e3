//! Sample evidence: read, not verified, because there is nothing to verify.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::verify::{Anchor, Verified, VerifyError};
use crate::{ReportData, TeeName};

/// `{"svn":"1","report_data":base64}`.
#[derive(Deserialize)]
struct SampleEvidence<'a> {
    /// Always text, and its value says nothing; it is demanded because the form has it.
    #[serde(rename = "svn")]
    _svn: &'a str,
    report_data: &'a str,
}

/// Takes the report data out of sample evidence. Only for policies that accept it.
pub(crate) fn verify(evidence: &serde_json::Value) -> Result<Verified, VerifyError> {
    let sample = SampleEvidence::deserialize(evidence)
        .map_err(|error| VerifyError::malformed("sample evidence", error))?;
    let limit = 4 * ReportData::MAX_LEN.div_ceil(3);
    if sample.report_data.len() > limit {
        let size = sample.report_data.len();
        return Err(VerifyError::TooLarge {
            what: "report_data",
            size,
            limit,
        });
    }
    let report_data = STANDARD
        .decode(sample.report_data)
        .map_err(|error| VerifyError::malformed("report_data", error))?;
    ReportData::new(&report_data).map_err(|error| VerifyError::malformed("report_data", error))?;
    Ok(Verified {
        tee: TeeName::SAMPLE,
        anchor: Anchor::Nothing,
        report_data,
        measurement: Vec::new(),
        init_data: None,
        debug: false,
        migratable: false,
        snp: None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::Evidence;
    use crate::verify::{TrustPolicy, verify};

    fn evidence(evidence: Value) -> Evidence {
        Evidence {
            tee: TeeName::SAMPLE,
            evidence,
        }
    }

    fn lenient() -> TrustPolicy {
        TrustPolicy::hardware()
            .unwrap()
            .accepting_sample_evidence_that_proves_nothing()
    }

    #[test]
    fn sample_evidence_is_refused_unless_accepted_in_so_many_words() {
        let sample = evidence(json!({"svn": "1", "report_data": STANDARD.encode([9; 48])}));
        let strict = TrustPolicy::hardware().unwrap();
        let now = SystemTime::UNIX_EPOCH;
        assert_eq!(
            verify(&sample, &strict, now),
            Err(VerifyError::SampleRefused)
        );

        let verified = verify(&sample, &lenient(), now).unwrap();
        assert_eq!(verified.anchor, Anchor::Nothing);
        assert!(verified.binds(&ReportData::new(&[9; 48]).unwrap()));
        assert!(!verified.binds(&ReportData::new(&[9; 49]).unwrap()));
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
            let refused = verify(&evidence(value.clone()), &lenient(), SystemTime::UNIX_EPOCH);
            assert!(
                matches!(refused, Err(VerifyError::Malformed { .. })),
                "{value}: {refused:?}"
            );
        }
        let long = evidence(json!({"svn": "1", "report_data": STANDARD.encode([0; 67])}));
        assert!(matches!(
            verify(&long, &lenient(), SystemTime::UNIX_EPOCH),
            Err(VerifyError::TooLarge { limit: 88, .. })
        ));
    }

    proptest! {
        #[test]
        fn any_report_data_text_is_refused_or_round_trips(text in ".{0,100}") {
            let sample = evidence(json!({"svn": "1", "report_data": text}));
            if let Ok(verified) = verify(&sample, &lenient(), SystemTime::UNIX_EPOCH) {
                prop_assert_eq!(STANDARD.encode(verified.report_data), text);
            }
        }
    }
}
