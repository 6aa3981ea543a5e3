//! The settings document: one TOML file that says whom this proplet trusts.
//!
//! Everything that decides about secrets stands in one file: the key broker and its CA, the fallback
//! recipients, what may be pulled, and the limits of tasks. The SHA-256 over its bytes is the *settings
//! digest*, which is in every claim that this host makes. So whoever verifies evidence sees which
//! document was in force, and on hardware the digest is compared with the value that the VM was started
//! with. Two consequences shape the format:
//!
//! - the key broker's CA is text inside the document (`ca_pem`), not a path: the digest must cover it;
//! - environment variables may override what says *where the broker is and who we are on it*, and that
//!   only as long as no credential of the document's goes elsewhere by it (`broker`). They may say what
//!   only plain tasks have, where the document does not: directories, and where HTTP guests are served.
//!   They say nothing else ([`environment`]).
//!
//! `docs/settings.md` lists every name with its default.
#![deny(missing_docs)]

pub mod address;
mod broker;
mod checks;
mod credentials;
mod document;
mod envelope;
pub mod environment;
mod error;
pub mod import;
pub mod init_data;
mod load;
pub mod secret;
mod sections;
mod settings;
mod upstream;

pub use self::{
    error::SettingsError,
    load::{CREDENTIALS_FILE, MAX_DOCUMENT_BYTES},
    sections::{
        About, Agent, AllowList, ApiKey, Attestation, AuditExport, BrokerIdentity,
        CertificateService, ClientCertificate, Confidential, DaemonTasks, Http, ImageSources, Kbs,
        LatentTasks, Limits, Listen, Metrics, Mqtt, Outbox, PartialIdentity, PlainImages, Plugin,
        Rerun, Restart, TokenService,
    },
    settings::Settings,
};
