//! What a TEE signs about this host or one of its components.
//!
//! Claims are a flat JSON object of strings in the manner of an EAT (RFC 9711). The report data of the
//! evidence is SHA-512 over their canonical JSON, so whoever holds evidence and claims can check that
//! they belong together, and a stock attestation service can too, by taking the claims as structured
//! runtime data with `sha512`.
//!
//! The host composes them; a component chooses nothing but the challenge. Two kinds are kept apart, so
//! that neither passes for the other:
//!
//! * `instance`: this host holds the private key whose thumbprint is `cnf`, under these settings. It is
//!   what receipts rest on.
//! * `workload`: this host runs this component for this task, and was asked with this challenge.
//!
//! No claims ever have a member `tee-pubkey`. The handshake of a key broker signs a digest over an object
//! that has one; without it no claims can pass for a handshake, whatever a component puts into its
//! challenge. (The digests differ as well: SHA-384 there, SHA-512 here.)

use std::fmt;

use proplet_hal::{Flavour, ReportData, flavour::DEBUG};
use proplet_jose::{b64, jcs, json};
use ring::digest::{SHA512, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::{Map, Value};

use proplet_types::Digest;

/// The profile that claims of this form name in `eat_profile`.
pub const EAT_PROFILE: &str = "tag:github.com,2026:absmach/propeller/proplet#claims-1";

/// The longest challenge, in bytes.
pub const MAX_NONCE_BYTES: usize = 64;

/// The longest of the other strings, in bytes.
const MAX_TEXT_BYTES: usize = 1024;

/// Why claims were not made or not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimsError {
    /// The text is not JSON that can be used, or a challenge is not base64url.
    #[error("the claims cannot be read: {0}")]
    Unreadable(#[from] proplet_jose::Error),
    /// The claims name another profile, or none.
    #[error("the claims are not of the profile {EAT_PROFILE}: they come from another kind of host")]
    Profile,
    /// A member is missing, not a string, unknown, or not allowed for this kind.
    #[error("the claim {name:?} {reason}")]
    Member {
        /// The member's name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The claims are those of the Attestation Agent, which say nothing about a host's settings or a component.
    #[error(
        "the claims are of kind `agent`, made for whoever asked this VM, and say nothing about its settings or a \
         component; an attestation service judges such evidence{}",
        of_debug(*flavour)
    )]
    Agent {
        /// The flavour of the VM image that they name.
        flavour: Flavour,
    },
    /// A challenge of an impossible length.
    #[error("a challenge has 1 to {MAX_NONCE_BYTES} bytes, not {0}")]
    Nonce(usize),
    /// There are no random bytes for a challenge.
    #[error("the operating system gave no random bytes")]
    Random,
}

/// What claims are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimsKind {
    /// The host itself and its receipt key.
    Instance,
    /// One component in one task.
    Workload,
}

impl ClaimsKind {
    /// The value of the claim `kind`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Workload => "workload",
        }
    }
}

impl fmt::Display for ClaimsKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Claims about a host, and about a component when [`Claims::workload`] is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// `eat_nonce`: the challenge, 1 to 64 bytes; random bytes of the host's for an instance.
    nonce: Vec<u8>,
    /// `settings_digest`: digest of the host's settings document.
    pub settings_digest: Digest,
    /// `cnf`: RFC 7638 thumbprint of the host's receipt key.
    pub cnf: String,
    /// `attester`: what gathers evidence on this host, `snp` or `fake-snp` for example.
    pub attester: String,
    /// `flavour`: there, and `debug`, when the host is of the debug flavour of the VM image.
    pub flavour: Flavour,
    /// `audit_head`: head of the audit log of this boot when the evidence was made. Of claims of kind `instance` only.
    pub audit_head: Option<Digest>,
    /// What the evidence says about a component. None for claims of kind `instance`.
    pub workload: Option<WorkloadClaims>,
}

/// The claims about a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadClaims {
    /// `component_digest`: of the component's bytes as they were compiled.
    pub component_digest: Digest,
    /// `image_digest`: of the OCI manifest, when the component came from an image.
    pub image_digest: Option<Digest>,
    /// `policy_digest`: of the policy in force, when one counts.
    pub policy_digest: Option<Digest>,
    /// `task_id`: as the orchestrator chose it.
    pub task_id: String,
}

impl Claims {
    /// Claims of kind `instance`, with a random nonce.
    ///
    /// # Errors
    ///
    /// [`ClaimsError::Random`] without random bytes; [`ClaimsError::Member`] for an `attester` that is
    /// empty or too long.
    pub fn instance(
        key: &crate::ReceiptKey,
        settings_digest: Digest,
        attester: &str,
    ) -> Result<Self, ClaimsError> {
        let mut nonce = vec![0_u8; 32];
        SystemRandom::new()
            .fill(&mut nonce)
            .map_err(|_| ClaimsError::Random)?;
        let claims = Self {
            nonce,
            settings_digest,
            cnf: key.thumbprint(),
            attester: attester.to_owned(),
            flavour: Flavour::Sealed,
            audit_head: None,
            workload: None,
        };
        claims.checked()
    }

    /// Claims of kind `workload` over a relying party's challenge of 1 to 64 bytes.
    ///
    /// # Errors
    ///
    /// [`ClaimsError::Nonce`] for a challenge of another length; [`ClaimsError::Member`] for an
    /// `attester` or task id that is empty or longer than 1024 bytes.
    pub fn workload(
        challenge: &[u8],
        key: &crate::ReceiptKey,
        settings_digest: Digest,
        attester: &str,
        workload: WorkloadClaims,
    ) -> Result<Self, ClaimsError> {
        let claims = Self {
            nonce: challenge.to_vec(),
            settings_digest,
            cnf: key.thumbprint(),
            attester: attester.to_owned(),
            flavour: Flavour::Sealed,
            audit_head: None,
            workload: Some(workload),
        };
        claims.checked()
    }

    /// The same of a host of this flavour of the VM image.
    #[must_use]
    pub fn with_flavour(self, flavour: Flavour) -> Self {
        Self { flavour, ..self }
    }

    /// The same with the head of this boot's audit log. Nothing is added to claims about a component: what its task has
    /// on record is in the receipt.
    #[must_use]
    pub fn with_audit_head(self, head: Digest) -> Self {
        Self {
            audit_head: self.workload.is_none().then_some(head),
            ..self
        }
    }

    /// Reads claims from JSON text. Members outside the profile are refused, `tee-pubkey` above all.
    ///
    /// # Errors
    ///
    /// [`ClaimsError`], see its variants.
    pub fn from_json(text: &[u8]) -> Result<Self, ClaimsError> {
        Self::from_members(&json::object(text)?)
    }

    /// Reads claims from the members of a JSON object.
    ///
    /// # Errors
    ///
    /// [`ClaimsError`], see its variants.
    pub fn from_members(members: &Map<String, Value>) -> Result<Self, ClaimsError> {
        let mut reader = Reader(members.clone());
        if reader.text("eat_profile").ok().as_deref() != Some(EAT_PROFILE) {
            return Err(ClaimsError::Profile);
        }
        let nonce = b64::decode(&reader.text("eat_nonce")?)?;
        let kind = reader.text("kind")?;
        if kind == "agent" {
            let flavour = reader.flavour()?;
            reader.finish()?;
            return Err(ClaimsError::Agent { flavour });
        }
        let claims = Self {
            nonce,
            settings_digest: reader.digest("settings_digest")?,
            cnf: reader.text("cnf")?,
            attester: reader.text("attester")?,
            flavour: reader.flavour()?,
            audit_head: match kind.as_str() {
                "instance" => reader.optional_digest("audit_head")?,
                _ => None,
            },
            workload: match kind.as_str() {
                "instance" => None,
                "workload" => Some(WorkloadClaims {
                    component_digest: reader.digest("component_digest")?,
                    image_digest: reader.optional_digest("image_digest")?,
                    policy_digest: reader.optional_digest("policy_digest")?,
                    task_id: reader.text("task_id")?,
                }),
                _ => return Err(member("kind", "is neither `instance` nor `workload`")),
            },
        };
        reader.finish()?;
        claims.checked()
    }

    /// What the claims are about.
    #[must_use]
    pub fn kind(&self) -> ClaimsKind {
        if self.workload.is_some() {
            ClaimsKind::Workload
        } else {
            ClaimsKind::Instance
        }
    }

    /// The challenge.
    #[must_use]
    pub fn nonce(&self) -> &[u8] {
        &self.nonce
    }

    /// The members, all of them strings.
    #[must_use]
    pub fn to_members(&self) -> Map<String, Value> {
        let mut members = Map::new();
        let mut set = |name: &str, value: &str| members.insert(name.to_owned(), value.into());
        set("eat_profile", EAT_PROFILE);
        set("eat_nonce", &b64::encode(&self.nonce));
        set("kind", self.kind().as_str());
        set("settings_digest", &self.settings_digest.to_string());
        set("cnf", &self.cnf);
        set("attester", &self.attester);
        if self.flavour.is_debug() {
            set("flavour", self.flavour.as_str());
        }
        if let Some(head) = &self.audit_head {
            set("audit_head", &head.to_string());
        }
        if let Some(workload) = &self.workload {
            set("component_digest", &workload.component_digest.to_string());
            set("task_id", &workload.task_id);
            if let Some(digest) = &workload.image_digest {
                set("image_digest", &digest.to_string());
            }
            if let Some(digest) = &workload.policy_digest {
                set("policy_digest", &digest.to_string());
            }
        }
        members
    }

    /// The claims as canonical JSON: the bytes that the report data is a digest of.
    ///
    /// # Errors
    ///
    /// As [`jcs::to_string`], which does not fail for an object of strings.
    pub fn to_jcs(&self) -> Result<String, ClaimsError> {
        Ok(jcs::to_string(&self.to_members())?)
    }

    /// The report data that evidence of these claims is made over: SHA-512 of [`Claims::to_jcs`].
    ///
    /// # Errors
    ///
    /// As [`Claims::to_jcs`].
    pub fn report_data(&self) -> Result<ReportData, ClaimsError> {
        let mut bytes = [0_u8; 64];
        bytes.copy_from_slice(digest(&SHA512, self.to_jcs()?.as_bytes()).as_ref());
        Ok(bytes.into())
    }

    fn checked(self) -> Result<Self, ClaimsError> {
        if self.nonce.is_empty() || self.nonce.len() > MAX_NONCE_BYTES {
            return Err(ClaimsError::Nonce(self.nonce.len()));
        }
        if b64::decode(&self.cnf)?.len() != 32 {
            return Err(member("cnf", "is not a SHA-256 thumbprint"));
        }
        let task_id = self
            .workload
            .as_ref()
            .map_or("-", |workload| &workload.task_id);
        for (name, text) in [("attester", self.attester.as_str()), ("task_id", task_id)] {
            if text.is_empty() || text.len() > MAX_TEXT_BYTES {
                return Err(member(name, "is empty or longer than 1024 bytes"));
            }
        }
        Ok(self)
    }
}

/// Takes members out of an object until none is left.
struct Reader(Map<String, Value>);

impl Reader {
    fn text(&mut self, name: &str) -> Result<String, ClaimsError> {
        match self.0.remove(name) {
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(member(name, "is not a string")),
            None => Err(member(name, "is missing")),
        }
    }

    fn digest(&mut self, name: &str) -> Result<Digest, ClaimsError> {
        let text = self.text(name)?;
        text.parse()
            .map_err(|_| member(name, "is not a digest `sha256:…`"))
    }

    fn optional_digest(&mut self, name: &str) -> Result<Option<Digest>, ClaimsError> {
        if self.0.contains_key(name) {
            self.digest(name).map(Some)
        } else {
            Ok(None)
        }
    }

    /// The one value that is ever written.
    fn flavour(&mut self) -> Result<Flavour, ClaimsError> {
        if !self.0.contains_key("flavour") {
            return Ok(Flavour::Sealed);
        }
        match self.text("flavour")?.as_str() {
            DEBUG => Ok(Flavour::Debug),
            _ => Err(member("flavour", "is not `debug`")),
        }
    }

    fn finish(self) -> Result<(), ClaimsError> {
        match self.0.keys().next() {
            Some(name) => Err(member(
                name,
                "is not part of the profile for this kind of claims",
            )),
            None => Ok(()),
        }
    }
}

/// The warning of a verifier that refuses already.
fn of_debug(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::Sealed => "",
        Flavour::Debug => {
            ". The VM says that it is of the DEBUG FLAVOUR of its image: whoever started it can log in, and read and \
             change everything in it"
        }
    }
}

fn member(name: &str, reason: &'static str) -> ClaimsError {
    ClaimsError::Member {
        name: name.chars().take(64).collect(),
        reason,
    }
}
