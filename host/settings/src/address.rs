//! Addresses of the MQTT broker, in every form that existing deployments write.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use thiserror::Error;

/// Why an address is not the address of a broker.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum AddressError {
    /// There is no host.
    #[error("`{0}` names no host: write `tcp://name:1883`, `mqtts://name:8883` or `name:1883`")]
    NoHost(String),
    /// The scheme is not one of those that say plainly whether TLS is used.
    #[error("scheme `{0}` is not known: use tcp or mqtt (plain), or ssl, tls or mqtts (TLS)")]
    Scheme(String),
    /// The port is not a number from 1 to 65535.
    #[error("`{0}` is not a port: use a number from 1 to 65535")]
    Port(String),
    /// User name, password, path or query: they have no meaning here, or a place of their own.
    #[error("an address holds host and port only: remove {0}")]
    Extra(&'static str),
    /// The host has characters that no host name has, or a broken IPv6 form.
    #[error("`{0}` is not a host name or an IP address")]
    Host(String),
}

/// Where the broker is, and whether the connection is TLS.
///
/// Accepted: `tcp://` and `mqtt://` (plain, port 1883 unless given), `ssl://`, `tls://` and `mqtts://`
/// (TLS, port 8883 unless given), and the bare forms `name`, `name:1883`, `192.0.2.1:1883`,
/// `[2001:db8::1]:1883` (plain). Any other scheme is an error: guessing "plain" for it would turn a
/// misspelt TLS scheme into a connection in clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerAddress {
    host: String,
    port: u16,
    tls: bool,
}

impl BrokerAddress {
    /// Host name or IP address, IPv6 without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// True when the connection is TLS.
    #[must_use]
    pub fn tls(&self) -> bool {
        self.tls
    }
}

impl FromStr for BrokerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let (tls, rest) = match text.split_once("://") {
            None => (false, text),
            Some((scheme, rest)) => match scheme.to_ascii_lowercase().as_str() {
                "tcp" | "mqtt" => (false, rest),
                "ssl" | "tls" | "mqtts" => (true, rest),
                _ => return Err(AddressError::Scheme(scheme.to_owned())),
            },
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('@') {
            return Err(AddressError::Extra(
                "the user name (set entity_id and api_key instead)",
            ));
        }
        if rest.contains(['/', '?', '#']) {
            return Err(AddressError::Extra("the path or query"));
        }
        let (host, port) = split_host_port(rest)?;
        if host.is_empty() {
            return Err(AddressError::NoHost(text.to_owned()));
        }
        let port = match port {
            None if tls => 8883,
            None => 1883,
            Some(port) => match port.parse::<u16>() {
                Ok(number) if number != 0 => number,
                _ => return Err(AddressError::Port(port.to_owned())),
            },
        };
        Ok(Self {
            host: host.to_owned(),
            port,
            tls,
        })
    }
}

/// Splits `host[:port]`, `[v6][:port]` and a bare IPv6 address.
fn split_host_port(text: &str) -> Result<(&str, Option<&str>), AddressError> {
    let invalid = || AddressError::Host(text.to_owned());
    if let Some(rest) = text.strip_prefix('[') {
        let (host, tail) = rest.split_once(']').ok_or_else(invalid)?;
        host.parse::<Ipv6Addr>().map_err(|_| invalid())?;
        return match tail.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if tail.is_empty() => Ok((host, None)),
            None => Err(invalid()),
        };
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok((text, None));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if host.chars().all(legal) {
        Ok((host, port))
    } else {
        Err(invalid())
    }
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> (String, u16, bool) {
        let address: BrokerAddress = text.parse().unwrap();
        (address.host.clone(), address.port, address.tls)
    }

    #[test]
    fn every_form_in_use_is_read() {
        for (text, host, port, tls) in [
            ("tcp://localhost:1883", "localhost", 1883, false),
            ("mqtt://broker", "broker", 1883, false),
            ("TCP://broker/", "broker", 1883, false),
            ("ssl://broker", "broker", 8883, true),
            ("tls://broker:9999", "broker", 9999, true),
            ("mqtts://[2001:db8::1]", "2001:db8::1", 8883, true),
            ("name:1883", "name", 1883, false),
            ("192.0.2.1:1884", "192.0.2.1", 1884, false),
            ("[::1]:1885", "::1", 1885, false),
            ("::1", "::1", 1883, false),
            ("host_with_underscore", "host_with_underscore", 1883, false),
        ] {
            assert_eq!(parsed(text), (host.to_owned(), port, tls), "{text}");
        }
    }

    #[test]
    fn what_is_not_an_address_is_refused() {
        for text in ["", "tcp://", ":1883", "ws://broker", "mqtt+ssl://broker"] {
            assert!(text.parse::<BrokerAddress>().is_err(), "{text}");
        }
        for text in [
            "broker:0",
            "broker:65536",
            "broker:x",
            "a:b:c",
            "[::1",
            "[x]:1",
            "[::1]1",
        ] {
            assert!(text.parse::<BrokerAddress>().is_err(), "{text}");
        }
        for text in ["tcp://user:pw@broker", "tcp://broker/path", "broker name:1"] {
            assert!(text.parse::<BrokerAddress>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,80}") {
            if let Ok(address) = text.parse::<BrokerAddress>() {
                let again: BrokerAddress = address.to_string().parse().unwrap();
                prop_assert_eq!(again, address);
            }
        }
    }
}
