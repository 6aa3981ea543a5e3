//! What this proplet says about the use of the machine, unasked.
//!
//! The messages are wanted and not needed: each is soon followed by a newer one. So they never stand in the way of what
//! is needed. One message at a time is handed to the connection, with quality of service 0; those that come before it has
//! left are dropped, and so are all while there is no connection. Nothing waits for them, and nothing of them is kept.
//!
//! Of tasks, what each uses is told while it runs, if its sender wants that: as [`proplet_executor::watch`] shows it, which
//! is nothing of an encrypted one unless its policy allows it.
//!
//! Where encrypted tasks run, what a machine uses shows them at work. The settings decide
//! ([`proplet_settings::Metrics`]), and nothing is measured that is not sent.

mod node;
mod process;
mod sender;
mod tasks;

use std::sync::Arc;

use proplet_settings::{About, BrokerIdentity, Metrics};
use proplet_types::{Clock, rfc3339};
use tokio::task::JoinSet;

use self::process::Machine;
pub(super) use self::tasks::Watched;
use crate::{
    message::Topics,
    mqtt::{Link, presence::total_memory, unasked},
};

/// Who speaks, and when it is.
#[derive(Clone)]
pub(super) struct Speaker {
    pub identity: BrokerIdentity,
    pub about: About,
    pub clock: Arc<dyn Clock>,
}

/// Has everything measured that the settings ask for, and said over the link. Tasks are watched that are given to what
/// is returned.
pub(super) fn start(
    settings: &Metrics,
    speaker: Speaker,
    topics: &Topics,
    link: &Link,
    helpers: &mut JoinSet<()>,
) -> Watched {
    let (sender, messages) = sender::channel(topics);
    helpers.spawn(unasked::run(link.clone(), messages));
    if let Some(interval) = settings.interval {
        let (speaker, sender) = (speaker.clone(), sender.clone());
        helpers.spawn(node::measure(Machine::own(), interval, speaker, sender));
    }
    if !settings.tasks {
        return Watched::nothing();
    }
    let watched = Watched::new(settings.task_floor);
    helpers.spawn(tasks::look(
        watched.clone(),
        total_memory(),
        speaker,
        sender,
    ));
    watched
}

impl Speaker {
    fn timestamp(&self) -> String {
        rfc3339(self.clock.now())
    }
}
