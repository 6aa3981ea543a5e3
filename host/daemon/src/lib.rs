//! The daemon: tasks from a broker, outcomes back to it.
//!
//! Every start message that is addressed to this proplet and has a readable id gets a results message:
//! also one that does not decode, one that comes while the queue is full, and one that is running when
//! the proplet is told to stop. What is dropped without an answer is what nobody could answer: messages
//! for other proplets, messages without an id, and what must not run twice (`repeats`).
//!
//! The log holds ids, image references, digests and codes. It never holds inputs, values of environment
//! variables, results or anything that a guest wrote.

#![deny(missing_docs)]

mod answer;
mod error;
mod gate;
mod health;
mod image_proxy;
mod interfaces;
pub mod log;
pub mod message;
mod metrics;
pub mod mqtt;
mod places;
mod record;
mod repeats;
mod service;
mod sparing;
mod store;
mod supervisor;
mod tasks;

use std::{sync::Arc, time::Duration};

use proplet_audit::Opening as AuditOpening;
use proplet_executor::{Executor, Host, ImageProxy, harden::harden_process};
use proplet_hal::{TeeProvider, detection::Detection};
use proplet_outbox::{Journal, Opening};
use proplet_settings::{ApiKey, BrokerIdentity, ClientCertificate, Settings};
use proplet_types::Clock;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tracing::{error, info, warn};

pub use self::{error::DaemonError, interfaces::InterfaceError, supervisor::Supervisor};
use self::{
    gate::Gate,
    health::Sources,
    image_proxy::Images,
    interfaces::Interfaces,
    message::Topics,
    metrics::Speaker,
    mqtt::{
        Link,
        acknowledge::Acknowledgements,
        backoff::Backoff,
        delivery::Delivery,
        outbox::{Bounds, Outbox},
        presence::{self, Presence},
        requests,
    },
    record::Record,
    repeats::Repeats,
    service::{Service, WaitingRoom},
    sparing::Sparing,
    supervisor::Facts,
    tasks::{Parts, Tasks},
};

/// Messages that may wait between the connection and the daemon.
const WAITING_MESSAGES: usize = 16;
/// How long the disks of the outbox and of the audit log may take, at each request and at the end.
const DISK_PATIENCE: Duration = Duration::from_secs(5);
/// How long the last results may take to reach the broker.
const FLUSHING: Duration = Duration::from_secs(5);

/// A daemon that is set up and not connected yet.
pub struct Daemon {
    settings: Arc<Settings>,
    identity: BrokerIdentity,
    executor: Executor,
    journal: Journal,
    opening: Option<Opening>,
    audit_opening: Option<AuditOpening>,
    outbox: Outbox,
    supervisor: Supervisor,
    gate: Gate,
    images: Option<(Arc<Images>, mpsc::Receiver<String>)>,
    clock: Arc<dyn Clock>,
}

impl Daemon {
    /// Sets a daemon up on this machine, and hardens the process.
    ///
    /// `host` says which TEE there is (or which fake), which clock, and what swap means;
    /// [`Host::new`] gives the rules of production.
    ///
    /// # Errors
    /// [`DaemonError`].
    pub fn new(mut host: Host) -> Result<Self, DaemonError> {
        harden_process()?;
        let settings = Arc::clone(&host.settings);
        let identity = settings.identity()?;
        let images = Images::of(&settings);
        if let Some((images, _)) = &images {
            host.image_proxy = Some(Arc::clone(images) as Arc<dyn ImageProxy>);
        }
        let clock = Arc::clone(&host.clock);
        let audit_opening = match host.audit {
            Some(_) => None,
            None => {
                let (audit, opening) = record::open(&settings, Arc::clone(&host.clock))?;
                host.audit = Some(audit);
                Some(opening)
            }
        };
        let executor = Executor::new(host)?;
        check_credentials(&settings, &identity, &executor)?;
        let gate = Gate::of(&settings)?;
        let (journal, opening) = store::journal(&settings)?;
        let outbox = Outbox::new(journal.clone(), bounds(&settings));
        Ok(Self {
            settings,
            identity,
            executor,
            journal,
            opening,
            audit_opening,
            outbox,
            supervisor: Supervisor::default(),
            gate,
            images,
            clock,
        })
    }

    /// Has the service manager told how the daemon is.
    #[must_use]
    pub fn with_supervisor(self, supervisor: Supervisor) -> Self {
        Self { supervisor, ..self }
    }

    /// The answers that wait for the broker.
    #[must_use]
    pub fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// Runs until `shutdown` ends; then stops taking tasks, ends those that run with an error result,
    /// delivers what is left, and disconnects.
    ///
    /// # Errors
    /// [`DaemonError`] when the connection cannot be set up, an interface that the settings ask for cannot be
    /// served, or the outbox needs an operator. A broker that is not there is no error, nor is a disk that
    /// fails: they are tried again forever.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), DaemonError> {
        let Self {
            settings,
            identity,
            executor,
            journal,
            opening,
            audit_opening,
            outbox,
            supervisor,
            gate,
            images,
            clock,
        } = self;
        info!("Starting Proplet (Rust) - Instance ID: {}", identity.entity);
        for notice in &settings.notices {
            warn!("{notice}");
        }
        info!("Settings digest: {}", settings.digest);
        let readiness = executor.readiness().await;
        for warning in &readiness.warnings {
            warn!("{warning}");
        }
        info!("TEE: {readiness}");
        if let Some(opening) = audit_opening {
            opening.done().await?;
        }
        let record = Record::new(&executor, &settings);
        record.ready(readiness.refusal.as_ref());

        let health = match settings.health {
            Some(address) => Some(health::listen(address).await?),
            None => None,
        };
        let interfaces = Interfaces::serve(&settings, &executor, &record).await?;

        let (link, driver) = Link::new(&settings.mqtt, &identity, &executor)?;
        info!("MQTT client created (TLS: {})", settings.mqtt.address.tls());
        let topics =
            Topics::new(&identity.tenant, &identity.channel).with_image_proxy(images.is_some());
        let (sender, messages) = mpsc::channel(WAITING_MESSAGES);

        let mut helpers = JoinSet::new();
        let (subscribed, subscriptions) = watch::channel(false);
        helpers.spawn(presence::run(
            link.clone(),
            Presence {
                topics: topics.clone(),
                identity: identity.clone(),
                about: settings.about.clone(),
                heartbeat: settings.heartbeat,
                subscribed,
            },
        ));
        let delivery = Delivery {
            outbox: outbox.clone(),
            link: link.clone(),
            topic: topics.results().to_owned(),
            invocations_topic: topics.invoke_results().to_owned(),
            entity: identity.entity.clone(),
            window: settings.mqtt.inflight.into(),
        };
        helpers.spawn(delivery.run());
        helpers.spawn(forget_expired(executor.clone()));
        if settings.registry.auth_resource.is_some() {
            helpers.spawn(fetch_registry_credentials(executor.clone()));
        }
        let images = images.map(|(images, asked)| {
            info!("Images of plain tasks come from the image proxy");
            helpers.spawn(requests::run(
                link.clone(),
                topics.fetch().to_owned(),
                asked,
            ));
            images
        });
        let speaker = Speaker {
            identity: identity.clone(),
            about: settings.about.clone(),
            clock,
        };
        let watched = metrics::start(&settings.metrics, speaker, &topics, &link, &mut helpers);
        let (acknowledgements, acknowledging) = Acknowledgements::new(link.clone());
        helpers.spawn(acknowledging);

        info!("Starting PropletService");
        let repeats = Repeats::default();
        let tasks = Tasks::new(
            &settings,
            Parts {
                entity: identity.entity.clone(),
                executor: executor.clone(),
                journal: journal.clone(),
                outbox: outbox.clone(),
                repeats: repeats.clone(),
                gate,
                record: record.clone(),
                watched,
            },
        );
        let facts = Facts {
            broker: settings.mqtt.address.to_string(),
            refusal: readiness.refusal.map(|refusal| refusal.code()),
            connection: link.connection(),
            trouble: link.trouble(),
            subscribed: subscriptions,
            tasks: tasks.watch(),
        };
        let (probe, mut probes) = mpsc::channel(1);
        let line = supervisor.line();
        let telling = line.as_ref().map(|line| {
            helpers.spawn(Arc::clone(line).beat(probe));
            helpers.spawn(Arc::clone(line).tell(facts))
        });
        let shutdown = async {
            shutdown.await;
            if let (Some(line), Some(telling)) = (line, telling) {
                telling.abort();
                line.tell_end().await;
            }
        };
        if let Some(listener) = health {
            let sources = Sources {
                tasks: tasks.watch(),
                broker: link.connection(),
                broker_trouble: link.trouble(),
                outbox: journal.health(),
                audit: executor.audit().health(),
                audit_required: settings.audit.required,
                executor: executor.clone(),
            };
            helpers.spawn(health::serve(listener, sources));
        }
        tokio::pin!(shutdown);
        let root = settings.outbox.sealing_root.as_ref();
        let recovered = tokio::select! {
            biased;
            () = &mut shutdown => None,
            recovered = store::opened(opening, root, &journal, &executor) => Some(recovered?),
            () = supervisor::answer(&mut probes) => None,
        };
        let is_open = recovered.is_some();
        // Who was told to stop meanwhile is not told again.
        let shutdown = async {
            if is_open {
                shutdown.await;
            }
        };
        let driving = is_open.then(|| {
            info!("Starting MQTT event loop");
            tokio::spawn(driver.run(sender))
        });
        let mut service = Service {
            topics,
            entity: identity.entity,
            tasks,
            images,
            outbox,
            repeats,
            invocations: Repeats::default(),
            record,
            acknowledgements,
            recovered: recovered.unwrap_or_else(|| mpsc::unbounded_channel().1),
            probes,
            settings,
            waiting_room: WaitingRoom::default(),
            sparing: Sparing::default(),
        };
        service.serve(messages, shutdown).await;
        if timeout(FLUSHING, service.outbox.emptied()).await.is_err() {
            if journal.is_on_disk() {
                warn!(
                    "Some results did not reach the broker in time; what is on disk goes out after the next start"
                );
            } else {
                error!("Some results did not reach the broker in time and are lost");
            }
        }
        let is_leaving = link.disconnect().await;
        match driving {
            Some(driving) if is_leaving => drop(timeout(FLUSHING, driving).await),
            Some(driving) => driving.abort(),
            None => {}
        }
        helpers.shutdown().await;
        interfaces.stop().await;
        if is_open && let Err(trouble) = journal.flush().await {
            warn!("The outbox is not written whole: {trouble}");
        }
        service.record.stopped().await;
        info!("Proplet stopped");
        Ok(())
    }
}

fn bounds(settings: &Settings) -> Bounds {
    Bounds {
        entries: settings.mqtt.result_queue,
        bytes: settings.mqtt.result_queue_bytes,
    }
}

/// Ends at the first SIGTERM or SIGINT: what systemd, container runtimes and Ctrl-C send.
///
/// # Errors
/// When the signals cannot be watched.
pub fn termination() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        info!("Received {name}");
    })
}

/// Reports what was found on this machine, in the form that operators know.
pub fn report_tee(detection: &Detection, provider: Option<&dyn TeeProvider>) {
    for line in detection.to_string().lines() {
        info!("{line}");
    }
    match (provider, detection.tee()) {
        (Some(provider), _) if provider.is_hardware() => {
            info!(
                "TEE runtime initialized successfully ({})",
                provider.attester()
            );
        }
        (Some(provider), _) => {
            warn!(
                "{} attests, which is NO hardware TEE and protects nothing",
                provider.attester()
            );
        }
        (None, Some(tee)) => {
            warn!("{tee} was detected, but this version has no evidence provider for it");
        }
        (None, None) => info!("No TEE detected: encrypted tasks will be refused"),
    }
}

/// Refuses to start where a credential that the settings name will never be there.
fn check_credentials(
    settings: &Settings,
    identity: &BrokerIdentity,
    executor: &Executor,
) -> Result<(), DaemonError> {
    if matches!(identity.api_key, ApiKey::Resource(_)) {
        executor.check_credential(mqtt::credentials::API_KEY)?;
    }
    if matches!(
        settings.mqtt.client,
        Some(ClientCertificate::Resource { .. })
    ) {
        executor.check_credential(mqtt::credentials::CLIENT_KEY)?;
    }
    if settings.outbox.sealing_root.is_some() {
        executor.check_credential(store::ROOT)?;
    }
    executor.check_registry_credentials()?;
    Ok(())
}

/// Fetches the credentials for registries before a task needs them, so that the log tells in time what is wrong.
async fn fetch_registry_credentials(executor: Executor) {
    let mut backoff = Backoff::new();
    loop {
        match executor.fetch_registry_credentials().await {
            Ok(()) => {
                info!("The key broker gave the credentials for registries");
                return;
            }
            Err(error) => {
                let wait = backoff.wait();
                warn!(code = %error.code, "No credentials for registries: {error}. Next attempt in {wait:.1?}");
                tokio::time::sleep(wait).await;
            }
        }
    }
}

async fn forget_expired(executor: Executor) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        executor.forget_expired();
    }
}
