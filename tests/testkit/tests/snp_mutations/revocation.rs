//! Revocation, and which lists are taken.

use super::*;

/// Revocation, with lists that a verifier takes.
pub(super) fn rows_of_revocation() -> Vec<Row> {
    let sound = || Case::of(&Forged::vcek());
    let list = RevocationList::empty(now());
    // Another root of the same key: lists of the one say nothing about the other.
    let other = Forged::vcek().ark(|ark| ark.validity.not_after = time(now() + 99 * DAY));
    let of_other_root = list.verified(&other.roots().unwrap()).unwrap();
    let revoked = |certificate: &str| SnpError::Revoked {
        certificate: certificate.to_owned(),
        since: "2024-01-01T00:00:00Z".to_owned(),
    };
    let another = list.clone().revoking_another();
    vec![
        row(
            "revocation of the ASK",
            sound().revoking(&list.clone().revoking(Signer::Ask)),
            revoked("SEV-Test"),
            sound().revoking(&another),
        ),
        row(
            "revocation of the ARK",
            sound().revoking(&list.clone().revoking(Signer::Ark)),
            revoked("ARK-Test"),
            sound().revoking(&another),
        ),
        row(
            "revocation of the ASK before anybody knew",
            sound().revoking(&RevocationList::empty(now() + DAY).revoking(Signer::Ask)),
            SnpError::Revoked {
                certificate: "SEV-Test".to_owned(),
                since: "2024-01-02T00:00:00Z".to_owned(),
            },
            sound().revoking(&RevocationList::empty(now() + DAY)),
        ),
        row(
            "age of the revocation list",
            sound().revoking(&list).at(now() + 11 * DAY),
            SnpError::RevocationListExpired {
                root: "ARK-Test".to_owned(),
                until: "2024-01-11T00:00:00Z".to_owned(),
            },
            sound().revoking(&list).at(now() + 10 * DAY),
        ),
        row(
            "end of the revocation list",
            sound().revoking(&list.clone().with(|list| list.next_update = None)),
            unusable("revocation list", "it does not say until when it is good"),
            sound().revoking(&list),
        ),
        row(
            "a revocation list of this root",
            sound().demanding(|trust| trust.revocation = Some(of_other_root)),
            SnpError::NoRevocationList {
                root: "ARK-Test".to_owned(),
            },
            sound().revoking(&list),
        ),
    ]
}

/// Lists that are refused when they are read, before any evidence is looked at.
pub(super) fn lists_that_are_not_taken() -> impl Iterator<Item = (RevocationList, SnpError)> {
    let list = RevocationList::empty(now());
    let critical = Extension {
        extn_id: ObjectIdentifier::new_unwrap("2.5.29.28"),
        critical: true,
        extn_value: OctetString::new(vec![0x30, 0]).unwrap(),
    };
    let unknown = unusable(
        "revocation list",
        "it has a critical extension that is not known",
    );
    let in_list = critical.clone();
    [
        (
            list.clone().with(|list| list.issuer = name("ARK-Other")),
            SnpError::RevocationListIssuer,
        ),
        (
            list.clone().signed_by(Signer::Ask),
            SnpError::CertificateSignature {
                what: "revocation list",
            },
        ),
        (
            // sha384WithRSAEncryption, the older scheme.
            list.clone().with(|list| {
                list.signature.oid = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
            }),
            unusable("revocation list", "it is not signed with RSASSA-PSS"),
        ),
        (
            list.clone()
                .with(|list| list.crl_extensions = Some(vec![in_list])),
            unknown.clone(),
        ),
        (
            list.revoking_another().with(|list| {
                let entries = list.revoked_certificates.as_mut().unwrap();
                entries[0].crl_entry_extensions = Some(vec![critical]);
            }),
            unknown,
        ),
    ]
    .into_iter()
}

#[test]
fn lists_of_others_and_lists_that_are_not_understood_are_not_taken() {
    let roots = Forged::vcek().roots().unwrap();
    for (list, refusal) in lists_that_are_not_taken() {
        assert_eq!(list.verified(&roots).map(|_| ()), Err(refusal));
    }
}

#[test]
fn lists_are_read_as_der_and_as_pem_with_several() {
    use base64::Engine as _;
    let roots = Forged::vcek().roots().unwrap();
    let pem = |list: &RevocationList| {
        let base64 = base64::engine::general_purpose::STANDARD.encode(list.der());
        let lines: Vec<&str> = base64
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect();
        format!(
            "-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n",
            lines.join("\n")
        )
    };
    let sound = RevocationList::empty(now());
    let both = [pem(&sound), pem(&sound.revoking(Signer::Ask))].concat();
    let mut lists = proplet_hal::snp::RevocationLists::default();
    lists.add(both.as_bytes(), &roots).unwrap();
    let refused = Case::of(&Forged::vcek())
        .demanding(|trust| trust.revocation = Some(lists))
        .judge();
    assert!(
        matches!(refused, Err(SnpError::Revoked { .. })),
        "{refused:?}"
    );
}

#[test]
fn one_flipped_bit_anywhere_in_a_list_is_refused_or_changes_nothing() {
    let roots = Forged::vcek().roots().unwrap();
    let der = RevocationList::empty(now()).revoking(Signer::Ask).der();
    for at in 0..der.len() {
        let mut changed = der.clone();
        changed[at] ^= 1 << (at % 8);
        let taken = proplet_hal::snp::RevocationLists::default().add(&changed, &roots);
        assert!(taken.is_err(), "byte {at}");
    }
}
