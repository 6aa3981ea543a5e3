//! What the fake gives, by its form.

mod verifier;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proplet_hal::tdx::Quote;
use proplet_hal::{EvidenceError, ReportData, TeeName, TeeProvider as _};

use super::*;

const DATA: [u8; 64] = [0xab; 64];

#[test]
fn what_it_is_told_to_report_stands_in_every_form() {
    let log = EventLog::of_a_boot().aael("domain", "operation", "content");
    for form in QuoteForm::ALL {
        let tee = FakeTdx::builder()
            .form(form)
            .measurement([1; 48])
            .mr_config_id([2; 48])
            .mr_owner([3; 48])
            .mr_owner_config([4; 48])
            .module([5; 48], [6; 48])
            .mr_service_td([7; 48])
            .event_log(log.clone())
            .xfam(0x2e7)
            .padding(32)
            .build();
        let quote = Quote::parse(&tee.quote(&DATA)).unwrap();
        let report = quote.report;
        assert_eq!(report.report_data, DATA);
        assert_eq!(
            (report.mr_td, report.mr_config_id, report.mr_owner),
            ([1; 48], [2; 48], [3; 48])
        );
        assert_eq!(
            (
                report.mr_owner_config,
                report.mr_seam,
                report.mr_signer_seam
            ),
            ([4; 48], [5; 48], [6; 48])
        );
        assert_eq!((report.rtmrs, report.xfam), (log.rtmrs(), 0x2e7));
        let later = matches!(form, QuoteForm::V5Td15 | QuoteForm::V5Td15Extended);
        assert_eq!(report.mr_service_td, later.then_some([7; 48]), "{form:?}");
        assert_eq!(quote.version, if form == QuoteForm::V4 { 4 } else { 5 });
        assert!(quote.pck_chain.ends_with(ROOT_PEM));
        assert_eq!(tee.event_log(), Some(&log.trimmed()[..]));
    }
}

#[test]
fn a_td_report_becomes_the_same_quote() {
    let tee = FakeTdx::builder()
        .form(QuoteForm::V5Td15)
        .mr_config_id([5; 48])
        .build();
    let report = tee.td_report(&DATA);
    assert_eq!(report.len(), TD_REPORT_LEN);
    assert_eq!((report[128], report[512 + 64]), (0xab, 5));
    let quote = tee.quote_of(&report).unwrap();
    let signed = 48 + 6 + 648;
    assert_eq!(quote[..signed], tee.quote(&DATA)[..signed]);
    assert_eq!(Quote::parse(&quote).unwrap().report.report_data, DATA);

    let mut forged = report;
    forged[128] ^= 1;
    assert_eq!(tee.quote_of(&forged), None);
    assert_eq!(tee.quote_of(&report[..1023]), None);
}

#[tokio::test]
async fn its_evidence_has_trustees_form() {
    let tee = FakeTdx::builder().init_data(&[7; 32]).build();
    let data = ReportData::new(&[3; 48]).unwrap();
    let evidence = tee.evidence(&data).await.unwrap();
    assert_eq!(evidence.tee, TeeName::TDX);
    assert!(evidence.evidence["cc_eventlog"].is_null());
    let quote = STANDARD
        .decode(evidence.evidence["quote"].as_str().unwrap())
        .unwrap();
    assert_eq!(quote[568..568 + 64], data.padded());
    assert_eq!(
        tee.init_data().await.unwrap().unwrap()[..33],
        [[7; 32].as_slice(), &[0]].concat()
    );
    assert_eq!(
        (tee.attester(), tee.is_hardware(), tee.tee()),
        ("fake-tdx", false, TeeName::TDX)
    );

    let logged = FakeTdx::builder().event_log(EventLog::of_a_boot()).build();
    let evidence = logged.evidence(&data).await.unwrap();
    assert_eq!(
        evidence.evidence["cc_eventlog"],
        STANDARD.encode(EventLog::of_a_boot().trimmed())
    );
    assert_eq!(logged.init_data().await, Ok(None));
}

#[tokio::test]
async fn it_fails_as_told_and_counts_that_too() {
    let busy = EvidenceError::Busy { tee: TeeName::TDX };
    let tee = FakeTdx::builder().failing(busy.clone()).build();
    let data = ReportData::new(&[3; 48]).unwrap();
    assert_eq!(tee.evidence(&data).await, Err(busy));
    assert_eq!(tee.evidence_calls(), 1);
}
