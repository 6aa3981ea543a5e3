use std::sync::Arc;

use proplet_hal::init_data::DigestAlgorithm;
use proplet_hal::{
    detection::Detection,
    hardware::{HardwareKind, HardwareTee, Raw, Way, WayError},
    verify::TrustPolicy,
};
use proplet_settings::environment::Environment;
use proplet_settings::init_data::init_data;
use serde_json::{Value, json};

use super::*;
use crate::tee::Found;

/// A way that gives an unsigned report, or fails.
struct Fixed(&'static str, bool);

impl Way for Fixed {
    fn name(&self) -> &'static str {
        self.0
    }

    fn attempt(&self, data: &[u8; 64]) -> Result<Raw, WayError> {
        if !self.1 {
            return Err(WayError::TimedOut { seconds: 7 });
        }
        let mut evidence = vec![0; 1184];
        evidence[0] = 3;
        evidence[52] = 1;
        evidence[0x188] = 0x19;
        evidence[80..144].copy_from_slice(data);
        evidence[144..192].fill(0xab);
        evidence[192..224].fill(0xcd);
        Ok(Raw {
            evidence,
            ..Raw::default()
        })
    }
}

fn found(ways: &[(&'static str, bool)]) -> Found {
    let mut detection = Detection::default();
    detection.sev_guest = true;
    let ways = ways
        .iter()
        .map(|(name, works)| Box::new(Fixed(name, *works)) as Box<dyn Way>);
    let hardware = HardwareTee::with_ways(HardwareKind::Snp, ways.collect());
    Found {
        detection,
        hardware: Some(Arc::new(hardware)),
    }
}

fn settings(text: Option<&str>) -> Settings {
    Settings::parse(text, &Environment::default()).unwrap()
}

async fn report(found: &Found, settings: &Settings) -> (String, Value) {
    let report = Report::of(found, settings, Swap::None, None).await;
    (report.to_text(found), report.to_json(found))
}

#[tokio::test]
async fn each_way_is_tried_and_what_the_vm_is_made_of_is_told() {
    let found = found(&[("first", false), ("second", true)]);
    let document = init_data("", DigestAlgorithm::Sha256).unwrap();
    let (text, json) = report(&found, &settings(Some(document.text()))).await;
    assert!(text.contains("first: tee-busy after"), "{text}");
    assert!(text.contains("second: works"), "{text}");
    assert!(
        text.contains("MISSING: first: no answer within 7 s"),
        "{text}"
    );
    assert!(text.contains(&"ab".repeat(48)), "{text}");
    assert!(
        text.contains("digest of another init-data document"),
        "{text}"
    );
    assert!(text.ends_with("Encrypted tasks: attested by snp"), "{text}");
    assert_eq!(json["way"], "second");
    assert_eq!(json["ways"][0]["code"], "tee-busy");
    assert_eq!(json["ways"][1]["works"], true);
    assert_eq!(json["init_data"], "cd".repeat(32));
    assert_eq!(json["settings_bound"], false);
    assert_eq!(json["versions"]["report_version"], "3");
    assert!(json["versions"]["reported_tcb"].is_string());
}

#[tokio::test]
async fn without_a_way_that_works_tasks_are_refused() {
    let found = found(&[("first", false)]);
    let (text, json) = report(&found, &settings(None)).await;
    assert!(text.ends_with("refused until snp gives evidence"), "{text}");
    assert!(json["provider"].is_null() && json["way"].is_null());
    let none = Found {
        detection: Detection::default(),
        hardware: None,
    };
    let (text, json) = report(&none, &settings(None)).await;
    assert!(text.contains("docs/hardware.md"), "{text}");
    assert!(text.ends_with("refused, there is no TEE"), "{text}");
    assert_eq!(json["ways"], json!([]));
}

#[tokio::test]
async fn evidence_that_does_not_verify_is_a_failure() {
    let found = found(&[("first", true)]);
    let hardware = found.hardware.as_ref().unwrap();
    let context = Context::of_process();
    let policy = TrustPolicy::hardware().unwrap();
    let made = make(hardware, &policy, context.clock.now()).await.unwrap();
    let failure = made.failure.as_ref().unwrap();
    assert_eq!(failure.code, Code::NotVerified);
    assert_eq!((made.certificate.as_deref(), made.event_log), (None, None));
    let settings = settings(None);
    let report = Report::of(&found, &settings, Swap::None, Some(made)).await;
    let text = report.to_text(&found);
    assert!(
        text.contains("Evidence: the evidence was made and does not verify"),
        "{text}"
    );
    assert!(text.contains("MISSING: no certificate"), "{text}");
    assert!(text.contains("give --config"), "{text}");
    assert!(text.contains("with it: no certificate"), "{text}");
    let json = report.to_json(&found);
    assert_eq!(json["evidence"]["verified"], false);
    assert_eq!(json["evidence"]["code"], "not-verified");
    assert!(json["evidence"]["latency_ms"].is_number());
}

#[tokio::test]
async fn evidence_that_is_not_made_keeps_its_code() {
    let found = found(&[("first", false)]);
    let hardware = found.hardware.as_ref().unwrap();
    let policy = TrustPolicy::hardware().unwrap();
    let now = Context::of_process().clock.now();
    let made = make(hardware, &policy, now).await.unwrap();
    assert_eq!(made.failure.as_ref().unwrap().code, Code::TeeBusy);
    assert_eq!((&made.checked, &made.unchecked), (&Vec::new(), &Vec::new()));
}
