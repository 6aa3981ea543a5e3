//! Building the example guests and the test guests, at run time and from their sources.
//!
//! Tests and the demo run what a guest author would build: a plain `cargo build` for `wasm32-wasip2` in
//! profile `guest`, started from here. The build has a target directory of its own
//! (`target/guests` in the workspace), since a cargo that waits for the directory of the cargo that
//! started it waits forever. It is started with a clean environment, so flags and wrappers of the outer
//! build do not change the components, and under a file lock, so test processes that want the same
//! guests build them once.
//!
//! The same sources give the same bytes, wherever the workspace lies: paths of this machine are mapped
//! away. Builds are kept by cargo between runs and by this module within a process.
//!
//! Everything here blocks; async callers use `spawn_blocking`.

mod cargo;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Policy of [`GuestName::ConfidentialInference`], TOML without recipients.
pub const INFERENCE_POLICY: &str =
    include_str!("../../../guest-examples/confidential-inference/policy.toml");
/// The weights that [`GuestName::ConfidentialInference`] asks the key broker for, JSON.
pub const INFERENCE_WEIGHTS: &str =
    include_str!("../../../guest-examples/confidential-inference/weights.json");
/// Where [`GuestName::ConfidentialInference`] asks for its weights.
pub const INFERENCE_WEIGHTS_URI: &str = "kbs:///default/model/iris";
/// Samples for [`GuestName::ConfidentialInference`], CSV: four numbers and the right class per line.
pub const INFERENCE_SAMPLES: &str =
    include_str!("../../../guest-examples/confidential-inference/samples.csv");

const ADD_CORE: &str = include_str!("../guests/add-core.wat");

/// A guest that can be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum GuestName {
    /// `run(challenge)` gives evidence about itself.
    HelloAttest,
    /// `run(samples)` classifies samples with weights from the key broker.
    ConfidentialInference,
    /// A program that greets its inputs on standard output.
    GreetCommand,
    /// A core module with `add`, `fib`, `half`, `trap` and `spin`.
    AddCore,
    /// `run(word …)` misbehaves on request. It asks for no secrets, so it also runs as a plain component.
    Hostile,
    /// `run(word address)` reaches for the network, of which every call is denied.
    Dialler,
    /// `run(word uri)` asks for any secret and reads it.
    SecretProbe,
    /// `run(uri)` gets a secret and cannot read it.
    SecretHolder,
}

/// A guest, built.
#[derive(Clone)]
pub struct Guest {
    /// Which one.
    pub name: GuestName,
    /// Where it lies. A later build of changed sources replaces the file, never [`bytes`](Self::bytes).
    pub path: PathBuf,
    /// The component, or core module.
    pub bytes: Vec<u8>,
}

/// Why a guest was not built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuestError {
    /// A program that the build needs did not start.
    #[error(
        "{program} did not start: {source}; guests are built from source, so install Rust with rustup"
    )]
    NoTool {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// Rust's standard library for WebAssembly is missing and could not be installed.
    #[error(
        "Rust cannot build for {target} here: {why}; run `rustup target add {target}` in the \
         workspace, once and with a network",
        target = cargo::TARGET
    )]
    NoTarget {
        /// Why it could not be installed.
        why: String,
    },
    /// The compiler refused a guest.
    #[error("building {guests} failed:\n{output}")]
    Build {
        /// The guests, by name.
        guests: String,
        /// The last lines of cargo's output.
        output: String,
    },
    /// A core module in text form is not valid.
    #[error("{name} is not valid WebAssembly text: {why}")]
    Text {
        /// Which one.
        name: GuestName,
        /// Why.
        why: String,
    },
    /// A file could not be used.
    #[error("{}: {source}; is the workspace that these tests were built from still there?", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Builds one guest.
///
/// # Errors
///
/// As [`build_all`].
pub fn build(name: GuestName) -> Result<Arc<Guest>, GuestError> {
    let mut guests = build_all(&[name], &mut |_| {})?;
    // One was asked for, so one is there.
    guests.pop().ok_or_else(|| GuestError::Build {
        guests: name.to_string(),
        output: "nothing was built".to_owned(),
    })
}

/// Builds guests in one run of cargo and gives them in the order of `names`. `progress` gets each line
/// that cargo says, without its colours; nothing when the guests were built by this process before.
///
/// # Errors
///
/// There is no cargo, no standard library for WebAssembly and no way to install it, or a guest does not
/// compile. [`GuestError`] says what to do.
pub fn build_all(
    names: &[GuestName],
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<Arc<Guest>>, GuestError> {
    static BUILT: Mutex<BTreeMap<GuestName, Arc<Guest>>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let missing: Vec<_> = names
        .iter()
        .copied()
        .filter(|name| !built.contains_key(name))
        .collect();
    if !missing.is_empty() {
        built.extend(
            build_into(&target_directory(), &missing, progress)?
                .into_iter()
                .map(|it| (it.name, Arc::new(it))),
        );
    }
    Ok(names
        .iter()
        .filter_map(|name| built.get(name).cloned())
        .collect())
}

/// As [`build_all`], from nothing into a target directory of the caller's, and without remembering it.
///
/// # Errors
///
/// As [`build_all`].
pub fn build_into(
    directory: &Path,
    names: &[GuestName],
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<Guest>, GuestError> {
    fs::create_dir_all(directory).map_err(|source| file(directory, source))?;
    let lock_path = directory.join(".lock");
    let lock = File::create(&lock_path).map_err(|source| file(&lock_path, source))?;
    lock.lock().map_err(|source| file(&lock_path, source))?;
    let packages: Vec<_> = names.iter().filter_map(|name| name.package()).collect();
    if !packages.is_empty() {
        cargo::build(workspace_root(), directory, &packages, progress)?;
    }
    // Read under the lock: another process may be about to build changed sources.
    names.iter().map(|name| name.take(directory)).collect()
}

/// Where the components go.
fn target_directory() -> PathBuf {
    workspace_root().join("target").join("guests")
}

/// The workspace that this crate was compiled in.
fn workspace_root() -> &'static Path {
    let crate_directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_directory
        .ancestors()
        .nth(2)
        .unwrap_or(crate_directory)
}

fn file(path: &Path, source: io::Error) -> GuestError {
    GuestError::File {
        path: path.to_owned(),
        source,
    }
}

impl GuestName {
    /// Every guest.
    pub const ALL: [Self; 8] = [
        Self::HelloAttest,
        Self::ConfidentialInference,
        Self::GreetCommand,
        Self::AddCore,
        Self::Hostile,
        Self::Dialler,
        Self::SecretProbe,
        Self::SecretHolder,
    ];

    /// Its name, `hello-attest`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HelloAttest => "hello-attest",
            Self::ConfidentialInference => "confidential-inference",
            Self::GreetCommand => "greet-command",
            Self::AddCore => "add-core",
            Self::Hostile => "hostile",
            Self::Dialler => "dialler",
            Self::SecretProbe => "secret-probe",
            Self::SecretHolder => "secret-holder",
        }
    }

    /// The cargo package, unless it is WebAssembly text.
    fn package(self) -> Option<&'static str> {
        (self != Self::AddCore).then(|| self.as_str())
    }

    /// Reads what was built.
    fn take(self, directory: &Path) -> Result<Guest, GuestError> {
        let (path, bytes) = if self == Self::AddCore {
            let path = directory.join("add-core.wasm");
            let bytes = wat::parse_str(ADD_CORE).map_err(|error| GuestError::Text {
                name: self,
                why: error.to_string(),
            })?;
            fs::write(&path, &bytes).map_err(|source| file(&path, source))?;
            (path, bytes)
        } else {
            // Cargo names the file of a library with underscores, that of a program as the package.
            let stem = match self {
                Self::GreetCommand => self.as_str().to_owned(),
                _ => self.as_str().replace('-', "_"),
            };
            let path = cargo::output(directory, &stem);
            let bytes = fs::read(&path).map_err(|source| file(&path, source))?;
            (path, bytes)
        };
        Ok(Guest {
            name: self,
            path,
            bytes,
        })
    }
}

impl fmt::Display for GuestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.name, self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_root_is_the_workspace_root() {
        let manifest = fs::read_to_string(workspace_root().join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[workspace]") && manifest.contains("[profile.guest]"));
    }

    #[test]
    fn the_policy_names_the_weights() {
        assert!(INFERENCE_POLICY.contains(&format!("uri = {INFERENCE_WEIGHTS_URI:?}")));
    }
}
