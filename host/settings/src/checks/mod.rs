//! From the document as it is written to settings that make sense: defaults, ranges, overrides. A file for each
//! table.

mod agent;
mod apart;
mod attestation;
mod audit;
mod audit_export;
mod component_bound;
mod confidential;
mod daemon_tasks;
mod directories;
mod http;
mod identity;
mod kbs;
mod latent_tasks;
mod limits;
mod memory;
mod metrics;
mod mqtt;
mod outbox;
mod plugins;
mod registry;
mod resources;
mod values;

pub(super) use self::{
    agent::checked_agent,
    apart::{check_apart, check_documents},
    attestation::checked_attestation,
    audit::checked_audit,
    confidential::checked_confidential,
    daemon_tasks::checked_daemon_tasks,
    directories::checked_directories,
    http::checked_http,
    identity::{about, checked_heartbeat, owns_key, partial_identity},
    kbs::checked_kbs,
    latent_tasks::checked_latent_tasks,
    limits::checked_limits,
    memory::bound_in_memory,
    metrics::checked_metrics,
    mqtt::{check_way_of_key, checked_mqtt},
    outbox::{checked_health, checked_outbox},
    plugins::checked_plugins,
    registry::{checked_registry, usual_plain_images},
    resources::checked_resources,
};
