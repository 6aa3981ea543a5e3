//! What the daemon puts into the audit log: its beginning and end, and what becomes of each start.
//!
//! A start that is taken has a chain of its own there. One that is refused at once has an entry, as long as there are not
//! more of them than anybody would read: whoever floods a proplet with starts must not be able to fill its disk, nor to
//! push out of the log what is kept of it. Beyond [`MOST_REFUSALS`] in a second, refusals are counted, and the number has an
//! entry.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use proplet_audit::{Audit, Boot, Event, OpenError, Opening, Options, Place, Sealing, TaskLog};
use proplet_executor::{Executor, Refusal, Request, host_text, text::Known};
use proplet_settings::Settings;
use proplet_types::{Clock, Code};
use tokio::time::Instant;
use tracing::warn;

use crate::DISK_PATIENCE;

/// Refusals with an entry each, in any second.
const MOST_REFUSALS: u64 = 50;
/// How long refusals are counted before the number has its entry.
const WINDOW: Duration = Duration::from_secs(1);

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
        boot: Boot {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settings: settings.digest,
        },
    })
}

/// The audit log, as the daemon has it. Clones share one.
#[derive(Clone)]
pub(crate) struct Record {
    audit: Audit,
    /// Whether no task runs that is not on record.
    is_required: bool,
    refusals: Arc<Mutex<Refusals>>,
}

/// Refusals of this second.
struct Refusals {
    began: Instant,
    count: u64,
}

impl Record {
    pub(crate) fn new(executor: &Executor, settings: &Settings) -> Self {
        Self {
            audit: executor.audit().clone(),
            is_required: settings.audit.required,
            refusals: Arc::new(Mutex::new(Refusals {
                began: Instant::now(),
                count: 0,
            })),
        }
    }

    /// Begins the chain of a task. Where the settings ask for it, ends when that is on the disk.
    ///
    /// # Errors
    /// `audit-unavailable`, where it cannot be and has to.
    pub(crate) async fn accept(
        &self,
        executor: &Executor,
        request: &Request,
    ) -> Result<TaskLog, Refusal> {
        let lost = self.audit.lost_so_far();
        let task = executor.accept(request);
        if !self.is_required {
            return Ok(task);
        }
        match self.audit.flush_whole(lost).await {
            Ok(()) => Ok(task),
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

    /// A task ended, and was answered with this code if it failed.
    pub(crate) fn ended(task: &TaskLog, code: Option<Code>) {
        task.end(code.map(Code::as_str));
    }

    /// A start or an invocation was refused before it had a chain.
    pub(crate) fn refused(&self, task: &str, code: Code) {
        let (is_listed, unlisted) = self.count();
        if unlisted > 0 {
            self.audit.record(Event::TasksRefused { count: unlisted });
        }
        if is_listed {
            let task = task.to_owned();
            self.audit.record(Event::TaskRefused { task, code });
        }
    }

    /// Counts a refusal. Whether it has an entry, and how many of the last second had none.
    fn count(&self) -> (bool, u64) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unlisted = 0;
        if refusals.began.elapsed() >= WINDOW {
            unlisted = refusals.take();
        }
        refusals.count = refusals.count.saturating_add(1);
        (refusals.count <= MOST_REFUSALS, unlisted)
    }

    /// An earlier process left a task without an end.
    pub(crate) fn interrupted(&self, task: &str) {
        let task = task.to_owned();
        self.audit.record(Event::TaskInterrupted { task });
    }

    /// Whether encrypted tasks are taken.
    pub(crate) fn ready(&self, refusal: Option<&Refusal>) {
        self.audit.record(Event::Readiness {
            refused: refusal.map(|refusal| refusal.code().as_str()),
        });
    }

    /// The daemon ends.
    pub(crate) async fn stopped(&self) {
        let unlisted = {
            let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            refusals.take()
        };
        if unlisted > 0 {
            self.audit.record(Event::TasksRefused { count: unlisted });
        }
        self.audit.record(Event::Stopped);
        if let Err(trouble) = self.audit.flush().await {
            warn!("The audit log is not written whole: {trouble}");
        }
    }
}

impl Refusals {
    /// Begins to count anew. Gives how many had no entry.
    fn take(&mut self) -> u64 {
        self.began = Instant::now();
        std::mem::take(&mut self.count).saturating_sub(MOST_REFUSALS)
    }
}

#[cfg(test)]
mod tests {
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
