//! Running cargo and rustup from inside a program that cargo may have started.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, io};

use super::error::GuestError;
use super::target::{PROFILE, TARGET};

/// How many lines of cargo's output an error repeats.
const TAIL_LINES: usize = 60;

/// Builds packages into `directory`, installing Rust's standard library for the target if need be.
pub(super) fn build(
    root: &Path,
    directory: &Path,
    packages: &[&str],
    progress: &mut dyn FnMut(&str),
) -> Result<(), GuestError> {
    install_target(root, progress)?;
    let mut cargo = tool("cargo", root);
    cargo
        .args([
            "build",
            "--locked",
            "--color",
            "never",
            "--profile",
            PROFILE,
            "--target",
            TARGET,
        ])
        .arg("--manifest-path")
        .arg(root.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(directory)
        .args(packages.iter().flat_map(|package| ["-p", package]))
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(root));
    let mut tail = VecDeque::new();
    let succeeded = run(cargo, &mut |line| {
        progress(line.trim());
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(line.to_owned());
    })?;
    if succeeded {
        return Ok(());
    }
    let output = tail.into_iter().collect::<Vec<_>>().join("\n");
    Err(GuestError::Build {
        guests: packages.join(", "),
        output,
    })
}

/// Where cargo puts what it built.
pub(super) fn output(directory: &Path, stem: &str) -> PathBuf {
    directory
        .join(TARGET)
        .join(PROFILE)
        .join(stem)
        .with_extension("wasm")
}

fn install_target(root: &Path, progress: &mut dyn FnMut(&str)) -> Result<(), GuestError> {
    let mut rustc = tool("rustc", root);
    rustc.args(["--print", "target-libdir", "--target", TARGET]);
    let found = rustc.output().map_err(|source| no_tool(&rustc, source))?;
    let libraries = PathBuf::from(String::from_utf8_lossy(&found.stdout).trim());
    if found.status.success() && libraries.is_dir() {
        return Ok(());
    }
    progress(&format!("Installing Rust's standard library for {TARGET}"));
    let mut rustup = tool("rustup", root);
    rustup.args(["target", "add", TARGET]);
    let mut said = Vec::new();
    let installed = run(rustup, &mut |line| said.push(line.to_owned()));
    match installed {
        Ok(true) => Ok(()),
        Ok(false) => Err(GuestError::NoTarget {
            why: said.join("; "),
        }),
        Err(error) => Err(GuestError::NoTarget {
            why: error.to_string(),
        }),
    }
}

/// A program of the toolchain that the workspace pins, which sees nothing of an outer build.
fn tool(program: &str, root: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root).stdin(Stdio::null());
    for (name, _) in env::vars_os() {
        if is_of_outer_build(&name) {
            command.env_remove(name);
        }
    }
    command
}

/// Whether a variable may be set by, or meant for, the build that this program came from. What says
/// where crates come from stays.
fn is_of_outer_build(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else {
        return false;
    };
    const KEPT: [&str; 5] = [
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTRIES_",
        "CARGO_REGISTRY_",
    ];
    const REMOVED: [&str; 7] = [
        "CARGO",
        "RUSTC",
        "RUSTDOC",
        "RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
        "MAKEFLAGS",
        "WIT_BINDGEN_DEBUG",
    ];
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    begins(&REMOVED) && !begins(&KEPT)
}

/// Flags that take the paths of this machine out of panic messages, separated as cargo wants it.
fn rustflags(root: &Path) -> OsString {
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".cargo"));
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home);
    let mut flags = OsString::new();
    let places = [
        Some((root.to_owned(), "/proplet")),
        cargo_home.map(|path| (path, "/cargo")),
    ];
    for (path, instead) in places.into_iter().flatten() {
        if !flags.is_empty() {
            flags.push("\x1f");
        }
        flags.push("--remap-path-prefix=");
        flags.push(path);
        flags.push("=");
        flags.push(instead);
    }
    flags
}

/// Runs a program, hands on each line of its standard error, and tells whether it succeeded.
fn run(mut command: Command, line: &mut dyn FnMut(&str)) -> Result<bool, GuestError> {
    let spawned = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|source| no_tool(&command, source))?;
    if let Some(stderr) = child.stderr.take() {
        for text in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            line(&String::from_utf8_lossy(&text));
        }
    }
    let status = child.wait().map_err(|source| no_tool(&command, source))?;
    Ok(status.success())
}

fn no_tool(command: &Command, source: io::Error) -> GuestError {
    GuestError::NoTool {
        program: command.get_program().to_string_lossy().into_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_of_the_outer_build_is_left_out() {
        for name in [
            "CARGO",
            "CARGO_TARGET_DIR",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_BUILD_TARGET",
            "CARGO_PROFILE_RELEASE_DEBUG",
            "CARGO_PKG_NAME",
            "RUSTC",
            "RUSTC_WRAPPER",
            "RUSTC_BOOTSTRAP",
            "RUSTFLAGS",
            "RUSTDOCFLAGS",
            "RUSTUP_TOOLCHAIN",
            "MAKEFLAGS",
        ] {
            assert!(is_of_outer_build(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn what_says_where_crates_come_from_stays() {
        for name in [
            "PATH",
            "HOME",
            "CARGO_HOME",
            "RUSTUP_HOME",
            "CARGO_NET_OFFLINE",
            "https_proxy",
        ] {
            assert!(!is_of_outer_build(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn a_tool_that_is_not_there_is_named() {
        let error = run(Command::new("no-such-tool-4711"), &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains("no-such-tool-4711"));
    }

    #[test]
    fn paths_of_this_machine_are_mapped_away() {
        let flags = rustflags(Path::new("/somewhere/my tree"))
            .into_string()
            .unwrap();
        assert!(
            flags.starts_with("--remap-path-prefix=/somewhere/my tree=/proplet"),
            "{flags}"
        );
    }
}
