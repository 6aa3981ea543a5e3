use super::*;
use crate::{environment::Environment, settings::Settings};

const KBS: &str = "[kbs]\nurl = \"https://kbs.example\"\n";

fn parse(text: &str) -> Result<Settings, SettingsError> {
    Settings::parse(Some(text), &Environment::default())
}

fn refused(text: &str, words: &str) {
    let error = parse(text).unwrap_err().to_string();
    assert!(error.contains(words), "{text}: {error}");
}

#[test]
fn nothing_is_served_unless_it_is_asked_for() {
    for text in [
        "",
        "[agent]\n",
        "[agent]\nattestation = false\nkey_provider = false\n",
    ] {
        let settings = parse(text).unwrap();
        assert_eq!(settings.agent.attestation, None, "{text}");
        assert_eq!(settings.agent.key_provider, None, "{text}");
        assert!(settings.confidential.tasks);
    }
}

#[test]
fn the_ports_are_upstreams_unless_others_are_named() {
    let text = format!(
        "{KBS}[confidential]\ntasks = false\n[agent]\nattestation = true\nkey_provider = true\n"
    );
    let settings = parse(&text).unwrap();
    let at = |text: &str| Some(text.parse::<SocketAddr>().unwrap());
    assert_eq!(settings.agent.attestation, at("127.0.0.1:50010"));
    assert_eq!(settings.agent.key_provider, at("127.0.0.1:50011"));
    assert_eq!(settings.agent.evidence_per_minute, 30);
    assert!(!settings.confidential.tasks);
    let settings = parse(&format!("{text}attestation_address = \"[::1]:7\"\n")).unwrap();
    assert_eq!(settings.agent.attestation, at("[::1]:7"));
}

#[test]
fn only_loopback_addresses_are_taken() {
    for address in [
        "0.0.0.0:50010",
        "10.0.0.1:50010",
        "[::]:50010",
        "192.0.2.1:50010",
        "localhost:50010",
        "127.0.0.1",
        "127.0.0.1:0",
        "unix:///run/aa.sock",
        "",
    ] {
        refused(
            &format!("[agent]\nattestation = true\nattestation_address = \"{address}\"\n"),
            "loopback address",
        );
    }
}

#[test]
fn others_get_evidence_where_the_document_says_so() {
    let text = "[agent]\nattestation = true\nevidence_from_outside = true\n";
    let agent = parse(text).unwrap().agent;
    assert!(agent.evidence_from_outside);
    assert_eq!(agent.attestation, Some("0.0.0.0:50010".parse().unwrap()));
    let other = parse(&format!("{text}attestation_address = \"10.0.2.15:7\"\n")).unwrap();
    assert_eq!(
        other.agent.attestation,
        Some("10.0.2.15:7".parse().unwrap())
    );
    let usual = parse("[agent]\nattestation = true\n").unwrap().agent;
    assert!(!usual.evidence_from_outside);

    refused(
        "[agent]\nevidence_from_outside = true\n",
        "`attestation = true`",
    );
    refused(
        &format!("{text}attestation_service = \"https://as.example\"\n"),
        "nobody gets tokens",
    );
    for address in ["127.0.0.1:50010", "[::1]:50010", "0.0.0.0:0", "0.0.0.0", ""] {
        refused(
            &format!("{text}attestation_address = \"{address}\"\n"),
            "an address that others reach",
        );
    }
    refused(
        &format!(
            "{text}attestation_address = \"10.0.2.15:7\"\n[http]\nhttp_hosts = [\"10.0.2.15:7\"]\n"
        ),
        "where [agent] listens",
    );
    // The key provider stays where it is.
    refused(
        &format!(
            "{text}key_provider = true\nkey_provider_address = \"0.0.0.0:50011\"\n{KBS}[confidential]\ntasks = false\n"
        ),
        "loopback address",
    );
}

#[test]
fn a_key_provider_stands_beside_no_encrypted_tasks() {
    refused(
        &format!("{KBS}[agent]\nkey_provider = true\n"),
        "tasks = false",
    );
    refused(
        &format!("{KBS}[confidential]\ntasks = true\n[agent]\nkey_provider = true\n"),
        "tasks = false",
    );
    refused(
        "[confidential]\ntasks = false\n[agent]\nkey_provider = true\n",
        "[kbs] url",
    );
}

#[test]
fn what_makes_no_sense_is_refused() {
    refused(
        "[agent]\nattestation_address = \"127.0.0.1:7\"\n",
        "which is not set",
    );
    refused(
        "[agent]\nkey_provider_address = \"127.0.0.1:7\"\n",
        "which is not set",
    );
    refused(
        "[agent]\nattestation_service = \"https://as\"\n",
        "which is not set",
    );
    refused("[agent]\nevidence_per_minute = 0\n", "from 1 to 6000");
    refused("[agent]\nkbs_tokens = true\n", "kbs_tokens");
    let on = "[agent]\nattestation = true\n";
    refused(
        &format!("{on}attestation_service_ca_pem = \"x\"\n"),
        "and it is not",
    );
    refused(
        &format!("{on}attestation_service = \"http://as\"\n"),
        "plain http",
    );
    parse(&format!(
        "{on}attestation_service = \"http://as\"\nattestation_service_allow_http = true\n"
    ))
    .unwrap();
    for url in ["as.example", "ftp://as", "https://me@as", "https://as?x=y"] {
        refused(
            &format!("{on}attestation_service = \"{url}\"\n"),
            "without user name",
        );
    }
    refused(
        &format!(
            "{KBS}[confidential]\ntasks = false\n{on}key_provider = true\nkey_provider_address = \"127.0.0.1:50010\"\n"
        ),
        "another port",
    );
}

#[test]
fn tasks_are_not_led_there() {
    let on = "[agent]\nattestation = true\n";
    for registry in [
        "http_hosts = [\"127.0.0.1:50010\"]",
        "private_hosts = [\"localhost:50010\"]",
        "private_hosts = [\"LOCALHOST:50010\"]",
        "registries = [\"[::1]:50010\"]",
        "registries = [\"0.0.0.0:50010\", \"a.example\"]",
        "http_hosts = [\"[::ffff:127.0.0.1]:50010\"]",
        "private_hosts = [\"127.1:50010\"]",
        "private_hosts = [\"localhost.:50010\"]",
        "repositories = [\"127.0.0.1:50010/a/b\"]",
    ] {
        refused(&format!("[registry]\n{registry}\n{on}"), "[agent] listens");
    }
    for list in ["hosts", "http_hosts", "private_hosts"] {
        for host in [
            "127.0.0.1:50010",
            "2130706433:50010",
            "localhost:50010",
            "[::1]:50010",
        ] {
            let http = format!("[http]\n{list} = [\"a.example\", {host:?}]\n");
            refused(&format!("{http}{on}"), "[agent] listens");
            parse(&http).unwrap();
        }
    }
    parse(&format!("[http]\nhosts = [\"127.0.0.1:50012\"]\n{on}")).unwrap();
    parse(&format!(
        "[registry]\nhttp_hosts = [\"127.0.0.1:5000\"]\n{on}"
    ))
    .unwrap();
    parse("[registry]\nhttp_hosts = [\"127.0.0.1:50010\"]\n").unwrap();
}
