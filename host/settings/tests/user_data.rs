//! `hal/ubuntu/user-data`: its files are what they are meant to be.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{fs, path::Path};

use proplet_settings::{ApiKey, Settings, environment::Environment, secret::Secret};

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../hal/ubuntu");
    fs::read_to_string(path.join(name)).unwrap()
}

/// The content of a file that the user data writes: a block of YAML, indented by six spaces.
fn written(path: &str) -> String {
    let text = file("user-data");
    let entry = format!("  - path: {path}\n");
    assert_eq!(text.matches(&entry).count(), 1, "{path}");
    let (_, rest) = text.split_once(&entry).unwrap();
    let (_, block) = rest.split_once("    content: |\n").unwrap();
    block
        .lines()
        .map_while(|line| match line.strip_prefix("      ") {
            Some(line) => Some(line),
            None => line.is_empty().then_some(""),
        })
        .map(|line| format!("{line}\n"))
        .collect::<String>()
        .trim_end()
        .to_owned()
        + "\n"
}

#[test]
fn the_service_is_the_one_beside_it() {
    assert_eq!(
        written("/etc/systemd/system/proplet.service"),
        file("proplet.service")
    );
}

#[test]
fn the_documents_are_enough_for_a_daemon() {
    let settings = Settings::parse_with_credentials(
        Some(&written("/etc/proplet/proplet.toml")),
        Some(&written("/etc/proplet/credentials.toml")),
        &Environment::default(),
    )
    .unwrap();
    let identity = settings.identity().unwrap();
    assert_eq!(identity.api_key, ApiKey::Given(Secret::new("key")));
    assert!(settings.mqtt.address.tls());
    assert_eq!(settings.outbox.path, Some("/var/lib/proplet/outbox".into()));
    // Nothing is given away before somebody says so.
    assert!(!settings.confidential.allow_unmeasured_settings);
    assert!(settings.directories.is_empty() && settings.health.is_none());
}

#[test]
fn what_a_guest_has_no_use_for_is_not_there() {
    let text = file("user-data");
    let keys: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with(char::is_alphabetic))
        .collect();
    assert_eq!(keys, ["write_files:", "runcmd:"]);
    assert_eq!(text.matches("  - path: ").count(), 3);
}
