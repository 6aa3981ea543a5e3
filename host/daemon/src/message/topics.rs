//! Topic names, all under `m/{tenant}/c/{channel}/`.

/// What a message on a topic is. Dispatch is on the exact topic: a substring test would let a topic such
/// as `…/control/manager/start/other` pass for a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// A task is to be started.
    Start,
    /// A task is to be stopped.
    Stop,
    /// A latent task is to be invoked.
    Invoke,
    /// A part of a plain image.
    Chunk,
}

/// The topics of one channel.
#[derive(Debug, Clone)]
pub struct Topics {
    start: String,
    stop: String,
    invoke: String,
    create: String,
    alive: String,
    results: String,
    invoke_results: String,
    metrics: String,
    task_metrics: String,
    fetch: String,
    chunks: String,
    uses_image_proxy: bool,
}

impl Topics {
    /// The topics of a tenant's channel.
    #[must_use]
    pub fn new(tenant: &str, channel: &str) -> Self {
        let channel = format!("m/{tenant}/c/{channel}");
        let topic = |suffix: &str| format!("{channel}/control/{suffix}");
        Self {
            start: topic("manager/start"),
            stop: topic("manager/stop"),
            invoke: topic("manager/invoke"),
            create: topic("proplet/create"),
            alive: topic("proplet/alive"),
            results: topic("proplet/results"),
            invoke_results: topic("proplet/invoke_results"),
            metrics: topic("proplet/metrics"),
            task_metrics: topic("proplet/task_metrics"),
            fetch: format!("{channel}/registry/proplet"),
            chunks: format!("{channel}/registry/server"),
            uses_image_proxy: false,
        }
    }

    /// With the image proxy's chunks among what is listened to.
    #[must_use]
    pub fn with_image_proxy(mut self, uses_image_proxy: bool) -> Self {
        self.uses_image_proxy = uses_image_proxy;
        self
    }

    /// What a message on this topic is; none for topics that are not ours.
    #[must_use]
    pub fn command(&self, topic: &str) -> Option<Command> {
        if topic == self.start {
            Some(Command::Start)
        } else if topic == self.stop {
            Some(Command::Stop)
        } else if topic == self.invoke {
            Some(Command::Invoke)
        } else if self.uses_image_proxy && topic == self.chunks {
            Some(Command::Chunk)
        } else {
            None
        }
    }

    /// Topics to subscribe to.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<&str> {
        let mut topics = vec![self.start.as_str(), &self.stop, &self.invoke];
        if self.uses_image_proxy {
            topics.push(&self.chunks);
        }
        topics
    }

    /// Requests to the image proxy go here.
    #[must_use]
    pub fn fetch(&self) -> &str {
        &self.fetch
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

    /// What this process uses goes here.
    #[must_use]
    pub fn metrics(&self) -> &str {
        &self.metrics
    }

    /// What a task uses goes here.
    #[must_use]
    pub fn task_metrics(&self) -> &str {
        &self.task_metrics
    }

    /// Results go here.
    #[must_use]
    pub fn results(&self) -> &str {
        &self.results
    }

    /// Answers to invocations go here.
    #[must_use]
    pub fn invoke_results(&self) -> &str {
        &self.invoke_results
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_listened_to_only_where_they_are_used() {
        let topics = Topics::new("t", "c");
        let chunks = "m/t/c/c/registry/server";
        assert_eq!(topics.command(chunks), None);
        assert!(!topics.subscriptions().contains(&chunks));
        let topics = topics.with_image_proxy(true);
        assert_eq!(topics.command(chunks), Some(Command::Chunk));
        assert!(topics.subscriptions().contains(&chunks));
        assert_eq!(topics.fetch(), "m/t/c/c/registry/proplet");
        assert_eq!(topics.command(topics.fetch()), None);
    }

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
        let invoke = "m/t/c/c/control/manager/invoke";
        assert_eq!(topics.command(invoke), Some(Command::Invoke));
        assert!(topics.subscriptions().contains(&invoke));
        for other in [
            "m/t/c/c/control/manager/start/x",
            "x/m/t/c/c/control/manager/start",
            "m/t2/c/c/control/manager/start",
            "m/t/c/c/control/proplet/invoke_results",
        ] {
            assert_eq!(topics.command(other), None, "{other}");
        }
    }
}
