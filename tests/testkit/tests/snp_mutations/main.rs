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

mod chain;
mod demands;
mod endorsement;
mod report;
mod revocation;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use proplet_hal::snp::{
    ChipId, EndorsementKeyKind, Generation, GuestPolicyRule, SnpError, SnpTrust, TcbFloor,
};
use proplet_hal::verify::{AppraisalError, TeeTrust, TrustPolicy, verify};
use proplet_hal::{Evidence, FormError};
use proplet_testkit::forge::{Forged, RevocationList, Signer, set_extension, time};
use serde_json::{Value, json};
use x509_cert::der::asn1::{BitString, OctetString};
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::Extension;
use x509_cert::name::Name;
use x509_cert::spki::ObjectIdentifier;

use self::chain::rows_of_the_chain;
use self::demands::rows_of_the_demands;
use self::endorsement::rows_of_the_endorsement;
use self::report::rows_of_the_evidence;
use self::report::rows_of_the_report;
use self::revocation::{lists_that_are_not_taken, rows_of_revocation};

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
            Err(AppraisalError::Snp(error)) => Err(error),
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

fn unusable(what: &'static str, reason: &'static str) -> SnpError {
    SnpError::Certificate { what, reason }
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
    let source = include_str!("../../../../hal/src/snp/error.rs");
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
