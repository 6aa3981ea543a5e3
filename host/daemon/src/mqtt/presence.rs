//! Being there: subscriptions, discovery and heartbeats.
//!
//! After every connection, in this order: subscribe, since the session is new; announce, since a Manager
//! that lost its memory knows us again; then beat. The Manager sends tasks only to proplets that beat, so
//! none is sent before we listen.

use std::time::Duration;

use proplet_settings::{About, BrokerIdentity};
use rumqttc::{PublishOptions, SubscribeFilterInput, SubscribeReasonCode};
use serde::Serialize;
use thiserror::Error;
use tokio::{sync::watch, time::MissedTickBehavior};
use tracing::{error, info, warn};

use super::{driver::Connection, link::Link};
use crate::message::{Alive, Create, Topics, outgoing::Metadata};

/// How long to wait after a refused subscription: until somebody has changed the broker's rules.
const REFUSED: Duration = Duration::from_secs(60);

/// What is announced.
#[derive(Debug)]
pub struct Presence {
    /// Topics of our channel.
    pub topics: Topics,
    /// Who we are.
    pub identity: BrokerIdentity,
    /// What we say about this machine.
    pub about: About,
    /// Time between heartbeats.
    pub heartbeat: Duration,
    /// Told whether tasks can arrive.
    pub subscribed: watch::Sender<bool>,
}

#[derive(Debug, Error)]
enum Lost {
    #[error("the connection was lost")]
    Connection,
    #[error("the broker refuses the subscription to {0}")]
    Subscription(String),
}

/// Keeps us present until the link is closed.
pub async fn run(link: Link, presence: Presence) {
    let mut connection = link.connection();
    loop {
        let Ok(current) = connection
            .wait_for(Option::is_some)
            .await
            .map(|number| *number)
        else {
            return;
        };
        let lost = tokio::select! {
            lost = beat(&link, &presence) => Some(lost),
            () = changed_from(&mut connection, current) => None,
        };
        presence.subscribed.send_replace(false);
        match lost {
            None => continue,
            Some(Lost::Connection) => {}
            Some(lost @ Lost::Subscription(_)) => {
                error!(
                    "{lost}; no task can arrive. Check that the broker lets this entity subscribe \
                         there. Next attempt in {REFUSED:?}"
                );
                let mut changes = link.connection();
                tokio::select! {
                    () = tokio::time::sleep(REFUSED) => {}
                    () = changed_from(&mut changes, current) => {}
                }
                continue;
            }
        }
        // What failed is tried again with the next connection.
        let mut changes = link.connection();
        changed_from(&mut changes, current).await;
        if changes.has_changed().is_err() {
            return;
        }
    }
}

/// Ends when the connection is not this one any more.
async fn changed_from(connection: &mut watch::Receiver<Connection>, current: Connection) {
    let _ = connection.wait_for(|now| *now != current).await;
}

async fn beat(link: &Link, presence: &Presence) -> Lost {
    match announce(link, presence).await {
        Ok(()) => {}
        Err(lost) => return lost,
    }
    let mut ticks = tokio::time::interval(presence.heartbeat);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let alive = Alive {
        proplet_id: &presence.identity.entity,
        status: "alive",
        namespace: &presence.about.namespace,
    };
    loop {
        ticks.tick().await;
        if let Err(lost) = publish(link, presence.topics.alive(), &alive).await {
            return lost;
        }
    }
}

async fn announce(link: &Link, presence: &Presence) -> Result<(), Lost> {
    let topics = presence.topics.subscriptions();
    let filters = topics
        .iter()
        .map(|topic| SubscribeFilterInput::new(*topic, link.qos));
    let subscribed = link
        .client
        .subscribe_many_tracked(filters)
        .await
        .map_err(|_| Lost::Connection)?;
    let granted = subscribed
        .wait_async()
        .await
        .map_err(|_| Lost::Connection)?;
    for (topic, code) in topics.iter().zip(&granted.return_codes) {
        match code {
            SubscribeReasonCode::Failure => return Err(Lost::Subscription((*topic).to_owned())),
            SubscribeReasonCode::Success(granted) if *granted < link.qos => warn!(
                "The broker grants quality of service {} on {topic}, and {} was asked for: starts may get \
                 lost or come twice",
                *granted as u8, link.qos as u8
            ),
            SubscribeReasonCode::Success(_) => {}
        }
    }
    for topic in topics {
        info!("Subscribed to topic: {topic}");
    }
    let create = Create {
        proplet_id: &presence.identity.entity,
        namespace: &presence.about.namespace,
        metadata: metadata(&presence.about),
    };
    publish(link, presence.topics.create(), &create).await?;
    info!("Published discovery message");
    presence.subscribed.send_replace(true);
    Ok(())
}

async fn publish(link: &Link, topic: &str, message: &impl Serialize) -> Result<(), Lost> {
    let Ok(payload) = serde_json::to_vec(message) else {
        warn!("a message for {topic} could not be written");
        return Ok(());
    };
    let notice = link
        .client
        .publish_tracked(topic, payload, PublishOptions::new(link.qos))
        .await
        .map_err(|_| Lost::Connection)?;
    notice
        .wait_completion_async()
        .await
        .map_err(|_| Lost::Connection)
}

fn metadata(about: &About) -> Metadata {
    let system = about.system_info;
    let hostname = || {
        let name = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        Some(name).filter(|name| !name.is_empty())
    };
    Metadata {
        description: about.description.clone(),
        tags: about.tags.clone(),
        location: about.location.clone(),
        environment: "binary",
        os: std::env::consts::OS,
        hostname: if system { hostname() } else { None },
        cpu_arch: std::env::consts::ARCH,
        total_memory_bytes: if system { total_memory() } else { 0 },
        proplet_version: env!("CARGO_PKG_VERSION"),
        wasm_runtime: "wasmtime-internal",
    }
}

/// Memory of the machine, in bytes.
pub(crate) fn total_memory() -> u64 {
    let info = rustix::system::sysinfo();
    #[allow(
        clippy::useless_conversion,
        reason = "the kernel's type differs between architectures"
    )]
    u64::from(info.totalram).saturating_mul(u64::from(info.mem_unit))
}
