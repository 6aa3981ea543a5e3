//! What each task uses while it runs.
//!
//! One helper looks at all of them once a second, and says of each what its sender wants to be told when it is due. So a
//! thousand short tasks cost an entry in a table each, and no message: the first comes one interval after a run began.
//! Nothing is told of a task that may not be watched: its [`Watch`](proplet_executor::Watch) shows nothing, ever.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use proplet_executor::{
    Task,
    watch::{Profile, Reading},
};
use tokio::time::{Instant, MissedTickBehavior};

use super::{Speaker, node::percent, sender::Sender};
use crate::message::metrics::{Aggregated, TaskMetrics, Used};

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// The tasks that somebody watches. Clones share them.
#[derive(Clone)]
pub(crate) struct Watched(Option<Arc<Shared>>);

struct Shared {
    /// No interval is shorter.
    floor: Duration,
    tasks: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    entries: HashMap<u64, Entry>,
    next: u64,
}

/// What is seen of a task.
type Look = Box<dyn Fn() -> Option<Reading> + Send>;

struct Entry {
    task: String,
    look: Look,
    profile: Profile,
    /// Once its run began.
    progress: Option<Progress>,
}

struct Progress {
    /// When something is to be said.
    due: Instant,
    /// The look before, and the processor time then.
    before: (Instant, Duration),
    history: VecDeque<Sample>,
}

#[derive(Clone, Copy)]
struct Sample {
    cpu: f64,
    memory: u64,
}

/// Has a task watched for as long as it is kept.
pub(crate) struct Watching {
    shared: Arc<Shared>,
    number: u64,
}

impl Watched {
    /// Of a host where nobody is told anything about tasks.
    pub(crate) fn nothing() -> Self {
        Self(None)
    }

    /// With no interval shorter than this one.
    pub(super) fn new(floor: Duration) -> Self {
        Self(Some(Arc::new(Shared {
            floor,
            tasks: Mutex::default(),
        })))
    }

    /// Has a task watched, as its sender wants. None when nothing is wanted or told.
    pub(crate) fn watch(&self, task: &Task) -> Option<Watching> {
        let profile = task.watch.profile()?.clone();
        let watch = task.watch.clone();
        self.add(task.id.clone(), profile, Box::new(move || watch.reading()))
    }

    fn add(&self, task: String, profile: Profile, look: Look) -> Option<Watching> {
        let shared = Arc::clone(self.0.as_ref()?);
        let entry = Entry {
            task,
            look,
            profile: Profile {
                interval: profile.interval.max(shared.floor),
                ..profile
            },
            progress: None,
        };
        let number = shared.with(|table| {
            let number = table.next;
            table.next = table.next.wrapping_add(1);
            table.entries.insert(number, entry);
            number
        });
        Some(Watching { shared, number })
    }

    /// What is to be said now.
    fn due(&self, now: Instant) -> Vec<(String, Used, Option<Aggregated>)> {
        let Some(shared) = &self.0 else {
            return Vec::new();
        };
        shared.with(|table| {
            let entries = table.entries.values_mut();
            entries.filter_map(|entry| entry.due(now)).collect()
        })
    }
}

/// Looks at the tasks for as long as it is polled.
pub(super) async fn look(watched: Watched, memory: u64, speaker: Speaker, sender: Sender) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for (task, mut metrics, aggregated) in watched.due(Instant::now()) {
            if memory > 0 {
                metrics.memory_percent = metrics.memory_bytes as f64 / memory as f64 * 100.0;
            }
            sender.task(&TaskMetrics {
                task_id: &task,
                proplet_id: &speaker.identity.entity,
                metrics,
                aggregated,
                timestamp: speaker.timestamp(),
            });
        }
    }
}

impl Shared {
    fn with<T>(&self, change: impl FnOnce(&mut Table) -> T) -> T {
        change(&mut self.tasks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.shared.with(|table| table.entries.remove(&self.number));
    }
}

impl Entry {
    /// What is to be said of it now, if anything.
    fn due(&mut self, now: Instant) -> Option<(String, Used, Option<Aggregated>)> {
        let reading = (self.look)()?;
        let interval = self.profile.interval;
        let progress = self.progress.get_or_insert_with(|| Progress {
            due: after(reading.began, interval),
            before: (reading.began, Duration::ZERO),
            history: VecDeque::new(),
        });
        if now < progress.due {
            return None;
        }
        // Looks are a second apart; the next message is due an interval after this one was, if that is not past too.
        let next = after(progress.due, interval);
        progress.due = if next > now {
            next
        } else {
            after(now, interval)
        };
        let sample = progress.sample(now, &reading, &self.profile);
        let used = Used {
            cpu_percent: sample.cpu,
            memory_bytes: sample.memory,
            uptime_seconds: now.saturating_duration_since(reading.began).as_secs(),
            ..Used::default()
        };
        Some((self.task.clone(), used, progress.aggregated()))
    }
}

impl Progress {
    fn sample(&mut self, now: Instant, reading: &Reading, profile: &Profile) -> Sample {
        let (since, cpu) = std::mem::replace(&mut self.before, (now, reading.cpu));
        let busy = reading.cpu.saturating_sub(cpu);
        let sample = Sample {
            cpu: match profile.cpu {
                true => percent(busy, now.saturating_duration_since(since)),
                false => 0.0,
            },
            memory: match profile.memory {
                true => reading.memory_bytes,
                false => 0,
            },
        };
        self.history.push_back(sample);
        while self.history.len() > profile.history {
            self.history.pop_front();
        }
        sample
    }

    fn aggregated(&self) -> Option<Aggregated> {
        let count = u32::try_from(self.history.len())
            .ok()
            .filter(|count| *count > 0)?;
        let cpu = self.history.iter().map(|sample| sample.cpu);
        let memory = self.history.iter().map(|sample| sample.memory);
        let total = memory.clone().map(u128::from).sum::<u128>();
        let average = total.checked_div(count.into()).unwrap_or(0);
        Some(Aggregated {
            avg_cpu_usage: cpu.clone().sum::<f64>() / f64::from(count),
            max_cpu_usage: cpu.fold(0.0, f64::max),
            avg_memory_usage: u64::try_from(average).unwrap_or(u64::MAX),
            max_memory_usage: memory.max().unwrap_or(0),
            total_disk_read: 0,
            total_disk_write: 0,
            sample_count: count,
        })
    }
}

/// A time that no clock reaches is as good as a year from then.
fn after(time: Instant, interval: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    time.checked_add(interval).unwrap_or(time + YEAR)
}

#[cfg(test)]
mod tests;
