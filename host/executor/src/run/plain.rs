//! Plain tasks. `secrets` and `reveal` are not linked. Identity and evidence are there when there is a TEE:
//! they say what runs, and give nothing away.

use std::sync::Arc;

use proplet_runtime::{
    CancelToken, Compiled, Grants, GuestText, Outcome, Outside, RuntimeError, Services, TaskSpec,
};
use proplet_types::Code;

use super::{
    Begun,
    secrets::NoSecrets,
    serving::{listen, serve_until_stopped},
    sink::PlainSink,
    spec,
};
use crate::{
    ledger::OwnRecord,
    manner::Manner,
    outcome::{TaskError, TaskOutcome},
    process::Process,
    refusal::Refusal,
    request::Task,
    watch::Watch,
    workload::Workload,
};

impl Process {
    pub(super) async fn run_plain(
        &self,
        workload: &Workload,
        mut task: Task,
        begun: Begun,
        cancel: CancelToken,
    ) -> TaskOutcome {
        let code = match &workload.code {
            Ok(code) => code,
            Err(error) => return TaskOutcome::failed(failure(error, &[])),
        };
        if let Ok(identity) = self.settings.identity() {
            // Upstream's guests look for it.
            task.env
                .entry("PROPLET_ID".to_owned())
                .or_insert(identity.entity);
        }
        let sink = Arc::new(PlainSink::default());
        let services = Services {
            attestation: self.attestor(workload, &task.id, &begun.record),
            secrets: Arc::new(NoSecrets),
            results: Arc::clone(&sink) as _,
            record: Arc::new(OwnRecord(begun.record.clone())),
        };
        let outside = match self.ways.plain() {
            Ok(outside) => outside,
            Err(refusal) => return TaskOutcome::failed(refusal),
        };
        let runs_as = (workload, &begun.manner);
        let watch = task.watch.clone();
        let spec = spec(runs_as, task, Grants::plain(), outside, cancel);
        if code.answers_http(&spec) {
            // It is served until it is stopped, in whatever manner. Each request has the limits of a task.
            let spec = TaskSpec {
                limits: workload.limits.clone(),
                ..spec
            };
            return match self.serve(code, spec, services, &watch).await {
                Ok(results) => TaskOutcome {
                    results,
                    ..TaskOutcome::default()
                },
                Err(refusal) => TaskOutcome::failed(refusal),
            };
        }
        outcome(self.runtime.run(code, spec, services).await, &sink)
    }

    /// Passes when a plain component has the export that a task invokes, or is one that is served and this is a daemon.
    /// Else there is nothing to run.
    ///
    /// # Errors
    /// `task-unsupported` for one that answers HTTP requests, and what [`Compiled::invoked_export`] says.
    pub(crate) fn check_runs(
        &self,
        code: &Compiled,
        workload: &Workload,
        manner: &Manner,
        task: &Task,
    ) -> Result<(), TaskError> {
        let never = CancelToken::new();
        let (grants, outside) = (Grants::plain(), Outside::default());
        let spec = spec((workload, manner), task.clone(), grants, outside, never);
        if code.answers_http(&spec) && manner.is_daemon() {
            return Ok(());
        }
        if code.answers_http(&spec) {
            let refusal = Refusal::new(
                Code::TaskUnsupported,
                "the component answers HTTP requests, and there is nothing to invoke; start the task without \
                 `latent`, and it is served",
            );
            return Err(refusal.into());
        }
        match code.invoked_export(&spec) {
            Ok(_) => Ok(()),
            Err(error) => Err(failure(&error, &[])),
        }
    }

    /// Serves a component that answers HTTP requests until its task is stopped.
    async fn serve(
        &self,
        code: &Compiled,
        task: TaskSpec,
        services: Services,
        watch: &Watch,
    ) -> Result<String, Refusal> {
        let http = &self.settings.http;
        let listener = listen(http.listen).await?;
        // Requests are not stopped at once with their task.
        let requests = CancelToken::new();
        let request = TaskSpec {
            inputs: Vec::new(),
            cancel: requests.clone(),
            ..task.clone()
        };
        let guest = self.runtime.http_guest(code, request, services);
        let guest = guest.map_err(|error| Refusal::from(&error))?;
        let TaskSpec {
            task_id, cancel, ..
        } = &task;
        let served = serve_until_stopped(
            guest,
            task_id,
            listener,
            http.connections,
            (&requests, cancel),
            watch,
        );
        Ok(served.await)
    }
}

fn outcome(run: Outcome, sink: &PlainSink) -> TaskOutcome {
    let usage = Some(run.usage);
    let (results, error) = match &run.value {
        Err(error) => (String::new(), Some(failure(error, &run.stderr))),
        Ok(_) if run.published => (sink.take().unwrap_or_default(), None),
        Ok(_) => {
            let text = run.plain_text().map(|text| text.as_str().to_owned());
            (text.unwrap_or_default(), None)
        }
    };
    TaskOutcome {
        results,
        error,
        usage,
    }
}

/// How much of a failed component's standard error is repeated, in characters from its end.
const MAX_STDERR: usize = 2000;

/// A plain component has no secrets, so what it said is for whoever sent the task.
fn failure(error: &RuntimeError, stderr: &[u8]) -> TaskError {
    let mut said = error.detail().unwrap_or_default().to_owned();
    let stderr = String::from_utf8_lossy(stderr);
    let stderr = stderr.trim();
    if !stderr.is_empty() {
        let skipped = stderr.chars().count().saturating_sub(MAX_STDERR);
        if !said.is_empty() {
            said.push_str("; ");
        }
        said.push_str("standard error: ");
        said.extend(stderr.chars().skip(skipped));
    }
    let said = Some(said).filter(|said| !said.is_empty());
    TaskError::of_plain(Refusal::from(error), said.map(GuestText::new))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_the_end_of_standard_error() {
        let failed = RuntimeError::GuestFailed {
            exit_code: Some(1),
            text: GuestText::new("exit status 1"),
        };
        let stderr = format!("{}the reason\n", "x".repeat(10_000));
        let error = failure(&failed, stderr.as_bytes());
        assert_eq!(error.code(), "guest-failed");
        let words = error.full_words();
        assert!(words.ends_with("xthe reason"), "{words}");
        assert!(words.contains("exit status 1"), "{words}");
        assert!(words.len() < 2200);
        let silent = failure(&failed, b" \n").full_words();
        assert!(!silent.contains("standard error"));
        let trapless = failure(&RuntimeError::LimitCpu(5), b"late").full_words();
        assert!(trapless.ends_with(": standard error: late"), "{trapless}");
    }
}
