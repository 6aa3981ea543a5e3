//! Topic names, all under `m/{tenant}/c/{channel}/`.

/// What a message on a topic is. Dispatch is on the exact topic: a substring test would let a topic such
/// as `…/control/manager/start/other` pass for a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// A task is to be started.
    Start,
    /// A task is to be stopped.
    Stop,
}

/// The topics of one channel.
#[derive(Debug, Clone)]
pub struct Topics {
    start: String,
    stop: String,
    create: String,
    alive: String,
    results: String,
}

impl Topics {
    /// The topics of a tenant's channel.
    #[must_use]
    pub fn new(tenant: &str, channel: &str) -> Self {
        let topic = |suffix: &str| format!("m/{tenant}/c/{channel}/control/{suffix}");
        Self {
            start: topic("manager/start"),
            stop: topic("manager/stop"),
            create: topic("proplet/create"),
            alive: topic("proplet/alive"),
            results: topic("proplet/results"),
        }
    }

    /// What a message on this topic is; none for topics that are not ours.
    #[must_use]
    pub fn command(&self, topic: &str) -> Option<Command> {
        if topic == self.start {
            Some(Command::Start)
        } else if topic == self.stop {
            Some(Command::Stop)
        } else {
            None
        }
    }

    /// Topics to subscribe to.
    #[must_use]
    pub fn subscriptions(&self) -> [&str; 2] {
        [&self.start, &self.stop]
    }

    /// Discovery goes here.
    #[must_use]
    pub fn create(&self) -> &str {
        &self.create
    }

    /// Heartbeats go here.
    #[must_use]
    pub fn alive(&self) -> &str {
        &self.alive
    }

    /// Results go here.
    #[must_use]
    pub fn results(&self) -> &str {
        &self.results
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_topics_are_commands() {
        let topics = Topics::new("t", "c");
        assert_eq!(
            topics.command("m/t/c/c/control/manager/start"),
            Some(Command::Start)
        );
        assert_eq!(
            topics.command("m/t/c/c/control/manager/stop"),
            Some(Command::Stop)
        );
        for other in [
            "m/t/c/c/control/manager/start/x",
            "x/m/t/c/c/control/manager/start",
            "m/t2/c/c/control/manager/start",
            "m/t/c/c/control/manager/invoke",
        ] {
            assert_eq!(topics.command(other), None, "{other}");
        }
    }
}
