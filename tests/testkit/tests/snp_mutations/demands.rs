//! What a relying party demands besides.

use super::*;

/// What is demanded beyond that the evidence is genuine. Each cure is the same evidence without the demand.
pub(super) fn rows_of_the_demands() -> Vec<Row> {
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
