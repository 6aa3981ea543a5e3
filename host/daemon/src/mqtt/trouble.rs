//! What is wrong between this proplet and its broker, in words for whoever runs them.

use std::{error::Error, io};

use proplet_net::tls;
use proplet_settings::address::BrokerAddress;
use rumqttc::{ConnectReturnCode, ConnectionError, StateError};

/// Whom the words are about.
#[derive(Debug, Clone)]
pub(super) struct Parties {
    pub broker: BrokerAddress,
    pub entity: String,
}

impl Parties {
    /// The words for an error. `connected` says whether the broker had accepted the connection that ended.
    pub(super) fn words(&self, error: &ConnectionError, connected: bool) -> String {
        let Self { broker, entity } = self;
        if let ConnectionError::ConnectionRefused(code) = error {
            return self.refused(*code);
        }
        if let Some(words) = tls::explain(error) {
            return format!("TLS to {broker}: {words}");
        }
        if let ConnectionError::NetworkTimeout = error {
            return format!("{broker} does not answer");
        }
        if let ConnectionError::MqttState(StateError::Deserialization(error)) = error {
            return format!(
                "the broker sent what cannot be read: {error}; if it was too long, raise [mqtt] \
                 max_packet_bytes"
            );
        }
        match io_kind(error) {
            Some(io::ErrorKind::ConnectionRefused) => format!(
                "nobody listens at {broker}; check that the broker runs, and its port in [mqtt] address"
            ),
            _ if !is_ended_by_peer(error) => format!("{broker}: {error}"),
            _ if connected => format!(
                "{broker} ended the connection; if it does so again and again, look into its log: another \
                 client may use the id {entity:?} too, or the broker does not take messages of that size"
            ),
            _ if broker.tls() => format!(
                "{broker} ended the connection before it accepted it; look into the broker's log"
            ),
            _ => format!(
                "{broker} ended the connection before it accepted it; if that is its port for TLS, write \
                 mqtts:// in [mqtt] address, else look into its log"
            ),
        }
    }

    fn refused(&self, code: ConnectReturnCode) -> String {
        let Self { broker, entity } = self;
        match code {
            ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized => format!(
                "{broker} refuses {entity:?} with this api_key; check [proplet] entity_id and api_key, and \
                 that the broker knows them"
            ),
            ConnectReturnCode::BadClientId => format!(
                "{broker} refuses the client id {entity:?}; choose another [proplet] entity_id: some brokers \
                 take 23 letters and digits at most"
            ),
            ConnectReturnCode::RefusedProtocolVersion => {
                format!("{broker} does not speak MQTT 3.1.1; switch it on there")
            }
            ConnectReturnCode::ServiceUnavailable | ConnectReturnCode::Success => {
                format!("{broker} says that it is unavailable")
            }
        }
    }
}

/// Whether the broker refuses the password.
pub(super) fn is_refused(error: &ConnectionError) -> bool {
    use ConnectReturnCode::{BadUserNamePassword, NotAuthorized};
    matches!(
        error,
        ConnectionError::ConnectionRefused(BadUserNamePassword | NotAuthorized)
    )
}

/// Whether the broker may refuse the certificate, before it accepted a connection. TLS 1.3 tells a client so only after
/// its own part of the handshake, and some servers just hang up.
pub(super) fn is_refused_by_tls(error: &ConnectionError) -> bool {
    is_refused(error) || tls::explain(error).is_some() || is_ended_by_peer(error)
}

fn is_ended_by_peer(error: &ConnectionError) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error,
        ConnectionError::MqttState(StateError::ConnectionAborted)
    ) || matches!(
        io_kind(error),
        Some(
            Kind::ConnectionAborted
                | Kind::ConnectionReset
                | Kind::BrokenPipe
                | Kind::UnexpectedEof
        )
    )
}

/// The kind of the I/O error among the causes.
fn io_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    let mut cause = Some(error);
    while let Some(this) = cause {
        if let Some(error) = this.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        cause = this.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(address: &str, error: &ConnectionError, connected: bool) -> String {
        let parties = Parties {
            broker: address.parse().unwrap(),
            entity: "proplet-1".to_owned(),
        };
        parties.words(error, connected)
    }

    #[test]
    fn every_refusal_names_what_to_change() {
        for (code, wanted) in [
            (ConnectReturnCode::BadUserNamePassword, "api_key"),
            (ConnectReturnCode::NotAuthorized, "entity_id"),
            (ConnectReturnCode::BadClientId, "23 letters"),
            (ConnectReturnCode::RefusedProtocolVersion, "3.1.1"),
            (ConnectReturnCode::ServiceUnavailable, "unavailable"),
        ] {
            let text = words("b", &ConnectionError::ConnectionRefused(code), false);
            assert!(text.contains(wanted), "{text}");
            assert!(text.contains("mqtt://b:1883"), "{text}");
        }
    }

    #[test]
    fn an_end_is_told_by_when_it_came() {
        let aborted = ConnectionError::MqttState(StateError::ConnectionAborted);
        assert!(words("b", &aborted, true).contains("\"proplet-1\""));
        assert!(words("b", &aborted, false).contains("mqtts://"));
        assert!(!words("mqtts://b", &aborted, false).contains("write mqtts://"));
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        let reset = ConnectionError::MqttState(StateError::Io(reset));
        assert!(words("b", &reset, true).contains("\"proplet-1\""));
    }

    #[test]
    fn a_refusal_is_told_from_an_absence() {
        let refused = |code| ConnectionError::ConnectionRefused(code);
        for code in [
            ConnectReturnCode::BadUserNamePassword,
            ConnectReturnCode::NotAuthorized,
        ] {
            assert!(is_refused(&refused(code)) && is_refused_by_tls(&refused(code)));
        }
        let aborted = ConnectionError::MqttState(StateError::ConnectionAborted);
        assert!(is_refused_by_tls(&aborted) && !is_refused(&aborted));
        let absent = ConnectionError::Io(io::ErrorKind::ConnectionRefused.into());
        for other in [
            absent,
            ConnectionError::NetworkTimeout,
            refused(ConnectReturnCode::ServiceUnavailable),
        ] {
            assert!(!is_refused(&other) && !is_refused_by_tls(&other), "{other}");
        }
    }

    #[test]
    fn who_is_not_there_is_named() {
        let refused = ConnectionError::Io(io::ErrorKind::ConnectionRefused.into());
        assert!(words("b:1", &refused, false).contains("nobody listens at mqtt://b:1;"));
        assert!(words("b", &ConnectionError::NetworkTimeout, false).contains("does not answer"));
        let other = ConnectionError::Io(io::Error::other("odd"));
        assert!(words("b", &other, false).contains("odd"));
    }
}
