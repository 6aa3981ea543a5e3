//! `[http]`: what components reach over HTTP, and where HTTP guests are served.

use std::net::{Ipv4Addr, SocketAddr};

use proplet_net::{reach::Endpoint, tls};

use crate::{
    document, environment::Environment, error::SettingsError, sections::Http, sections::Listen,
};

/// Hosts in one list, at most.
const MAX_HOSTS: usize = 1024;
/// Requests to HTTP guests that are answered at once, at most, and unless the document says otherwise.
const MAX_REQUESTS: u32 = 512;
const REQUESTS: u32 = 16;
/// Connections to an HTTP guest at once, at most, and unless the document says otherwise.
const MAX_CONNECTIONS: u32 = 16_384;
const CONNECTIONS: u32 = 256;
/// The port of upstream's server for HTTP guests.
const UPSTREAM_PORT: u16 = 8222;

const SWITCH: &str = "PROPLET_HTTP_ENABLED";

/// What is in force, and a line for the log when the environment asks for what it cannot have.
///
/// The environment opens a port only where nobody relies on what the document says: not on a host with a key broker, nor
/// where the document is measured. A verifier sees the document, and nobody measures the environment.
pub(crate) fn checked_http(
    document: document::Http,
    is_relied_on: bool,
    environment: &Environment,
) -> Result<(Http, Option<String>), SettingsError> {
    let wrong = |name, why: String| Err(SettingsError::value("http", name, why));
    for (name, list) in [
        ("hosts", &document.hosts),
        ("http_hosts", &document.http_hosts),
        ("private_hosts", &document.private_hosts),
    ] {
        if list.len() > MAX_HOSTS {
            return wrong(name, format!("{} hosts; at most {MAX_HOSTS}", list.len()));
        }
        if let Some(error) = list.iter().find_map(|host| host.parse::<Endpoint>().err()) {
            return wrong(name, error.to_string());
        }
    }
    if let Some(pem) = &document.ca_pem
        && let Err(error) = tls::client_config(Some(pem.as_bytes()))
    {
        return wrong("ca_pem", error.to_string());
    }
    let requests = document.requests.unwrap_or(REQUESTS);
    if !(1..=MAX_REQUESTS).contains(&requests) {
        return wrong("requests", format!("must be from 1 to {MAX_REQUESTS}"));
    }
    let connections = document.connections.unwrap_or(CONNECTIONS);
    if !(1..=MAX_CONNECTIONS).contains(&connections) {
        return wrong(
            "connections",
            format!("must be from 1 to {MAX_CONNECTIONS}"),
        );
    }
    let (listen, notice) = listen(document.listen.as_deref(), is_relied_on, environment)?;
    let http = Http {
        hosts: document.hosts,
        http_hosts: document.http_hosts,
        private_hosts: document.private_hosts,
        ca_pem: document.ca_pem,
        listen,
        requests,
        connections,
    };
    Ok((http, notice))
}

fn listen(
    documented: Option<&str>,
    is_relied_on: bool,
    environment: &Environment,
) -> Result<(Option<Listen>, Option<String>), SettingsError> {
    if let Some(text) = documented {
        let why = "write an address and a port, such as 127.0.0.1:8222";
        let address = text.parse();
        return match address {
            Ok(address) => Ok((Some(Listen { address, ports: 1 }), None)),
            Err(_) => Err(SettingsError::value("http", "listen", why)),
        };
    }
    let port = environment.parsed("PROPLET_HTTP_PROXY_PORT", "a port from 1 to 65535")?;
    let port = port.unwrap_or(UPSTREAM_PORT);
    if environment.switch(SWITCH)? != Some(true) {
        return Ok((None, None));
    }
    if is_relied_on {
        let notice = format!(
            "{SWITCH} is ignored: this host has a key broker or a measured settings document; write [http] listen \
             there to serve HTTP guests"
        );
        return Ok((None, Some(notice)));
    }
    let listen = Listen {
        address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
        // As upstream's server looks for a free one.
        ports: 100,
    };
    Ok((Some(listen), None))
}

#[cfg(test)]
mod tests {
    use proplet_hal::init_data::DigestAlgorithm;

    use super::*;
    use crate::{Settings, init_data::init_data};

    fn parsed(text: &str, variables: &[(&str, &str)]) -> Result<Http, SettingsError> {
        settings(text, variables).map(|settings| settings.http)
    }

    fn settings(text: &str, variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let variables = variables.iter();
        let environment = variables
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Settings::parse(Some(text), &environment)
    }

    #[test]
    fn nothing_is_reached_or_served_unless_it_is_written() {
        let http = parsed("", &[]).unwrap();
        assert!(http.hosts.is_empty() && http.http_hosts.is_empty());
        assert!(http.private_hosts.is_empty() && http.listen.is_none());
    }

    #[test]
    fn what_is_written_is_in_force() {
        let http = parsed(
            "[http]\nhosts = [\"api.example\", \"10.0.0.1:8080\"]\nhttp_hosts = [\"a:80\"]\n\
             private_hosts = [\"10.0.0.1:8080\"]\nlisten = \"[::1]:9000\"\nrequests = 3\nconnections = 5",
            &[("PROPLET_HTTP_ENABLED", "true")],
        )
        .unwrap();
        assert_eq!(http.hosts, ["api.example", "10.0.0.1:8080"]);
        assert_eq!((http.requests, http.connections), (3, 5));
        let listen = http.listen.unwrap();
        assert_eq!(
            (listen.address.to_string(), listen.ports),
            ("[::1]:9000".to_owned(), 1)
        );
    }

    #[test]
    fn upstreams_variables_do_what_they_say() {
        let listen = |variables: &[_]| {
            let listen = parsed("", variables).unwrap().listen;
            listen.map(|listen| (listen.address.to_string(), listen.ports))
        };
        let enabled = ("PROPLET_HTTP_ENABLED", "true");
        assert_eq!(listen(&[enabled]), Some(("0.0.0.0:8222".to_owned(), 100)));
        let port = ("PROPLET_HTTP_PROXY_PORT", "9000");
        assert_eq!(
            listen(&[enabled, port]),
            Some(("0.0.0.0:9000".to_owned(), 100))
        );
        assert_eq!(listen(&[port]), None);
        assert_eq!(listen(&[("PROPLET_HTTP_ENABLED", "false"), port]), None);
        parsed("", &[enabled, ("PROPLET_HTTP_PROXY_PORT", "x")]).unwrap_err();
    }

    #[test]
    fn the_variables_open_no_port_where_somebody_relies_on_the_document() {
        let kbs = "[kbs]\nurl = \"https://kbs.example\"\n".to_owned();
        let measured = |settings: &str| {
            init_data(settings, DigestAlgorithm::Sha256)
                .unwrap()
                .text()
                .to_owned()
        };
        let listen = "[http]\nlisten = \"127.0.0.1:8222\"\n";
        for (text, served, is_told) in [
            (kbs.clone(), None, true),
            (format!("{kbs}[confidential]\ntasks = false\n"), None, true),
            (measured(""), None, true),
            (measured(&kbs), None, true),
            // What the document opens is open, and what it does not say is told by nobody.
            (format!("{kbs}{listen}"), Some(1), false),
            (measured(listen), Some(1), false),
            (String::new(), Some(100), false),
        ] {
            for port in ["", "9000"] {
                let variables = [(SWITCH, "true"), ("PROPLET_HTTP_PROXY_PORT", port)];
                let settings = settings(&text, &variables).unwrap();
                let ports = settings.http.listen.map(|listen| listen.ports);
                assert_eq!(ports, served, "{text}");
                let notices = settings.notices.join("\n");
                let notice = format!("{SWITCH} is ignored");
                assert_eq!(notices.contains(&notice), is_told, "{text}: {notices}");
            }
            let off = settings(&text, &[(SWITCH, "false")]).unwrap();
            assert!(!off.notices.join("\n").contains(SWITCH), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        for (text, name) in [
            ("hosts = [\"https://a.example\"]", "hosts"),
            ("hosts = [\"\"]", "hosts"),
            ("http_hosts = [\"a/b\"]", "http_hosts"),
            ("private_hosts = [\"a:x\"]", "private_hosts"),
            ("ca_pem = \"/etc/ca.pem\"", "ca_pem"),
            ("listen = \"8222\"", "listen"),
            ("listen = \"localhost:8222\"", "listen"),
            ("requests = 0", "requests"),
            ("requests = 100000", "requests"),
            ("connections = 0", "connections"),
        ] {
            let error = parsed(&format!("[http]\n{text}"), &[]).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
        parsed("[http]\nhost = []", &[]).unwrap_err();
    }
}
