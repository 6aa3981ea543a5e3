//! What the environment may say.
//!
//! An environment is set by whoever starts the process, and in a confidential VM that may be text
//! which the cloud operator supplied at boot and which nobody measured. So it may say where the broker
//! is and who this proplet is on it, which the operator decides anyway, and what only plain tasks have:
//! directories, where the document names none and no encrypted task runs, and where their HTTP guests
//! are served, where there is no key broker and the document is not measured; and whether the use of this machine is told, where none runs. It may not say anything that decides about secrets: the key broker, its CA, recipients,
//! allow-lists and limits stand in the settings document alone, whose digest is in every claim. A
//! variable that tries is reported and ignored, never obeyed.

mod file;

use std::{collections::BTreeMap, str::FromStr};

use crate::{error::SettingsError, secret::Secret};

/// Variables that are obeyed, as far as their documentation says.
const OBEYED: &[&str] = &[
    "PROPLET_CONFIG_FILE",
    "PROPLET_CONFIG_SECTION",
    "PROPLET_CREDENTIALS_FILE",
    "PROPLET_TENANT_ID",
    "PROPLET_DOMAIN_ID",
    "PROPLET_CHANNEL_ID",
    "PROPLET_ENTITY_ID",
    "PROPLET_CLIENT_ID",
    "PROPLET_API_KEY",
    "PROPLET_CLIENT_KEY",
    "PROPLET_MANAGER_K8S_NAMESPACE",
    "PROPLET_DESCRIPTION",
    "PROPLET_TAGS",
    "PROPLET_LOCATION",
    "PROPLET_COLLECT_SYSTEM_INFO",
    "PROPLET_LIVELINESS_INTERVAL",
    "PROPLET_LOG_LEVEL",
    "PROPLET_MQTT_ADDRESS",
    "PROPLET_MQTT_QOS",
    "PROPLET_MQTT_KEEP_ALIVE",
    "PROPLET_MQTT_MAX_PACKET_SIZE",
    "PROPLET_MQTT_INFLIGHT",
    "PROPLET_MQTT_REQUEST_CHANNEL_CAPACITY",
    "PROPLET_MQTT_TLS_CA_CERT",
    "PROPLET_MQTT_TLS_CLIENT_CERT",
    "PROPLET_MQTT_TLS_CLIENT_KEY",
    "PROPLET_HTTP_ENABLED",
    "PROPLET_HTTP_PROXY_PORT",
    "PROPLET_DIRS",
    "PROPLET_METRICS_INTERVAL",
    "PROPLET_ENABLE_MONITORING",
];

/// Variables that deployments of upstream's proplet set and that have no effect here, with the reason
/// for the log.
const IGNORED: &[(&str, &str)] = &[
    (
        "PROPLET_KBS_URI",
        "the key broker decides about secrets: set [kbs] url in the settings document",
    ),
    (
        "PROPLET_KBS_URL",
        "the key broker decides about secrets: set [kbs] url in the document",
    ),
    (
        "PROPLET_AA_CONFIG_PATH",
        "there is no attestation-agent: attestation happens in this process",
    ),
    (
        "PROPLET_LAYER_STORE_PATH",
        "image layers stay in memory, none is stored",
    ),
    (
        "PROPLET_PULL_CONCURRENT_LIMIT",
        "an image has one layer, there is nothing to pull at once",
    ),
    (
        "PROPLET_EXTERNAL_WASM_RUNTIME",
        "components run in this process, never in a child process",
    ),
    (
        "PROPLET_HAL_ENABLED",
        "host interfaces are linked by what a component imports",
    ),
    (
        "PROPLET_USB_ENABLED",
        "USB access for guests is not part of this version",
    ),
    (
        "PROPLET_PLUGIN_DIR",
        "plugins decide about tasks: name each as [[plugins]] in the settings document, with its digest",
    ),
    (
        "PROPLET_METRICS_PORT",
        "/health is served where [health] listen in the settings document says",
    ),
    (
        "PROPLET_METRICS_ENABLED",
        "/health is served where [health] listen in the settings document says",
    ),
    (
        "PROPLET_OTEL_URL",
        "trace export is not part of this version",
    ),
    (
        "PROPLET_OTEL_TRACE_RATIO",
        "trace export is not part of this version",
    ),
    (
        "PROPLET_TRACE_RATIO",
        "trace export is not part of this version",
    ),
    (
        "OCICRYPT_KEYPROVIDER_CONFIG",
        "there is no key provider to ask: keys are released to this process",
    ),
    (
        "MODEL_REGISTRY_URL",
        "tasks fetch models themselves, from hosts that [http] lists",
    ),
    (
        "DATA_STORE_URL",
        "tasks fetch data sets themselves, from hosts that [http] lists",
    ),
    (
        "MANAGER_COORDINATOR_URL",
        "updates of federated learning go to the Manager as results",
    ),
    (
        "PROPLET_INSTANCE_ID",
        "the proplet is known by its entity id",
    ),
    ("PROPLET_MQTT_TIMEOUT", "there is no such timeout"),
    (
        "PROPLET_HTTP_TLS_CA_CERT",
        "set [http] ca_pem and [registry] ca in the settings document",
    ),
    (
        "PROPLET_HTTP_TLS_INSECURE_SKIP_VERIFY",
        "certificates are always verified",
    ),
    (
        "PROPLET_MQTT_TLS_INSECURE_SKIP_VERIFY",
        "certificates are always verified: set the CA instead",
    ),
];

/// Variables that HTTP and TLS libraries obey elsewhere and that have no effect here.
const UNUSED: &[(&str, &str)] = &[
    ("HTTP_PROXY", PROXY),
    ("http_proxy", PROXY),
    ("HTTPS_PROXY", PROXY),
    ("https_proxy", PROXY),
    ("ALL_PROXY", PROXY),
    ("all_proxy", PROXY),
    ("SSL_CERT_FILE", CA),
    ("SSL_CERT_DIR", CA),
];

/// What systemd tells the services that it starts.
const OF_SERVICE_MANAGER: &[&str] = &[
    CREDENTIALS_DIRECTORY,
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// The folder with the credentials that systemd gives to a service (`LoadCredential=`).
pub(super) const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

const PROXY: &str = "a proxy is named by proxy under [registry] or [kbs] in the settings document, or by \
                     --registry-proxy or --kbs-proxy";
const CA: &str =
    "authorities are the system's, or the CA that the settings document or an option names";

/// The variables of a process that are for this program, taken once at start: `PROPLET_*`, those that systemd sets
/// for services, and those that people expect to have an effect.
///
/// An empty value counts as absent, which is how compose files pass on variables that are not set.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
}

impl Environment {
    /// The variables of this process. Those that are not UTF-8 are left out.
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The value of a variable that systemd sets for a service; none for any other name.
    #[must_use]
    pub fn of_service_manager(&self, name: &str) -> Option<&str> {
        let known = OF_SERVICE_MANAGER.contains(&name);
        let value = self.variables.get(name).filter(|_| known)?;
        Some(value)
    }

    /// The value of the first of these names that is set.
    pub(super) fn text(&self, names: &[&str]) -> Option<String> {
        names
            .iter()
            .find_map(|name| self.variables.get(*name))
            .cloned()
    }

    /// The first of these names that is set.
    pub(super) fn named(&self, names: &[&'static str]) -> Option<&'static str> {
        names
            .iter()
            .copied()
            .find(|name| self.variables.contains_key(*name))
    }

    /// As [`Environment::text`], for a credential.
    pub(super) fn secret(&self, names: &[&str]) -> Option<Secret> {
        self.text(names).map(Secret::new)
    }

    /// A value that is parsed; one that does not parse is an error which names the variable.
    pub(super) fn parsed<T: FromStr>(
        &self,
        name: &'static str,
        expected: &'static str,
    ) -> Result<Option<T>, SettingsError> {
        match self.variables.get(name) {
            None => Ok(None),
            Some(value) => match value.trim().parse() {
                Ok(parsed) => Ok(Some(parsed)),
                Err(_) => Err(SettingsError::Variable { name, expected }),
            },
        }
    }

    /// A number of seconds, or a time as compose files write it (`10s`, `1m30s`).
    pub(super) fn seconds(&self, name: &'static str) -> Result<Option<u64>, SettingsError> {
        match self.variables.get(name) {
            None => Ok(None),
            Some(value) => match duration(value.trim()) {
                Some(seconds) => Ok(Some(seconds)),
                None => Err(SettingsError::Variable {
                    name,
                    expected: "a whole number of seconds, or a time such as 90s or 1m30s",
                }),
            },
        }
    }

    /// Upstream's reading of a switch: `1`, `true`, `yes`, `on` and their opposites.
    pub(super) fn switch(&self, name: &'static str) -> Result<Option<bool>, SettingsError> {
        match self
            .variables
            .get(name)
            .map(|value| value.trim().to_ascii_lowercase())
        {
            None => Ok(None),
            Some(value) => match value.as_str() {
                "1" | "true" | "yes" | "on" => Ok(Some(true)),
                "0" | "false" | "no" | "off" => Ok(Some(false)),
                _ => Err(SettingsError::Variable {
                    name,
                    expected: "true or false",
                }),
            },
        }
    }

    /// One line for every variable that is set and would lead connections elsewhere, did it count.
    #[must_use]
    pub fn unused(&self) -> Vec<String> {
        self.ignored(UNUSED).collect()
    }

    /// One line for every variable that is set and has no effect.
    pub(super) fn notices(&self) -> Vec<String> {
        let listed = self.ignored(IGNORED).chain(self.ignored(UNUSED));
        let unknown = self.variables.keys().filter(|name| {
            let lists = [IGNORED, UNUSED].into_iter().flatten();
            !OBEYED.contains(&name.as_str())
                && !OF_SERVICE_MANAGER.contains(&name.as_str())
                && !lists.into_iter().any(|(known, _)| known == name)
        });
        let unknown = unknown.map(|name| {
            format!(
                "{name} is ignored: neither this version nor upstream's proplet has such a variable"
            )
        });
        listed.chain(unknown).collect()
    }

    fn ignored<'a>(&'a self, list: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = String> + 'a {
        list.iter()
            .filter(|(name, _)| self.variables.contains_key(*name))
            .map(|(name, why)| format!("{name} is ignored: {why}"))
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        let variables = variables
            .into_iter()
            .filter(|(name, value)| {
                let ours = name.starts_with("PROPLET_");
                let given = || OF_SERVICE_MANAGER.contains(&name.as_str());
                let listed = || {
                    [IGNORED, UNUSED]
                        .into_iter()
                        .flatten()
                        .any(|(known, _)| known == name)
                };
                (ours || given() || listed()) && !value.trim().is_empty()
            })
            .collect();
        Self { variables }
    }
}

/// Whole seconds of a number of seconds, or of a time as Go writes it: `10s`, `1m30s`, `2h`.
fn duration(text: &str) -> Option<u64> {
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    let mut seconds = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let letters = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(letters);
        let unit = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return None,
        };
        let part = number.parse::<u64>().ok()?.checked_mul(unit)?;
        seconds = seconds.checked_add(part)?;
        rest = next;
    }
    (!text.is_empty()).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn an_empty_variable_is_absent() {
        let environment = environment(&[("PROPLET_MQTT_QOS", ""), ("PROPLET_TAGS", "a,b")]);
        assert_eq!(
            environment
                .parsed::<u8>("PROPLET_MQTT_QOS", "a number")
                .unwrap(),
            None
        );
        assert_eq!(environment.text(&["PROPLET_TAGS"]).as_deref(), Some("a,b"));
    }

    #[test]
    fn what_systemd_sets_is_told_apart() {
        let environment = environment(&[
            ("NOTIFY_SOCKET", "/run/systemd/notify"),
            ("PROPLET_API_KEY", "k"),
            ("WATCHDOG_USEC", " "),
        ]);
        let told = |name| environment.of_service_manager(name);
        assert_eq!(told("NOTIFY_SOCKET"), Some("/run/systemd/notify"));
        assert_eq!(told("WATCHDOG_USEC"), None);
        assert_eq!(told("PROPLET_API_KEY"), None);
        assert_eq!(environment.notices(), Vec::<String>::new());
    }

    #[test]
    fn a_bad_number_names_its_variable() {
        let environment = environment(&[("PROPLET_MQTT_QOS", "two")]);
        let error = environment
            .parsed::<u8>("PROPLET_MQTT_QOS", "a number")
            .unwrap_err();
        assert!(error.to_string().contains("PROPLET_MQTT_QOS"), "{error}");
    }

    #[test]
    fn seconds_may_carry_their_unit() {
        let seconds = |text| {
            let variables = environment(&[("PROPLET_LIVELINESS_INTERVAL", text)]);
            variables.seconds("PROPLET_LIVELINESS_INTERVAL")
        };
        for (text, wanted) in [
            ("10", 10),
            ("10s", 10),
            ("10m", 600),
            ("1m30s", 90),
            ("2h", 7200),
        ] {
            assert_eq!(seconds(text).unwrap(), Some(wanted), "{text}");
        }
        for bad in [
            "10x",
            "s",
            "1m30",
            "-1",
            "1.5s",
            "10 s",
            "99999999999999999999s",
        ] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    /// Sources in which variables are read.
    const SOURCES: &[&str] = &[
        include_str!("load.rs"),
        include_str!("broker.rs"),
        include_str!("upstream.rs"),
        include_str!("checks/directories.rs"),
        include_str!("checks/http.rs"),
        include_str!("checks/identity.rs"),
        include_str!("checks/metrics.rs"),
        include_str!("checks/mqtt.rs"),
    ];

    #[test]
    fn what_is_read_is_listed_and_what_is_listed_is_read() {
        let mut read = std::collections::BTreeSet::new();
        for source in SOURCES {
            for (at, _) in source.match_indices("\"PROPLET_") {
                let rest = &source[at + 1..];
                let (name, _) = rest.split_once('"').unwrap();
                if name
                    .chars()
                    .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
                {
                    read.insert(name);
                }
            }
        }
        let obeyed: std::collections::BTreeSet<_> = OBEYED.iter().copied().collect();
        let unlisted: Vec<_> = read.difference(&obeyed).collect();
        assert!(unlisted.is_empty(), "read, and not in OBEYED: {unlisted:?}");
        let unread: Vec<_> = obeyed.difference(&read).collect();
        assert!(unread.is_empty(), "in OBEYED, and not read: {unread:?}");
        assert!(IGNORED.iter().all(|(name, _)| !obeyed.contains(name)));
    }

    #[test]
    fn a_variable_that_nobody_knows_is_named() {
        let notices = environment(&[("PROPLET_MQTT_ADRESS", "tcp://a")]).notices();
        assert_eq!(notices.len(), 1);
        assert!(
            notices[0].starts_with("PROPLET_MQTT_ADRESS is ignored"),
            "{notices:?}"
        );
        assert!(
            environment(&[("PROPLET_MQTT_ADDRESS", "tcp://a")])
                .notices()
                .is_empty()
        );
        let elsewhere = environment(&[
            ("DATA_STORE_URL", "http://user:password@a"),
            ("HOME", "/root"),
        ]);
        let notices = elsewhere.notices();
        assert_eq!(notices.len(), 1);
        assert!(!notices[0].contains("password"), "{notices:?}");
    }

    #[test]
    fn what_decides_about_secrets_is_reported_as_ignored() {
        let notices = environment(&[("PROPLET_KBS_URI", "http://evil")]).notices();
        assert_eq!(notices.len(), 1);
        assert!(
            notices[0].contains("PROPLET_KBS_URI is ignored"),
            "{notices:?}"
        );
        assert!(!notices[0].contains("evil"), "{notices:?}");
    }

    #[test]
    fn what_libraries_would_obey_is_reported_as_ignored() {
        let environment = environment(&[
            ("HTTPS_PROXY", "http://user:password@proxy"),
            ("no_proxy", "*"),
            ("SSL_CERT_FILE", "/ca.pem"),
            ("PROPLET_KBS_URI", "http://evil"),
        ]);
        assert_eq!(environment.notices().len(), 3);
        let unused = environment.unused();
        assert_eq!(unused.len(), 2, "{unused:?}");
        assert!(unused[0].contains("HTTPS_PROXY is ignored"), "{unused:?}");
        assert!(!unused[0].contains("password"), "{unused:?}");
    }
}
