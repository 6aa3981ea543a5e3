//! What the report itself says, and the evidence around it.

use super::*;

/// How the report's own signature, version, layout and key are checked.
pub(super) fn rows_of_the_report() -> Vec<Row> {
    let version = |version, cured| {
        row(
            &format!("report version {version}"),
            Case::of(&Forged::vcek().report(old_or_new(version))),
            SnpError::ReportVersion {
                version: u32::from(version),
                minimum: 3,
                maximum: 5,
            },
            cured,
        )
    };
    let taking_2 = Case::of(&Forged::vcek().report(old_or_new(2)))
        .demanding(|trust| trust.minimum_version = 2);
    let claims_vlek = Forged::vcek().report(set(72, 1 << 2));
    let with_vlek = Forged::vlek().report(set(72, 1 << 2));
    let mut rows = vec![
        version(2, Some(taking_2)),
        version(6, None),
        row(
            "signature of the report",
            Case::of(&Forged::vcek().report_as_it_is(set(144, 1))),
            SnpError::ReportSignature,
            Case::of(&Forged::vcek().report(set(144, 1))),
        ),
        row(
            "kind of key that the report names",
            Case::of(&claims_vlek),
            SnpError::EndorsementKeyKind {
                reported: EndorsementKeyKind::Vlek,
                certificate: EndorsementKeyKind::Vcek,
            },
            Case::of(&with_vlek),
        ),
        row(
            "signature of a report that no key signed",
            Case::of(&Forged::vcek().report(set(72, 7 << 2))),
            SnpError::EndorsementKeyKind {
                reported: EndorsementKeyKind::None,
                certificate: EndorsementKeyKind::Vcek,
            },
            None,
        ),
        row(
            "signature algorithm",
            Case::of(&Forged::vcek().report(set(52, 2))),
            SnpError::Form(FormError::Malformed {
                what: "SNP report",
                reason: "its signature algorithm is 2, not 1".to_owned(),
            }),
            None,
        ),
    ];
    for vmpl in 1..=3 {
        let spoiled = Case::of(&Forged::vcek().report(set(48, vmpl)));
        let vmpl = u32::from(vmpl);
        rows.push(row("VMPL", spoiled, SnpError::Vmpl { vmpl }, None));
    }
    rows
}

/// A version without the fields that it has not.
fn old_or_new(version: u8) -> impl Fn(&mut [u8]) {
    move |report| {
        report[0] = version;
        if version == 2 {
            report[392..395].fill(0);
        }
    }
}

/// What the evidence has to bring.
pub(super) fn rows_of_the_evidence() -> Vec<Row> {
    let sound = || Case::of(&Forged::vcek());
    vec![
        row(
            "a certificate comes along",
            sound().json(|evidence| evidence["cert_chain"] = json!(null)),
            SnpError::NoEndorsement,
            sound(),
        ),
        row(
            "only one does",
            sound().json(|evidence| {
                let chain = evidence["cert_chain"].as_array_mut().unwrap();
                let twice = chain[0].clone();
                chain.push(twice);
            }),
            SnpError::SeveralEndorsements { count: 2 },
            sound(),
        ),
        row(
            "its label",
            sound().json(|evidence| evidence["cert_chain"][0]["cert_type"] = json!("VLEK")),
            unusable("VCEK", "it is labelled as a key of another kind"),
            sound().json(|evidence| evidence["cert_chain"][0]["cert_type"] = json!("VCEK")),
        ),
    ]
}
