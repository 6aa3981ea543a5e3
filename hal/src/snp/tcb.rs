//! The lowest firmware that is accepted.
//!
//! A report has four TCBs. The one that floors are held against is the **reported** one, because it is the only
//! one that cryptography speaks for: the key that signed the report is derived from it, and the certificate names
//! it. A host may report less than it runs, never more, so evidence that meets a floor comes from firmware at or
//! above it. The three others (current, committed, launch) are what that firmware says beside it; they are in
//! [`super::SnpReport`] for whoever wants to look.
//!
//! There is no default floor. Security versions of one CPU generation mean nothing for another, AMD raises them in
//! bulletin after bulletin, and a number in a program is out of date before the program is. Without a floor, a
//! report of firmware with known holes passes.

use std::str::FromStr;

use super::error::SnpError;
use super::kinds::{Generation, Tcb};

/// The lowest security versions that are accepted, each by itself: versions of different components are not
/// compared with each other, and a newer one does not make up for an older one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TcbFloor {
    /// The CPU generation that this is about; every generation when absent.
    pub generation: Option<Generation>,
    /// The FMC, which CPUs before Turin do not have: a floor for it refuses those.
    pub fmc: Option<u8>,
    /// The secure processor's bootloader.
    pub bootloader: Option<u8>,
    /// The secure processor's operating system.
    pub tee: Option<u8>,
    /// The SNP firmware.
    pub snp: Option<u8>,
    /// The CPU's microcode.
    pub microcode: Option<u8>,
}

impl TcbFloor {
    /// The components in the order in which they are written, with their floors.
    pub fn components(&self) -> [(&'static str, Option<u8>); 5] {
        [
            ("fmc", self.fmc),
            ("bootloader", self.bootloader),
            ("tee", self.tee),
            ("snp", self.snp),
            ("microcode", self.microcode),
        ]
    }

    fn applies(&self, generation: Option<Generation>) -> bool {
        self.generation.is_none() || self.generation == generation
    }

    fn check(&self, reported: &Tcb) -> Result<(), SnpError> {
        for (component, minimum) in self.components() {
            let Some(minimum) = minimum else {
                continue;
            };
            let reported = match component {
                "fmc" => reported.fmc,
                "bootloader" => Some(reported.bootloader),
                "tee" => Some(reported.tee),
                "snp" => Some(reported.snp),
                _ => Some(reported.microcode),
            };
            if reported.is_none_or(|reported| reported < minimum) {
                return Err(SnpError::TcbFloor {
                    component,
                    reported,
                    minimum,
                });
            }
        }
        Ok(())
    }
}

/// A text that is no [`TcbFloor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a minimal TCB: write bootloader=4,tee=0,snp=22,microcode=213 with the components that you mean (fmc for \
     Turin), and genoa: before it when it is for one generation"
)]
pub struct NotATcbFloor;

impl FromStr for TcbFloor {
    type Err = NotATcbFloor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (generation, components) = match text.split_once(':') {
            Some((generation, components)) => {
                let generation = generation.parse().map_err(|_| NotATcbFloor)?;
                (Some(generation), components)
            }
            None => (None, text),
        };
        let mut floor = Self {
            generation,
            ..Self::default()
        };
        for component in components.split(',') {
            let (name, minimum) = component.split_once('=').ok_or(NotATcbFloor)?;
            let place = match name {
                "fmc" => &mut floor.fmc,
                "bootloader" => &mut floor.bootloader,
                "tee" => &mut floor.tee,
                "snp" => &mut floor.snp,
                "microcode" => &mut floor.microcode,
                _ => return Err(NotATcbFloor),
            };
            // Twice the same is a slip, whichever was meant.
            let minimum = minimum.parse().map_err(|_| NotATcbFloor)?;
            if place.replace(minimum).is_some() {
                return Err(NotATcbFloor);
            }
        }
        Ok(floor)
    }
}

/// Holds a report's TCB against every floor that is about its generation. At least one has to be: floors for
/// Genoa say nothing about Milan, and a CPU that nobody thought of does not pass for that.
pub(super) fn check_floors(
    floors: &[TcbFloor],
    generation: Option<Generation>,
    reported: &Tcb,
) -> Result<(), SnpError> {
    let mut met = false;
    for floor in floors.iter().filter(|floor| floor.applies(generation)) {
        floor.check(reported)?;
        met = true;
    }
    if met {
        Ok(())
    } else {
        Err(SnpError::NoTcbFloor { generation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORTED: Tcb = Tcb {
        fmc: Some(1),
        bootloader: 2,
        tee: 3,
        snp: 4,
        microcode: 5,
    };

    /// A floor for one component.
    fn floor(component: &str, minimum: u8) -> TcbFloor {
        let mut floor = TcbFloor::default();
        match component {
            "fmc" => floor.fmc = Some(minimum),
            "bootloader" => floor.bootloader = Some(minimum),
            "tee" => floor.tee = Some(minimum),
            "snp" => floor.snp = Some(minimum),
            "microcode" => floor.microcode = Some(minimum),
            other => panic!("{other}"),
        }
        floor
    }

    #[test]
    fn each_component_is_held_against_its_own_floor() {
        let reported = [
            ("fmc", 1),
            ("bootloader", 2),
            ("tee", 3),
            ("snp", 4),
            ("microcode", 5),
        ];
        for (component, version) in reported {
            let check = |minimum| {
                let floors = [floor(component, minimum)];
                check_floors(&floors, Some(Generation::Turin), &REPORTED)
            };
            assert_eq!(check(version - 1), Ok(()), "{component}");
            assert_eq!(check(version), Ok(()), "{component}");
            assert_eq!(
                check(version + 1),
                Err(SnpError::TcbFloor {
                    component,
                    reported: Some(version),
                    minimum: version + 1
                })
            );
        }
    }

    #[test]
    fn floors_are_written_by_component() {
        let text = "turin:fmc=1,bootloader=2,tee=0,snp=4,microcode=255";
        assert_eq!(
            text.parse(),
            Ok(TcbFloor {
                generation: Some(Generation::Turin),
                fmc: Some(1),
                bootloader: Some(2),
                tee: Some(0),
                snp: Some(4),
                microcode: Some(255),
            })
        );
        assert_eq!("snp=9".parse(), Ok(floor("snp", 9)));
        for wrong in [
            "",
            "genoa",
            "genoa:",
            "rome:snp=1",
            "snp",
            "snp=",
            "snp=256",
            "snp=-1",
            "snp=1,",
            "snp=1,snp=1",
            "SNP=1",
            "spl=1",
            "snp=1 tee=1",
        ] {
            assert_eq!(wrong.parse::<TcbFloor>(), Err(NotATcbFloor), "{wrong}");
        }
    }

    #[test]
    fn a_cpu_without_an_fmc_meets_no_floor_for_it() {
        let milan = Tcb {
            fmc: None,
            ..REPORTED
        };
        assert_eq!(
            check_floors(&[floor("fmc", 0)], Some(Generation::Milan), &milan),
            Err(SnpError::TcbFloor {
                component: "fmc",
                reported: None,
                minimum: 0
            })
        );
    }

    #[test]
    fn floors_are_for_their_generation_and_every_cpu_needs_one() {
        let turin = TcbFloor {
            generation: Some(Generation::Turin),
            ..floor("snp", 9)
        };
        let all = floor("microcode", 5);
        let check = |floors: &[TcbFloor], generation| check_floors(floors, generation, &REPORTED);
        let refused = Err(SnpError::TcbFloor {
            component: "snp",
            reported: Some(4),
            minimum: 9,
        });
        assert_eq!(check(&[all, turin], Some(Generation::Turin)), refused);
        assert_eq!(check(&[all, turin], Some(Generation::Genoa)), Ok(()));
        for unnamed in [Some(Generation::Genoa), None] {
            assert_eq!(
                check(&[turin], unnamed),
                Err(SnpError::NoTcbFloor {
                    generation: unnamed
                })
            );
        }
    }
}
