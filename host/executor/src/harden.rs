//! What the process does to itself before it takes the first task.
//!
//! Plaintext must not leave memory. Three ways out are closed here: a core dump (its size limit becomes
//! zero, soft and hard), another process of the same user reading our memory (the process becomes
//! not dumpable, which also makes `/proc/self/mem` root's alone), and swap. The first two are done for
//! every run; the third cannot be undone from here, so a machine with swap refuses encrypted tasks.

use std::{fs, io, path::Path};

use proplet_types::Code;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use thiserror::Error;

use crate::{host_text, refusal::Refusal, text::Known};

/// The process could not be hardened.
#[derive(Debug, Error)]
pub enum HardenError {
    /// The limit on core dumps could not be set.
    #[error("cannot switch core dumps off (RLIMIT_CORE): {0}")]
    CoreLimit(io::Error),
    /// The process could not be made not dumpable.
    #[error("cannot make the process not dumpable (PR_SET_DUMPABLE): {0}")]
    Dumpable(io::Error),
}

/// Switches core dumps off and makes the process not dumpable.
///
/// # Errors
/// When the kernel refuses; then no secret should enter this process.
pub fn harden_process() -> Result<(), HardenError> {
    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )
    .map_err(|error| HardenError::CoreLimit(error.into()))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| HardenError::Dumpable(error.into()))
}

/// What swap means for encrypted tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SwapRule {
    /// A machine with swap refuses encrypted tasks. Every production program uses this.
    #[default]
    Refuse,
    /// Swap is reported only: for development machines, where nothing is confidential anyway.
    Warn,
}

/// Whether memory of this machine may go to a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swap {
    /// There is no swap.
    None,
    /// There is swap, with the areas by name.
    Present(Vec<String>),
    /// It cannot be told; treated as present.
    Unknown(String),
}

impl Swap {
    /// Reads a file in the form of `/proc/swaps`: a heading, then one line for each area. A kernel
    /// without swap support has no such file. Neither has a service that is shown processes only of `/proc`
    /// (systemd's `ProcSubset=pid`), and there nothing is known: what every kernel has beside it is looked for.
    #[must_use]
    pub fn probe(path: &Path) -> Self {
        match fs::read_to_string(path) {
            Ok(text) => {
                let areas: Vec<String> = text
                    .lines()
                    .skip(1)
                    .filter_map(|line| line.split_whitespace().next())
                    .map(str::to_owned)
                    .collect();
                if areas.is_empty() {
                    Self::None
                } else {
                    Self::Present(areas)
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match path.with_file_name("meminfo").try_exists() {
                    Ok(true) => Self::None,
                    Ok(false) => Self::Unknown(format!(
                        "{} is hidden from this process",
                        path.parent().unwrap_or(path).display()
                    )),
                    Err(error) => Self::Unknown(error.to_string()),
                }
            }
            Err(error) => Self::Unknown(error.to_string()),
        }
    }

    /// Refuses encrypted tasks where the rule says so.
    ///
    /// # Errors
    /// `swap-present`.
    pub fn enforce(&self, rule: SwapRule) -> Result<(), Refusal> {
        let found = match self {
            Self::None => return Ok(()),
            Self::Present(areas) => {
                let areas = Known::of_machine(&areas.join(", "));
                host_text!("this machine has swap ({})", areas)
            }
            Self::Unknown(error) => {
                let error = Known::of_machine(error);
                host_text!("it cannot be told whether there is swap ({})", error)
            }
        };
        match rule {
            SwapRule::Warn => Ok(()),
            SwapRule::Refuse => Err(Refusal::new(
                Code::SwapPresent,
                host_text!(
                    "encrypted tasks are refused because {}: plaintext could be written to disk; run \
                     `swapoff -a`, remove the areas from /etc/fstab and restart proplet",
                    found
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(text: &str) -> Swap {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        Swap::probe(file.path())
    }

    #[test]
    fn areas_are_found() {
        let heading = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        assert_eq!(probe(heading), Swap::None);
        assert_eq!(probe(""), Swap::None);
        let swap = probe(&format!("{heading}/swapfile  file  1024  0  -2\n"));
        assert_eq!(swap, Swap::Present(vec!["/swapfile".into()]));
    }

    #[test]
    fn a_machine_with_swap_refuses_unless_it_is_for_development() {
        let swap = Swap::Present(vec!["/dev/sda2".into()]);
        assert_eq!(
            swap.enforce(SwapRule::Refuse).unwrap_err().code(),
            "swap-present"
        );
        swap.enforce(SwapRule::Warn).unwrap();
        Swap::Unknown("denied".into())
            .enforce(SwapRule::Refuse)
            .unwrap_err();
        Swap::None.enforce(SwapRule::Refuse).unwrap();
    }

    #[test]
    fn a_kernel_without_swap_has_no_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("meminfo"), "").unwrap();
        assert_eq!(Swap::probe(&folder.path().join("swaps")), Swap::None);
    }

    #[test]
    fn where_the_kernels_files_are_hidden_there_may_be_swap() {
        let folder = tempfile::tempdir().unwrap();
        let swap = Swap::probe(&folder.path().join("swaps"));
        assert!(matches!(swap, Swap::Unknown(_)), "{swap:?}");
        let refusal = swap.enforce(SwapRule::Refuse).unwrap_err();
        assert_eq!(refusal.code(), "swap-present");
        assert!(refusal.to_string().contains("hidden"), "{refusal}");
    }

    #[test]
    fn the_process_cannot_dump_core_afterwards() {
        harden_process().unwrap();
        let limits = fs::read_to_string("/proc/self/limits").unwrap();
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max core file size"))
            .unwrap();
        assert_eq!(
            line.split_whitespace().filter(|word| *word == "0").count(),
            2,
            "{line}"
        );
    }
}
