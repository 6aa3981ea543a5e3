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
mod error;
mod name;
mod target;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

pub use error::GuestError;
pub use name::GuestName;

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
                Self::GreetCommand | Self::Files => self.as_str().to_owned(),
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
