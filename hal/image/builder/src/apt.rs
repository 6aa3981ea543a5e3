//! A new lock file from what Debian publishes now.
//!
//! Debian's signatures are checked by Debian's own program: `apt-get` in a folder of its own, which changes nothing
//! of the machine. What it says about each package goes into the lock file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::BuildError;
use crate::lock::{
    CERTIFICATES, DEBUG_PARTS, EDK2, EDK2_DEBIAN, KERNEL, Lock, MAX_SIZE, Part, STUB,
};

/// The suite, with its archive and what that is called in addresses.
const SUITES: &[(&str, &str, &str)] = &[
    ("trixie", "http://deb.debian.org/debian", "debian"),
    (
        "trixie-security",
        "http://deb.debian.org/debian-security",
        "debian-security",
    ),
];
/// Debian's keys.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// The package that depends on the newest kernel.
const NEWEST_KERNEL: &str = "linux-image-cloud-amd64";

/// `apt` with a state of its own.
struct Apt {
    config: PathBuf,
}

/// What Debian publishes now.
///
/// # Errors
/// When `apt` is missing or fails.
pub fn newest(folder: &Path, date: u64) -> Result<Lock, BuildError> {
    let apt = Apt::new(folder)?;
    apt.run("apt-get", &["update", "-qq"])?;
    let meta = apt.package(NEWEST_KERNEL)?;
    let kernel = field(&meta, "Depends")
        .and_then(|depends| {
            depends
                .split([' ', ','])
                .find(|word| word.starts_with("linux-image-"))
        })
        .ok_or_else(|| {
            failed(
                "apt-cache",
                &format!("{NEWEST_KERNEL} depends on no kernel"),
            )
        })?;
    let day = day(date);
    let mut parts = vec![
        binary(KERNEL, &apt.package(kernel)?, &day)?,
        binary(STUB, &apt.package("systemd-boot-efi")?, &day)?,
        binary(CERTIFICATES, &apt.package("ca-certificates")?, &day)?,
    ];
    let debug = DEBUG_PARTS
        .iter()
        .map(|(name, package)| binary(name, &apt.package(package)?, &day))
        .collect::<Result<Vec<_>, BuildError>>()?;
    parts.extend(sources(
        &apt.run("apt-cache", &["showsrc", "--only-source", "edk2"])?,
        &day,
    )?);
    parts.extend(debug);
    Ok(Lock { date, parts })
}

impl Apt {
    fn new(folder: &Path) -> Result<Self, BuildError> {
        for name in [
            "lists/partial",
            "cache/archives/partial",
            "etc/apt.conf.d",
            "etc/preferences.d",
        ] {
            let path = folder.join(name);
            fs::create_dir_all(&path).map_err(BuildError::file(&path))?;
        }
        let mut sources = String::new();
        for (suite, archive, _) in SUITES {
            for kind in ["deb", "deb-src"] {
                sources.push_str(&format!(
                    "{kind} [signed-by={KEYRING}] {archive} {suite} main\n"
                ));
            }
        }
        let root = folder.display();
        let config = format!(
            "Dir::State \"{root}\";\nDir::State::Lists \"{root}/lists\";\nDir::State::status \"{root}/status\";\n\
             Dir::Cache \"{root}/cache\";\nDir::Etc \"{root}/etc\";\nDir::Etc::SourceList \"{root}/sources.list\";\n\
             Dir::Etc::SourceParts \"-\";\nAPT::Architecture \"amd64\";\nAPT::Get::AllowUnauthenticated \"false\";\n\
             Acquire::Languages \"none\";\nAPT::Sandbox::User \"\";\n"
        );
        for (name, text) in [
            ("status", ""),
            ("sources.list", &sources),
            ("apt.conf", &config),
        ] {
            let path = folder.join(name);
            fs::write(&path, text).map_err(BuildError::file(&path))?;
        }
        Ok(Self {
            config: folder.join("apt.conf"),
        })
    }

    /// The newest version's entry.
    fn package(&self, name: &str) -> Result<String, BuildError> {
        self.run("apt-cache", &["show", "--no-all-versions", name])
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String, BuildError> {
        let output = Command::new(program)
            .args(arguments)
            .env("APT_CONFIG", &self.config)
            .env("LC_ALL", "C")
            .output()
            .map_err(|error| {
                failed(
                    program,
                    &format!("{error}; updating the lock file takes a Debian machine"),
                )
            })?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() && !(program == "apt-cache" && text.is_empty()) {
            return Ok(text);
        }
        let words = String::from_utf8_lossy(&output.stderr);
        Err(failed(
            program,
            &format!("{}: {}", arguments.join(" "), words.trim()),
        ))
    }
}

fn failed(program: &str, reason: &str) -> BuildError {
    BuildError::Tool {
        program: program.to_owned(),
        reason: reason.to_owned(),
    }
}

/// A field of the first entry.
fn field<'a>(entry: &'a str, name: &str) -> Option<&'a str> {
    entry
        .lines()
        .take_while(|line| !line.is_empty())
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// A binary package's part.
fn binary(name: &str, entry: &str, day: &str) -> Result<Part, BuildError> {
    let need = |field_name: &str| {
        field(entry, field_name).ok_or_else(|| {
            failed(
                "apt-cache",
                &format!("the entry of {name} has no {field_name}"),
            )
        })
    };
    let path = need("Filename")?;
    // Debian's security archive has its packages below `updates`.
    let archive = if path.starts_with("pool/updates/") {
        "debian-security"
    } else {
        "debian"
    };
    part(
        name,
        need("Version")?,
        archive,
        path,
        need("SHA256")?,
        need("Size")?,
        day,
    )
}

/// The two tarballs of the newest source in the list.
fn sources(list: &str, day: &str) -> Result<[Part; 2], BuildError> {
    let entry = list
        .split("\n\n")
        .filter(|entry| field(entry.trim_start(), "Version").is_some())
        .last()
        .ok_or_else(|| failed("apt-cache", "there is no source of edk2"))?
        .trim_start();
    let need = |name: &str| {
        field(entry, name).ok_or_else(|| failed("apt-cache", &format!("edk2 has no {name}")))
    };
    let (version, directory) = (need("Version")?, need("Directory")?);
    let archive = if directory.starts_with("pool/updates/") {
        "debian-security"
    } else {
        "debian"
    };
    let tarball = |name: &str, suffix: &str| {
        let line = entry
            .lines()
            .skip_while(|line| !line.starts_with("Checksums-Sha256:"))
            .skip(1)
            .take_while(|line| line.starts_with(' '))
            .find(|line| line.ends_with(suffix))
            .ok_or_else(|| failed("apt-cache", &format!("edk2 has no file *{suffix}")))?;
        let mut words = line.split_whitespace();
        let (Some(sha256), Some(size), Some(file)) = (words.next(), words.next(), words.next())
        else {
            return Err(failed(
                "apt-cache",
                "the list of edk2's files cannot be read",
            ));
        };
        part(
            name,
            version,
            archive,
            &format!("{directory}/{file}"),
            sha256,
            size,
            day,
        )
    };
    Ok([
        tarball(EDK2, ".orig.tar.xz")?,
        tarball(EDK2_DEBIAN, ".debian.tar.xz")?,
    ])
}

fn part(
    name: &str,
    version: &str,
    archive: &str,
    path: &str,
    sha256: &str,
    size: &str,
    day: &str,
) -> Result<Part, BuildError> {
    let size = size
        .parse()
        .ok()
        .filter(|size| (1..=MAX_SIZE).contains(size));
    Ok(Part {
        name: name.to_owned(),
        version: version.to_owned(),
        file: path.rsplit('/').next().unwrap_or(path).to_owned(),
        sha256: sha256.to_owned(),
        size: size.ok_or_else(|| failed("apt-cache", &format!("the size of {name} cannot be")))?,
        urls: vec![
            format!("https://deb.debian.org/{archive}/{path}"),
            // Keeps what the pool drops.
            format!("https://snapshot.debian.org/archive/{archive}/{day}/{path}"),
        ],
    })
}

/// A day as Debian's snapshots name it. By the rule of Gregory's calendar, years beginning in March.
fn day(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    format!(
        "{:04}{month:02}{of_month:02}T235959Z",
        era * 400 + year + next
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(day(0), "19700101T235959Z");
        // date -u -d 2024-02-29 +%s and so on.
        assert_eq!(day(1_709_164_800), "20240229T235959Z");
        assert_eq!(day(1_709_251_200), "20240301T235959Z");
        assert_eq!(day(1_767_225_599), "20251231T235959Z");
    }

    #[test]
    fn entries_become_parts() {
        let entry = "Package: linux-image-6\nVersion: 6-1\nFilename: pool/updates/main/l/k_6-1_amd64.deb\nSize: 7\n\
                     SHA256: 0a\n\nPackage: older\nVersion: 5\n";
        let part = binary(KERNEL, entry, "20260101T235959Z").unwrap();
        assert_eq!(
            (part.version.as_str(), part.file.as_str(), part.size),
            ("6-1", "k_6-1_amd64.deb", 7)
        );
        assert_eq!(
            part.urls,
            [
                "https://deb.debian.org/debian-security/pool/updates/main/l/k_6-1_amd64.deb",
                "https://snapshot.debian.org/archive/debian-security/20260101T235959Z/pool/updates/main/l/k_6-1_amd64.deb",
            ]
        );
        for wrong in ["Size: 7", "Version: 6-1", "SHA256: 0a", "Filename: "] {
            assert!(
                binary(KERNEL, &entry.replacen(wrong, "X: ", 1), "d").is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn sources_become_two_parts() {
        let list = "Package: edk2\nVersion: 1-1\nDirectory: pool/main/e/edk2\nChecksums-Sha256:\n a 5 edk2_1.orig.tar.xz\n\n\
                    Package: edk2\nVersion: 2-1\nDirectory: pool/main/e/edk2\nChecksums-Sha256:\n aa 5 edk2_2.orig.tar.xz\n \
                    bb 6 edk2_2-1.debian.tar.xz\nHomepage: x\n";
        let [upstream, debian] = sources(list, "d").unwrap();
        assert_eq!(
            (upstream.sha256.as_str(), debian.sha256.as_str()),
            ("aa", "bb")
        );
        assert_eq!(
            (debian.version.as_str(), debian.file.as_str()),
            ("2-1", "edk2_2-1.debian.tar.xz")
        );
        assert!(sources("", "d").is_err());
    }
}
