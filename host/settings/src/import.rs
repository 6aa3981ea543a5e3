//! From the environment of a deployment to the settings document that means the same.

use std::{fmt::Write as _, time::Duration};

use zeroize::Zeroizing;

use crate::{
    environment::Environment,
    error::SettingsError,
    sections::{ApiKey, ClientCertificate, Mqtt, PlainImages},
    settings::Settings,
    upstream,
};

/// Variables that name a key broker.
const KEY_BROKER: [&str; 2] = ["PROPLET_KBS_URI", "PROPLET_KBS_URL"];

/// What an environment comes to.
pub struct Import {
    /// The settings document. It holds no credential.
    pub settings: String,
    /// The credentials document; none when there is nothing for it.
    pub credentials: Option<Zeroizing<String>>,
    /// What is not in the documents, with the reason: a line for each.
    pub left_out: Vec<String>,
}

/// Writes the documents of an environment, and of the file that it is used with, if any. What comes of them without
/// that environment is what comes of the environment.
///
/// # Errors
/// As a start with that environment.
pub fn import(environment: &Environment, config: Option<&str>) -> Result<Import, SettingsError> {
    if config.is_some_and(|text| !upstream::has_no_other_tables(text, environment)) {
        return Err(SettingsError::NotUpstreams);
    }
    let settings = Settings::parse(config, environment)?;
    let usual = Settings::parse(None, &Environment::default())?;
    let mut left_out = settings.notices.clone();
    let mut text = String::from(
        "# Made by `proplet import`. docs/settings.md says what else can stand here.\n",
    );
    let mut table = |name: &str, lines: &[Line]| {
        let lines: Vec<&str> = lines.iter().flatten().map(String::as_str).collect();
        if !lines.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n{name}\n{}", lines.concat());
        }
    };

    let (identity, about) = (&settings.identity, &settings.about);
    table(
        "[proplet]",
        &[
            given("tenant_id", identity.tenant.as_deref()),
            given("channel_id", identity.channel.as_deref()),
            given("entity_id", identity.entity.as_deref()),
            changed(
                "namespace",
                about.namespace.as_str(),
                &usual.about.namespace,
            ),
            given("description", about.description.as_deref()),
            (!about.tags.is_empty()).then(|| line("tags", &list(&about.tags))),
            given("location", about.location.as_deref()),
            number(
                "collect_system_info",
                about.system_info,
                usual.about.system_info,
            ),
            number(
                "heartbeat_seconds",
                settings.heartbeat.as_secs(),
                usual.heartbeat.as_secs(),
            ),
            changed("log_level", settings.log_level.as_str(), &usual.log_level),
        ],
    );
    table("[mqtt]", &mqtt(&settings.mqtt, &usual.mqtt));
    if settings.registry.plain_images == PlainImages::Proxy {
        table(
            "[registry]",
            &[Some(line("plain_images", &quoted("proxy")))],
        );
    }
    if let Some(listen) = settings.http.listen {
        table(
            "[http]",
            &[Some(line("listen", &quoted(&listen.address.to_string())))],
        );
        if listen.ports > 1 {
            left_out.push(format!(
                "PROPLET_HTTP_ENABLED: the document serves HTTP guests at port {} only; upstream takes one of the {} \
                 after it when that is not free",
                listen.address.port(),
                listen.ports.saturating_sub(1)
            ));
        }
    }
    table(
        "[metrics]",
        &[number(
            "interval_seconds",
            seconds(settings.metrics.interval),
            seconds(usual.metrics.interval),
        )],
    );
    for directory in &settings.directories {
        table(
            "[[directories]]",
            &[
                Some(line("path", &quoted(&directory.path.to_string_lossy()))),
                Some(line("name", &quoted(&directory.name))),
                Some(line("writable", &directory.is_writable.to_string())),
            ],
        );
    }
    if let Some(url) = environment.text(&KEY_BROKER) {
        let _ = write!(
            text,
            "\n# The environment named this key broker. Nobody vouches for that: take it in if it is yours.\n\
             # [kbs]\n# url = {}\n",
            quoted(&url)
        );
    }

    Ok(Import {
        credentials: credentials(&settings),
        settings: text,
        left_out,
    })
}

/// A line of a table, or none.
type Line = Option<String>;

fn mqtt(given: &Mqtt, usual: &Mqtt) -> [Line; 7] {
    [
        changed(
            "address",
            &given.address.to_string(),
            &usual.address.to_string(),
        ),
        number("qos", given.qos, usual.qos),
        number(
            "keep_alive_seconds",
            given.keep_alive.as_secs(),
            usual.keep_alive.as_secs(),
        ),
        number(
            "max_packet_bytes",
            given.max_packet_bytes,
            usual.max_packet_bytes,
        ),
        number("inflight", given.inflight, usual.inflight),
        number("request_queue", given.request_queue, usual.request_queue),
        self::given(
            "ca",
            given
                .ca
                .as_deref()
                .map(|ca| ca.to_string_lossy())
                .as_deref(),
        ),
    ]
}

fn credentials(settings: &Settings) -> Option<Zeroizing<String>> {
    // An environment names no resources.
    let key = match &settings.identity.api_key {
        Some(ApiKey::Given(key)) => Some(key),
        _ => None,
    };
    let client = match &settings.mqtt.client {
        Some(ClientCertificate::Files { certificate, key }) => Some((certificate, key)),
        _ => None,
    };
    if key.is_none() && client.is_none() {
        return None;
    }
    let mut text = Zeroizing::new(String::from(
        "# Made by `proplet import`; named by --credentials.\n",
    ));
    if let Some(key) = key {
        let line = Zeroizing::new(line("api_key", &quoted(key.expose())));
        let _ = write!(text, "\n[proplet]\n{}", line.as_str());
    }
    if let Some((certificate, key)) = client {
        let path = |path: &std::path::Path| quoted(&path.to_string_lossy());
        let _ = write!(
            text,
            "\n[mqtt]\nclient_cert = {}\nclient_key = {}\n",
            path(certificate),
            path(key)
        );
    }
    Some(text)
}

/// An interval as the document has it: 0 is none.
fn seconds(interval: Option<Duration>) -> u64 {
    interval.map_or(0, |interval| interval.as_secs())
}

fn line(name: &str, value: &str) -> String {
    format!("{name} = {value}\n")
}

fn given(name: &str, value: Option<&str>) -> Line {
    value.map(|value| line(name, &quoted(value)))
}

fn changed(name: &str, value: &str, usual: &str) -> Line {
    (value != usual).then(|| line(name, &quoted(value)))
}

fn number<T: PartialEq + ToString>(name: &str, value: T, usual: T) -> Line {
    (value != usual).then(|| line(name, &value.to_string()))
}

fn list(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", texts.join(", "))
}

/// A basic string of TOML, which has the escapes of JSON, and one character more that needs one.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text)
        .to_string()
        .replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn environment(file: &str) -> Environment {
        Environment::from_file(file).unwrap()
    }

    /// What decides how a start goes, but for the key.
    fn effect(settings: &Settings) -> String {
        let key = match &settings.identity.api_key {
            Some(ApiKey::Given(key)) => key.expose().to_owned(),
            _ => String::new(),
        };
        let listen = settings.http.listen.map(|listen| listen.address);
        format!(
            "{:?}",
            (
                (&settings.identity, key, &settings.about, &settings.mqtt),
                (&settings.registry, listen, &settings.directories),
                (
                    settings.heartbeat,
                    &settings.log_level,
                    settings.kbs.is_some(),
                    &settings.metrics,
                ),
            )
        )
    }

    fn reimported(import: &Import) -> Settings {
        Settings::parse_with_credentials(
            Some(&import.settings),
            import.credentials.as_ref().map(|text| text.as_str()),
            &Environment::default(),
        )
        .unwrap_or_else(|error| panic!("{error}\n{}", import.settings))
    }

    fn check(file: &str, config: Option<&str>) -> Import {
        let environment = environment(file);
        let import = import(&environment, config).unwrap();
        let direct = Settings::parse(config, &environment).unwrap();
        assert_eq!(
            effect(&reimported(&import)),
            effect(&direct),
            "{}",
            import.settings
        );
        import
    }

    /// All variables of the page, as deployments of both generations set them.
    const FILE: &str = include_str!("import/upstream.env");

    #[test]
    fn the_documents_mean_what_the_environment_meant() {
        let import = check(FILE, None);
        assert!(!import.settings.contains("75a0fefe"), "{}", import.settings);
        assert!(import.credentials.unwrap().contains("75a0fefe"));
        // Nothing of it is in force.
        assert!(import.settings.contains("# url = \"http://10.0.2.2:8082\""));
        for name in [
            "PROPLET_KBS_URI",
            "PROPLET_PLUGIN_DIR",
            "PROPLET_HTTP_ENABLED",
            "DATA_STORE_URL",
        ] {
            let said = import.left_out.iter().filter(|line| line.contains(name));
            assert_eq!(said.count(), 1, "{name}: {:?}", import.left_out);
        }
    }

    #[test]
    fn the_older_names_and_the_file_are_imported_too() {
        let older = "PROPLET_DOMAIN_ID=t\nPROPLET_CHANNEL_ID=c\nPROPLET_CLIENT_ID=p\nPROPLET_CLIENT_KEY=k\n";
        let import = check(older, None);
        assert!(
            import.settings.contains("tenant_id = \"t\""),
            "{}",
            import.settings
        );
        let config =
            "[manager]\nclient_id = \"m\"\n[proplet]\ndomain_id = \"t\"\nclient_key = \"k\"\n";
        let import = check("PROPLET_TAGS=a\n", Some(config));
        assert!(
            import.settings.contains("plain_images = \"proxy\""),
            "{}",
            import.settings
        );
        assert!(check("", None).credentials.is_none());
    }

    #[test]
    fn certificates_of_this_machine_go_to_the_credentials() {
        let tls = "PROPLET_MQTT_ADDRESS=mqtts://broker\nPROPLET_MQTT_TLS_CA_CERT=/etc/ca.pem\n\
            PROPLET_MQTT_TLS_CLIENT_CERT=/etc/me.pem\nPROPLET_MQTT_TLS_CLIENT_KEY=/etc/me.key\n";
        let import = check(tls, None);
        assert!(!import.settings.contains("/etc/me"), "{}", import.settings);
        assert!(import.settings.contains("/etc/ca.pem"));
    }

    #[test]
    fn a_settings_document_of_ours_is_not_taken_for_upstreams_file() {
        let ours = "[proplet]\nentity_id = \"p\"\n[kbs]\nurl = \"https://kbs.example\"";
        let refused = import(&environment(""), Some(ours));
        assert!(matches!(refused, Err(SettingsError::NotUpstreams)));
    }

    #[test]
    fn what_would_not_start_is_not_imported() {
        let broken = environment("PROPLET_MQTT_QOS=many\n");
        assert!(matches!(
            import(&broken, None),
            Err(SettingsError::Variable {
                name: "PROPLET_MQTT_QOS",
                ..
            })
        ));
    }

    proptest! {
        #[test]
        fn any_text_in_a_variable_stays_that_text(text in "\\PC{0,30}|[\\x00-\\x7f]{0,30}", kbs in "\\PC{0,30}") {
            let variables = [
                ("PROPLET_DESCRIPTION", text.as_str()),
                ("PROPLET_API_KEY", &text),
                ("PROPLET_KBS_URI", &kbs),
            ];
            let environment: Environment = variables
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            let import = import(&environment, None).unwrap();
            let direct = Settings::parse(None, &environment).unwrap();
            prop_assert_eq!(effect(&reimported(&import)), effect(&direct));
        }
    }
}
