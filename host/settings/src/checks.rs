//! From the document as it is written to settings that make sense: defaults, ranges, overrides.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use proplet_jose::jwk::PublicKey;
use proplet_net::{Proxy, ProxyError};
use proplet_runtime::TaskLimits;
use proplet_types::ImageKeyTypes;
use url::Url;

use super::{
    About, AllowList, Attestation, CertificateService, Confidential, ImageSources, Kbs, Limits,
    Mqtt, PartialIdentity, SettingsError,
    broker::{self, Broker, Documented},
    document,
    environment::Environment,
    secret::Secret,
};

/// Bytes of a packet that are kept for the topic and the header of a message.
const PACKET_OVERHEAD: usize = 2048;

const API_KEY: [&str; 2] = ["PROPLET_API_KEY", "PROPLET_CLIENT_KEY"];

/// The parser's own display quotes the line, which may hold a credential: only its message is kept.
pub(super) fn syntax_error(
    document: &'static str,
    text: &str,
    error: &toml::de::Error,
) -> SettingsError {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or(text);
    SettingsError::Syntax {
        document,
        line: before.matches('\n').count().saturating_add(1),
        message: error.message().to_owned(),
    }
}

pub(super) fn partial_identity(
    document: &document::Proplet,
    environment: &Environment,
) -> Result<PartialIdentity, SettingsError> {
    let topic_part = |name, names: &[&str], given: &Option<String>| {
        let part = environment.text(names).or_else(|| given.clone());
        match part {
            Some(part) if !is_topic_part(&part) => Err(SettingsError::value(
                "proplet",
                name,
                "it becomes part of MQTT topics: at most 256 characters, no `/`, `+`, `#`, spaces \
                 or control characters",
            )),
            part => Ok(part),
        }
    };
    Ok(PartialIdentity {
        tenant: topic_part(
            "tenant_id",
            &["PROPLET_TENANT_ID", "PROPLET_DOMAIN_ID"],
            &document.tenant_id,
        )?,
        channel: topic_part("channel_id", &["PROPLET_CHANNEL_ID"], &document.channel_id)?,
        entity: topic_part(
            "entity_id",
            &["PROPLET_ENTITY_ID", "PROPLET_CLIENT_ID"],
            &document.entity_id,
        )?,
        api_key: environment
            .secret(&API_KEY)
            .or_else(|| document.api_key.clone())
            .filter(|key| !key.is_empty()),
    })
}

/// Whether the `api_key` in force is the document's.
pub(super) fn owns_key(document: &document::Proplet, environment: &Environment) -> bool {
    let given = document.api_key.as_ref().is_some_and(|key| !key.is_empty());
    given && environment.secret(&API_KEY).is_none()
}

fn is_topic_part(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 256
        && !text.contains(|c: char| matches!(c, '/' | '+' | '#' | ' ') || c.is_control())
}

pub(super) fn about(
    document: document::Proplet,
    environment: &Environment,
) -> Result<About, SettingsError> {
    let tags = match environment.text(&["PROPLET_TAGS"]) {
        Some(list) => list
            .split(',')
            .map(str::trim)
            .filter(|tag| !tag.is_empty())
            .map(str::to_owned)
            .collect(),
        None => document.tags.unwrap_or_default(),
    };
    Ok(About {
        namespace: environment
            .text(&["PROPLET_MANAGER_K8S_NAMESPACE"])
            .or(document.namespace)
            .unwrap_or_else(|| "default".to_owned()),
        description: environment
            .text(&["PROPLET_DESCRIPTION"])
            .or(document.description),
        tags,
        location: environment
            .text(&["PROPLET_LOCATION"])
            .or(document.location),
        system_info: environment
            .switch("PROPLET_COLLECT_SYSTEM_INFO")?
            .or(document.collect_system_info)
            .unwrap_or(true),
    })
}

pub(super) fn checked_mqtt(
    document: document::Mqtt,
    owns_key: bool,
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
    if inflight == 0 || !(1..=65_536).contains(&request_queue) {
        return Err(SettingsError::value(
            "mqtt",
            "inflight",
            "inflight and request_queue must be from 1 to 65535",
        ));
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
    ) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => {
            return Err(SettingsError::value(
                "mqtt",
                "client_cert",
                "a client certificate needs both client_cert and client_key",
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

pub(super) fn checked_registry(
    document: document::Registry,
) -> Result<ImageSources, SettingsError> {
    let folders = |entry: &String| !entry.trim_end_matches("/*").contains('*');
    if !document.repositories.iter().all(folders) {
        return Err(SettingsError::value(
            "registry",
            "repositories",
            "`*` may only stand at the end, as `/*`",
        ));
    }
    let proxy = proxy("registry", document.proxy.as_ref(), &document.no_proxy)?;
    if proxy.is_none() && !document.no_proxy.is_empty() {
        return Err(SettingsError::value(
            "registry",
            "no_proxy",
            "it says what goes around the proxy, and there is none: set proxy too",
        ));
    }
    Ok(ImageSources {
        proxy,
        auth_file: document.auth_file,
        http_hosts: document.http_hosts,
        private_hosts: document.private_hosts,
        ca: document.ca,
        max_layer_bytes: document.max_layer_bytes.unwrap_or(128 * 1024 * 1024),
        timeout: seconds("registry", document.timeout_seconds, 120)?,
        allowed: AllowList {
            registries: document.registries.into_iter().collect(),
            repositories: document.repositories.into_iter().collect(),
        },
    })
}

pub(super) fn checked_kbs(document: document::Kbs) -> Result<Kbs, SettingsError> {
    let url = Url::parse(&document.url).map_err(|error| {
        SettingsError::value("kbs", "url", format!("it is not an address: {error}"))
    })?;
    match url.scheme() {
        "https" => {}
        "http" if document.allow_http => {}
        "http" => {
            return Err(SettingsError::value(
                "kbs",
                "url",
                "plain http lets the network pose as the key broker: use https, or write \
                 `allow_http = true`",
            ));
        }
        _ => {
            return Err(SettingsError::value(
                "kbs",
                "url",
                "it must start with https://",
            ));
        }
    }
    if !url.has_host() || !url.username().is_empty() || url.password().is_some() {
        return Err(SettingsError::value(
            "kbs",
            "url",
            "it must have a host and no user name",
        ));
    }
    Ok(Kbs {
        url,
        proxy: proxy("kbs", document.proxy.as_ref(), &[])?,
        ca_pem: document.ca_pem,
        allow_http: document.allow_http,
        timeout: seconds("kbs", document.timeout_seconds, 30)?,
    })
}

pub(super) fn checked_confidential(
    document: document::Confidential,
) -> Result<Confidential, SettingsError> {
    let recipients = document
        .recipients
        .iter()
        .map(|jwk| {
            PublicKey::from_jwk(jwk).map_err(|error| {
                SettingsError::value("confidential", "recipients", error.to_string())
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let image_key_types = match document.image_key_types {
        None => ImageKeyTypes::default(),
        Some(types) => ImageKeyTypes::new(types).map_err(|error| {
            SettingsError::value("confidential", "image_key_types", error.to_string())
        })?,
    };
    Ok(Confidential {
        image_key_types,
        recipients,
        allow_unmeasured_settings: document.allow_unmeasured_settings,
        allow_a256ctr: document.allow_a256ctr,
    })
}

pub(super) fn checked_attestation(
    document: document::Attestation,
) -> Result<Attestation, SettingsError> {
    let wrong = |name, why: &str| SettingsError::value("attestation", name, why);
    let certificate_service = match document.certificates_url {
        Some(text) => {
            let why =
                "give an address such as https://kdsintf.amd.com, without user name and query";
            let url = Url::parse(&text).map_err(|_| wrong("certificates_url", why))?;
            let plain = matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none();
            if !plain {
                return Err(wrong("certificates_url", why));
            }
            Some(CertificateService {
                url,
                ca_pem: document.certificates_ca_pem,
                cache: document.certificates_cache,
            })
        }
        None if document.certificates_ca_pem.is_some() => {
            let why = "it is for certificates_url, which is not set";
            return Err(wrong("certificates_ca_pem", why));
        }
        None if document.certificates_cache.is_some() => {
            let why = "it is for certificates_url, which is not set";
            return Err(wrong("certificates_cache", why));
        }
        None => None,
    };
    Ok(Attestation {
        timeout: seconds("attestation", document.timeout_seconds, 60)?,
        certificates: document.certificates,
        certificate_service,
    })
}

pub(super) fn checked_limits(document: &document::Limits) -> Result<Limits, SettingsError> {
    let processors = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
    let default = TaskLimits::default();
    let limits = Limits {
        tasks: document.tasks.unwrap_or_else(|| processors.max(2)),
        queue: document.queue.unwrap_or(64),
        queue_bytes: document.queue_bytes.unwrap_or(64 * 1024 * 1024),
        compile_ms: document.compile_ms.unwrap_or(120_000),
        task: TaskLimits {
            memory_bytes: document.memory_bytes.unwrap_or(default.memory_bytes),
            wall_clock_ms: document.wall_clock_ms.unwrap_or(default.wall_clock_ms),
            cpu_ms: document.cpu_ms.unwrap_or(default.cpu_ms),
            output_bytes: document.output_bytes.unwrap_or(default.output_bytes),
            handles: document.handles.unwrap_or(default.handles),
            evidence_quota: document.evidence_quota.unwrap_or(default.evidence_quota),
            secret_quota: document.secret_quota.unwrap_or(default.secret_quota),
        },
    };
    if !(1..=4096).contains(&limits.tasks) {
        return Err(SettingsError::value(
            "limits",
            "tasks",
            "must be from 1 to 4096",
        ));
    }
    if limits.compile_ms == 0 {
        return Err(SettingsError::value(
            "limits",
            "compile_ms",
            "0 lets no task run",
        ));
    }
    if limits.queue > 100_000 {
        return Err(SettingsError::value(
            "limits",
            "queue",
            "must be at most 100000",
        ));
    }
    Ok(limits)
}

fn proxy(
    table: &'static str,
    given: Option<&Secret>,
    except: &[String],
) -> Result<Option<Proxy>, SettingsError> {
    let checked = given.map(|address| Proxy::new(address.expose(), except));
    checked.transpose().map_err(|error| {
        let name = match error {
            ProxyError::Exception(_) => "no_proxy",
            _ => "proxy",
        };
        SettingsError::value(table, name, error.to_string())
    })
}

fn seconds(
    table: &'static str,
    given: Option<u64>,
    default: u64,
) -> Result<Duration, SettingsError> {
    match given.unwrap_or(default) {
        seconds @ 1..=3600 => Ok(Duration::from_secs(seconds)),
        _ => Err(SettingsError::value(
            table,
            "timeout_seconds",
            "must be from 1 to 3600",
        )),
    }
}
