//! What the daemon puts into the audit log: its beginning and end, and what becomes of each start.
//!
//! A task for which anything was done has a chain of its own there. One that was refused before has an entry, whether it
//! was refused at once, made room for others, was stopped while it waited or could not be fetched; as long as there are not
//! more of them than anybody would read: whoever floods a proplet with starts must not be able to fill its disk, nor to
//! push out of the log what is kept of it. Beyond [`MOST_REFUSALS`] in a second, refusals are counted, and the number has an
//! entry. Where the settings want every task on record before it begins, each that is taken has its chain. What other
//! programs ask of this machine is listed and counted in the same way ([`agent`]).

mod agent;
mod tally;

use std::{sync::Arc, time::Duration};

use proplet_audit::{
    Audit, Boot, Event, Export, JOURNALD_SOCKET, OpenError, Opening, Options, Place, Sealing,
    TaskLog,
};
use proplet_executor::{Executor, Refusal, host_text, text::Known};
use proplet_settings::{AuditExport, Settings};
use proplet_types::{Clock, Code};
use tracing::warn;

use self::tally::Tally;
use crate::DISK_PATIENCE;

/// Tasks that an earlier process left, with an entry each. The disk says which there were, and whoever has it can make up as
/// many as he likes; so this is for the whole life of the process, and the number of the others has its entry at the end.
const MOST_INTERRUPTED: u64 = 1024;
/// Refusals with an entry each, in any second.
const MOST_REFUSALS: u64 = 50;
/// How long refusals are counted before the number has its entry.
const WINDOW: Duration = Duration::from_secs(1);
/// Refused requests of other programs with an entry each, in any minute.
const MOST_AGENT_REFUSALS: u64 = 10;
/// How long those are counted.
const AGENT_WINDOW: Duration = Duration::from_secs(60);

/// Begins the audit log that the settings ask for.
pub(crate) fn open(
    settings: &Settings,
    clock: Arc<dyn Clock>,
) -> Result<(Audit, Opening), OpenError> {
    let audit = &settings.audit;
    let place = match &audit.path {
        None => Place::Memory,
        Some(path) => Place::Folder {
            path: path.clone(),
            max_file_bytes: audit.max_file_bytes,
            max_bytes: audit.max_bytes,
        },
    };
    Audit::open(Options {
        place,
        sealing: Sealing::to(audit.recipients.clone()),
        clock,
        patience: DISK_PATIENCE,
        export: audit.export.clone().map(export),
        boot: Boot {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settings: settings.digest,
        },
    })
}

fn export(export: AuditExport) -> Export {
    match export {
        AuditExport::Journald => Export::Journald(JOURNALD_SOCKET.into()),
        AuditExport::Syslog(receiver) => Export::Syslog(receiver),
    }
}

/// The audit log, as the daemon has it. Clones share one.
#[derive(Clone)]
pub(crate) struct Record {
    audit: Audit,
    /// Whether no task runs that is not on record.
    is_required: bool,
    interrupted: Arc<Tally>,
    refusals: Arc<Tally>,
    agent_refusals: Arc<Tally>,
}

impl Record {
    pub(crate) fn new(executor: &Executor, settings: &Settings) -> Self {
        Self {
            audit: executor.audit().clone(),
            is_required: settings.audit.required,
            interrupted: Arc::new(Tally::new(MOST_INTERRUPTED, Duration::MAX)),
            refusals: Arc::new(Tally::new(MOST_REFUSALS, WINDOW)),
            agent_refusals: Arc::new(Tally::new(MOST_AGENT_REFUSALS, AGENT_WINDOW)),
        }
    }

    /// Has the chain of a task begin, where the settings ask for it, and ends when that is on the disk.
    ///
    /// # Errors
    /// `audit-unavailable`, where it cannot be and has to.
    pub(crate) async fn accept(&self, task: &TaskLog) -> Result<(), Refusal> {
        if !self.is_required {
            return Ok(());
        }
        let lost = self.audit.lost_so_far();
        task.begin();
        match self.audit.flush_whole(lost).await {
            Ok(()) => Ok(()),
            Err(trouble) => {
                let code = Code::AuditUnavailable;
                task.end(Some(code.as_str()));
                Err(Refusal::new(
                    code,
                    host_text!(
                        "this proplet runs nothing that is not on record: {}; start the task later or elsewhere",
                        Known::of_machine(&trouble)
                    ),
                ))
            }
        }
    }

    /// A task of this id ended, and was answered with this code if it failed.
    pub(crate) fn ended(&self, id: &str, task: Option<&TaskLog>, code: Option<Code>) {
        let is_on_record = task.is_some_and(|task| task.end(code.map(Code::as_str)));
        if let Some(code) = code.filter(|_| !is_on_record) {
            self.refused(id, code);
        }
    }

    /// A start or an invocation was refused, and has no chain.
    pub(crate) fn refused(&self, task: &str, code: Code) {
        let (is_listed, unlisted) = self.refusals.count();
        self.unlisted(unlisted, |count| Event::TasksRefused { count });
        if is_listed {
            let task = task.to_owned();
            self.audit.record(Event::TaskRefused { task, code });
        }
    }

    /// Puts on record how many had no entry, if any.
    fn unlisted(&self, count: u64, event: impl FnOnce(u64) -> Event) {
        if count > 0 {
            self.audit.record(event(count));
        }
    }

    /// An earlier process left a task without an end, by what is on the disk.
    pub(crate) fn interrupted(&self, task: &str) {
        let (is_listed, unlisted) = self.interrupted.count();
        self.unlisted(unlisted, |count| Event::TasksInterrupted { count });
        if is_listed {
            let task = task.to_owned();
            self.audit.record(Event::TaskInterrupted { task });
        }
    }

    /// Whether encrypted tasks are taken.
    pub(crate) fn ready(&self, refusal: Option<&Refusal>) {
        self.audit.record(Event::Readiness {
            refused: refusal.map(|refusal| refusal.code().as_str()),
        });
    }

    /// The daemon ends.
    pub(crate) async fn stopped(&self) {
        let unlisted = self.interrupted.take();
        self.unlisted(unlisted, |count| Event::TasksInterrupted { count });
        self.unlisted(self.refusals.take(), |count| Event::TasksRefused { count });
        self.unlisted(self.agent_refusals.take(), |count| Event::AgentRefused {
            count,
        });
        self.audit.record(Event::Stopped);
        if let Err(trouble) = self.audit.flush().await {
            warn!("The audit log is not written whole: {trouble}");
        }
        if let Err(trouble) = self.audit.flush_export().await {
            warn!("The end of the audit log is not exported: {trouble}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proplet_agent::attestation::{End, Wanted, Witness as _};
    use proplet_executor::Host;
    use proplet_settings::environment::Environment;

    use super::*;

    fn record(text: &str) -> (Record, Executor) {
        let settings = Settings::parse(Some(text), &Environment::default()).unwrap();
        let settings = Arc::new(settings);
        let (audit, _) = open(&settings, Arc::new(proplet_types::SystemClock)).unwrap();
        let mut host = Host::new(Arc::clone(&settings), None);
        host.audit = Some(audit);
        let executor = Executor::new(host).unwrap();
        (Record::new(&executor, &settings), executor)
    }

    fn lines(folder: &std::path::Path) -> Vec<String> {
        let file = folder.join("audit-00000001.jsonl");
        let text = std::fs::read_to_string(file).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[tokio::test]
    async fn a_flood_of_refusals_is_counted() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("audit");
        let (record, _executor) = record(&format!("[audit]\npath = {path:?}"));
        for n in 0..1000 {
            record.refused(&n.to_string(), Code::QueueFull);
        }
        record.stopped().await;
        let lines = lines(&path);
        let refused = lines
            .iter()
            .filter(|line| line.contains("\"task-refused\""));
        let listed = u64::try_from(refused.count()).unwrap();
        // A slow machine may take more than a second for it.
        assert!((MOST_REFUSALS..1000).contains(&listed), "{listed}");
        let counted = lines
            .iter()
            .filter(|line| line.contains("\"tasks-refused\""));
        let counted = counted.map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["about"]["count"].as_u64().unwrap()
        });
        assert_eq!(listed + counted.sum::<u64>(), 1000);
    }

    #[tokio::test]
    async fn what_a_program_asks_for_in_vain_is_counted_and_what_it_was_given_is_listed() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("audit");
        let (record, _executor) = record(&format!("[audit]\npath = {path:?}"));
        for _ in 0..1000 {
            record.asked(Wanted::Token, End::Refused("kbs-token"));
        }
        let challenge = proplet_types::Digest::of(b"guess");
        for end in [End::Given, End::Failed("tee-busy")] {
            let outside = false;
            record.asked(Wanted::Evidence { challenge, outside }, end);
        }
        record.stopped().await;
        let lines = lines(&path);
        let of_kind = |kind: &str| -> Vec<&String> {
            let kind = format!("\"kind\":\"{kind}\"");
            lines.iter().filter(|line| line.contains(&kind)).collect()
        };
        let tokens = of_kind("agent-token");
        assert_eq!(u64::try_from(tokens.len()), Ok(MOST_AGENT_REFUSALS));
        assert!(
            tokens[0].contains("\"code\":\"kbs-token\""),
            "{}",
            tokens[0]
        );
        let counted = of_kind("agent-refused");
        assert_eq!(counted.len(), 1);
        assert!(counted[0].contains("\"count\":990"), "{}", counted[0]);
        let evidence = of_kind("agent-evidence");
        assert_eq!(evidence.len(), 2);
        assert!(!evidence[0].contains("\"code\""), "{}", evidence[0]);
        assert!(
            evidence[1].contains("\"code\":\"tee-busy\""),
            "{}",
            evidence[1]
        );
        // Nobody may see what was chosen.
        let challenge = challenge.to_string();
        assert!(lines.iter().all(|line| !line.contains(&challenge)));
    }

    #[tokio::test]
    async fn the_log_begins_with_what_is_in_force() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("audit");
        let text = format!("[audit]\npath = {path:?}");
        let (record, executor) = record(&text);
        record.ready(executor.readiness().await.refusal.as_ref());
        record.interrupted("before");
        record.stopped().await;
        let lines = lines(&path);
        let digest = proplet_types::Digest::of(text.as_bytes()).to_string();
        assert!(lines[0].contains(&digest), "{}", lines[0]);
        for (line, kind) in lines.iter().zip([
            "\"boot\"",
            "\"host\"",
            "\"code\":\"no-tee\",\"kind\":\"readiness\"",
            "\"task-interrupted\"",
            "\"stopped\"",
        ]) {
            assert!(line.contains(kind), "{line}");
        }
    }
}
