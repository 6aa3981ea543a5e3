//! What a verifier demands of a report beyond that it is genuine.
//!
//! Everything here compares signed fields of a report with what the verifier was told. Nothing is demanded unless it
//! is asked for, because nobody but the relying party knows which chips, keys and firmware it means; what was not
//! demanded is said to be not checked.

use std::collections::BTreeSet;

use super::chip::ChipId;
use super::error::SnpError;
use super::guest_policy::{AbiVersion, GuestPolicyRule};
use super::kinds::EndorsementKeyKind;
use super::report::SnpReport;
use super::tcb::{TcbFloor, check_floors};

/// SHA-384 of the public part of an ID key or author key, as `snpguest` and the firmware make it.
pub type KeyDigest = [u8; 48];

/// What is demanded of a report. Empty unless filled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnpDemands {
    /// The lowest firmware: every floor for the report's CPU generation has to be met by its *reported* TCB, and
    /// there has to be one. No floors at all: any firmware.
    pub minimum_tcb: Vec<TcbFloor>,
    /// The chips that are accepted, and with that no VLEK, because no VLEK shows which chip it was. `None`: any.
    pub chip_ids: Option<BTreeSet<ChipId>>,
    /// Digests of the keys that may have signed the VM's ID block. `None`: any, and no ID block.
    pub id_keys: Option<BTreeSet<KeyDigest>>,
    /// Digests of the keys that may have certified the ID key. `None`: any, and none.
    pub author_keys: Option<BTreeSet<KeyDigest>>,
    /// What the guest policy has to say.
    pub guest_policy: BTreeSet<GuestPolicyRule>,
    /// The lowest version of the firmware's interface that the guest policy may demand of the host: a policy that
    /// asks for less lets the VM run, and be moved to, firmware that knows less. `None`: any.
    pub minimum_abi: Option<AbiVersion>,
}

impl SnpDemands {
    /// Whether anything is demanded of the guest policy.
    pub fn on_guest_policy(&self) -> bool {
        !self.guest_policy.is_empty() || self.minimum_abi.is_some()
    }

    pub(super) fn check(&self, report: &SnpReport) -> Result<(), SnpError> {
        if !self.minimum_tcb.is_empty() {
            check_floors(&self.minimum_tcb, report.generation, &report.reported_tcb)?;
        }
        if let Some(chips) = &self.chip_ids {
            check_chip(chips, report)?;
        }
        if let Some(keys) = &self.id_keys {
            check_key(keys, "ID", &report.id_key_digest)?;
        }
        if let Some(keys) = &self.author_keys {
            check_key(keys, "author", &report.author_key_digest)?;
        }
        for rule in &self.guest_policy {
            if let Some(bit) = rule.broken_by(report.policy) {
                let rule = rule.as_str();
                return Err(SnpError::GuestPolicy { rule, bit });
            }
        }
        let found = AbiVersion::of_policy(report.policy);
        match self.minimum_abi {
            Some(minimum) if found < minimum => Err(SnpError::GuestAbi { found, minimum }),
            _ => Ok(()),
        }
    }
}

fn check_chip(chips: &BTreeSet<ChipId>, report: &SnpReport) -> Result<(), SnpError> {
    if report.signing_key != EndorsementKeyKind::Vcek {
        return Err(SnpError::ChipUnknown);
    }
    match ChipId::new(&report.chip_id) {
        Ok(chip) if chips.contains(&chip) => Ok(()),
        _ => Err(SnpError::ChipNotListed {
            found: hex::encode(report.chip_id),
        }),
    }
}

fn check_key(
    keys: &BTreeSet<KeyDigest>,
    which: &'static str,
    found: &KeyDigest,
) -> Result<(), SnpError> {
    // Zeros stand for no key, so listing them lists nothing.
    if *found == [0; 48] {
        return Err(SnpError::NoKey { which });
    }
    if keys.contains(found) {
        return Ok(());
    }
    Err(SnpError::KeyNotListed {
        which,
        found: hex::encode(found),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snp::REPORT_LEN;

    /// A Genoa report with these bytes changed. Nothing signs it.
    fn report(change: impl FnOnce(&mut [u8])) -> SnpReport {
        let mut bytes = vec![0; REPORT_LEN];
        bytes[0] = 3;
        bytes[8..16].copy_from_slice(&0x0003_0137_u64.to_le_bytes());
        bytes[52] = 1;
        bytes[0x188] = 0x19;
        bytes[0x189] = 0x11;
        bytes[416..480].fill(7);
        change(&mut bytes);
        SnpReport::parse(&bytes, 3).unwrap()
    }

    #[test]
    fn nothing_is_demanded_unless_it_is_asked_for() {
        let none = SnpDemands::default();
        assert!(!none.on_guest_policy());
        assert_eq!(none.check(&report(|_| ())), Ok(()));
        assert_eq!(none.check(&report(|bytes| bytes[416..480].fill(0))), Ok(()));
    }

    #[test]
    fn a_list_of_chips_takes_those_and_no_vlek() {
        let listed = SnpDemands {
            chip_ids: Some([ChipId::new(&[7; 64]).unwrap()].into()),
            ..SnpDemands::default()
        };
        assert_eq!(listed.check(&report(|_| ())), Ok(()));
        for other in [0, 8] {
            let refused = listed.check(&report(|bytes| bytes[416..480].fill(other)));
            let found = hex::encode([other; 64]);
            assert_eq!(refused, Err(SnpError::ChipNotListed { found }));
        }
        let vlek = report(|bytes| bytes[72] = 1 << 2);
        assert_eq!(listed.check(&vlek), Err(SnpError::ChipUnknown));
        let nobody = SnpDemands {
            chip_ids: Some(BTreeSet::new()),
            ..SnpDemands::default()
        };
        assert!(nobody.check(&report(|_| ())).is_err());
    }

    #[test]
    fn keys_of_the_id_block_are_those_listed_and_zeros_are_none() {
        type Demanding = fn(BTreeSet<KeyDigest>) -> SnpDemands;
        let cases: [(&str, usize, Demanding); 2] = [
            ("ID", 224, |keys| SnpDemands {
                id_keys: Some(keys),
                ..SnpDemands::default()
            }),
            ("author", 272, |keys| SnpDemands {
                author_keys: Some(keys),
                ..SnpDemands::default()
            }),
        ];
        for (which, at, demanding) in cases {
            let demands = demanding([[5; 48], [0; 48]].into());
            let with = |byte| report(move |bytes| bytes[at..at + 48].fill(byte));
            assert_eq!(demands.check(&with(5)), Ok(()));
            assert_eq!(
                demands.check(&with(6)),
                Err(SnpError::KeyNotListed {
                    which,
                    found: hex::encode([6; 48])
                })
            );
            assert_eq!(demands.check(&with(0)), Err(SnpError::NoKey { which }));
        }
    }

    #[test]
    fn the_guest_policy_is_held_to_every_rule_and_version() {
        let demands = SnpDemands {
            guest_policy: [GuestPolicyRule::NoDebug, GuestPolicyRule::SingleSocket].into(),
            minimum_abi: Some("1.55".parse().unwrap()),
            ..SnpDemands::default()
        };
        assert!(demands.on_guest_policy());
        let policy = |policy: u64| {
            demands.check(&report(|bytes| {
                bytes[8..16].copy_from_slice(&policy.to_le_bytes());
            }))
        };
        assert_eq!(policy(0x0013_0137), Ok(()));
        assert_eq!(policy(0x0013_0200), Ok(()));
        let rule = |rule, bit| Err(SnpError::GuestPolicy { rule, bit });
        assert_eq!(policy(0x0003_0137), rule("single-socket", 20));
        assert_eq!(policy(0x001b_0137), rule("no-debug", 19));
        assert_eq!(
            policy(0x0013_0136),
            Err(SnpError::GuestAbi {
                found: "1.54".parse().unwrap(),
                minimum: "1.55".parse().unwrap()
            })
        );
    }
}
