//! One run of a workload: what is made for it and gone when it ends.

mod encrypted;
mod plain;
mod receipt;
mod sealing;
mod secrets;
mod serving;
mod sink;

use std::{sync::Arc, time::SystemTime};

use proplet_audit::{Event, Origin, TaskLog};
use proplet_jose::jwk::PublicKey;
use proplet_runtime::{CancelToken, Gauge, Grants, Input, Outside, TaskSpec};
use proplet_types::Code;

use crate::{
    identity::TaskAttestor,
    manner::Manner,
    outcome::TaskOutcome,
    process::Process,
    request::Task,
    workload::{Road, Workload},
};

/// How and when a run began.
struct Begun {
    manner: Manner,
    started: SystemTime,
    record: TaskLog,
}

impl Process {
    /// Runs a workload to its end. `started` is when the host began with the task.
    pub(crate) async fn run(
        &self,
        workload: &Workload,
        task: Task,
        manner: Manner,
        started: SystemTime,
        cancel: CancelToken,
    ) -> TaskOutcome {
        let given = task.record.clone();
        let is_own = given.is_none();
        let record = given.unwrap_or_else(|| self.audit.begin(&task.id));
        record.record(component(workload));
        let begun = Begun {
            manner,
            started,
            record: record.clone(),
        };
        let outcome = match &workload.road {
            Road::Plain => self.run_plain(workload, task, begun, cancel).await,
            Road::Encrypted(release) => {
                self.run_encrypted(workload, release, task, begun, cancel)
                    .await
            }
        };
        if is_own {
            record.end(outcome.code().map(Code::as_str));
        }
        outcome
    }

    /// Who says who the component is in this task.
    fn attestor(&self, workload: &Workload, task_id: &str, record: &TaskLog) -> Arc<TaskAttestor> {
        Arc::new(TaskAttestor {
            record: record.clone(),
            provider: self.provider.clone(),
            tee: self
                .provider
                .as_ref()
                .map(|provider| provider.tee().to_string()),
            queue: Arc::clone(&self.guest_queue),
            receipt_key: Arc::clone(&self.receipt_key),
            settings_digest: self.settings_digest,
            flavour: self.flavour,
            component_digest: workload.component_digest,
            image_digest: workload.image_digest,
            policy_digest: workload.policy_digest(),
            task_id: task_id.to_owned(),
        })
    }
}

/// What is about to run, or was made ready to, for the record.
pub(crate) fn component(workload: &Workload) -> Event {
    let release = match &workload.road {
        Road::Plain => None,
        Road::Encrypted(release) => Some(release),
    };
    let recipients = release.map(|release| release.recipients.iter());
    Event::Component {
        origin: match release {
            None => Origin::Plain,
            Some(_) => Origin::Encrypted,
        },
        component: workload.component_digest,
        image: workload.image_digest,
        policy: workload.policy_digest(),
        key: release.map(|release| release.kid.clone()),
        recipients: recipients
            .into_iter()
            .flatten()
            .map(PublicKey::thumbprint)
            .collect(),
    }
}

fn spec(
    (workload, manner): (&Workload, &Manner),
    task: Task,
    grants: Grants,
    outside: Outside,
    cancel: CancelToken,
) -> TaskSpec {
    let gauge = match workload.may_be_watched() {
        true => task.watch.begin(),
        false => Gauge::default(),
    };
    TaskSpec {
        task_id: task.id,
        name: task.name,
        invoke: task.invoke,
        inputs: task.inputs.into_iter().map(Input::text).collect(),
        env: task.env,
        limits: manner.limits(workload),
        grants,
        outside,
        cancel,
        gauge,
    }
}
