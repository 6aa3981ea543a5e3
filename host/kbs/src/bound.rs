//! How a KBS is told which component asks.
//!
//! The stock protocol attests the VM: whatever the KBS's policy releases, it releases to every component
//! that this host runs. Two ways carry the component's digests to an unmodified Trustee. In both the
//! digests are this host's word, which is worth what the VM's launch measurement is worth, and nothing of
//! what is signed is a component's choice.
//!
//! * **Passport**: the attestation service is asked directly. It takes any object as runtime data, so the
//!   digests stand beside nonce and key ([`crate::protocol::RuntimeData`]), and its token is shown to the
//!   KBS. The service hands out no challenge and remembers nothing, so that **freshness is not protected**:
//!   recorded evidence gives new tokens at any time. They open nothing without the private key of the
//!   session, which is in this process only.
//! * **Additional evidence**: the usual handshake, with the digests in the evidence of an additional
//!   device, which the KBS hashes into the report data. The KBS's own nonce is in force. The device is of
//!   Trustee's type for tests (`sampledevice`): **it rests on that type being there**, and its submodule in
//!   the token never is affirming.

use std::fmt;

use url::Url;

/// Which of the two ways.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ComponentBound {
    /// A token of the attestation service, about the component.
    Passport(PassportIssuer),
    /// The component's digests in the handshake's additional evidence.
    AdditionalEvidence,
}

/// An attestation service with a REST interface, whose tokens the KBS accepts.
#[derive(Clone)]
pub struct PassportIssuer {
    /// The address before `/attestation`. [`crate::KbsConfig::allow_http`] says whether it may be plain http:
    /// everybody on the way reads the tokens then, which open nothing without the session's key.
    pub url: Url,
    /// PEM certificates of the CAs that may sign its certificate. When given, no other CA is trusted; when
    /// absent, the platform's are.
    pub ca_pem: Option<Vec<u8>>,
}

impl fmt::Debug for PassportIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PassportIssuer")
            .field("url", &self.url.as_str())
            .field("own_ca", &self.ca_pem.is_some())
            .finish()
    }
}
