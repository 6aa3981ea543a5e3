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
