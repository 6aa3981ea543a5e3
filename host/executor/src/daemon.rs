//! Daemons: components that run until they are stopped.
//!
//! A daemon outlives the attestation with which it began, so for an encrypted one that has to be renewed. Before the
//! session of the key broker ends that released its code, or as soon as another one has taken its place, this host
//! attests again and asks for the same key, and for every resource that the daemon or its recipients came by. Where the
//! key broker releases them, and they are the same, the daemon goes on; where it denies one, has another one, or says
//! nothing until the session is over, the daemon is ended, and what it held is wiped. So the key broker decides about it
//! as often as about a component that is started again and again.

use proplet_runtime::CancelToken;

use crate::{
    executor::Executor,
    latent::{Invoked, Latent},
    manner::Manner,
    outcome::TaskOutcome,
    process::{Given, Process},
    refusal::Refusal,
    request::{Request, Task},
    workload::{Road, Workload},
};

impl Executor {
    /// Gets a component ready to run as a daemon. Of the task, what a failure is told with is used.
    ///
    /// # Errors
    /// As [`Executor::prepare_latent`]; a component that answers HTTP requests is none.
    pub async fn prepare_daemon(
        &self,
        request: Request,
        cancel: &CancelToken,
    ) -> Result<Latent, Box<TaskOutcome>> {
        self.prepare_for(request, Manner::Daemon(Given::default()), cancel)
            .await
    }

    /// Runs it until it ends, is stopped, or the release of its code ends. The host's wall clock does not end it; that
    /// of its policy and all other limits do.
    pub async fn run_daemon(&self, daemon: &Latent, task: Task, cancel: &CancelToken) -> Invoked {
        let process = self.process();
        let started = process.clock.now();
        let workload = match self.ready(daemon, cancel, &self.ledger(&task)).await {
            Ok(workload) => workload,
            Err(refusal) => return Invoked::Refused(refusal),
        };
        // Ends the run, whoever wants it to end.
        let end = CancelToken::new();
        let given = Given::default();
        let manner = Manner::Daemon(given.clone());
        let run = process.run(&workload, task, manner, started, end.clone());
        tokio::pin!(run);
        let refusal = tokio::select! {
            biased;
            outcome = &mut run => return Invoked::Ran(outcome),
            () = cancel.cancelled() => None,
            refusal = release_ended(process, &workload, &given) => Some(refusal),
        };
        end.cancel();
        let outcome = run.await;
        Invoked::Ran(match refusal {
            // What it left is sealed as it is; in clear stands why it was ended.
            Some(refusal) if outcome.error.is_some() => TaskOutcome {
                error: Some(refusal.into()),
                ..outcome
            },
            _ => outcome,
        })
    }
}

/// Ends when the key broker's release does. A plain component needs none.
async fn release_ended(process: &Process, workload: &Workload, given: &Given) -> Refusal {
    let key_types = &process.settings.confidential.image_key_types;
    match &workload.road {
        Road::Plain => std::future::pending().await,
        Road::Encrypted(release) => release.ended(key_types, given).await,
    }
}
