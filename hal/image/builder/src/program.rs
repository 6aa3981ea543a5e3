//! The program of the image: `proplet` as one static file, the same from every folder.
//!
//! Paths of this machine would go into the program by panic messages, so they are written as others: the registry's
//! folder as `/registry`, this tree as `/proplet`, cargo's folder, where code lies that was generated, as `/target`.
//! Versions are those of `Cargo.lock` and `rust-toolchain.toml`. The C library and compiler are the machine's: with
//! others it is another program.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::BuildError;

/// Where it is built for.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";
/// How it is built.
const ARGUMENTS: [&str; 8] = [
    "build",
    "--release",
    "--locked",
    "--target",
    TARGET,
    "--config",
    "profile.release.strip=\"symbols\"",
    "--quiet",
];
/// What of the tree it is.
pub(crate) const FEATURES: [&str; 5] = [
    "-p",
    "proplet",
    "--no-default-features",
    "--features",
    "vm-image",
];

/// Builds it and gives its place.
///
/// # Errors
/// When cargo is missing or fails.
pub fn build(tree: &Path, target_folder: &Path) -> Result<PathBuf, BuildError> {
    let failed = |reason: String| BuildError::Tool {
        program: "cargo".to_owned(),
        reason,
    };
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")))
        .ok_or_else(|| failed("neither CARGO_HOME nor HOME is set".to_owned()))?;
    // As the compiler sees it, without links and dots.
    fs::create_dir_all(target_folder).map_err(BuildError::file(target_folder))?;
    let target_folder = &target_folder
        .canonicalize()
        .map_err(BuildError::file(target_folder))?;
    let mut command = Command::new("cargo");
    command
        .args(ARGUMENTS)
        .args(FEATURES)
        .arg("--target-dir")
        .arg(target_folder)
        .current_dir(tree)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(tree, &home, target_folder))
        .env("CARGO_INCREMENTAL", "0");
    // What would change the program without a trace in it.
    for name in [
        "RUSTFLAGS",
        "CARGO_BUILD_RUSTFLAGS",
        "CFLAGS",
        "CXXFLAGS",
        "LDFLAGS",
        "RUSTC_WRAPPER",
    ] {
        command.env_remove(name);
    }
    let status = command
        .status()
        .map_err(|error| failed(format!("{error}; install Rust from https://rustup.rs")))?;
    if !status.success() {
        return Err(failed(format!("{status}; its last lines above say why")));
    }
    Ok(target_folder.join(TARGET).join("release/proplet"))
}

/// The compiler's flags, in the form that takes paths with spaces.
fn flags(tree: &Path, cargo_home: &Path, target_folder: &Path) -> OsString {
    let mut flags = OsString::from("-Ctarget-feature=+crt-static");
    for (from, to) in [
        (cargo_home.join("registry/src"), "/registry"),
        (tree.to_owned(), "/proplet"),
        // The last one that fits counts, and this folder may be in the tree.
        (target_folder.to_owned(), "/target"),
    ] {
        flags.push("\u{1f}--remap-path-prefix=");
        flags.push(from);
        flags.push("=");
        flags.push(to);
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_machine_are_written_as_others() {
        let (tree, home) = (Path::new("/home/a b/tree"), Path::new("/home/a b/.cargo"));
        let flags = flags(tree, home, Path::new("/home/a b/tree/target"));
        let flags = flags.into_string().unwrap();
        let flags: Vec<_> = flags.split('\u{1f}').collect();
        assert_eq!(
            flags,
            [
                "-Ctarget-feature=+crt-static",
                "--remap-path-prefix=/home/a b/.cargo/registry/src=/registry",
                "--remap-path-prefix=/home/a b/tree=/proplet",
                "--remap-path-prefix=/home/a b/tree/target=/target",
            ]
        );
    }

    #[test]
    fn data_owners_tools_stay_out() {
        assert!(FEATURES.contains(&"--no-default-features") && FEATURES.contains(&"vm-image"));
        assert!(ARGUMENTS.contains(&"--locked"));
    }
}
