//! Daemons: tasks that run until they are stopped.
//!
//! The Manager is told twice. When the daemon runs, the start is answered with an empty result, as upstream's proplet
//! answers it, so the Manager shows it completed; what cannot be fetched, decrypted or compiled is told then, instead of
//! that. When the daemon has ended, that is told like the end of any task: by a stop, for good because of a failure, or
//! well. Upstream says nothing then, and a daemon that broke down looks as if it ran.
//!
//! Daemons have places of their own, so they hold up nobody. One that finds none is refused: it could wait for ever.
//! Whose a place is, the reference says until the image was opened, and then the key that opened it: a reference that led
//! to one owner's image before must not have another owner's daemon hold that one's place.
//!
//! A plain task that answers HTTP requests has one too, if one is free: it serves until it is stopped, whatever its start
//! says.

use std::{sync::Arc, time::Duration};

use proplet_executor::{Invoked, Latent, Refusal, Request, Source, Task, TaskOutcome, host_text};
use proplet_outbox::Answer;
use proplet_runtime::CancelToken;
use proplet_settings::{DaemonTasks, Restart};
use proplet_types::Code;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::{Shared, invocations::is_denial, latent::charged, report::Done, table::Progress};
use crate::{
    message::ResultMessage,
    mqtt::outbox::{About, Kind, Letter},
    places::{Owner, Place},
};

/// A run of this length makes up for all failures before it.
const PROVEN: Duration = Duration::from_secs(10 * 60);
/// The longest pause before a daemon is started again.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Runs a daemon to its end, and says meanwhile that it runs.
pub(super) async fn run(
    shared: Arc<Shared>,
    mut request: Request,
    not_before: Instant,
    cancel: CancelToken,
) -> Option<Done> {
    let id = request.task.id.clone();
    let owner = shared.owner(&request.source);
    let place = match shared.daemons.tasks {
        0 => None,
        _ => shared.daemon_places.try_acquire(owner),
    };
    let Some(place) = place else {
        return Some(Done::refused(full(shared.daemons.tasks)));
    };
    // It counts among the tasks until it is prepared, and its component is compiled.
    shared.table.set(&id, Progress::Runs);
    let admitted = match shared.admit(&mut request, true, &cancel).await {
        Ok(admitted) => admitted,
        Err(done) => return Some(*done),
    };
    shared.gate.started(&admitted).await;
    info!("Preparing daemon {id}");
    let task = request.task.clone();
    let kept = kept(&request);
    let done = match shared.executor.prepare_daemon(request, &cancel).await {
        Ok(daemon) => {
            // Its reference may have led to another owner's image before.
            let owner = charged(daemon.repository());
            match place.charge(owner.clone()) {
                None => Done::refused(full(shared.daemons.tasks)),
                Some(_place) => {
                    shared.table.serve(&id, owner.clone(), kept);
                    let _watching = shared.watched.watch(&task);
                    tokio::select! {
                        () = shared.say_started(&id, &owner, not_before, "") => {}
                        () = cancel.cancelled() => {}
                    }
                    Done::result(serve(&shared, &daemon, &task, &cancel).await)
                }
            }
        }
        Err(outcome) => Done::result(*outcome),
    };
    shared.gate.ended(admitted, &done.outcome).await;
    Some(done)
}

/// The place of a plain task that answers HTTP requests from now on, until it is stopped. It waits for clients, and their
/// requests have places of their own; in that of a task it would hold up all others. So it has one of a daemon where one
/// is free, and gives its own back.
pub(super) fn place_of_server(shared: &Shared, id: &str, kept: usize, place: Place) -> Place {
    let found = match shared.daemons.tasks {
        0 => None,
        _ => shared.daemon_places.try_acquire(Owner::Plain),
    };
    match found {
        Some(found) => {
            shared.table.serve(id, Owner::Plain, kept);
            found
        }
        None => {
            warn!(
                "Task {id} answers HTTP requests in a place of [limits] tasks until it is stopped, because all of \
                 [daemon_tasks] tasks are taken"
            );
            place
        }
    }
}

/// What is kept of a start for as long as the daemon serves, in bytes: all but a component that came with it.
pub(super) fn kept(request: &Request) -> usize {
    let component = match &request.source {
        Source::File(bytes) => bytes.len(),
        Source::Plain(_) | Source::Encrypted { .. } => 0,
    };
    request.bytes().saturating_sub(component)
}

/// Runs a daemon that is prepared, again and again where the settings say so.
async fn serve(shared: &Shared, daemon: &Latent, task: &Task, cancel: &CancelToken) -> TaskOutcome {
    let id = &task.id;
    let mut pauses = Pauses::new(&shared.daemons);
    loop {
        info!("Daemon {id} runs");
        let began = Instant::now();
        let run = shared.executor.run_daemon(daemon, task.clone(), cancel);
        let outcome = match run.await {
            Invoked::Ran(outcome) => outcome,
            Invoked::Refused(refusal) => TaskOutcome::failed(refusal),
        };
        let Some(error) = &outcome.error else {
            return outcome;
        };
        if cancel.is_cancelled() || is_denial(error.code()) {
            return outcome;
        }
        let Some(pause) = pauses.next(began.elapsed()) else {
            return outcome;
        };
        warn!(
            "Daemon {id} failed ({}) and is started again in {pause:.1?}",
            error.code()
        );
        tokio::select! {
            () = sleep(pause) => {}
            () = cancel.cancelled() => return outcome_of_stop(outcome),
        }
    }
}

/// A daemon that is stopped while it waits to be started again was stopped, whatever it failed with before. What that
/// left sealed stays.
fn outcome_of_stop(outcome: TaskOutcome) -> TaskOutcome {
    let refusal = Refusal::new(
        Code::Stopped,
        "the daemon was stopped while it waited to be started again",
    );
    TaskOutcome {
        error: Some(refusal.into()),
        ..outcome
    }
}

impl Shared {
    /// Says that a daemon runs, or a component that answers HTTP requests, with what the Manager shows of it meanwhile.
    pub(super) async fn say_started(
        &self,
        id: &str,
        owner: &Owner,
        not_before: Instant,
        results: &str,
    ) {
        let payload = ResultMessage {
            task_id: id.to_owned(),
            proplet_id: self.entity.clone(),
            results: results.to_owned(),
            error: None,
        }
        .to_payload();
        let letter = Letter {
            task: id.to_owned(),
            about: About::Started,
            owner: owner.clone(),
            payload,
            not_before,
            number: None,
            on_disk: Answer::Unkept(None),
        };
        let place = self
            .outbox
            .reserve_waiting(&letter.owner, Kind::Result, letter.payload.len());
        let place = place.await;
        place.put(letter, ()).await;
    }
}

fn full(most: usize) -> Refusal {
    Refusal::new(
        Code::DaemonTasksFull,
        host_text!(
            "{} daemons may run on this proplet, and there is no place for another; stop one, start it elsewhere, or \
             raise [daemon_tasks] tasks",
            most
        ),
    )
}

/// The pauses before a daemon is started again.
struct Pauses {
    left: u32,
    next: Duration,
    most: u32,
    first: Duration,
}

impl Pauses {
    fn new(settings: &DaemonTasks) -> Self {
        let most = match settings.restart {
            Restart::Never => 0,
            Restart::OnFailure => settings.restarts,
        };
        Self {
            left: most,
            next: settings.restart_delay,
            most,
            first: settings.restart_delay,
        }
    }

    /// The pause after a run of this length that failed. None: it is not started again.
    fn next(&mut self, ran: Duration) -> Option<Duration> {
        if ran >= PROVEN {
            (self.left, self.next) = (self.most, self.first);
        }
        self.left = self.left.checked_sub(1)?;
        let pause = self.next.min(LONGEST_PAUSE);
        self.next = self.next.saturating_mul(2);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(restart: Restart, restarts: u32) -> Pauses {
        Pauses::new(&DaemonTasks {
            tasks: 1,
            restart,
            restarts,
            restart_delay: Duration::from_secs(20),
        })
    }

    #[test]
    fn pauses_grow_to_a_minute_and_end() {
        let short = Duration::from_secs(1);
        let mut pauses = pauses(Restart::OnFailure, 4);
        for seconds in [20, 40, 60, 60] {
            assert_eq!(pauses.next(short), Some(Duration::from_secs(seconds)));
        }
        assert_eq!(pauses.next(short), None);
        // One that ran for long has proved itself.
        assert_eq!(pauses.next(PROVEN), Some(Duration::from_secs(20)));
        assert_eq!(pauses.next(short), Some(Duration::from_secs(40)));
    }

    #[test]
    fn nothing_is_started_again_unless_the_settings_say_so() {
        assert_eq!(pauses(Restart::Never, 5).next(PROVEN), None);
    }
}
