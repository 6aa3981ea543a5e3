//! What can go wrong at the key broker.
//!
//! A KBS answers almost every refusal with status 401, so the class comes from the `type` member of
//! the error body, never from the status alone. Every error can be cloned, because one handshake
//! serves many callers and each of them is told how it ended. Texts from the network are cut and
//! cleaned before they enter a message; tokens, cookies, keys and resources never do.

use std::fmt;

use proplet_hal::EvidenceError;
use proplet_types::{Code, ResourceUri};

use crate::protocol::VERSION;

/// Whom this client speaks with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Peer {
    /// The key broker.
    KeyBroker,
    /// An attestation service that is asked for tokens about a component.
    AttestationService,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KeyBroker => "KBS",
            Self::AttestationService => "attestation service",
        })
    }
}

/// Where an exchange with the KBS broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The host name was not found.
    Dns,
    /// No connection: refused, no route, or nobody answered.
    Connect,
    /// The TLS handshake failed, for instance because the certificate is not trusted.
    Tls,
    /// The deadline passed.
    Timeout,
    /// The connection broke in the middle of an exchange.
    Transport,
    /// A status that says that the server, or something before it, is in trouble.
    Status(u16),
    /// Status 404: there is no KBS, or not this plugin, under that URL.
    WrongPath,
    /// Status 413: the KBS does not take a message of this size.
    PayloadTooLarge,
    /// The KBS answered, but a backend of it (storage, attestation service, reference values) did
    /// not.
    Backend,
}

impl Failure {
    /// Whether the same request may succeed a moment later.
    pub fn is_transient(self) -> bool {
        match self {
            Self::Dns | Self::Connect | Self::Timeout | Self::Transport => true,
            Self::Status(status) => status >= 500 || status == 429,
            Self::Tls | Self::WrongPath | Self::PayloadTooLarge | Self::Backend => false,
        }
    }

    fn advice(self, peer: Peer) -> &'static str {
        match peer {
            Peer::KeyBroker => self.advice_for_key_broker(),
            Peer::AttestationService => self.advice_for_service(),
        }
    }

    fn advice_for_service(self) -> &'static str {
        match self {
            Self::Dns => {
                "check the host name in `attestation_service`, and the resolver of this machine"
            }
            Self::Connect => {
                "check that it runs with its REST interface (`restful-as`), its port in `attestation_service`, and firewalls in between"
            }
            Self::Tls => {
                "check that the settings name its CA, and that its certificate is valid for this host name"
            }
            Self::Timeout => "it is overloaded or hangs; look at its log, or raise the timeout",
            Self::WrongPath => {
                "check `attestation_service`: it is the address before `/attestation`, of a service with the REST interface"
            }
            Self::PayloadTooLarge => {
                "raise the limit of what stands before it, or send less evidence (no event log)"
            }
            Self::Transport | Self::Status(_) | Self::Backend => {
                "look at its log and at that of any proxy before it; try later"
            }
        }
    }

    fn advice_for_key_broker(self) -> &'static str {
        match self {
            Self::Dns => "check the host name in the KBS URL, and the resolver of this machine",
            Self::Connect => {
                "check that the KBS runs, its port in the KBS URL, and firewalls in between"
            }
            Self::Tls => {
                "check that the settings name the CA of the KBS, and that its certificate is valid for this host name"
            }
            Self::Timeout => {
                "the KBS or its attestation service is overloaded or hangs; look at its log, or raise the timeout"
            }
            Self::Transport => "look at the log of the KBS and of any proxy before it",
            Self::Status(_) => "look at the log of the KBS and of any proxy before it; try later",
            Self::WrongPath => {
                "check the KBS URL: it is the address before `/kbs/v0`; the resource plugin must be enabled"
            }
            Self::PayloadTooLarge => {
                "raise `[http_server] payload_request_size` of the KBS, or send less evidence (no event log)"
            }
            Self::Backend => "look at the log of the KBS; try later",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns => f.write_str("host name not found (DNS)"),
            Self::Connect => f.write_str("no connection (TCP)"),
            Self::Tls => f.write_str("TLS handshake failed"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Transport => f.write_str("connection broken"),
            Self::Status(status) => write!(f, "HTTP status {status}"),
            Self::WrongPath => f.write_str("HTTP status 404"),
            Self::PayloadTooLarge => f.write_str("HTTP status 413, message too large"),
            Self::Backend => f.write_str("a backend of the KBS failed"),
        }
    }
}

/// Why the KBS gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KbsError {
    /// The settings cannot work; nothing was sent.
    #[error("the KBS settings cannot be used: {0}")]
    Config(String),
    /// The resource's address names another KBS than the settings; nothing was sent.
    #[error(
        "{uri} names another key broker than the settings, which have {configured}; remove the host from the address, or ask its owner which KBS holds the key"
    )]
    ForeignHost {
        /// The resource.
        uri: ResourceUri,
        /// Host and port of the KBS in the settings.
        configured: String,
    },
    /// The resource policy refuses it. Permanent: attesting again would not change it.
    #[error(
        "the KBS denies {uri} to this machine: {detail}; the owner of the KBS must allow it in the resource policy (measurement, reference values, path)"
    )]
    Denied {
        /// The resource.
        uri: ResourceUri,
        /// What the KBS said.
        detail: String,
    },
    /// The resource does not exist, or the KBS's storage failed: a KBS does not tell them apart.
    #[error(
        "the KBS has no {uri}, or its storage failed: {detail}; check the address and that the resource was set"
    )]
    NotFound {
        /// The resource.
        uri: ResourceUri,
        /// What the KBS said.
        detail: String,
    },
    /// The KBS refuses the evidence of this machine.
    #[error(
        "the KBS rejects this machine's evidence: {detail}; look at the log of the KBS or its attestation service for the reason (TEE not supported, wrong report data, expired session)"
    )]
    Rejected {
        /// What the KBS said.
        detail: String,
    },
    /// The KBS speaks another version of the protocol.
    #[error(
        "the KBS does not speak protocol {VERSION}: {detail}; use Trustee v0.14 or later, or a proplet that speaks the KBS's version"
    )]
    VersionMismatch {
        /// What the KBS said.
        detail: String,
    },
    /// The KBS does not accept the token that it has just issued.
    #[error(
        "the KBS refuses a token that was issued a moment ago: {detail}; check `[attestation_token]` in its configuration (trusted certificates or `insecure_header_jwk`) and the clocks of KBS and attestation service"
    )]
    TokenRefused {
        /// What the KBS said.
        detail: String,
    },
    /// The attestation service gives no token for this machine's evidence.
    #[error(
        "the attestation service at {url} gives no token for this machine's evidence: {detail}; look at its log for the reason (TEE not supported, wrong report data, no collateral)"
    )]
    ServiceRefused {
        /// Scheme, host and port.
        url: String,
        /// What it said.
        detail: String,
    },
    /// The attestation service answered with something that is not a token.
    #[error(
        "the answer of the attestation service at {url} is not understood: {detail}; check that `attestation_service` leads to the REST interface (`restful-as`) of Trustee's attestation service"
    )]
    ServiceProtocol {
        /// Scheme, host and port.
        url: String,
        /// What is wrong with the answer.
        detail: String,
    },
    /// A token is larger than servers take in a header.
    #[error(
        "the token has {bytes} bytes, and the KBS takes no header of that size; the token repeats the evidence, so have the VM make less of it (no event log, fewer certificates)"
    )]
    TokenTooLarge {
        /// Its size.
        bytes: usize,
    },
    /// This machine could not produce evidence.
    #[error("no evidence for the KBS: {0}")]
    Evidence(String),
    /// The KBS or the attestation service could not be reached or is in trouble.
    #[error("the {peer} at {url} is unavailable: {failure}: {detail}; {advice}", advice = .failure.advice(*.peer))]
    Unavailable {
        /// Who.
        peer: Peer,
        /// Scheme, host and port.
        url: String,
        /// Where the exchange broke.
        failure: Failure,
        /// The cause in words.
        detail: String,
    },
    /// Too many components that are new here had this machine attest; nothing was sent.
    #[error(
        "too many components that are new on this machine asked for keys in a short time, and each costs an attestation; start the task again in {seconds} s"
    )]
    Limited {
        /// When there is room for one more.
        seconds: u64,
    },
    /// The KBS answered with something that is not the protocol.
    #[error(
        "the answer of the KBS to {request} is not understood: {detail}; check that the KBS URL leads to a Trustee KBS of protocol {VERSION}"
    )]
    Protocol {
        /// Method and path.
        request: String,
        /// What is wrong with the answer.
        detail: String,
    },
    /// A resource is larger than the limit.
    #[error("{uri} is larger than the limit of {limit} bytes; store something smaller in the KBS")]
    TooLarge {
        /// The resource.
        uri: ResourceUri,
        /// The limit in bytes.
        limit: usize,
    },
    /// The KBS does not accept the caller as its administrator.
    #[error("the KBS refuses administration: {detail}; {advice}")]
    AdminRefused {
        /// What the KBS said.
        detail: String,
        /// What the reason may be, and what to do.
        advice: String,
    },
}

impl KbsError {
    /// The TEE's failure, with the code of its kind: the operator looks for that in `docs/hardware.md`.
    pub(crate) fn no_evidence(error: &EvidenceError) -> Self {
        Self::Evidence(format!("{}: {error}", error.code()))
    }

    /// A stable code for results, logs and metrics.
    pub fn code(&self) -> Code {
        match self {
            Self::Config(_) => Code::KbsConfig,
            Self::ForeignHost { .. } => Code::KbsForeignHost,
            Self::Denied { .. } => Code::KbsDenied,
            Self::NotFound { .. } => Code::KbsNotFound,
            Self::Rejected { .. } => Code::KbsEvidenceRejected,
            Self::ServiceRefused { .. } | Self::ServiceProtocol { .. } => {
                Code::AttestationServiceRefused
            }
            Self::Unavailable {
                peer: Peer::AttestationService,
                ..
            } => Code::AttestationServiceUnavailable,
            Self::TokenTooLarge { .. } => Code::KbsTokenTooLarge,
            Self::VersionMismatch { .. } => Code::KbsVersionMismatch,
            Self::TokenRefused { .. } => Code::KbsTokenRefused,
            Self::Evidence(_) => Code::KbsNoEvidence,
            Self::Unavailable { .. } => Code::KbsUnavailable,
            Self::Limited { .. } => Code::KbsLimited,
            Self::Protocol { .. } => Code::KbsProtocol,
            Self::TooLarge { .. } => Code::KbsTooLarge,
            Self::AdminRefused { .. } => Code::KbsAdminRefused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trouble_on_the_way_is_tried_again() {
        for failure in [
            Failure::Dns,
            Failure::Connect,
            Failure::Transport,
            Failure::Status(503),
        ] {
            assert!(failure.is_transient(), "{failure}");
        }
        for failure in [
            Failure::Tls,
            Failure::WrongPath,
            Failure::PayloadTooLarge,
            Failure::Backend,
        ] {
            assert!(!failure.is_transient(), "{failure}");
        }
    }
}
