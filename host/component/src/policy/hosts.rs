//! Hosts that a component may make requests to.
//!
//! An entry is one host, spelt out: a pattern would say yes to hosts that the owner never thought of.

use std::net::Ipv6Addr;

use super::error::{PolicyError, bounded, invalid};

/// Checks the entries.
///
/// # Errors
/// [`PolicyError::Value`] for the first that is not one host, or that is there twice.
pub(super) fn check(hosts: &[String]) -> Result<(), PolicyError> {
    bounded("hosts", hosts.len())?;
    for (index, host) in hosts.iter().enumerate() {
        check_host(host).or_else(|reason| invalid("hosts", format!("`{host}`: {reason}")))?;
        let same = |other: &String| other.eq_ignore_ascii_case(host);
        if hosts.iter().take(index).any(same) {
            return invalid("hosts", format!("`{host}` is there twice"));
        }
    }
    Ok(())
}

fn check_host(text: &str) -> Result<(), &'static str> {
    if text.contains("://") || text.contains('/') {
        return Err("write the host alone, without scheme and path; requests go over TLS");
    }
    if text.contains('*') {
        return Err("there are no patterns; list each host");
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']').ok_or("a `]` is missing")?;
            address
                .parse::<Ipv6Addr>()
                .map_err(|_| "not an IPv6 address")?;
            ("", rest)
        }
        None => {
            let end = text.find(':').unwrap_or(text.len());
            let (host, rest) = text.split_at(end);
            check_name(host)?;
            (host, rest)
        }
    };
    let digits = match port.strip_prefix(':') {
        Some(digits) => digits,
        None if port.is_empty() => return Ok(()),
        None => return Err("not a host"),
    };
    let is_number = digits.bytes().all(|digit| digit.is_ascii_digit());
    match digits.parse::<u16>() {
        Ok(1..) if is_number && !digits.starts_with('0') => Ok(()),
        _ if host.is_empty() && digits.is_empty() => Err("a port is missing"),
        _ => Err("the port must be a number from 1 to 65535"),
    }
}

/// A name of DNS, or an IPv4 address as everybody writes it: other ways to write one are not what they seem.
fn check_name(name: &str) -> Result<(), &'static str> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err("write a host name such as api.example.com, or an address");
    }
    let last = name.rsplit('.').next().unwrap_or(name);
    let is_numeric = last.bytes().all(|byte| byte.is_ascii_digit())
        || last
            .get(..2)
            .is_some_and(|start| start.eq_ignore_ascii_case("0x"));
    if is_numeric && name.parse::<std::net::Ipv4Addr>().is_err() {
        return Err("not an IPv4 address");
    }
    Ok(())
}
