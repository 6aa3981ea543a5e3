//! `[mqtt]`: the connection to the broker.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use proplet_types::ResourceUri;

use super::values;
use crate::{
    address::BrokerAddress,
    broker::{self, Broker, Documented},
    document,
    environment::Environment,
    error::SettingsError,
    sections::{ClientCertificate, Mqtt},
};

/// Bytes of a packet that are kept for the topic and the header of a message.
const PACKET_OVERHEAD: usize = 2048;

const CA: &str = "PROPLET_MQTT_TLS_CA_CERT";
const CLIENT_CERT: &str = "PROPLET_MQTT_TLS_CLIENT_CERT";
const CLIENT_KEY: &str = "PROPLET_MQTT_TLS_CLIENT_KEY";

/// A key that only a verified host is given must not cross a network in clear, unless the document says so.
///
/// # Errors
/// When the broker is plain and not on this machine.
pub(crate) fn check_way_of_key(
    address: &BrokerAddress,
    allows_plain: bool,
) -> Result<(), SettingsError> {
    let host = address.host();
    let is_here = host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if address.tls() || is_here || allows_plain {
        return Ok(());
    }
    Err(SettingsError::value(
        "mqtt",
        "address",
        format!(
            "{address} is plain, and the key that [proplet] api_key_resource names would go there in clear: write \
             mqtts://, or set allow_plain_credentials = true"
        ),
    ))
}

pub(crate) fn checked_mqtt(
    document: document::Mqtt,
    owns_key: bool,
    client_key_resource: Option<ResourceUri>,
    environment: &Environment,
) -> Result<(Mqtt, Option<String>), SettingsError> {
    let documented = Documented {
        address: document.address,
        ca: document.ca,
        owns_key,
    };
    let Broker {
        address,
        ca,
        notice,
    } = broker::choose(documented, environment)?;
    let wrong = |variable: &'static str, name, expected| {
        Err(values::wrong(
            environment,
            &[variable],
            ("mqtt", name),
            expected,
        ))
    };
    let qos = environment
        .parsed("PROPLET_MQTT_QOS", "0, 1 or 2")?
        .or(document.qos)
        .unwrap_or(2);
    if qos > 2 {
        return wrong("PROPLET_MQTT_QOS", "qos", "0, 1 or 2");
    }
    let keep_alive = environment
        .seconds("PROPLET_MQTT_KEEP_ALIVE")?
        .or(document.keep_alive_seconds)
        .unwrap_or(30);
    if !(1..=65_535).contains(&keep_alive) {
        let expected = "a time from 1 to 65535 seconds";
        return wrong("PROPLET_MQTT_KEEP_ALIVE", "keep_alive_seconds", expected);
    }
    let max_packet_bytes = environment
        .parsed("PROPLET_MQTT_MAX_PACKET_SIZE", "a number of bytes")?
        .or(document.max_packet_bytes)
        .unwrap_or(10 * 1024 * 1024);
    if !(16 * 1024..=256 * 1024 * 1024).contains(&max_packet_bytes) {
        let expected = "a number of bytes from 16384 (16 KiB) to 268435456 (256 MiB)";
        return wrong("PROPLET_MQTT_MAX_PACKET_SIZE", "max_packet_bytes", expected);
    }
    let max_result_bytes = document
        .max_result_bytes
        .unwrap_or_else(|| (max_packet_bytes - PACKET_OVERHEAD).min(1_000_000));
    if max_result_bytes < 4096 || max_result_bytes > max_packet_bytes - PACKET_OVERHEAD {
        return Err(SettingsError::value(
            "mqtt",
            "max_result_bytes",
            "must be at least 4096 and 2048 less than max_packet_bytes",
        ));
    }
    let inflight = environment
        .parsed("PROPLET_MQTT_INFLIGHT", "a number from 1 to 65535")?
        .or(document.inflight)
        .unwrap_or(10);
    let request_queue = environment
        .parsed(
            "PROPLET_MQTT_REQUEST_CHANNEL_CAPACITY",
            "a number of requests",
        )?
        .or(document.request_queue)
        .unwrap_or(128);
    if inflight == 0 {
        let expected = "a number from 1 to 65535";
        return wrong("PROPLET_MQTT_INFLIGHT", "inflight", expected);
    }
    if !(1..=65_536).contains(&request_queue) {
        let variable = "PROPLET_MQTT_REQUEST_CHANNEL_CAPACITY";
        return wrong(variable, "request_queue", "a number from 1 to 65536");
    }
    let path = |name: &'static str, given: Option<PathBuf>| match environment.text(&[name]) {
        Some(text) if document::is_content(&text) => Err(SettingsError::Variable {
            name,
            expected: "the path of a file, and not what is in it",
        }),
        Some(text) => Ok(Some(PathBuf::from(text))),
        None => Ok(given),
    };
    let client = match (
        path(CLIENT_CERT, document.client_cert)?,
        path(CLIENT_KEY, document.client_key)?,
        client_key_resource,
    ) {
        (Some(certificate), Some(key), None) => Some(ClientCertificate::Files { certificate, key }),
        (certificate, None, Some(key)) => Some(ClientCertificate::Resource { certificate, key }),
        (None, None, None) => None,
        _ => {
            return Err(values::wrong(
                environment,
                &[CLIENT_CERT, CLIENT_KEY],
                ("mqtt", "client_cert"),
                "a client certificate with its key: both client_cert and client_key (or client_key_resource), in the \
                 document or by their variables",
            ));
        }
    };
    if !address.tls() && (ca.is_some() || client.is_some()) {
        return Err(plain_with_certificates(&address, environment));
    }
    let mqtt = Mqtt {
        address,
        qos,
        keep_alive: Duration::from_secs(keep_alive),
        max_packet_bytes,
        max_result_bytes,
        inflight,
        request_queue,
        result_queue: document.result_queue.unwrap_or(1024).max(1),
        result_queue_bytes: document.result_queue_bytes.unwrap_or(64 * 1024 * 1024),
        ca,
        client,
    };
    Ok((mqtt, notice))
}

/// Certificates are for TLS: whoever set some did not mean a plain broker. Named is what decided, the address before the
/// certificates.
fn plain_with_certificates(address: &BrokerAddress, environment: &Environment) -> SettingsError {
    match environment.named(&["PROPLET_MQTT_ADDRESS", CA, CLIENT_CERT, CLIENT_KEY]) {
        Some(name) => SettingsError::Override {
            name,
            why: format!(
                "certificates are set, but the broker's address {address} is plain: write mqtts:// there, in the \
                 variable or as [mqtt] address, or leave the certificates out"
            ),
        },
        None => SettingsError::value(
            "mqtt",
            "address",
            format!("certificates are set, but {address} is plain: write mqtts:// instead"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use crate::{Settings, environment::Environment};

    fn refused(document: &str, variables: &[(&str, &str)]) -> String {
        let environment: Environment = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let refused = Settings::parse(Some(document), &environment);
        refused
            .err()
            .unwrap_or_else(|| panic!("{document} {variables:?}"))
            .to_string()
    }

    #[test]
    fn a_variable_that_makes_no_sense_is_named_and_not_the_document() {
        for (name, value, setting) in [
            ("PROPLET_MQTT_QOS", "5", "qos"),
            ("PROPLET_MQTT_KEEP_ALIVE", "0", "keep_alive_seconds"),
            ("PROPLET_MQTT_MAX_PACKET_SIZE", "1000", "max_packet_bytes"),
            ("PROPLET_MQTT_INFLIGHT", "0", "inflight"),
            (
                "PROPLET_MQTT_REQUEST_CHANNEL_CAPACITY",
                "0",
                "request_queue",
            ),
        ] {
            let error = refused("", &[(name, value)]);
            let start = format!("environment variable {name}: expected ");
            assert!(error.starts_with(&start), "{error}");
            let error = refused(&format!("[mqtt]\n{setting} = {value}\n"), &[]);
            let start = format!("settings document, [mqtt] {setting}: must be ");
            assert!(error.starts_with(&start), "{error}");
        }
    }

    #[test]
    fn a_part_of_a_client_certificate_names_what_gave_it() {
        let tls = "[mqtt]\naddress = \"mqtts://b\"\n";
        for name in [
            "PROPLET_MQTT_TLS_CLIENT_CERT",
            "PROPLET_MQTT_TLS_CLIENT_KEY",
        ] {
            let error = refused(tls, &[(name, "/c.pem")]);
            assert!(error.contains(name) && error.contains("both"), "{error}");
        }
        let error = refused(&format!("{tls}client_key = \"/k.pem\"\n"), &[]);
        assert!(error.contains("[mqtt] client_cert"), "{error}");
    }

    #[test]
    fn certificates_for_a_plain_broker_name_what_decided() {
        let ca = ("PROPLET_MQTT_TLS_CA_CERT", "/ca.pem");
        let plain = ("PROPLET_MQTT_ADDRESS", "tcp://b");
        let document = "[mqtt]\naddress = \"tcp://b\"\n";
        for (document, variables, named) in [
            ("", vec![ca], "variable PROPLET_MQTT_TLS_CA_CERT"),
            (document, vec![ca], "variable PROPLET_MQTT_TLS_CA_CERT"),
            ("", vec![ca, plain], "variable PROPLET_MQTT_ADDRESS"),
            (
                "[mqtt]\naddress = \"tcp://b\"\nca = \"/ca.pem\"\n",
                vec![],
                "[mqtt] address",
            ),
        ] {
            let error = refused(document, &variables);
            assert!(error.contains(named), "{error}");
            assert!(error.contains("write mqtts://"), "{error}");
        }
    }
}
