//! `/health`: how this proplet is, for whoever watches it.
//!
//! Upstream's shape, `{"status":"ok","running_tasks":0}`, with the state of each component beside it. It is
//! off unless the settings give it an address, and it tells states, codes and counts: no ids, no addresses, no
//! text of anybody. Whoever reaches the address may read it.

mod http;

use std::{net::SocketAddr, time::Duration};

use proplet_executor::{Executor, KeyBrokerState, Readiness};
use proplet_outbox::{Health, State};
use proplet_types::Code;
use serde::Serialize;
use tokio::{
    net::TcpListener,
    sync::watch,
    time::{Instant, timeout},
};
use tracing::info;

use crate::{error::DaemonError, mqtt::Connection};

/// How long what the TEE said is believed: asking it is not for everybody who may send a request.
const TEE_ASKED_EVERY: Duration = Duration::from_secs(30);
/// How long a request waits for the TEE: less than it has.
const TEE_PATIENCE: Duration = Duration::from_secs(2);

/// Where states come from.
pub(crate) struct Sources {
    /// How many tasks run or wait.
    pub tasks: watch::Receiver<usize>,
    pub broker: watch::Receiver<Connection>,
    /// Why there is nothing that the broker could be shown.
    pub broker_trouble: watch::Receiver<Option<Code>>,
    pub outbox: watch::Receiver<Health>,
    pub audit: watch::Receiver<proplet_audit::Health>,
    /// Whether tasks are refused while the audit log is not written.
    pub audit_required: bool,
    pub executor: Executor,
}

/// How something is, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// As it should be.
    Ok,
    /// Some tasks are refused.
    Degraded,
    /// No task can be taken or answered.
    Failing,
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Component {
    Broker,
    KeyBroker,
    Outbox,
    Audit,
    AuditExport,
    Tee,
}

/// How one component is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    component: Component,
    status: Status,
    /// One word or code.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// Lines of the audit log that found no room since the start, on its disk or in its export.
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<u64>,
    /// Whether a store was set aside since the start that was damaged or did not fit the sealing root.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    set_aside: bool,
    /// Which of the two, and how.
    #[serde(skip_serializing_if = "Option::is_none")]
    set_aside_because: Option<&'static str>,
}

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Report {
    /// The worst of all.
    status: Status,
    running_tasks: usize,
    components: Vec<Finding>,
}

/// Listens, so that whoever asks waits for [`serve`].
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, DaemonError> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| DaemonError::Health { address, source })?;
    info!("Serving /health at {address}");
    Ok(listener)
}

/// Answers for as long as it runs.
pub(crate) async fn serve(listener: TcpListener, sources: Sources) {
    let readiness = sources.executor.readiness().await;
    let tee = LastSeen::new(readiness);
    http::serve(listener, Watch { sources, tee }).await;
}

/// Looks at everything, and at the TEE now and then.
struct Watch {
    sources: Sources,
    tee: LastSeen<Readiness>,
}

/// What was seen last of something that is slow.
struct LastSeen<T> {
    seen: T,
    asked: Instant,
}

impl<T> LastSeen<T> {
    fn new(seen: T) -> Self {
        let asked = Instant::now();
        Self { seen, asked }
    }

    /// What there is to see, not older than [`TEE_ASKED_EVERY`] unless whoever is asked says nothing in time. It is
    /// not asked sooner then either: nobody's requests are to be those that keep a slow one busy.
    async fn look(&mut self, ask: impl Future<Output = T>) -> &T {
        if self.asked.elapsed() >= TEE_ASKED_EVERY {
            self.asked = Instant::now();
            if let Ok(seen) = timeout(TEE_PATIENCE, ask).await {
                self.seen = seen;
            }
        }
        &self.seen
    }
}

impl http::Look for Watch {
    async fn look(&mut self) -> (bool, Vec<u8>) {
        let sources = &self.sources;
        let readiness = self.tee.look(sources.executor.readiness()).await;
        let log = sources.audit.borrow().clone();
        let mut components = vec![
            broker(*sources.broker.borrow(), *sources.broker_trouble.borrow()),
            key_broker(sources.executor.key_broker()),
            outbox(&sources.outbox.borrow()),
            audit(&log, sources.audit_required),
        ];
        components.extend(log.export.as_ref().map(audit_export));
        components.push(tee(readiness));
        let report = Report::of(*sources.tasks.borrow(), components);
        // Strings and numbers always make JSON.
        let body = serde_json::to_vec(&report).unwrap_or_default();
        (report.status != Status::Failing, body)
    }
}

impl Report {
    fn of(running_tasks: usize, components: Vec<Finding>) -> Self {
        let worst = components.iter().map(|finding| finding.status).max();
        Self {
            status: worst.unwrap_or(Status::Ok),
            running_tasks,
            components,
        }
    }
}

impl Finding {
    fn new(component: Component, status: Status, state: &'static str) -> Self {
        Self {
            component,
            status,
            state,
            entries: None,
            bytes: None,
            lost: None,
            set_aside: false,
            set_aside_because: None,
        }
    }
}

fn broker(connection: Connection, trouble: Option<Code>) -> Finding {
    match (connection, trouble) {
        (Some(_), _) => Finding::new(Component::Broker, Status::Ok, "connected"),
        (None, Some(code)) => Finding::new(Component::Broker, Status::Failing, code.as_str()),
        (None, None) => Finding::new(Component::Broker, Status::Failing, "disconnected"),
    }
}

fn key_broker(state: KeyBrokerState) -> Finding {
    let (status, word) = match state {
        KeyBrokerState::NotConfigured => (Status::Ok, "not-configured"),
        KeyBrokerState::NotAsked => (Status::Ok, "not-asked"),
        KeyBrokerState::Answers => (Status::Ok, "answers"),
        KeyBrokerState::Failing(code) => (Status::Degraded, code.as_str()),
    };
    Finding::new(Component::KeyBroker, status, word)
}

fn outbox(health: &Health) -> Finding {
    let (status, word) = match &health.state {
        State::Memory => (Status::Ok, "memory"),
        State::Good => (Status::Ok, "good"),
        State::Failing(trouble) => (Status::Failing, trouble.word()),
    };
    let is_on_disk = health.state != State::Memory;
    Finding {
        entries: is_on_disk.then_some(health.entries),
        bytes: is_on_disk.then_some(health.bytes),
        set_aside: health.set_aside.is_some(),
        set_aside_because: health.set_aside.as_ref().map(|(_, why)| *why),
        ..Finding::new(Component::Outbox, status, word)
    }
}

fn audit(health: &proplet_audit::Health, is_required: bool) -> Finding {
    use proplet_audit::State;
    let (status, word) = match &health.state {
        State::Memory => (Status::Ok, "memory"),
        State::Good => (Status::Ok, "good"),
        State::Failing(trouble) if is_required => (Status::Failing, trouble.word()),
        State::Failing(trouble) => (Status::Degraded, trouble.word()),
    };
    Finding {
        lost: (health.lost > 0).then_some(health.lost),
        ..Finding::new(Component::Audit, status, word)
    }
}

/// Nothing depends on it: the files are the log.
fn audit_export(export: &proplet_audit::Exported) -> Finding {
    let (status, word) = match &export.trouble {
        None => (Status::Ok, "good"),
        Some(trouble) => (Status::Degraded, trouble.word()),
    };
    Finding {
        lost: (export.missed > 0).then_some(export.missed),
        ..Finding::new(Component::AuditExport, status, word)
    }
}

/// A machine without a TEE that runs plain tasks is as it should be.
fn tee(readiness: &Readiness) -> Finding {
    let (status, word) = match &readiness.refusal {
        None => (Status::Ok, "ready"),
        Some(refusal) if refusal.code() == Code::NoTee => (Status::Ok, Code::NoTee.as_str()),
        Some(refusal) => (Status::Degraded, refusal.code().as_str()),
    };
    Finding::new(Component::Tee, status, word)
}

#[cfg(test)]
mod tests {
    use proplet_executor::Refusal;
    use proplet_outbox::Trouble;

    use super::*;

    fn store(state: State) -> Health {
        Health {
            state,
            entries: 2,
            bytes: 100,
            set_aside: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_tee_that_hangs_is_asked_now_and_then_and_holds_up_nobody() {
        let mut last = LastSeen::new(0);
        let asked = std::cell::Cell::new(0);
        let hangs = async || {
            asked.set(asked.get() + 1);
            std::future::pending().await
        };
        assert_eq!(*last.look(hangs()).await, 0);
        assert_eq!(asked.get(), 0);
        tokio::time::advance(TEE_ASKED_EVERY).await;
        for _ in 0..100 {
            let began = Instant::now();
            assert_eq!(*last.look(hangs()).await, 0);
            assert!(began.elapsed() <= TEE_PATIENCE);
        }
        assert_eq!(asked.get(), 1);
        tokio::time::advance(TEE_ASKED_EVERY).await;
        assert_eq!(*last.look(async { 7 }).await, 7);
        assert_eq!(*last.look(async { 8 }).await, 7);
    }

    #[test]
    fn the_shape_is_upstreams_with_components_beside() {
        let report = Report::of(
            3,
            vec![
                broker(Some(1), None),
                outbox(&store(State::Good)),
                outbox(&store(State::Memory)),
            ],
        );
        let text = serde_json::to_value(&report).unwrap();
        let wanted = serde_json::json!({
            "status": "ok",
            "running_tasks": 3,
            "components": [
                {"component": "broker", "status": "ok", "state": "connected"},
                {"component": "outbox", "status": "ok", "state": "good", "entries": 2, "bytes": 100},
                {"component": "outbox", "status": "ok", "state": "memory"},
            ],
        });
        assert_eq!(text, wanted);
    }

    #[test]
    fn a_store_that_waits_for_its_root_or_was_set_aside_says_why() {
        let away = |code| outbox(&store(State::Failing(Trouble::Locked(code))));
        let (at_first, denied) = (away(None), away(Some(Code::KbsDenied)));
        assert_eq!(
            (at_first.status, at_first.state),
            (Status::Failing, "locked")
        );
        assert_eq!(denied.state, "kbs-denied");
        let aside = outbox(&Health {
            set_aside: Some(("/somewhere".into(), "other-root")),
            ..store(State::Good)
        });
        let text = serde_json::to_value(&aside).unwrap();
        let wanted = serde_json::json!({
            "component": "outbox", "status": "ok", "state": "good", "entries": 2, "bytes": 100,
            "set_aside": true, "set_aside_because": "other-root",
        });
        assert_eq!(text, wanted);
    }

    #[test]
    fn a_log_that_is_not_written_is_told_as_bad_as_it_is() {
        use proplet_audit::{Health, State, Trouble};
        let log = |state, lost| Health {
            state,
            lost,
            export: None,
        };
        let of = |log: &Health, is_required| {
            let finding = audit(log, is_required);
            (finding.status, finding.state, finding.lost)
        };
        let memory = log(State::Memory, 0);
        assert_eq!(of(&memory, false), (Status::Ok, "memory", None));
        let good = log(State::Good, 7);
        assert_eq!(of(&good, true), (Status::Ok, "good", Some(7)));
        let full = log(State::Failing(Trouble::Full), 0);
        assert_eq!(of(&full, false), (Status::Degraded, "full", None));
        assert_eq!(of(&full, true), (Status::Failing, "full", None));
    }

    #[test]
    fn an_export_that_is_not_taken_is_told_and_fails_nothing() {
        use proplet_audit::{ExportTrouble, Exported};
        let mut export = Exported::default();
        let finding = audit_export(&export);
        let text = serde_json::to_value(&finding).unwrap();
        let wanted =
            serde_json::json!({"component": "audit_export", "status": "ok", "state": "good"});
        assert_eq!(text, wanted);
        export.trouble = Some(ExportTrouble::Unreachable {
            to: "tcp://collector:601".to_owned(),
            words: "words that are not told".to_owned(),
        });
        export.missed = 7;
        let finding = audit_export(&export);
        assert_eq!(
            (finding.status, finding.state, finding.lost),
            (Status::Degraded, "unreachable", Some(7))
        );
    }

    #[test]
    fn the_worst_component_is_the_status() {
        let readiness = |refusal: Option<Code>| Readiness {
            attester: None,
            refusal: refusal.map(|code| Refusal::new(code, "words that are not told")),
            warnings: Vec::new(),
        };
        let status = |findings: Vec<Finding>| Report::of(0, findings).status;
        let kbs = |state| key_broker(state);
        assert_eq!(status(vec![tee(&readiness(Some(Code::NoTee)))]), Status::Ok);
        let swap = tee(&readiness(Some(Code::SwapPresent)));
        assert_eq!(
            (swap.status, swap.state),
            (Status::Degraded, "swap-present")
        );
        let away = kbs(KeyBrokerState::Failing(Code::KbsUnavailable));
        let full = outbox(&store(State::Failing(Trouble::Full)));
        assert_eq!(full.state, "full");
        let bound = outbox(&store(State::Failing(Trouble::Bound(100))));
        assert_eq!(
            (bound.status, bound.state, bound.bytes),
            (Status::Failing, "bound", Some(100))
        );
        assert_eq!(
            status(vec![kbs(KeyBrokerState::Answers), away.clone()]),
            Status::Degraded
        );
        assert_eq!(
            status(vec![full, away, broker(Some(1), None)]),
            Status::Failing
        );
        assert_eq!(status(vec![broker(None, None)]), Status::Failing);
        let denied = broker(None, Some(Code::KbsDenied));
        assert_eq!(
            (denied.status, denied.state),
            (Status::Failing, "kbs-denied")
        );
        assert_eq!(broker(Some(1), Some(Code::KbsDenied)).state, "connected");
    }
}
