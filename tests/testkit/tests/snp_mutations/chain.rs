//! The certificates above the key that signed the report.

use super::*;

/// How the chain is checked: issuers, signatures, times, the roots' generation.
pub(super) fn rows_of_the_chain() -> Vec<Row> {
    let renamed = Forged::vcek().certificate(Signer::Ask, |vcek| vcek.issuer = name("SEV-Other"));
    let renamed_roots = Forged::vcek().ask(|ask| ask.subject = name("SEV-Other"));
    let by_ark = Forged::vcek().certificate(Signer::Ark, |_| ());
    let ark_key = |forged: Forged| {
        let mut key = None;
        let forged = forged.ark(|ark| key = Some(ark.subject_public_key_info.clone()));
        forged.ask(|ask| ask.subject_public_key_info = key.unwrap())
    };
    // Whoever renames an ARK renames its issuer too, which is itself.
    let of_product = |product: &str| {
        let ark = name(&format!("ARK-{product}"));
        Forged::vcek().ark(move |certificate| {
            certificate.issuer = ark.clone();
            certificate.subject = ark;
        })
    };
    let until = |days: u32| {
        let end = now() + days * DAY;
        move |certificate: &mut x509_cert::certificate::TbsCertificate| {
            certificate.validity.not_after = time(end);
        }
    };
    let time_of = |what, state| SnpError::CertificateTime { what, state };
    let vcek = Forged::vcek().certificate(Signer::Ask, until(1));
    let vlek = Forged::vlek().certificate(Signer::Ask, until(1));
    let young = Forged::vcek().certificate(Signer::Ask, |vcek| {
        vcek.validity.not_before = time(now() + DAY);
    });
    let ask = Forged::vcek().ask(until(1));
    let ark = Forged::vcek().ark(until(1));
    let late = now() + 2 * DAY;
    let mut rows = vec![
        row(
            "issuer among the pinned intermediates",
            Case::of(&renamed),
            SnpError::UnknownIssuer {
                certificate: EndorsementKeyKind::Vcek,
            },
            Case::of(&renamed).under(&renamed_roots),
        ),
        row(
            "a pinned ASVK issues no VCEK",
            Case::of(
                &Forged::vcek()
                    .ask(|ask| ask.subject = name("SEV-VLEK-Test"))
                    .certificate(Signer::Ask, |vcek| vcek.issuer = name("SEV-VLEK-Test")),
            ),
            SnpError::UnknownIssuer {
                certificate: EndorsementKeyKind::Vcek,
            },
            Case::of(
                &Forged::vlek()
                    .ask(|ask| ask.subject = name("SEV-VLEK-Test"))
                    .certificate(Signer::Ask, |vlek| vlek.issuer = name("SEV-VLEK-Test")),
            ),
        ),
        row(
            "signature of the endorsement key's certificate",
            Case::of(&by_ark),
            SnpError::CertificateSignature { what: "VCEK" },
            Case::of(&by_ark).under(&ark_key(Forged::vcek())),
        ),
        row(
            "algorithm of that signature",
            Case::of(&Forged::vcek().certificate_as_it_is(|vcek| {
                vcek.signature_algorithm.parameters = None;
            })),
            SnpError::Certificate {
                what: "VCEK",
                reason: "it is not signed with RSASSA-PSS",
            },
            None,
        ),
        row(
            "generation of the root",
            Case::of(&of_product("Milan")),
            SnpError::Generation,
            Case::of(&of_product("Genoa")),
        ),
    ];
    for (what, forged) in [
        ("VCEK", &vcek),
        ("VLEK", &vlek),
        ("ASK", &ask),
        ("ARK", &ark),
    ] {
        rows.push(row(
            &format!("end of the {what}'s validity"),
            Case::of(forged).at(late),
            time_of(what, "expired"),
            Case::of(forged),
        ));
    }
    rows.push(row(
        "begin of the VCEK's validity",
        Case::of(&young),
        time_of("VCEK", "not yet valid"),
        Case::of(&young).at(late),
    ));
    rows
}
