//! For each check of the SNP verifier: evidence that this check refuses, and that nothing else is wrong with.
//!
//! What is altered is signed anew by whoever signs such a thing, so a row's evidence is sound but for one point. That
//! it is one point is shown by the cure: the same alteration passes once that point alone is put right, by a policy
//! that does not make the check, by altering what the field is compared with in the same way, or by another time.
//! Rows without a cure are of checks that nobody can turn off; there the exact error says which check it was.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use proplet_hal::snp::{
    ChipId, Generation, GuestPolicyRule, SigningKey, SnpError, SnpTrust, TcbFloor,
};
use proplet_hal::verify::{TeeTrust, TrustPolicy, VerifyError, verify};
use proplet_hal::{Evidence, FormError};
use proplet_testkit::forge::{Forged, RevocationList, Signer, set_extension, time};
use serde_json::{Value, json};
use x509_cert::der::asn1::{BitString, OctetString};
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::Extension;
use x509_cert::name::Name;
use x509_cert::spki::ObjectIdentifier;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// 2024-01-01, inside the validity of the whole test PKI.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_704_067_200)
}

/// Evidence, and a verifier that is to judge it.
struct Case {
    evidence: Evidence,
    trust: SnpTrust,
    at: SystemTime,
}

impl Case {
    /// This evidence under its own roots, with the default demands.
    fn of(forged: &Forged) -> Self {
        Self {
            evidence: forged.evidence(),
            trust: SnpTrust::new(forged.roots().unwrap()),
            at: now(),
        }
    }

    fn demanding(mut self, demand: impl FnOnce(&mut SnpTrust)) -> Self {
        demand(&mut self.trust);
        self
    }

    fn under(mut self, roots: &Forged) -> Self {
        self.trust.roots = roots.roots().unwrap();
        self
    }

    fn json(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.evidence.evidence);
        self
    }

    fn at(mut self, at: SystemTime) -> Self {
        self.at = at;
        self
    }

    fn revoking(self, list: &RevocationList) -> Self {
        let lists = list.verified(&self.trust.roots).unwrap();
        self.demanding(|trust| trust.revocation = Some(lists))
    }

    fn judge(self) -> Result<(), SnpError> {
        let policy = TrustPolicy::of(TeeTrust::Snp(Box::new(self.trust)));
        match verify(&self.evidence, &policy, self.at) {
            Ok(_) => Ok(()),
            Err(VerifyError::Snp(error)) => Err(error),
            Err(error) => panic!("{error}"),
        }
    }
}

/// One check.
struct Row {
    check: String,
    spoiled: Case,
    refusal: SnpError,
    cured: Option<Case>,
}

fn row(check: &str, spoiled: Case, refusal: SnpError, cured: impl Into<Option<Case>>) -> Row {
    Row {
        check: check.to_owned(),
        spoiled,
        refusal,
        cured: cured.into(),
    }
}

fn set(at: usize, value: u8) -> impl Fn(&mut [u8]) {
    move |report| report[at] = value
}

fn name(common_name: &str) -> Name {
    format!("CN={common_name}").parse().unwrap()
}

/// How the report's own signature, version, layout and key are checked.
fn rows_of_the_report() -> Vec<Row> {
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
            SnpError::SigningKey {
                reported: SigningKey::Vlek,
                certificate: SigningKey::Vcek,
            },
            Case::of(&with_vlek),
        ),
        row(
            "signature of a report that no key signed",
            Case::of(&Forged::vcek().report(set(72, 7 << 2))),
            SnpError::SigningKey {
                reported: SigningKey::None,
                certificate: SigningKey::Vcek,
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

/// How the chain is checked: issuers, signatures, times, the roots' generation.
fn rows_of_the_chain() -> Vec<Row> {
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
                certificate: SigningKey::Vcek,
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
                certificate: SigningKey::Vcek,
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

/// How the certificate is held against the report: TCB, chip, key.
fn rows_of_the_endorsement() -> Vec<Row> {
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

fn unusable(what: &'static str, reason: &'static str) -> SnpError {
    SnpError::Certificate { what, reason }
}

fn der_integer(value: u8) -> Vec<u8> {
    match value {
        0..128 => vec![2, 1, value],
        _ => vec![2, 2, 0, value],
    }
}

/// What the evidence has to bring.
fn rows_of_the_evidence() -> Vec<Row> {
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

/// What is demanded beyond that the evidence is genuine. Each cure is the same evidence without the demand.
fn rows_of_the_demands() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut demand = |check: &str, forged: Forged, demand: &dyn Fn(&mut SnpTrust), refusal| {
        let spoiled = Case::of(&forged).demanding(demand);
        rows.push(row(check, spoiled, refusal, Case::of(&forged)));
    };
    type Set = fn(&mut TcbFloor, u8);
    let floors: [(&'static str, u8, Set); 4] = [
        ("bootloader", 4, |floor, to| floor.bootloader = Some(to)),
        ("tee", 1, |floor, to| floor.tee = Some(to)),
        ("snp", 24, |floor, to| floor.snp = Some(to)),
        ("microcode", 219, |floor, to| floor.microcode = Some(to)),
    ];
    for (component, reported, set) in floors {
        demand(
            &format!("floor of the TCB {component}"),
            Forged::vcek(),
            &|trust| {
                let mut floor = TcbFloor::default();
                set(&mut floor, reported + 1);
                trust.demands.minimum_tcb = vec![floor];
            },
            SnpError::TcbFloor {
                component,
                reported: Some(reported),
                minimum: reported + 1,
            },
        );
    }
    demand(
        "floor of the TCB fmc",
        Forged::turin(),
        &|trust| {
            trust.demands.minimum_tcb = vec![TcbFloor {
                fmc: Some(2),
                ..TcbFloor::default()
            }];
        },
        SnpError::TcbFloor {
            component: "fmc",
            reported: Some(1),
            minimum: 2,
        },
    );
    demand(
        "a floor for this generation",
        Forged::vcek(),
        &|trust| {
            trust.demands.minimum_tcb = vec![TcbFloor {
                generation: Some(Generation::Turin),
                snp: Some(0),
                ..TcbFloor::default()
            }];
        },
        SnpError::NoTcbFloor {
            generation: Some(Generation::Genoa),
        },
    );
    let another_chip: BTreeSet<ChipId> = [ChipId::new(&[9; 64]).unwrap()].into();
    let chip = "proplet test chip: no hardware stands behind this report. (fake)";
    demand(
        "list of chips",
        Forged::vcek(),
        &|trust| trust.demands.chip_ids = Some(another_chip.clone()),
        SnpError::ChipNotListed {
            found: hex::encode(chip),
        },
    );
    demand(
        "list of chips, and a VLEK",
        Forged::vlek(),
        &|trust| trust.demands.chip_ids = Some([ChipId::new(chip.as_bytes()).unwrap()].into()),
        SnpError::ChipUnknown,
    );
    type Demand = fn(&mut SnpTrust);
    let keys: [(&'static str, usize, Demand); 2] = [
        ("ID", 224, |trust| {
            trust.demands.id_keys = Some([[1; 48]].into());
        }),
        ("author", 272, |trust| {
            trust.demands.author_keys = Some([[1; 48]].into());
        }),
    ];
    for (which, at, demanded) in keys {
        let signed_by = |byte| Forged::vcek().report(|report| report[at..at + 48].fill(byte));
        demand(
            &format!("digest of the {which} key"),
            signed_by(2),
            &demanded,
            SnpError::KeyNotListed {
                which,
                found: hex::encode([2; 48]),
            },
        );
        demand(
            &format!("presence of the {which} key"),
            signed_by(0),
            &demanded,
            SnpError::NoKey { which },
        );
    }
    for (rule, bit) in [
        (GuestPolicyRule::NoSmt, 16),
        (GuestPolicyRule::NoMigrationAgent, 18),
        (GuestPolicyRule::NoDebug, 19),
        (GuestPolicyRule::SingleSocket, 20),
        (GuestPolicyRule::NoCxl, 21),
        (GuestPolicyRule::Aes256Xts, 22),
        (GuestPolicyRule::NoRapl, 23),
        (GuestPolicyRule::CiphertextHiding, 24),
        (GuestPolicyRule::NoPageSwap, 25),
    ] {
        // A policy that holds to everything but this.
        let mut policy: u64 = 0x03d2_0000;
        policy ^= 1 << bit;
        demand(
            &format!("guest policy, {rule}"),
            Forged::vcek().report(|report| report[8..16].copy_from_slice(&policy.to_le_bytes())),
            &|trust| trust.demands.guest_policy = GuestPolicyRule::ALL.into(),
            SnpError::GuestPolicy {
                rule: rule.as_str(),
                bit,
            },
        );
    }
    demand(
        "interface version of the guest policy",
        Forged::vcek().report(|report| report[8..10].copy_from_slice(&[51, 1])),
        &|trust| trust.demands.minimum_abi = Some("1.52".parse().unwrap()),
        SnpError::GuestAbi {
            found: "1.51".parse().unwrap(),
            minimum: "1.52".parse().unwrap(),
        },
    );
    rows
}

/// Revocation, with lists that a verifier takes.
fn rows_of_revocation() -> Vec<Row> {
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

fn rows() -> Vec<Row> {
    [
        rows_of_the_evidence(),
        rows_of_the_report(),
        rows_of_the_chain(),
        rows_of_the_endorsement(),
        rows_of_the_demands(),
        rows_of_revocation(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn each_check_refuses_what_only_it_refuses() {
    for sound in [Forged::vcek(), Forged::turin(), Forged::vlek()] {
        assert_eq!(Case::of(&sound).judge(), Ok(()));
        assert_eq!(
            Case::of(&sound.report(|_| ())).judge(),
            Ok(()),
            "signing anew changes nothing"
        );
    }
    let mut wrong = Vec::new();
    for row in rows() {
        let found = row.spoiled.judge();
        if found != Err(row.refusal.clone()) {
            wrong.push(format!(
                "{}: {found:?} and not {:?}",
                row.check, row.refusal
            ));
        }
        if let Some(Err(error)) = row.cured.map(Case::judge) {
            wrong.push(format!("{}: the cure: {error:?}", row.check));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_refusal_has_a_row() {
    // The variants of the enum, as its source names them.
    let source = include_str!("../../../hal/src/snp/error.rs");
    let (_, body) = source.split_once("pub enum SnpError {\n").unwrap();
    let (body, _) = body.split_once("\n}\n").unwrap();
    let variants = body.lines().filter_map(|line| {
        let name = line.strip_prefix("    ")?;
        let end = name.find(|letter: char| !letter.is_alphanumeric())?;
        name.starts_with(|letter: char| letter.is_ascii_uppercase())
            .then(|| &name[..end])
    });
    let variants: BTreeSet<String> = variants.map(str::to_owned).collect();
    assert!(variants.len() > 20, "{variants:?}");

    let mut refused: BTreeSet<String> = rows().iter().map(|row| variant(&row.refusal)).collect();
    refused.extend(lists_that_are_not_taken().map(|(_, refusal)| variant(&refusal)));
    assert_eq!(refused, variants);
}

fn variant(error: &SnpError) -> String {
    let shown = format!("{error:?}");
    let end = shown.find(|letter: char| !letter.is_alphanumeric());
    shown[..end.unwrap_or(shown.len())].to_owned()
}

/// Lists that are refused when they are read, before any evidence is looked at.
fn lists_that_are_not_taken() -> impl Iterator<Item = (RevocationList, SnpError)> {
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

#[test]
fn a_certificate_whose_key_is_another_vouches_for_nothing() {
    // The signature of the report, from the certificate's side.
    let forged = Forged::vcek().certificate(Signer::Ask, |vcek| {
        let key = &mut vcek.subject_public_key_info;
        let mut point = key.subject_public_key.raw_bytes().to_vec();
        // The other point of the same x: still on the curve.
        let prime_minus = |y: &[u8]| {
            let prime = hex::decode(
                "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffff",
            )
            .unwrap();
            let mut borrow = 0_i16;
            let mut out = vec![0; 48];
            for at in (0..48).rev() {
                let digit = i16::from(prime[at]) - i16::from(y[at]) - borrow;
                borrow = i16::from(digit < 0);
                out[at] = u8::try_from(digit.rem_euclid(256)).unwrap();
            }
            out
        };
        let mirrored = prime_minus(&point[49..]);
        point[49..].copy_from_slice(&mirrored);
        key.subject_public_key = BitString::from_bytes(&point).unwrap();
    });
    assert_eq!(Case::of(&forged).judge(), Err(SnpError::ReportSignature));
}
