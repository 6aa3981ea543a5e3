//! Which broker it is, where the document and the environment both speak.
//!
//! The environment may say where the broker is, as upstream's deployments do. It may be a stranger's
//! text, though, so it must not lead what the document holds to somewhere else than the document meant:
//!
//! - **TLS of the document stays.** Where it names a TLS broker, the variable may not name a plain one.
//! - **The document's `api_key` stays with the document's broker.** Where the key comes from the document,
//!   a variable may name neither another host nor another CA for a broker that the document names. With
//!   a key of its own (`PROPLET_API_KEY`) the environment may: then it gives away what is its own.
//! - **A document that names no broker leaves the choice to the environment**, its key included. That is
//!   how upstream's `config.toml` is used; the log says so at start.

use std::{path::PathBuf, str::FromStr};

use crate::{
    address::{AddressError, BrokerAddress},
    environment::Environment,
    error::SettingsError,
};

const ADDRESS: &str = "PROPLET_MQTT_ADDRESS";
const CA: &str = "PROPLET_MQTT_TLS_CA_CERT";

/// What the document says.
pub(super) struct Documented {
    pub address: Option<String>,
    pub ca: Option<PathBuf>,
    /// Whether the `api_key` in force is the document's.
    pub owns_key: bool,
}

/// The broker in force.
#[derive(Debug)]
pub(super) struct Broker {
    pub address: BrokerAddress,
    pub ca: Option<PathBuf>,
    /// A line for the log.
    pub notice: Option<String>,
}

/// Applies the environment.
pub(super) fn choose(
    document: Documented,
    environment: &Environment,
) -> Result<Broker, SettingsError> {
    let documented = document
        .address
        .map(|text| text.parse())
        .transpose()
        .map_err(|error: AddressError| {
            SettingsError::value("mqtt", "address", error.to_string())
        })?;
    let wanted = environment
        .text(&[ADDRESS])
        .map(|text| BrokerAddress::from_str(&text))
        .transpose()?;
    if let (Some(wanted), Some(documented)) = (&wanted, &documented) {
        check_address(wanted, documented, document.owns_key)?;
    }
    let wanted_ca = environment.text(&[CA]).map(PathBuf::from);
    let is_pinned = document.ca.is_some() || documented.as_ref().is_some_and(BrokerAddress::tls);
    if document.owns_key && is_pinned && wanted_ca.is_some() && wanted_ca != document.ca {
        return Err(SettingsError::Override {
            name: CA,
            why:
                "it would decide who receives the api_key of the settings document; write the file \
                  as [mqtt] ca into the document, or set PROPLET_API_KEY as well"
                    .to_owned(),
        });
    }
    let notice = match (&wanted, &documented) {
        (Some(wanted), None) if document.owns_key => Some(format!(
            "{ADDRESS} decides that the api_key of the settings document goes to {wanted}: write \
             [mqtt] address into the document to fix the broker"
        )),
        _ => None,
    };
    let address = match wanted.or(documented) {
        Some(address) => address,
        None => BrokerAddress::from_str("tcp://localhost:1883")?,
    };
    Ok(Broker {
        address,
        ca: wanted_ca.or(document.ca),
        notice,
    })
}

fn check_address(
    wanted: &BrokerAddress,
    documented: &BrokerAddress,
    owns_key: bool,
) -> Result<(), SettingsError> {
    let refuse = |why| Err(SettingsError::Override { name: ADDRESS, why });
    if documented.tls() && !wanted.tls() {
        return refuse(format!(
            "{wanted} is plain, and the settings document asks for TLS ({documented}); write mqtts:// \
             in the variable, or unset it"
        ));
    }
    if owns_key && !wanted.host().eq_ignore_ascii_case(documented.host()) {
        return refuse(format!(
            "the api_key of the settings document is for {documented} and is not sent to {wanted}; set \
             PROPLET_API_KEY for that broker as well, or change [mqtt] address in the document"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;

    const KEY: &str = "[proplet]\napi_key = \"of-the-document\"\n";

    fn settings(document: &str, variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let environment = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Settings::parse(Some(document), &environment)
    }

    fn refused(document: &str, variables: &[(&str, &str)], words: &[&str]) {
        let error = settings(document, variables).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "no {word:?} in {error}");
        }
        assert!(!error.contains("of-the"), "{error}");
    }

    #[test]
    fn tls_of_the_document_stays() {
        let document = format!("{KEY}[mqtt]\naddress = \"mqtts://broker\"");
        for plain in ["tcp://broker", "mqtt://broker:1883", "broker"] {
            let mut variables = vec![("PROPLET_MQTT_ADDRESS", plain)];
            refused(
                &document,
                &variables,
                &["PROPLET_MQTT_ADDRESS", "mqtts://broker:8883", "unset"],
            );
            // Nor with a key of its own: the tasks of this proplet go the same way.
            variables.push(("PROPLET_API_KEY", "of-the-environment"));
            refused(&document, &variables, &["PROPLET_MQTT_ADDRESS"]);
        }
        let same = settings(&document, &[("PROPLET_MQTT_ADDRESS", "ssl://BROKER:8884")]);
        assert_eq!(same.unwrap().mqtt.address.port(), 8884);
    }

    #[test]
    fn the_key_of_the_document_stays_with_its_broker() {
        for (documented, elsewhere) in [
            ("mqtts://broker", "mqtts://elsewhere"),
            ("mqtt://broker", "mqtt://elsewhere"),
            ("mqtt://broker", "mqtts://elsewhere"),
        ] {
            let document = format!("{KEY}[mqtt]\naddress = \"{documented}\"");
            let variables = [("PROPLET_MQTT_ADDRESS", elsewhere)];
            refused(&document, &variables, &["PROPLET_API_KEY", "elsewhere"]);
            for name in ["PROPLET_API_KEY", "PROPLET_CLIENT_KEY"] {
                let variables = [variables[0], (name, "of-the-environment")];
                let settings = settings(&document, &variables).unwrap();
                assert_eq!(settings.mqtt.address.host(), "elsewhere");
            }
            // No key, nothing to lose.
            let document = format!("[mqtt]\naddress = \"{documented}\"");
            settings(&document, &variables).unwrap();
        }
        // An empty variable is absent, so it is no key of the environment's either.
        refused(
            &format!("{KEY}[mqtt]\naddress = \"mqtts://broker\""),
            &[
                ("PROPLET_MQTT_ADDRESS", "mqtts://elsewhere"),
                ("PROPLET_API_KEY", " "),
            ],
            &["PROPLET_API_KEY"],
        );
    }

    #[test]
    fn nor_does_another_ca_receive_it() {
        let ca = ("PROPLET_MQTT_TLS_CA_CERT", "/run/other.pem");
        let own_ca = "[mqtt]\naddress = \"mqtts://broker\"\nca = \"/etc/ca.pem\"";
        for mqtt in ["[mqtt]\naddress = \"mqtts://broker\"", own_ca] {
            refused(
                &format!("{KEY}{mqtt}"),
                &[ca],
                &["PROPLET_MQTT_TLS_CA_CERT", "[mqtt] ca"],
            );
            let own_key = [ca, ("PROPLET_API_KEY", "of-the-environment")];
            let settings = settings(&format!("{KEY}{mqtt}"), &own_key).unwrap();
            assert_eq!(settings.mqtt.ca, Some("/run/other.pem".into()));
        }
        let same = [("PROPLET_MQTT_TLS_CA_CERT", "/etc/ca.pem")];
        settings(&format!("{KEY}{own_ca}"), &same).unwrap();
        // A document that asks for no TLS may get more of it.
        let more = [ca, ("PROPLET_MQTT_ADDRESS", "mqtts://broker")];
        settings(&format!("{KEY}[mqtt]\naddress = \"mqtt://broker\""), &more).unwrap();
    }

    #[test]
    fn a_document_without_a_broker_leaves_the_choice_and_says_so() {
        let variables = [("PROPLET_MQTT_ADDRESS", "tcp://elsewhere")];
        let settings = settings(KEY, &variables).unwrap();
        assert_eq!(settings.mqtt.address.host(), "elsewhere");
        let notice = settings.notices.first().unwrap();
        assert!(notice.contains("mqtt://elsewhere:1883"), "{notice}");
        assert!(!notice.contains("of-the-document"), "{notice}");
        assert!(self::settings("", &variables).unwrap().notices.is_empty());
    }
}
