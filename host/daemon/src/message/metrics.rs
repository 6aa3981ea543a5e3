//! What this proplet says of its use of the machine, with the names that the Manager reads.

use serde::Serialize;

/// What this process uses, on `control/proplet/metrics`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeMetrics<'a> {
    /// This proplet.
    pub proplet_id: &'a str,
    /// Namespace from the settings.
    pub namespace: &'a str,
    /// When it was measured, as RFC 3339 has it: the Manager reads no other form.
    pub timestamp: String,
    /// Processor time.
    pub cpu_metrics: CpuMetrics,
    /// Memory.
    pub memory_metrics: MemoryMetrics,
}

/// Processor time of this process, all its threads together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CpuMetrics {
    /// In its own code and that of its guests, in seconds since it started.
    pub user_seconds: f64,
    /// In the kernel on its behalf, in seconds since it started.
    pub system_seconds: f64,
    /// Of one processor, in percent, since the message before: two busy processors are 200.
    pub percent: f64,
}

/// Memory of this process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryMetrics {
    /// What of it is in the machine's memory.
    pub rss_bytes: u64,
    /// What of that is no file's: heap, stacks, and the memories of guests.
    pub heap_alloc_bytes: u64,
    /// Address space that was asked for such memory, used or not.
    pub heap_sys_bytes: u64,
    /// The same as `heap_alloc_bytes`: the kernel does not tell what is allocated from what is in use.
    pub heap_inuse_bytes: u64,
    /// What the control group of this process uses, all its processes together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_usage_bytes: Option<u64>,
    /// What it may use at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_limit_bytes: Option<u64>,
}

/// What a task uses while it runs, on `control/proplet/task_metrics`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskMetrics<'a> {
    /// The task.
    pub task_id: &'a str,
    /// This proplet.
    pub proplet_id: &'a str,
    /// What it uses.
    pub metrics: Used,
    /// Over the samples that are kept; none when none is.
    pub aggregated: Option<Aggregated>,
    /// When it was measured, as RFC 3339 has it.
    pub timestamp: String,
}

/// What a task uses. What is always 0 is of the process, and no task's own: tasks share its threads and its handles, and
/// what they read and write is not told apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Used {
    /// Of one processor, in percent, since the message before.
    pub cpu_percent: f64,
    /// Memory in use, in bytes: what the task's memory limit counts.
    pub memory_bytes: u64,
    /// The same in percent of the machine's memory.
    pub memory_percent: f64,
    /// Always 0.
    pub disk_read_bytes: u64,
    /// Always 0.
    pub disk_write_bytes: u64,
    /// Seconds since its run began.
    pub uptime_seconds: u64,
    /// Always 0.
    pub thread_count: u32,
    /// Always 0.
    pub file_descriptor_count: u32,
}

/// Of the samples that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Aggregated {
    /// Average of `cpu_percent`.
    pub avg_cpu_usage: f64,
    /// Largest `cpu_percent`.
    pub max_cpu_usage: f64,
    /// Average of `memory_bytes`.
    pub avg_memory_usage: u64,
    /// Largest `memory_bytes`.
    pub max_memory_usage: u64,
    /// Always 0.
    pub total_disk_read: u64,
    /// Always 0.
    pub total_disk_write: u64,
    /// How many samples there are.
    pub sample_count: u32,
}
