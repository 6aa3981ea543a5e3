//! What the TEE signs for whoever asks this host for evidence.
//!
//! ```json
//! {"eat_nonce":"<base64url of the challenge>","eat_profile":"<the profile>","kind":"agent"}
//! ```
//!
//! The report data is SHA-512 over the canonical JSON of exactly these three members; in the debug flavour of the VM
//! image there is a fourth, `"flavour":"debug"`, so that whoever does not know it refuses that VM. The caller chooses
//! the challenge and nothing else, so it can compute the report data and compare; and an attestation service can,
//! by taking the object as structured runtime data with `sha512`.
//!
//! Why this serves no forgery: what a key broker's handshake signs is SHA-384 over an object with the members
//! `nonce` and `tee-pubkey`; what this host signs about itself and its components has the kinds `instance` and
//! `workload`. For evidence of kind `agent` to pass as one of these, two different texts would have to have one
//! digest. CoCo's own agent signs the caller's bytes as they are: with it, whoever asks can be the VM to every key
//! broker.

use proplet_hal::{Flavour, ReportData};
use proplet_jose::{b64, jcs};
use proplet_results::claims::{EAT_PROFILE, MAX_NONCE_BYTES};
use ring::digest::{SHA512, digest};
use serde_json::{Map, Value};

/// The value of the claim `kind`.
pub const KIND: &str = "agent";

/// Claims of kind `agent`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentClaims {
    challenge: Vec<u8>,
    flavour: Flavour,
}

/// Why there are no claims.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AgentClaimsError {
    /// A challenge of an impossible length.
    #[error(
        "a challenge has 1 to {MAX_NONCE_BYTES} bytes, not {0}: pass a digest of what you want to bind"
    )]
    Challenge(usize),
    /// They cannot be written as canonical JSON, which no challenge causes.
    #[error("the claims cannot be written: {0}")]
    Json(#[from] proplet_jose::Error),
}

impl AgentClaims {
    /// Claims over a challenge of 1 to 64 bytes.
    ///
    /// # Errors
    /// [`AgentClaimsError::Challenge`].
    pub fn new(challenge: &[u8]) -> Result<Self, AgentClaimsError> {
        if challenge.is_empty() || challenge.len() > MAX_NONCE_BYTES {
            return Err(AgentClaimsError::Challenge(challenge.len()));
        }
        Ok(Self {
            challenge: challenge.to_vec(),
            flavour: Flavour::Sealed,
        })
    }

    /// The same of a host of this flavour of the VM image.
    #[must_use]
    pub fn with_flavour(self, flavour: Flavour) -> Self {
        Self { flavour, ..self }
    }

    /// The three members, and a fourth in the debug flavour.
    #[must_use]
    pub fn to_members(&self) -> Map<String, Value> {
        let flavour = self.flavour.is_debug();
        [
            ("eat_profile", EAT_PROFILE.to_owned()),
            ("eat_nonce", b64::encode(&self.challenge)),
            ("kind", KIND.to_owned()),
        ]
        .into_iter()
        .chain(flavour.then(|| ("flavour", self.flavour.to_string())))
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect()
    }

    /// What the TEE signs.
    ///
    /// # Errors
    /// [`AgentClaimsError::Json`].
    pub fn report_data(&self) -> Result<ReportData, AgentClaimsError> {
        let text = jcs::to_string(&self.to_members())?;
        let mut bytes = [0; ReportData::MAX_LEN];
        bytes.copy_from_slice(digest(&SHA512, text.as_bytes()).as_ref());
        Ok(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use proplet_results::claims::{Claims, ClaimsError};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_known_challenge_has_known_report_data() {
        // printf '%s' '{"eat_nonce":"Y2hhbGxlbmdl","eat_profile":"…","kind":"agent"}' | sha512sum
        let claims = AgentClaims::new(b"challenge").unwrap();
        let text = jcs::to_string(&claims.to_members()).unwrap();
        assert_eq!(
            text,
            "{\"eat_nonce\":\"Y2hhbGxlbmdl\",\"eat_profile\":\"tag:github.com,2026:absmach/propeller/\
             proplet#claims-1\",\"kind\":\"agent\"}"
        );
        assert_eq!(hex::encode(claims.report_data().unwrap().as_bytes()), KNOWN);
    }

    const KNOWN: &str = "016f0aa22d0976c486c24b3bc6f57f36a5556ec4ed8a504730b26dcd97fabf6a55aa4a480e28beb4ff8fc663e69d8cae11f673f20b0e150e9c72d7824179acfb";

    #[test]
    fn only_the_debug_flavour_is_named() {
        let claims = AgentClaims::new(b"challenge").unwrap();
        let sealed = claims.clone().with_flavour(Flavour::Sealed);
        assert_eq!(sealed, claims);
        let debug = claims.clone().with_flavour(Flavour::Debug);
        assert_eq!(
            jcs::to_string(&debug.to_members()).unwrap(),
            "{\"eat_nonce\":\"Y2hhbGxlbmdl\",\"eat_profile\":\"tag:github.com,2026:absmach/propeller/\
             proplet#claims-1\",\"flavour\":\"debug\",\"kind\":\"agent\"}"
        );
        assert_ne!(debug.report_data().unwrap(), claims.report_data().unwrap());
    }

    #[test]
    fn challenges_of_other_lengths_are_refused() {
        for length in [0, 65, 1000] {
            let error = AgentClaims::new(&vec![1; length]).unwrap_err();
            assert_eq!(error, AgentClaimsError::Challenge(length));
        }
        for length in [1, 48, 64] {
            AgentClaims::new(&vec![1; length]).unwrap();
        }
    }

    proptest! {
        #[test]
        fn no_challenge_makes_claims_of_a_host_or_a_component(
            challenge in proptest::collection::vec(any::<u8>(), 1..=64)
        ) {
            let members = AgentClaims::new(&challenge).unwrap().to_members();
            prop_assert!(!members.contains_key("tee-pubkey"));
            let refused = Claims::from_members(&members).unwrap_err();
            prop_assert_eq!(refused, ClaimsError::Agent { flavour: Flavour::Sealed });
        }
    }
}
