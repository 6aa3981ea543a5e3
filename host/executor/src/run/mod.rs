//! One run of a workload: what is made for it and gone when it ends.

mod encrypted;
mod plain;
mod receipt;
mod sealing;
mod secrets;
mod serving;
mod sink;

use std::{sync::Arc, time::SystemTime};

use proplet_runtime::{CancelToken, Gauge, Grants, Input, Outside, TaskSpec};

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
        match &workload.road {
            Road::Plain => self.run_plain(workload, task, manner, cancel).await,
            Road::Encrypted(release) => {
                let begun = Begun { manner, started };
                self.run_encrypted(workload, release, task, begun, cancel)
                    .await
            }
        }
    }

    /// Who says who the component is in this task.
    fn attestor(&self, workload: &Workload, task_id: &str) -> Arc<TaskAttestor> {
        Arc::new(TaskAttestor {
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
