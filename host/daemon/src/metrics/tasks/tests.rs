use std::sync::atomic::{AtomicU64, Ordering};

use proplet_settings::{About, ApiKey, BrokerIdentity, secret::Secret};
use proplet_types::SystemClock;
use serde_json::{Value, json};

use super::*;
use crate::{message::Topics, metrics::sender::channel};

const SECOND: Duration = Duration::from_secs(1);

fn profile(seconds: u64) -> Profile {
    Profile {
        interval: SECOND * u32::try_from(seconds).unwrap(),
        cpu: true,
        memory: true,
        history: 100,
    }
}

/// A task whose use is set by hand: milliseconds and bytes.
struct Hand {
    began: Instant,
    cpu: Arc<AtomicU64>,
    memory: Arc<AtomicU64>,
}

impl Hand {
    fn begins() -> Self {
        Self {
            began: Instant::now(),
            cpu: Arc::default(),
            memory: Arc::default(),
        }
    }

    fn uses(&self, cpu: u64, memory: u64) {
        self.cpu.store(cpu, Ordering::Relaxed);
        self.memory.store(memory, Ordering::Relaxed);
    }

    fn look(&self) -> Look {
        let (began, cpu, memory) = (self.began, Arc::clone(&self.cpu), Arc::clone(&self.memory));
        Box::new(move || {
            Some(Reading {
                began,
                cpu: Duration::from_millis(cpu.load(Ordering::Relaxed)),
                memory_bytes: memory.load(Ordering::Relaxed),
            })
        })
    }
}

fn watched(floor: u64) -> Watched {
    Watched::new(SECOND * u32::try_from(floor).unwrap())
}

fn entries(watched: &Watched) -> usize {
    let shared = watched.0.as_ref().unwrap();
    shared.with(|table| table.entries.len())
}

#[tokio::test(start_paused = true)]
async fn each_task_has_its_own_use() {
    let watched = watched(1);
    let (busy, idle) = (Hand::begins(), Hand::begins());
    let _busy = watched
        .add("busy".into(), profile(10), busy.look())
        .unwrap();
    let _idle = watched
        .add("idle".into(), profile(10), idle.look())
        .unwrap();
    busy.uses(5_000, 4096);
    idle.uses(10, 100);
    let mut said = watched.due(busy.began + SECOND * 10);
    said.sort_by(|one, other| one.0.cmp(&other.0));
    let [(first, one, _), (second, other, _)] = &said[..] else {
        panic!("{said:?}");
    };
    assert_eq!((first.as_str(), second.as_str()), ("busy", "idle"));
    let wanted = Used {
        cpu_percent: 50.0,
        memory_bytes: 4096,
        uptime_seconds: 10,
        ..Used::default()
    };
    assert_eq!(*one, wanted);
    assert!(
        other.cpu_percent < 0.2 && other.memory_bytes == 100,
        "{other:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_first_message_comes_after_one_interval_and_then_one_in_each() {
    let watched = watched(1);
    let task = Hand::begins();
    let _watching = watched.add("a".into(), profile(10), task.look()).unwrap();
    let said: Vec<u64> = (0..=45)
        .filter(|second| !watched.due(task.began + SECOND * *second).is_empty())
        .map(u64::from)
        .collect();
    assert_eq!(said, [10, 20, 30, 40]);
    // After a pause of the machine there is one, and not all that were missed.
    assert_eq!(watched.due(task.began + SECOND * 95).len(), 1);
    assert_eq!(watched.due(task.began + SECOND * 96).len(), 0);
    assert_eq!(watched.due(task.began + SECOND * 105).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_interval_is_shorter_than_the_floor() {
    let watched = watched(5);
    let task = Hand::begins();
    let hasty = Profile {
        interval: Duration::ZERO,
        ..profile(1)
    };
    let _watching = watched.add("a".into(), hasty, task.look()).unwrap();
    let said = (0..=20).filter(|second| !watched.due(task.began + SECOND * *second).is_empty());
    assert_eq!(said.collect::<Vec<_>>(), [5, 10, 15, 20]);
}

#[tokio::test(start_paused = true)]
async fn an_interval_that_never_ends_is_no_harm() {
    let watched = watched(1);
    let task = Hand::begins();
    let endless = Profile {
        interval: Duration::MAX,
        ..profile(1)
    };
    let _watching = watched.add("a".into(), endless, task.look()).unwrap();
    assert!(watched.due(task.began + SECOND * 1_000_000).is_empty());
}

#[tokio::test(start_paused = true)]
async fn averages_and_maxima_are_of_the_samples_that_are_kept() {
    let watched = watched(1);
    let task = Hand::begins();
    let short = Profile {
        history: 2,
        ..profile(10)
    };
    let _watching = watched.add("a".into(), short, task.look()).unwrap();
    let mut at = task.began;
    let mut next = |cpu, memory| {
        at += SECOND * 10;
        task.uses(cpu, memory);
        let (_, _, aggregated) = watched.due(at).pop().unwrap();
        aggregated.unwrap()
    };
    assert_eq!(next(10_000, 900).sample_count, 1);
    assert_eq!(next(11_000, 100).sample_count, 2);
    let wanted = Aggregated {
        avg_cpu_usage: 20.0,
        max_cpu_usage: 30.0,
        avg_memory_usage: 150,
        max_memory_usage: 200,
        total_disk_read: 0,
        total_disk_write: 0,
        sample_count: 2,
    };
    // The first is gone, with its maximum.
    assert_eq!(next(14_000, 200), wanted);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_wanted_is_not_told() {
    let watched = watched(1);
    let task = Hand::begins();
    let little = Profile {
        cpu: false,
        memory: false,
        history: 0,
        ..profile(1)
    };
    let _watching = watched.add("a".into(), little, task.look()).unwrap();
    task.uses(500, 500);
    let (_, used, aggregated) = watched.due(task.began + SECOND).pop().unwrap();
    assert_eq!((used.cpu_percent, used.memory_bytes), (0.0, 0));
    assert_eq!(aggregated, None);
    assert!(
        Watched::nothing()
            .add("b".into(), profile(1), task.look())
            .is_none()
    );
}

#[tokio::test(start_paused = true)]
async fn a_task_that_may_not_be_watched_is_never_told_about() {
    let watched = watched(1);
    let _watching = watched
        .add("a".into(), profile(1), Box::new(|| None))
        .unwrap();
    for second in 0..100 {
        assert!(watched.due(Instant::now() + SECOND * second).is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_short_tasks_leave_nothing_and_say_nothing() {
    let watched = watched(1);
    for number in 0..1000_u32 {
        let task = Hand::begins();
        let watching = watched.add(number.to_string(), profile(1), task.look());
        assert_eq!(entries(&watched), 1);
        assert!(watched.due(Instant::now()).is_empty());
        drop(watching);
    }
    assert_eq!(entries(&watched), 0);
    assert!(watched.due(Instant::now() + SECOND * 10).is_empty());
}

#[tokio::test(start_paused = true)]
async fn two_runs_under_one_id_do_not_end_each_others_watch() {
    let watched = watched(1);
    let task = Hand::begins();
    let first = watched.add("a".into(), profile(1), task.look());
    let _second = watched.add("a".into(), profile(1), task.look());
    drop(first);
    assert_eq!(watched.due(task.began + SECOND).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn messages_have_what_the_manager_reads() {
    let watched = watched(1);
    let task = Hand::begins();
    let _watching = watched.add("a".into(), profile(2), task.look()).unwrap();
    task.uses(1_000, 512);
    let (sender, mut messages) = channel(&Topics::new("t", "c"));
    let speaker = Speaker {
        identity: BrokerIdentity {
            tenant: "t".into(),
            channel: "c".into(),
            entity: "us".into(),
            api_key: ApiKey::Given(Secret::new("k")),
        },
        about: About::default(),
        clock: Arc::new(SystemClock),
    };
    let looking = tokio::spawn(look(watched.clone(), 2048, speaker, sender));
    let message = messages.recv().await.unwrap();
    looking.abort();
    assert_eq!(task.began.elapsed(), SECOND * 2);
    assert_eq!(message.topic, "m/t/c/c/control/proplet/task_metrics");
    let mut message: Value = serde_json::from_slice(&message.payload).unwrap();
    let timestamp = message
        .as_object_mut()
        .unwrap()
        .remove("timestamp")
        .unwrap();
    assert!(timestamp.as_str().unwrap().ends_with('Z'), "{timestamp}");
    let wanted = json!({
        "task_id": "a", "proplet_id": "us",
        "metrics": {
            "cpu_percent": 50.0, "memory_bytes": 512, "memory_percent": 25.0, "disk_read_bytes": 0,
            "disk_write_bytes": 0, "uptime_seconds": 2, "thread_count": 0, "file_descriptor_count": 0,
        },
        "aggregated": {
            "avg_cpu_usage": 50.0, "max_cpu_usage": 50.0, "avg_memory_usage": 512, "max_memory_usage": 512,
            "total_disk_read": 0, "total_disk_write": 0, "sample_count": 1,
        },
    });
    assert_eq!(message, wanted);
}
