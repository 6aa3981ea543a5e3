//! The certificate of the key that signed the report.

use super::*;

/// How the certificate is held against the report: TCB, chip, key.
pub(super) fn rows_of_the_endorsement() -> Vec<Row> {
    let components = [
        ("bootloader", 384, "1.3.6.1.4.1.3704.1.3.1", 4),
        ("tee", 385, "1.3.6.1.4.1.3704.1.3.2", 1),
        ("snp", 390, "1.3.6.1.4.1.3704.1.3.3", 24),
        ("microcode", 391, "1.3.6.1.4.1.3704.1.3.8", 219),
    ];
    let mut rows = Vec::new();
    for (component, at, oid, certified) in components {
        let newer = || Forged::vcek().report(set(at, certified + 1));
        rows.push(row(
            &format!("TCB {component} of the certificate"),
            Case::of(&newer()),
            SnpError::Tcb {
                component,
                reported: certified + 1,
                certified,
            },
            Case::of(&newer().certificate(Signer::Ask, |vcek| {
                set_extension(vcek, oid, Some(&der_integer(certified + 1)));
            })),
        ));
        let unnamed =
            Forged::vcek().certificate(Signer::Ask, |vcek| set_extension(vcek, oid, None));
        rows.push(row(
            &format!("presence of the TCB {component} in the certificate"),
            Case::of(&unnamed),
            unusable("VCEK", "it does not name its whole TCB"),
            None,
        ));
    }
    let newer_fmc = || Forged::turin().report(set(384, 2));
    rows.push(row(
        "TCB fmc of the certificate",
        Case::of(&newer_fmc()),
        SnpError::Tcb {
            component: "fmc",
            reported: 2,
            certified: 1,
        },
        Case::of(&newer_fmc().certificate(Signer::Ask, |vcek| {
            set_extension(vcek, "1.3.6.1.4.1.3704.1.3.9", Some(&der_integer(2)));
        })),
    ));
    const HARDWARE_ID: &str = "1.3.6.1.4.1.3704.1.4";
    let other_chip = || Forged::vcek().report(|report| report[416..480].fill(9));
    let hardware_id = |forged: Forged, id: Option<&[u8]>| {
        Case::of(&forged.certificate(Signer::Ask, |certificate| {
            set_extension(certificate, HARDWARE_ID, id);
        }))
    };
    rows.extend([
        row(
            "chip of the certificate",
            Case::of(&other_chip()),
            SnpError::ChipId,
            hardware_id(other_chip(), Some(&[9; 64])),
        ),
        row(
            "chip of the certificate, masked by the host",
            Case::of(&Forged::vcek().report(|report| report[416..480].fill(0))),
            SnpError::ChipId,
            None,
        ),
        row(
            "a VCEK names its chip",
            hardware_id(Forged::vcek(), None),
            unusable("VCEK", "it names no chip"),
            None,
        ),
        row(
            "a VLEK names no chip",
            hardware_id(Forged::vlek(), Some(&[9; 64])),
            unusable("VLEK", "it names a chip"),
            hardware_id(Forged::vlek(), None),
        ),
        row(
            "curve of the endorsement key",
            Case::of(&Forged::vcek().certificate(Signer::Ask, |vcek| {
                let p256 = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
                let key = &mut vcek.subject_public_key_info;
                let p256 = p256.to_der().unwrap();
                key.algorithm.parameters = Some(x509_cert::der::Any::from_der(&p256).unwrap());
            })),
            unusable("VCEK", "its key is not on P-384"),
            None,
        ),
        row(
            "name of the endorsement key",
            Case::of(&Forged::vcek().certificate(Signer::Ask, |vcek| {
                vcek.subject = name("SEV-VCEK-TOO");
            })),
            unusable(
                "endorsement",
                "its subject is neither SEV-VCEK nor SEV-VLEK",
            ),
            None,
        ),
        row(
            "the same extension twice",
            Case::of(&Forged::vcek().certificate(Signer::Ask, |vcek| {
                let extensions = vcek.extensions.as_mut().unwrap();
                let chip = ObjectIdentifier::new_unwrap(HARDWARE_ID);
                let of_chip = |extension: &&Extension| extension.extn_id == chip;
                let twice = extensions.iter().find(of_chip).unwrap().clone();
                extensions.push(twice);
            })),
            unusable("VCEK", "it has the same extension twice"),
            None,
        ),
    ]);
    rows
}

fn der_integer(value: u8) -> Vec<u8> {
    match value {
        0..128 => vec![2, 1, value],
        _ => vec![2, 2, 0, value],
    }
}
