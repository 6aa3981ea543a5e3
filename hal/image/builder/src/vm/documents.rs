//! The two documents of a VM from what an operator gives: settings, variables and files.
//!
//! Everything that decides about secrets is in the settings, which are measured byte by byte as they were given. Of the
//! variables only the key broker's address and the size of a disk for the outbox can make settings, and only where there are
//! none.

use std::collections::BTreeMap;
use std::path::PathBuf;

use proplet_hal::init_data::{DigestAlgorithm, InitData};
use serde::Serialize;

use super::VmError;
use crate::BuildError;

/// The file of init-data that holds the settings.
const SETTINGS: &str = "proplet.toml";
/// Where files of the operator's document are in the VM.
const OPERATOR: &str = "/run/proplet/operator";
/// Where the VM has the disk of the outbox, by its first process.
const OUTBOX_DEVICE: &str = "/dev/proplet/outbox";
/// Where the daemon serves evidence unless the settings say otherwise.
const ATTESTATION_PORT: u16 = 50_010;
/// What the daemon cannot do without: the section, the names in it and the variables.
const NEEDED: [(&str, &[&str], &str, &[&str]); 5] = [
    (
        "[proplet] tenant_id",
        &["tenant_id", "domain_id"],
        "PROPLET_TENANT_ID or PROPLET_DOMAIN_ID",
        &["PROPLET_TENANT_ID", "PROPLET_DOMAIN_ID"],
    ),
    (
        "[proplet] channel_id",
        &["channel_id"],
        "PROPLET_CHANNEL_ID",
        &["PROPLET_CHANNEL_ID"],
    ),
    (
        "[proplet] entity_id",
        &["entity_id", "client_id"],
        "PROPLET_ENTITY_ID or PROPLET_CLIENT_ID",
        &["PROPLET_ENTITY_ID", "PROPLET_CLIENT_ID"],
    ),
    (
        "[proplet] api_key_resource",
        &["api_key_resource"],
        "PROPLET_API_KEY or PROPLET_CLIENT_KEY",
        &["PROPLET_API_KEY", "PROPLET_CLIENT_KEY"],
    ),
    (
        "[mqtt] address",
        &["address"],
        "PROPLET_MQTT_ADDRESS",
        &["PROPLET_MQTT_ADDRESS"],
    ),
];

/// What an operator gives.
pub(super) struct Request<'a> {
    /// Settings or init-data (true) as they are in a file.
    pub(super) given: Option<(PathBuf, String, bool)>,
    /// The key broker's address.
    pub(super) kbs_url: Option<&'a str>,
    /// Variables for the daemon.
    pub(super) variables: Vec<(String, String)>,
    /// Files for the daemon: name, the variable that says where it is, text.
    pub(super) files: Vec<(String, String, String)>,
    /// Whether the VM gets a disk for the outbox.
    pub(super) has_disk: bool,
}

/// What a VM is started with.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) init_data: InitData,
    pub(super) operator: String,
    pub(super) has_key_broker: bool,
    /// Where others may ask for evidence, where the settings say so in so many words.
    pub(super) evidence_port: Option<u16>,
    /// Whether the settings name the disk of the outbox.
    pub(super) names_disk: bool,
}

#[derive(Serialize)]
struct Operator<'a> {
    version: &'static str,
    environment: BTreeMap<&'a str, String>,
    files: BTreeMap<&'a str, &'a str>,
}

/// Makes both documents.
pub(super) fn documents(request: &Request<'_>) -> Result<Made, BuildError> {
    let (init_data, settings) = measured(request)?;
    let has_key_broker = check_key_broker(&settings, request)?;
    let names_disk = text_at(&settings, "outbox", "path") == Some(OUTBOX_DEVICE);
    // Settings of a document are measured as they are, so nothing is added to them here.
    if request.has_disk && !names_disk {
        return Err(VmError::Disk(OUTBOX_DEVICE).into());
    }
    for name in ["api_key", "client_key"] {
        if text_at(&settings, "proplet", name).is_some() {
            return Err(VmError::Credential(name).into());
        }
    }
    check_needed(&settings, &request.variables)?;
    let mut environment: BTreeMap<&str, String> = request
        .variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.clone()))
        .collect();
    for (name, variable, _) in &request.files {
        if !variable.is_empty() {
            environment.insert(variable, format!("{OPERATOR}/{name}"));
        }
    }
    let operator = toml::to_string(&Operator {
        version: "0.1.0",
        environment,
        files: request
            .files
            .iter()
            .map(|(name, _, text)| (name.as_str(), text.as_str()))
            .collect(),
    })
    .map_err(|error| BuildError::package("the operator's document", error))?;
    Ok(Made {
        init_data,
        operator,
        has_key_broker,
        evidence_port: evidence_port(&settings),
        names_disk,
    })
}

/// The port at which others may ask for evidence: `[agent] evidence_from_outside = true`, which the daemon checks further.
fn evidence_port(settings: &toml::Table) -> Option<u16> {
    let agent = settings.get("agent")?;
    let is_on = |name| agent.get(name).and_then(toml::Value::as_bool) == Some(true);
    if !is_on("attestation") || !is_on("evidence_from_outside") {
        return None;
    }
    match text_at(settings, "agent", "attestation_address") {
        None => Some(ATTESTATION_PORT),
        Some(address) => address
            .parse()
            .ok()
            .map(|address: std::net::SocketAddr| address.port()),
    }
}

/// The init-data, and the settings in it.
fn measured(request: &Request<'_>) -> Result<(InitData, toml::Table), BuildError> {
    let (path, init_data) = match &request.given {
        Some((path, text, true)) => (path.clone(), InitData::parse(text)?),
        Some((path, text, false)) => (
            path.clone(),
            InitData::holding(DigestAlgorithm::Sha256, SETTINGS, text)?,
        ),
        None => (
            "the settings".into(),
            InitData::holding(
                DigestAlgorithm::Sha256,
                SETTINGS,
                &of_variables(request.kbs_url, request.has_disk),
            )?,
        ),
    };
    let wrong = |reason: String| VmError::Settings {
        path: path.clone(),
        reason,
    };
    let text = init_data
        .file(SETTINGS)
        .ok_or_else(|| wrong(format!("it holds no {SETTINGS}")))?;
    // The message alone: the parser's display repeats the line.
    let settings = text
        .parse::<toml::Table>()
        .map_err(|error| wrong(format!("the settings are no TOML: {}", error.message())))?;
    Ok((init_data, settings))
}

/// Settings that say where the key broker and the outbox are, and nothing else.
fn of_variables(url: Option<&str>, has_disk: bool) -> String {
    let mut settings = url.map_or_else(
        || "# Without a key broker: plain tasks only.\n".to_owned(),
        |url| format!("[kbs]\nurl = {}\n", toml::Value::from(url)),
    );
    if has_disk {
        settings += &format!("\n[outbox]\npath = \"{OUTBOX_DEVICE}\"\n");
    }
    settings
}

fn check_key_broker(settings: &toml::Table, request: &Request<'_>) -> Result<bool, VmError> {
    let found = text_at(settings, "kbs", "url");
    if let Some(variable) = request.kbs_url {
        let differs = |settings: String| VmError::KeyBroker {
            variable: variable.to_owned(),
            settings,
        };
        match found {
            None => return Err(differs("name no key broker".to_owned())),
            Some(url) if url.trim_end_matches('/') != variable.trim_end_matches('/') => {
                return Err(differs(format!("say {url:?}")));
            }
            Some(_) => (),
        }
    }
    Ok(found.is_some())
}

fn check_needed(settings: &toml::Table, variables: &[(String, String)]) -> Result<(), VmError> {
    for (what, names, in_words, given) in NEEDED {
        let section = if what.starts_with("[mqtt]") {
            "mqtt"
        } else {
            "proplet"
        };
        let in_settings = names
            .iter()
            .any(|name| text_at(settings, section, name).is_some());
        let in_variables = variables
            .iter()
            .any(|(name, value)| given.contains(&name.as_str()) && !value.trim().is_empty());
        if !in_settings && !in_variables {
            return Err(VmError::Missing {
                what,
                variables: in_words,
            });
        }
    }
    let address = variables
        .iter()
        .find(|(name, value)| name == "PROPLET_MQTT_ADDRESS" && !value.is_empty())
        .map(|(_, value)| value.as_str())
        .or_else(|| text_at(settings, "mqtt", "address"));
    match address {
        Some(address) if leads_to_itself(address) => Err(VmError::Loopback(address.to_owned())),
        _ => Ok(()),
    }
}

/// Whether an address of a broker is a loopback one, in whichever form the daemon takes it.
fn leads_to_itself(address: &str) -> bool {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let rest = rest.split('/').next().unwrap_or_default();
    let host = match rest.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => rest.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
}

fn text_at<'a>(settings: &'a toml::Table, section: &str, name: &str) -> Option<&'a str> {
    settings
        .get(section)?
        .get(name)?
        .as_str()
        .filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use proplet_init::OperatorDocument;
    use proptest::prelude::*;

    use super::*;

    fn variables(more: &[(&str, &str)]) -> Vec<(String, String)> {
        let usual = [
            ("PROPLET_TENANT_ID", "t"),
            ("PROPLET_CHANNEL_ID", "c"),
            ("PROPLET_ENTITY_ID", "e"),
            ("PROPLET_API_KEY", "k"),
            ("PROPLET_MQTT_ADDRESS", "tcp://10.0.2.2:1883"),
        ];
        let mut all: BTreeMap<_, _> = usual.into_iter().collect();
        all.extend(more.iter().copied());
        all.into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    fn request<'a>(settings: Option<&str>, kbs_url: Option<&'a str>) -> Request<'a> {
        Request {
            given: settings.map(|text| ("settings.toml".into(), text.to_owned(), false)),
            kbs_url,
            variables: variables(&[]),
            files: Vec::new(),
            has_disk: false,
        }
    }

    #[test]
    fn a_key_brokers_address_makes_settings() {
        let made = documents(&request(None, Some("https://kbs.example/\"\\"))).unwrap();
        let settings: toml::Table = made.init_data.file(SETTINGS).unwrap().parse().unwrap();
        assert_eq!(
            text_at(&settings, "kbs", "url"),
            Some("https://kbs.example/\"\\")
        );
        assert!(made.has_key_broker);
        let made = documents(&request(None, None)).unwrap();
        assert!(!made.has_key_broker);
        assert!(!made.init_data.text().contains("allow_http"));
    }

    #[test]
    fn settings_are_kept_byte_by_byte() {
        let text = "# mine\n[kbs]\nurl   =   'https://kbs.example'\n";
        let made = documents(&request(Some(text), Some("https://kbs.example/"))).unwrap();
        assert_eq!(made.init_data.file(SETTINGS), Some(text));
        let given = made.init_data.text().to_owned();
        let mut again = request(None, None);
        again.given = Some(("init-data.toml".into(), given.clone(), true));
        assert_eq!(documents(&again).unwrap().init_data.text(), given);
    }

    #[test]
    fn another_key_broker_is_refused() {
        for settings in ["[kbs]\nurl = 'https://other.example'\n", "# none\n"] {
            let error =
                documents(&request(Some(settings), Some("https://kbs.example"))).unwrap_err();
            assert!(error.to_string().contains("KBS_URL"), "{error}");
        }
    }

    #[test]
    fn what_is_no_document_is_refused() {
        let refused = |text: &str, init_data| {
            let mut request = request(None, None);
            request.given = Some(("x.toml".into(), text.to_owned(), init_data));
            documents(&request).unwrap_err().to_string()
        };
        assert!(refused("a = hunter2", false).contains("x.toml"));
        assert!(!refused("a = hunter2", false).contains("hunter2"));
        assert!(refused("a = 1", true).contains("init-data"));
        let other = "version = '0.1.0'\nalgorithm = 'sha256'\n[data]\n'x' = ''\n";
        assert!(refused(other, true).contains("proplet.toml"));
    }

    #[test]
    fn each_thing_that_is_missing_is_named() {
        for (what, _, _, names) in NEEDED {
            let mut request = request(Some("# none\n"), None);
            request
                .variables
                .retain(|(name, _)| !names.contains(&name.as_str()));
            let error = documents(&request).unwrap_err().to_string();
            assert!(error.contains(what) && error.contains(names[0]), "{error}");
            request
                .variables
                .push((names[0].to_owned(), " ".to_owned()));
            assert!(documents(&request).is_err(), "{what} is empty");
        }
        let mut request = request(
            Some(
                "[proplet]\ndomain_id = 't'\nchannel_id = 'c'\nclient_id = 'e'\n\
                 api_key_resource = 'kbs:///a/b/c'\n[mqtt]\naddress = 'mqtts://b'\n",
            ),
            None,
        );
        request.variables.clear();
        documents(&request).unwrap();
    }

    #[test]
    fn a_credential_in_settings_is_refused() {
        for name in ["api_key", "client_key"] {
            let text = format!("[proplet]\n{name} = 'hunter2'\n");
            let error = documents(&request(Some(&text), None)).unwrap_err();
            let error = error.to_string();
            assert!(
                error.contains(name) && !error.contains("hunter2"),
                "{error}"
            );
        }
    }

    #[test]
    fn evidence_is_for_others_where_the_settings_say_so() {
        let port = |text: &str| documents(&request(Some(text), None)).unwrap().evidence_port;
        let both = "[agent]\nattestation = true\nevidence_from_outside = true\n";
        assert_eq!(port(both), Some(50_010));
        let other = format!("{both}attestation_address = '0.0.0.0:7'\n");
        assert_eq!(port(&other), Some(7));
        for text in [
            "",
            "[agent]\nattestation = true\n",
            "[agent]\nattestation = true\nattestation_address = '127.0.0.1:50010'\n",
            "[agent]\nevidence_from_outside = true\n",
            "[agent]\nattestation = true\nevidence_from_outside = 'true'\n",
            "agent = 1\n",
        ] {
            assert_eq!(port(text), None, "{text}");
        }
    }

    #[test]
    fn a_disk_is_for_the_outbox_that_the_settings_name() {
        assert_eq!(OUTBOX_DEVICE, proplet_init::OUTBOX_DEVICE);
        let made = |settings: Option<&str>, kbs_url, has_disk| {
            documents(&Request {
                has_disk,
                ..request(settings, kbs_url)
            })
        };
        for kbs_url in [None, Some("https://kbs.example")] {
            let with = made(None, kbs_url, true).unwrap();
            let settings: toml::Table = with.init_data.file(SETTINGS).unwrap().parse().unwrap();
            assert_eq!(text_at(&settings, "outbox", "path"), Some(OUTBOX_DEVICE));
            assert!(with.names_disk);
            assert_eq!(with.has_key_broker, kbs_url.is_some());
            assert!(!made(None, kbs_url, false).unwrap().names_disk);
        }
        let named = "[outbox]\npath = \"/dev/proplet/outbox\"\nrerun = \"never\"\n";
        let with = made(Some(named), None, true).unwrap();
        assert!(with.names_disk && with.init_data.file(SETTINGS) == Some(named));
        assert!(made(Some(named), None, false).unwrap().names_disk);
        for other in ["# none\n", "[outbox]\npath = \"/run/proplet/outbox\"\n"] {
            let error = made(Some(other), None, true).unwrap_err().to_string();
            assert!(error.contains("DISK_SIZE"), "{error}");
            assert!(
                error.contains("[outbox]\npath = \"/dev/proplet/outbox\""),
                "{error}"
            );
            assert!(!made(Some(other), None, false).unwrap().names_disk);
        }
    }

    #[test]
    fn a_broker_inside_the_vm_is_refused() {
        for address in [
            "tcp://localhost:1883",
            "LOCALHOST",
            "127.0.0.1:1883",
            "mqtts://[::1]:8883",
            "tcp://0.0.0.0",
        ] {
            assert!(leads_to_itself(address), "{address}");
            let mut request = request(None, None);
            request.variables = variables(&[("PROPLET_MQTT_ADDRESS", address)]);
            assert!(documents(&request).is_err(), "{address}");
        }
        for address in [
            "tcp://10.0.2.2:1883",
            "localhost.example",
            "[2001:db8::1]:1",
        ] {
            assert!(!leads_to_itself(address), "{address}");
        }
    }

    proptest! {
        #[test]
        fn values_survive(value in "(?s).{0,60}", file in "(?s).{0,60}") {
            let mut request = request(None, None);
            request.variables = variables(&[("PROPLET_DESCRIPTION", &value)]);
            request.files = vec![("ca.pem".to_owned(), "PROPLET_MQTT_TLS_CA_CERT".to_owned(), file.clone())];
            let made = documents(&request).unwrap();
            let table: toml::Table = made.operator.parse().unwrap();
            prop_assert_eq!(table["files"]["ca.pem"].as_str(), Some(file.as_str()));
            // As the VM's first process reads it.
            let read = OperatorDocument::parse(&made.operator).unwrap();
            let found: BTreeMap<_, _> = read.environment().collect();
            prop_assert_eq!(found["PROPLET_DESCRIPTION"], value.as_str());
            prop_assert_eq!(found["PROPLET_MQTT_TLS_CA_CERT"], "/run/proplet/operator/ca.pem");
        }
    }
}
