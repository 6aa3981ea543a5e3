//! `[mqtt]`: the connection to the broker.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use proplet_types::ResourceUri;

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
    let qos = environment
        .parsed("PROPLET_MQTT_QOS", "0, 1 or 2")?
        .or(document.qos)
        .unwrap_or(2);
    if qos > 2 {
        return Err(SettingsError::value("mqtt", "qos", "must be 0, 1 or 2"));
    }
    let keep_alive = environment
        .seconds("PROPLET_MQTT_KEEP_ALIVE")?
        .or(document.keep_alive_seconds)
        .unwrap_or(30);
    if !(1..=65_535).contains(&keep_alive) {
        return Err(SettingsError::value(
            "mqtt",
            "keep_alive_seconds",
            "must be from 1 to 65535",
        ));
    }
    let max_packet_bytes = environment
        .parsed("PROPLET_MQTT_MAX_PACKET_SIZE", "a number of bytes")?
        .or(document.max_packet_bytes)
        .unwrap_or(10 * 1024 * 1024);
    if !(16 * 1024..=256 * 1024 * 1024).contains(&max_packet_bytes) {
        return Err(SettingsError::value(
            "mqtt",
            "max_packet_bytes",
            "must be from 16 KiB to 256 MiB",
        ));
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
        let why = "must be from 1 to 65535";
        return Err(SettingsError::value("mqtt", "inflight", why));
    }
    if !(1..=65_536).contains(&request_queue) {
        let why = "must be from 1 to 65536";
        return Err(SettingsError::value("mqtt", "request_queue", why));
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
        path("PROPLET_MQTT_TLS_CLIENT_CERT", document.client_cert)?,
        path("PROPLET_MQTT_TLS_CLIENT_KEY", document.client_key)?,
        client_key_resource,
    ) {
        (Some(certificate), Some(key), None) => Some(ClientCertificate::Files { certificate, key }),
        (certificate, None, Some(key)) => Some(ClientCertificate::Resource { certificate, key }),
        (None, None, None) => None,
        _ => {
            return Err(SettingsError::value(
                "mqtt",
                "client_cert",
                "a client certificate needs both client_cert and client_key (or client_key_resource)",
            ));
        }
    };
    if !address.tls() && (ca.is_some() || client.is_some()) {
        return Err(SettingsError::value(
            "mqtt",
            "address",
            format!("certificates are set, but {address} is plain: write mqtts:// instead"),
        ));
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
