//! What this process uses, at an interval.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tracing::warn;

use super::{
    Speaker,
    process::{Machine, Used},
    sender::Sender,
};
use crate::message::metrics::{CpuMetrics, NodeMetrics};

/// Measures for as long as it is polled. The first message comes after one interval: what a processor was busy with is
/// said of a time, and there is none before.
pub(crate) async fn measure(
    machine: Machine,
    interval: Duration,
    speaker: Speaker,
    sender: Sender,
) {
    let mut before = machine.used().map(|used| (Instant::now(), used));
    if before.is_none() {
        warn!(
            "The kernel does not tell what this process uses; no such messages are sent until it does"
        );
    }
    let mut ticks = tokio::time::interval_at(Instant::now() + interval, interval);
    // After a pause of the machine, one message and not all that were missed.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = Instant::now();
        let Some(used) = machine.used() else {
            before = None;
            continue;
        };
        let (since, earlier) = before.replace((now, used)).unwrap_or((now, used));
        let message = NodeMetrics {
            proplet_id: &speaker.identity.entity,
            namespace: &speaker.about.namespace,
            timestamp: speaker.timestamp(),
            cpu_metrics: CpuMetrics {
                user_seconds: used.user.as_secs_f64(),
                system_seconds: used.system.as_secs_f64(),
                percent: percent(busy(&earlier, &used), now.saturating_duration_since(since)),
            },
            memory_metrics: used.memory,
        };
        sender.node(&message);
    }
}

/// Processor time between two looks.
fn busy(earlier: &Used, later: &Used) -> Duration {
    let all = |used: &Used| used.user.saturating_add(used.system);
    all(later).saturating_sub(all(earlier))
}

/// Of one processor.
pub(super) fn percent(busy: Duration, time: Duration) -> f64 {
    if time.is_zero() {
        return 0.0;
    }
    busy.as_secs_f64() / time.as_secs_f64() * 100.0
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::SystemTime};

    use proplet_settings::{About, ApiKey, BrokerIdentity, secret::Secret};
    use proplet_types::Clock;
    use serde_json::Value;
    use tokio::sync::mpsc;

    use super::{
        super::{process::fake, sender::channel},
        *,
    };
    use crate::{message::Topics, mqtt::unasked::Unasked};

    struct Noon;

    impl Clock for Noon {
        fn now(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH + Duration::from_secs(43_200)
        }
    }

    async fn said(messages: &mut mpsc::Receiver<Unasked>) -> Value {
        let message = messages.recv().await.unwrap();
        assert_eq!(message.topic, "m/t/c/c/control/proplet/metrics");
        serde_json::from_slice(&message.payload).unwrap()
    }

    fn speaker() -> Speaker {
        Speaker {
            identity: BrokerIdentity {
                tenant: "t".into(),
                channel: "c".into(),
                entity: "us".into(),
                api_key: ApiKey::Given(Secret::new("k")),
            },
            about: About {
                namespace: "edge".into(),
                ..About::default()
            },
            clock: Arc::new(Noon),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_message_comes_after_one_interval_and_has_what_was_used_in_it() {
        let folder = tempfile::tempdir().unwrap();
        fake::process(folder.path(), 100, 50);
        let (sender, mut messages) = channel(&Topics::new("t", "c"));
        let began = Instant::now();
        let interval = Duration::from_secs(10);
        let machine = fake::machine(folder.path());
        let measuring = tokio::spawn(measure(machine, interval, speaker(), sender));
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert!(messages.try_recv().is_err());
        // Five seconds more, in ten.
        fake::process(folder.path(), 500, 150);
        let message = said(&mut messages).await;
        assert_eq!(began.elapsed(), interval);
        assert_eq!(message["proplet_id"], "us");
        assert_eq!(message["namespace"], "edge");
        assert_eq!(message["timestamp"], "1970-01-01T12:00:00Z");
        assert_eq!(
            message["cpu_metrics"],
            serde_json::json!({"user_seconds": 5.0, "system_seconds": 1.5, "percent": 50.0})
        );
        assert_eq!(
            message["memory_metrics"],
            serde_json::json!({"rss_bytes": 307_200, "heap_alloc_bytes": 204_800,
                "heap_sys_bytes": 4_194_304, "heap_inuse_bytes": 204_800})
        );
        let message = said(&mut messages).await;
        assert_eq!(began.elapsed(), interval * 2);
        assert_eq!(message["cpu_metrics"]["percent"], 0.0);
        measuring.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_kernel_that_does_not_tell_is_asked_again() {
        let folder = tempfile::tempdir().unwrap();
        let (sender, mut messages) = channel(&Topics::new("t", "c"));
        let interval = Duration::from_secs(1);
        let machine = fake::machine(folder.path());
        let measuring = tokio::spawn(measure(machine, interval, speaker(), sender));
        tokio::time::sleep(interval * 3).await;
        assert!(messages.try_recv().is_err());
        fake::process(folder.path(), 100, 0);
        let message = said(&mut messages).await;
        // What was used before is no use of this interval.
        assert_eq!(message["cpu_metrics"]["percent"], 0.0);
        assert_eq!(message["cpu_metrics"]["user_seconds"], 1.0);
        measuring.abort();
    }

    #[test]
    fn no_time_is_no_use() {
        assert_eq!(percent(Duration::from_secs(1), Duration::ZERO), 0.0);
        assert_eq!(
            percent(Duration::from_secs(4), Duration::from_secs(2)),
            200.0
        );
    }
}
