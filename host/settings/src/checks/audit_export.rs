//! `[audit] export` and `syslog`: who gets a copy of the audit log.

use std::path::PathBuf;

use proplet_audit::Syslog;

use crate::{error::SettingsError, sections::AuditExport};

/// The longest path of a socket.
const MAX_SOCKET_BYTES: usize = 107;
/// The longest name of a host.
const MAX_HOST_BYTES: usize = 253;
const PLACES: &str = "write \"unix:/dev/log\", \"tcp://HOST:PORT\" or \"udp://HOST:PORT\"; an IPv6 address stands in brackets";

pub(super) fn checked_export(
    export: Option<&str>,
    syslog: Option<&str>,
) -> Result<Option<AuditExport>, SettingsError> {
    let wrong = |name, why: &str| Err(SettingsError::value("audit", name, why));
    match (export, syslog) {
        (None, None) => Ok(None),
        (Some("journald"), None) => Ok(Some(AuditExport::Journald)),
        (Some("syslog"), Some(place)) => match receiver(place) {
            Ok(receiver) => Ok(Some(AuditExport::Syslog(receiver))),
            Err(why) => wrong("syslog", &why),
        },
        (Some("syslog"), None) => wrong(
            "export",
            &format!("\"syslog\" needs to know where: {PLACES} under syslog"),
        ),
        (Some("journald") | None, Some(_)) => wrong(
            "syslog",
            "it says where syslog goes, and nothing does: set export = \"syslog\" too, or leave it out",
        ),
        (Some(_), _) => wrong("export", "must be \"journald\" or \"syslog\""),
    }
}

fn receiver(place: &str) -> Result<Syslog, String> {
    if let Some(path) = place.strip_prefix("unix:") {
        return match path.starts_with('/') && path.len() <= MAX_SOCKET_BYTES {
            true => Ok(Syslog::Unix(PathBuf::from(path))),
            false => Err(format!(
                "the path of a socket begins with / and has at most {MAX_SOCKET_BYTES} bytes: {PLACES}"
            )),
        };
    }
    match place.split_once("://") {
        Some(("tcp", address)) => {
            let (host, port) = host_and_port(address)?;
            Ok(Syslog::Tcp { host, port })
        }
        Some(("udp", address)) => {
            let (host, port) = host_and_port(address)?;
            Ok(Syslog::Udp { host, port })
        }
        Some(("tls", _)) => Err(
            "this version has no syslog over TLS: send to a relay on this machine that has, with \
             \"unix:/dev/log\" or \"tcp://127.0.0.1:PORT\""
                .to_owned(),
        ),
        _ => Err(PLACES.to_owned()),
    }
}

fn host_and_port(address: &str) -> Result<(String, u16), String> {
    let wrong = || PLACES.to_owned();
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let is_digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|port| is_digits && *port != 0);
    let bracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = match bracketed {
        Some(host) => host.parse::<std::net::Ipv6Addr>().ok().map(|_| host),
        None => Some(host).filter(|host| is_name(host)),
    };
    match (host, port) {
        (Some(host), Some(port)) => Ok((host.to_owned(), port)),
        _ => Err(wrong()),
    }
}

/// A name, or an IPv4 address.
fn is_name(host: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !host.is_empty() && host.len() <= MAX_HOST_BYTES && host.bytes().all(is_good)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Settings, environment::Environment};

    fn parsed(text: &str) -> Result<Option<AuditExport>, String> {
        let text = format!("[audit]\npath = \"/a\"\n{text}");
        Settings::parse(Some(&text), &Environment::default())
            .map(|settings| settings.audit.export)
            .map_err(|error| error.to_string())
    }

    fn syslog(place: &str) -> Result<Option<AuditExport>, String> {
        parsed(&format!("export = \"syslog\"\nsyslog = {place:?}"))
    }

    #[test]
    fn nothing_is_exported_unless_the_document_says_so() {
        assert_eq!(parsed(""), Ok(None));
        let journald = parsed("export = \"journald\"");
        assert_eq!(journald, Ok(Some(AuditExport::Journald)));
    }

    #[test]
    fn receivers_are_sockets_and_hosts() {
        let of = |receiver| Ok(Some(AuditExport::Syslog(receiver)));
        assert_eq!(syslog("unix:/dev/log"), of(Syslog::Unix("/dev/log".into())));
        for (written, host, port) in [
            ("logs.example:601", "logs.example", 601),
            ("192.0.2.1:514", "192.0.2.1", 514),
            ("[2001:db8::1]:65535", "2001:db8::1", 65535),
        ] {
            let host = host.to_owned();
            assert_eq!(
                syslog(&format!("tcp://{written}")),
                of(Syslog::Tcp {
                    host: host.clone(),
                    port
                })
            );
            assert_eq!(
                syslog(&format!("udp://{written}")),
                of(Syslog::Udp { host, port })
            );
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (text, words) in [
            (
                "export = \"Journald\"",
                "must be \"journald\" or \"syslog\"",
            ),
            ("export = \"\"", "must be \"journald\" or \"syslog\""),
            ("export = true", "string"),
            ("export = \"syslog\"", "needs to know where"),
            ("syslog = \"unix:/dev/log\"", "set export = \"syslog\" too"),
            (
                "export = \"journald\"\nsyslog = \"unix:/dev/log\"",
                "set export = \"syslog\" too",
            ),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains("audit") || error.contains("line"), "{error}");
            assert!(error.contains(words), "{text}: {error}");
        }
        let long = format!("unix:/{}", "x".repeat(MAX_SOCKET_BYTES));
        let name = format!("tcp://{}:601", "x".repeat(MAX_HOST_BYTES + 1));
        for (place, words) in [
            ("tls://logs.example:6514", "no syslog over TLS"),
            ("unix:dev/log", "begins with /"),
            ("unix:", "begins with /"),
            (long.as_str(), "at most 107 bytes"),
            ("/dev/log", "unix:/dev/log"),
            ("logs.example:601", "tcp://HOST:PORT"),
            ("http://logs.example:601", "tcp://HOST:PORT"),
            ("tcp://logs.example", "tcp://HOST:PORT"),
            ("tcp://logs.example:0", "tcp://HOST:PORT"),
            ("tcp://logs.example:+1", "tcp://HOST:PORT"),
            ("tcp://logs.example:65536", "tcp://HOST:PORT"),
            ("tcp://logs.example:601/", "tcp://HOST:PORT"),
            ("tcp://user@logs.example:601", "tcp://HOST:PORT"),
            ("tcp://:601", "tcp://HOST:PORT"),
            ("tcp://2001:db8::1:601", "tcp://HOST:PORT"),
            ("tcp://[logs.example]:601", "tcp://HOST:PORT"),
            (name.as_str(), "tcp://HOST:PORT"),
            ("", "tcp://HOST:PORT"),
        ] {
            let error = syslog(place).unwrap_err();
            assert!(error.contains("[audit] syslog"), "{error}");
            assert!(error.contains(words), "{place}: {error}");
        }
    }
}
