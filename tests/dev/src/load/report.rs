//! What came out.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::Serialize;

use super::{
    client::Faults,
    machine::{Held, Usage},
};

/// What was seen between two samples.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    /// Seconds since counting began.
    pub at: f64,
    /// What the daemon held at the end.
    pub held: Held,
    /// Answers that were timed.
    pub answers: usize,
    /// Median time from start to result, in milliseconds.
    pub p50_ms: f64,
    /// The time that one in a hundred exceeded, in milliseconds.
    pub p99_ms: f64,
}

impl Point {
    /// A point from the times of its answers, in microseconds.
    pub fn new(at: Duration, held: Held, mut latencies: Vec<u32>) -> Self {
        latencies.sort_unstable();
        Self {
            at: at.as_secs_f64(),
            held,
            answers: latencies.len(),
            p50_ms: percentile(&latencies, 50.0),
            p99_ms: percentile(&latencies, 99.0),
        }
    }
}

/// The whole.
#[derive(Debug, Serialize)]
pub struct Summary {
    seconds: f64,
    tasks: u64,
    tasks_per_second: f64,
    /// Milliseconds from when a start was due to its answer.
    latency_ms: Latency,
    /// Processor seconds.
    processor: Usage,
    daemon_us_per_task: f64,
    daemon: Held,
    answers: BTreeMap<String, u64>,
    lost: BTreeMap<String, u64>,
    wrong: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize)]
struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

impl Summary {
    /// Sums up.
    pub fn new(
        took: Duration,
        mut latencies: Vec<u32>,
        answers: BTreeMap<String, u64>,
        processor: Usage,
        daemon: Held,
        faults: Faults,
    ) -> Self {
        latencies.sort_unstable();
        let tasks: u64 = answers.values().sum();
        Self {
            seconds: took.as_secs_f64(),
            tasks,
            tasks_per_second: tasks as f64 / took.as_secs_f64(),
            latency_ms: Latency {
                p50: percentile(&latencies, 50.0),
                p90: percentile(&latencies, 90.0),
                p99: percentile(&latencies, 99.0),
                p999: percentile(&latencies, 99.9),
                max: percentile(&latencies, 100.0),
            },
            processor,
            daemon_us_per_task: processor.daemon * 1e6 / tasks.max(1) as f64,
            daemon,
            answers,
            lost: faults.lost,
            wrong: faults.wrong,
        }
    }

    /// Tasks without an answer, and answers that should have been others.
    pub fn wrong(&self) -> u64 {
        self.lost.values().chain(self.wrong.values()).sum()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latency {
            p50,
            p90,
            p99,
            p999,
            max,
        } = self.latency_ms;
        writeln!(
            f,
            "{} tasks in {:.1} s: {:.0} per second",
            self.tasks, self.seconds, self.tasks_per_second
        )?;
        writeln!(
            f,
            "start to result: p50 {p50:.2} ms, p90 {p90:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms, \
             longest {max:.2} ms"
        )?;
        let Usage {
            daemon,
            broker,
            manager,
        } = self.processor;
        writeln!(
            f,
            "processor: daemon {daemon:.2} s ({:.0} us per task), mosquitto {broker:.2} s, Manager with registry \
             and key broker {manager:.2} s",
            self.daemon_us_per_task
        )?;
        writeln!(
            f,
            "daemon: {:.1} MiB resident, {} handles, {} threads, {:.1} MiB on disk",
            mib(self.daemon.resident),
            self.daemon.handles,
            self.daemon.threads,
            mib(self.daemon.disk)
        )?;
        let codes: Vec<String> = self
            .answers
            .iter()
            .map(|(code, count)| format!("{code} {count}"))
            .collect();
        write!(f, "answers: {}", codes.join(", "))?;
        for (what, count) in &self.lost {
            write!(f, "\nWITHOUT AN ANSWER: {what}, {count}")?;
        }
        for (what, count) in &self.wrong {
            write!(f, "\nWRONG: {what}, {count}")?;
        }
        Ok(())
    }
}

pub(super) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The value that a share of sorted values do not exceed, in thousandths; 0 when there are none.
fn percentile(sorted: &[u32], percent: f64) -> f64 {
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    let value = sorted.get(rank.saturating_sub(1)).or(sorted.last());
    f64::from(value.copied().unwrap_or_default()) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<u32> = (1..=100).map(|number| number * 1000).collect();
        assert_eq!(percentile(&values, 50.0), 50.0);
        assert_eq!(percentile(&values, 99.0), 99.0);
        assert_eq!(percentile(&values, 100.0), 100.0);
        assert_eq!(percentile(&values[..1], 99.9), 1.0);
        assert_eq!(percentile(&[], 50.0), 0.0);
    }

    #[test]
    fn what_is_missing_is_counted_as_wrong() {
        let faults = Faults {
            lost: BTreeMap::from([("Done".to_owned(), 2)]),
            wrong: BTreeMap::from([("a second answer".to_owned(), 3)]),
        };
        let none = BTreeMap::new();
        let second = Duration::from_secs(1);
        let summary = Summary::new(
            second,
            Vec::new(),
            none,
            Usage::default(),
            Held::default(),
            faults,
        );
        assert_eq!(summary.wrong(), 5);
        assert!(summary.to_string().contains("WITHOUT AN ANSWER: Done, 2"));
    }
}
