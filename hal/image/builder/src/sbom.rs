//! What an image is made of, as a bill of materials in the form of CycloneDX 1.6.
//!
//! It names the files that the image is made of or started with (the program, both firmwares) and the parts of the lock
//! file with their digests, and the crates that the program is made of by its tree's
//! `Cargo.lock`. A program that was built from another tree is described by neither, so the program's digest stands
//! there too. Nothing in it is of this machine or this moment: the same image has the same bill.

use std::path::Path;
use std::process::Command;

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::lock::{Lock, Part};
use crate::{BuildError, program};

/// Names that a package URL takes as they are, beside letters and digits.
const PLAIN: &[u8] = b"-._~";

/// A crate that the program is made of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Crate {
    name: String,
    version: String,
    license: String,
    /// Whether it is of the tree itself, not of a registry.
    own: bool,
}

/// Asks cargo for the crates of the program in a tree.
///
/// # Errors
/// When cargo is missing or refuses.
pub fn crates(tree: &Path) -> Result<Vec<Crate>, BuildError> {
    let failed = |reason: String| BuildError::Tool {
        program: "cargo tree".to_owned(),
        reason,
    };
    let output = Command::new("cargo")
        .args(["tree", "--locked", "--target", program::TARGET])
        .args(program::FEATURES)
        .args(["--edges", "normal", "--prefix", "none"])
        .args(["--format", "{p}\t{l}"])
        .current_dir(tree)
        .output()
        .map_err(|error| failed(format!("{error}; install Rust from https://rustup.rs")))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(failed(format!("{}: {words}", output.status)));
    }
    let crates = parse(&String::from_utf8_lossy(&output.stdout));
    if crates.is_empty() {
        return Err(failed("it named no crates".to_owned()));
    }
    Ok(crates)
}

/// Lines such as `name v1.2.3 (/its/folder)⇥MIT (*)`, each crate once and in order.
fn parse(text: &str) -> Vec<Crate> {
    let mut crates: Vec<Crate> = text
        .lines()
        .filter_map(|line| {
            let line = line.strip_suffix(" (*)").unwrap_or(line);
            let (package, license) = line.split_once('\t')?;
            let mut words = package.splitn(3, ' ');
            let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
            Some(Crate {
                name: name.to_owned(),
                version: version.to_owned(),
                license: license.trim().to_owned(),
                own: words.next().is_some_and(|rest| rest.contains("(/")),
            })
        })
        .collect();
    crates.sort();
    crates.dedup();
    crates
}

/// The bill of an image of this name. `files` are further files with their names: the program, firmwares.
#[must_use]
pub fn bill(
    name: &str,
    image: &[u8],
    files: &[(&str, &[u8])],
    lock: &Lock,
    crates: &[Crate],
) -> Value {
    let mut components: Vec<Value> = files
        .iter()
        .map(|(name, bytes)| {
            json!({"type": "file", "bom-ref": format!("file:{name}"), "name": name,
                   "hashes": hashes(&sha256(bytes))})
        })
        .collect();
    components.extend(lock.parts.iter().map(part));
    components.extend(crates.iter().map(library));
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {
            "type": "operating-system", "bom-ref": "image", "name": name,
            "version": env!("CARGO_PKG_VERSION"), "hashes": hashes(&sha256(image)),
        }},
        "components": components,
    })
}

fn part(part: &Part) -> Value {
    let mut component = json!({
        "type": "file",
        "bom-ref": format!("part:{}", part.name),
        "name": part.file,
        "version": part.version,
        "hashes": hashes(&part.sha256),
        "externalReferences": part.urls.iter()
            .map(|url| json!({"type": "distribution", "url": url}))
            .collect::<Vec<_>>(),
    });
    let package = part
        .file
        .strip_suffix(".deb")
        .and_then(|file| file.split_once('_'));
    if let (Some((name, _)), Some(component)) = (package, component.as_object_mut()) {
        let purl = format!(
            "pkg:deb/debian/{}@{}",
            escaped(name),
            escaped(&part.version)
        );
        component.insert("purl".to_owned(), purl.into());
    }
    component
}

fn library(library: &Crate) -> Value {
    let Crate { name, version, .. } = library;
    let mut component = json!({
        "type": "library",
        "bom-ref": format!("crate:{name}@{version}"),
        "name": name,
        "version": version,
    });
    if let Some(component) = component.as_object_mut() {
        if !library.own {
            let purl = format!("pkg:cargo/{}@{}", escaped(name), escaped(version));
            component.insert("purl".to_owned(), purl.into());
        }
        // An old form of `OR`, which is no expression of SPDX.
        let expression = library.license.replace('/', " OR ");
        if !expression.is_empty() {
            component.insert("licenses".to_owned(), json!([{"expression": expression}]));
        }
    }
    component
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes))
}

fn hashes(content: &str) -> Value {
    json!([{"alg": "SHA-256", "content": content}])
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || PLAIN.contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "proplet v0.1.0 (/src/host/proplet)\tApache-2.0\n\
                        serde_derive v1.0.2 (proc-macro)\tMIT OR Apache-2.0\n\
                        aes v0.8.4+x\tMIT/Apache-2.0\n\
                        aes v0.8.4+x\tMIT/Apache-2.0 (*)\n\
                        \nnonsense\n";

    fn lock() -> Lock {
        let part = |name: &str, file: &str| Part {
            name: name.to_owned(),
            version: "1.0+b~1".to_owned(),
            file: file.to_owned(),
            sha256: "ab".repeat(32),
            size: 1,
            urls: vec!["https://example.org/x".to_owned()],
        };
        Lock {
            date: 1,
            parts: vec![
                part("kernel", "linux_1.0_amd64.deb"),
                part("edk2", "edk2.tar.xz"),
            ],
        }
    }

    #[test]
    fn crates_are_named_once_with_what_is_said_about_them() {
        let crates = parse(TREE);
        let names: Vec<_> = crates
            .iter()
            .map(|c| (&*c.name, &*c.version, c.own))
            .collect();
        assert_eq!(
            names,
            [
                ("aes", "0.8.4+x", false),
                ("proplet", "0.1.0", true),
                ("serde_derive", "1.0.2", false)
            ]
        );
        assert_eq!(crates[0].license, "MIT/Apache-2.0");
    }

    #[test]
    fn a_bill_names_every_part() {
        let files: [(&str, &[u8]); 2] = [("proplet", b"program"), ("OVMF.amdsev.fd", b"firmware")];
        let bill = bill("proplet.efi", b"image", &files, &lock(), &parse(TREE));
        assert_eq!(
            bill["metadata"]["component"]["hashes"][0]["content"],
            sha256(b"image")
        );
        let components = bill["components"].as_array().unwrap();
        let by = |reference: &str| {
            let found = components.iter().find(|c| c["bom-ref"] == reference);
            found.unwrap_or_else(|| panic!("no {reference}"))
        };
        assert_eq!(components.len(), 7);
        assert_eq!(
            by("file:OVMF.amdsev.fd")["hashes"][0]["content"],
            sha256(b"firmware")
        );
        assert_eq!(
            by("file:proplet")["hashes"][0]["content"],
            sha256(b"program")
        );
        assert_eq!(by("part:kernel")["purl"], "pkg:deb/debian/linux@1.0%2Bb~1");
        assert_eq!(by("part:kernel")["hashes"][0]["content"], "ab".repeat(32));
        assert_eq!(by("part:edk2").get("purl"), None);
        assert_eq!(by("crate:aes@0.8.4+x")["purl"], "pkg:cargo/aes@0.8.4%2Bx");
        assert_eq!(
            by("crate:aes@0.8.4+x")["licenses"][0]["expression"],
            "MIT OR Apache-2.0"
        );
        assert_eq!(
            by("crate:proplet@0.1.0").get("purl"),
            None,
            "it is of no registry"
        );
    }

    #[test]
    fn the_crates_of_this_tree_are_found() {
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
        let crates = crates(&tree).unwrap();
        let has = |name: &str| crates.iter().any(|c| c.name == name);
        assert!(has("proplet-init") && has("wasmtime"));
        assert!(!has("proplet-testkit"));
    }
}
