//! Directories of tasks beside what is this program's own, and beside each other.
//!
//! A task that may write where the outbox, a CA or a key lies would be this program to the broker; one that may only
//! read there would have other tasks' results and the credentials. And a task that may write around another
//! directory can put a link in its place, which leads the next task wherever it likes.
//!
//! Compared is what is written, and where it leads as far as that exists at the start: a directory reached over a
//! link is the directory. What somebody links later is that somebody's affair.

use std::path::{Path, PathBuf};

use proplet_audit::Syslog;
use proplet_runtime::Directory;

use crate::{
    error::SettingsError,
    sections::{Attestation, AuditExport, ClientCertificate},
    settings::Settings,
};

/// What a file or folder of this program's is worth to a task.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Worth {
    /// To read it is too much.
    Secret,
    /// To write it is.
    Trusted,
}

/// Checks the directories against each other and against what the settings name.
pub(crate) fn check_apart(settings: &Settings) -> Result<(), SettingsError> {
    let Attestation {
        certificates,
        certificate_service,
        ..
    } = &settings.attestation;
    let mqtt = &settings.mqtt;
    let (certificate, key) = match &mqtt.client {
        Some(ClientCertificate::Files { certificate, key }) => (Some(certificate), Some(key)),
        Some(ClientCertificate::Resource { certificate, .. }) => (certificate.as_ref(), None),
        None => (None, None),
    };
    let cache = certificate_service
        .as_ref()
        .and_then(|service| service.cache.as_ref());
    let receiver = match &settings.audit.export {
        Some(AuditExport::Syslog(Syslog::Unix(path))) => Some(path),
        _ => None,
    };
    let own = [
        (
            "[outbox] path",
            settings.outbox.path.as_ref(),
            Worth::Secret,
        ),
        ("[audit] path", settings.audit.path.as_ref(), Worth::Secret),
        ("[audit] syslog", receiver, Worth::Trusted),
        ("[mqtt] client_key", key, Worth::Secret),
        (
            "[registry] auth_file",
            settings.registry.auth_file.as_ref(),
            Worth::Secret,
        ),
        ("[mqtt] client_cert", certificate, Worth::Trusted),
        ("[mqtt] ca", mqtt.ca.as_ref(), Worth::Trusted),
        (
            "[registry] ca",
            settings.registry.ca.as_ref(),
            Worth::Trusted,
        ),
        (
            "[attestation] certificates",
            certificates.as_ref(),
            Worth::Trusted,
        ),
        ("[attestation] certificates_cache", cache, Worth::Trusted),
    ];
    for directory in &settings.directories {
        for (name, path, worth) in own {
            if let Some(path) = path {
                check_own(directory, name, path, worth)?;
            }
        }
        for plugin in &settings.plugins {
            check_own(directory, "[[plugins]] path", &plugin.path, Worth::Trusted)?;
        }
        check_around(directory, &settings.directories)?;
    }
    Ok(())
}

/// Checks the directories against the documents that the settings were read from.
pub(crate) fn check_documents(
    directories: &[Directory],
    settings: Option<&Path>,
    credentials: Option<&Path>,
) -> Result<(), SettingsError> {
    for directory in directories {
        for (name, path, worth) in [
            ("the settings document", settings, Worth::Trusted),
            ("the credentials document", credentials, Worth::Secret),
        ] {
            if let Some(path) = path {
                check_own(directory, name, path, worth)?;
            }
        }
    }
    Ok(())
}

fn check_own(
    directory: &Directory,
    name: &str,
    path: &Path,
    worth: Worth,
) -> Result<(), SettingsError> {
    // Without a current directory nothing is below it.
    let path = std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
    let overlap = |a: &Path, b: &Path| a.starts_with(b) || b.starts_with(a);
    let overlaps =
        overlap(&path, &directory.path) || overlap(&followed(&path), &followed(&directory.path));
    if !overlaps || (worth == Worth::Trusted && !directory.is_writable) {
        return Ok(());
    }
    let may = match directory.is_writable {
        true => "write",
        false => "read",
    };
    Err(wrong(format!(
        "{}: tasks could {may} {name} there ({}); keep what is the proplet's apart from what is theirs",
        directory.path.display(),
        path.display()
    )))
}

fn check_around(outer: &Directory, all: &[Directory]) -> Result<(), SettingsError> {
    let is_inside = |inner: &Path, outer: &Path| inner != outer && inner.starts_with(outer);
    let leads_to = followed(&outer.path);
    let mut inside = all.iter().filter(|inner| {
        is_inside(&inner.path, &outer.path) || is_inside(&followed(&inner.path), &leads_to)
    });
    match inside.next() {
        Some(inner) if outer.is_writable => Err(wrong(format!(
            "{} is in {}, which tasks may write: one could put a link in its place, and the next would be given \
             what that leads to; name one of them",
            inner.path.display(),
            outer.path.display()
        ))),
        _ => Ok(()),
    }
}

/// Where a path leads, links followed as far as it exists.
fn followed(path: &Path) -> PathBuf {
    for exists in path.ancestors() {
        if let Ok(found) = exists.canonicalize() {
            let rest = path.strip_prefix(exists).unwrap_or(Path::new(""));
            // Joining nothing would add a slash.
            return match rest.as_os_str().is_empty() {
                true => found,
                false => found.join(rest),
            };
        }
    }
    PathBuf::from(path)
}

fn wrong(why: String) -> SettingsError {
    SettingsError::value("directories", "path", why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;

    fn parsed(text: &str) -> Result<Settings, SettingsError> {
        Settings::parse(Some(text), &Environment::default())
    }

    fn directory(path: &str, writable: bool) -> String {
        format!("[[directories]]\npath = {path:?}\nwritable = {writable}\n")
    }

    #[test]
    fn what_is_the_proplets_is_given_to_no_task() {
        let digest = format!("\"sha256:{}\"", "ab".repeat(32));
        let plugin = format!("[[plugins]]\npath = \"/var/lib/p/outbox\"\ndigest = {digest}\n");
        for (table, secret) in [
            ("[outbox]\npath = \"/var/lib/p/outbox\"\n", true),
            ("[registry]\nauth_file = \"/var/lib/p/outbox\"\n", true),
            ("[registry]\nca = \"/var/lib/p/outbox\"\n", false),
            (
                "[attestation]\ncertificates = \"/var/lib/p/outbox\"\n",
                false,
            ),
            (plugin.as_str(), false),
            (
                "[audit]\npath = \"/a\"\nexport = \"syslog\"\nsyslog = \"unix:/var/lib/p/outbox\"\n",
                false,
            ),
        ] {
            for path in ["/var/lib", "/var/lib/p", "/var/lib/p/outbox"] {
                for writable in [true, false] {
                    let found = parsed(&format!("{table}{}", directory(path, writable)));
                    match found {
                        Ok(_) => assert!(!writable && !secret, "{table}{path}"),
                        Err(error) => {
                            assert!(writable || secret, "{table}{path}: {error}");
                            assert!(error.to_string().contains("apart"), "{error}");
                        }
                    }
                }
            }
            parsed(&format!("{table}{}", directory("/var/lib/p/outbox2", true))).unwrap();
            parsed(&format!("{table}{}", directory("/srv", true))).unwrap();
        }
    }

    #[test]
    fn tasks_do_not_write_around_a_directory() {
        let two = |outer: bool, inner: bool| {
            let text = directory("/srv", outer) + &directory("/srv/data", inner);
            parsed(&text).map_err(|error| error.to_string())
        };
        for inner in [true, false] {
            assert!(
                two(true, inner)
                    .unwrap_err()
                    .contains("a link in its place")
            );
            two(false, inner).unwrap();
        }
        let text = directory("/srv/a", true) + &directory("/srv/ab", true);
        parsed(&text).unwrap();
        // One directory under two names is one directory.
        let again = "[[directories]]\npath = \"/srv/a\"\nname = \"/again\"\n";
        parsed(&format!("{}{again}", directory("/srv/a", true))).unwrap();
    }

    #[test]
    fn links_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        for made in ["own", "theirs"] {
            std::fs::create_dir(at(made)).unwrap();
        }
        std::os::unix::fs::symlink(at("own"), at("link")).unwrap();
        // The outbox need not exist yet.
        for (outbox, given) in [
            ("own", "link"),
            ("own/outbox", "link"),
            ("link/outbox", "own"),
            ("link/outbox/store", "own"),
        ] {
            let outbox = format!("[outbox]\npath = {:?}\n", at(outbox));
            let error = parsed(&(outbox.clone() + &directory(&at(given), false))).unwrap_err();
            assert!(error.to_string().contains("apart"), "{error}");
            parsed(&(outbox + &directory(&at("theirs"), true))).unwrap();
        }
        std::fs::create_dir(at("own/inner")).unwrap();
        let text = directory(&at("own"), true) + &directory(&at("link/inner"), true);
        let error = parsed(&text).unwrap_err().to_string();
        assert!(error.contains("a link in its place"), "{error}");
        let again = format!(
            "[[directories]]\npath = {:?}\nname = \"/again\"\n",
            at("link")
        );
        parsed(&(directory(&at("own"), true) + &again)).unwrap();
    }

    #[test]
    fn nobody_reads_credentials_or_writes_settings() {
        let given = |is_writable| {
            [Directory {
                path: "/etc/proplet".into(),
                name: "/data".to_owned(),
                is_writable,
            }]
        };
        let at = |name: &str| Some(PathBuf::from(format!("/etc/{name}")));
        for (settings, credentials, writable, allowed) in [
            (at("proplet/proplet.toml"), None, true, false),
            (at("proplet/proplet.toml"), None, false, true),
            (None, at("proplet/secret.toml"), false, false),
            (at("proplet.toml"), at("secret.toml"), true, true),
        ] {
            let checked = check_documents(
                &given(writable),
                settings.as_deref(),
                credentials.as_deref(),
            );
            assert_eq!(checked.is_ok(), allowed, "{checked:?}");
        }
    }
}
