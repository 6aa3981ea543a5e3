//! The interfaces of Confidential Containers' guest components, as the settings ask for them.
//!
//! None is served unless they do. What makes one dangerous is refused here, when the program starts: an address
//! that others than this machine reach, one that tasks could have this host connect to, and a key provider on a
//! host that runs encrypted tasks.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use url::{Host, Url};

use crate::{
    document,
    error::SettingsError,
    sections::{Agent, Confidential, Http, ImageSources, Kbs, TokenService},
};

/// Port of the Attestation Agent, as upstream's images have it.
const ATTESTATION_PORT: u16 = 50_010;
/// Port of the key provider, as upstream's images have it.
const KEY_PROVIDER_PORT: u16 = 50_011;
/// Pieces of evidence in a minute.
const EVIDENCE_PER_MINUTE: u32 = 30;

fn wrong(name: &'static str, why: impl Into<String>) -> SettingsError {
    SettingsError::value("agent", name, why)
}

/// Checks the table against the rest of the document.
pub(crate) fn checked_agent(
    document: document::Agent,
    confidential: &Confidential,
    (registry, http): (&ImageSources, &Http),
    kbs: Option<&Kbs>,
) -> Result<Agent, SettingsError> {
    let attestation = if document.evidence_from_outside {
        Some(outside(&document)?)
    } else {
        place(
            document.attestation,
            document.attestation_address.as_deref(),
            ("attestation_address", "attestation", ATTESTATION_PORT),
        )?
    };
    let key_provider = place(
        document.key_provider,
        document.key_provider_address.as_deref(),
        ("key_provider_address", "key_provider", KEY_PROVIDER_PORT),
    )?;
    if key_provider.is_some() && confidential.tasks {
        return Err(wrong(
            "key_provider",
            "whoever asks it gets the keys of every image that is released to this VM, so it is served only where \
             no encrypted tasks run: write `tasks = false` under [confidential], or leave it out",
        ));
    }
    if key_provider.is_some() && kbs.is_none() {
        return Err(wrong(
            "key_provider",
            "it needs a key broker that releases keys: set [kbs] url",
        ));
    }
    if attestation.is_some() && attestation == key_provider {
        return Err(wrong(
            "key_provider_address",
            "the Attestation Agent listens there: choose another port",
        ));
    }
    for address in [attestation, key_provider].into_iter().flatten() {
        refuse_as_registry(address, registry)?;
        refuse_as_host(address, http)?;
    }
    let attestation_service = match document.attestation_service {
        Some(_) if attestation.is_none() => {
            return Err(wrong(
                "attestation_service",
                "it is for `attestation = true`, which is not set",
            ));
        }
        Some(url) => Some(TokenService {
            url: service_url(&url, document.attestation_service_allow_http)?,
            ca_pem: document.attestation_service_ca_pem,
            allow_http: document.attestation_service_allow_http,
        }),
        None if document.attestation_service_ca_pem.is_some()
            || document.attestation_service_allow_http =>
        {
            return Err(wrong(
                "attestation_service",
                "its CA or allow_http is set, and it is not",
            ));
        }
        None => None,
    };
    let evidence_per_minute = document.evidence_per_minute.unwrap_or(EVIDENCE_PER_MINUTE);
    if !(1..=6000).contains(&evidence_per_minute) {
        return Err(wrong("evidence_per_minute", "must be from 1 to 6000"));
    }
    Ok(Agent {
        attestation,
        evidence_from_outside: document.evidence_from_outside,
        key_provider,
        evidence_per_minute,
        attestation_service,
    })
}

/// Where others ask for evidence, which the document says in so many words.
fn outside(document: &document::Agent) -> Result<SocketAddr, SettingsError> {
    if !document.attestation {
        return Err(wrong(
            "evidence_from_outside",
            "it is for `attestation = true`, which is not set",
        ));
    }
    if document.attestation_service.is_some() {
        return Err(wrong(
            "attestation_service",
            "with `evidence_from_outside = true` nobody gets tokens: leave one of the two out",
        ));
    }
    let Some(text) = &document.attestation_address else {
        return Ok(SocketAddr::from((Ipv4Addr::UNSPECIFIED, ATTESTATION_PORT)));
    };
    text.parse()
        .ok()
        .filter(|address: &SocketAddr| !address.ip().is_loopback() && address.port() != 0)
        .ok_or_else(|| {
            wrong(
                "attestation_address",
                "with `evidence_from_outside = true` it must be an address that others reach, with a port, such as \
                 \"0.0.0.0:50010\"",
            )
        })
}

/// Where an interface listens, if it is asked for.
fn place(
    asked: bool,
    address: Option<&str>,
    (name, switch, port): (&'static str, &'static str, u16),
) -> Result<Option<SocketAddr>, SettingsError> {
    if !asked {
        return match address {
            Some(_) => Err(wrong(
                name,
                format!("it is for `{switch} = true`, which is not set"),
            )),
            None => Ok(None),
        };
    }
    let Some(text) = address else {
        return Ok(Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
    };
    let loopback = text
        .parse()
        .ok()
        .filter(|address: &SocketAddr| address.ip().is_loopback() && address.port() != 0);
    loopback.map(Some).ok_or_else(|| {
        wrong(
            name,
            format!(
                "it must be a loopback address with a port, such as \"127.0.0.1:{port}\": whoever reaches it is \
                 answered"
            ),
        )
    })
}

/// Tasks choose where images come from, within what is listed; nothing of theirs is to lead here.
fn refuse_as_registry(address: SocketAddr, registry: &ImageSources) -> Result<(), SettingsError> {
    let lists = [&registry.http_hosts, &registry.private_hosts];
    let mut named = lists
        .into_iter()
        .flatten()
        .map(String::as_str)
        .chain(registry.allowed.hosts());
    match named.find(|host| leads_to(host, address)) {
        Some(host) => Err(SettingsError::value(
            "registry",
            "private_hosts",
            format!(
                "{host} is where [agent] listens, and no registry: tasks must not be led there"
            ),
        )),
        None => Ok(()),
    }
}

/// Components make requests to what is listed, and nothing of theirs is to lead here either.
fn refuse_as_host(address: SocketAddr, http: &Http) -> Result<(), SettingsError> {
    for (name, list) in [
        ("hosts", &http.hosts),
        ("http_hosts", &http.http_hosts),
        ("private_hosts", &http.private_hosts),
    ] {
        if let Some(host) = list.iter().find(|host| leads_to(host, address)) {
            let why = format!("{host} is where [agent] listens: components must not be led there");
            return Err(SettingsError::value("http", name, why));
        }
    }
    Ok(())
}

/// Whether a host of a list is this machine at the port of this address.
fn leads_to(host: &str, address: SocketAddr) -> bool {
    // As whoever connects reads it: 127.1 and 2130706433 are loopback addresses too.
    let Ok(url) = Url::parse(&format!("http://{host}")) else {
        return false;
    };
    let is_here = |ip: IpAddr| {
        let ip = ip.to_canonical();
        ip.is_loopback() || ip.is_unspecified() || ip == address.ip()
    };
    url.port_or_known_default() == Some(address.port())
        && match url.host() {
            Some(Host::Domain(name)) => {
                let name = name.trim_end_matches('.');
                name == "localhost" || name.ends_with(".localhost")
            }
            Some(Host::Ipv4(ip)) => is_here(ip.into()),
            Some(Host::Ipv6(ip)) => is_here(ip.into()),
            None => false,
        }
}

fn service_url(text: &str, allow_http: bool) -> Result<Url, SettingsError> {
    let why = "give an address such as https://as.example.com:8080, without user name and query";
    let url = Url::parse(text).map_err(|_| wrong("attestation_service", why))?;
    let is_plain = url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    match url.scheme() {
        "https" if is_plain => Ok(url),
        "http" if is_plain && allow_http => Ok(url),
        "http" if is_plain => Err(wrong(
            "attestation_service",
            "with plain http the network could give tokens in its name: use https, or write \
             `attestation_service_allow_http = true`",
        )),
        _ => Err(wrong("attestation_service", why)),
    }
}

#[cfg(test)]
mod tests;
