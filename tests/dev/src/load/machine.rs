//! What processes take of the machine, as the kernel counts it.

use std::{fs, io, path::Path};

use rustix::param::{clock_ticks_per_second, page_size};
use serde::Serialize;

/// Processor time of the four processes, in seconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Usage {
    /// The daemon.
    pub daemon: f64,
    /// mosquitto.
    pub broker: f64,
    /// This process: Manager, registry and key broker.
    pub manager: f64,
}

impl Usage {
    /// What was used since an earlier moment.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            daemon: self.daemon - earlier.daemon,
            broker: self.broker - earlier.broker,
            manager: self.manager - earlier.manager,
        }
    }
}

/// What the daemon holds at a moment.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Held {
    /// Resident memory, in bytes.
    pub resident: u64,
    /// Open file descriptors.
    pub handles: u64,
    /// Threads.
    pub threads: u64,
    /// Bytes in the outbox's folder.
    pub disk: u64,
}

/// Processor time of a process so far, in seconds.
pub fn processor_time(process: u32) -> io::Result<f64> {
    let (_, fields) = stat(process)?;
    // Fields 14 and 15 of proc_pid_stat(5); the list begins with field 3.
    let ticks: u64 = fields
        .iter()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Ok(ticks as f64 / clock_ticks_per_second() as f64)
}

/// What a process holds now, and how much lies in a folder.
pub fn held(process: u32, folder: Option<&Path>) -> io::Result<Held> {
    let (_, fields) = stat(process)?;
    let field = |number: usize| {
        let text = fields.get(number - 3);
        text.and_then(|text| text.parse::<u64>().ok())
            .unwrap_or_default()
    };
    let disk = match folder {
        Some(folder) => size_of(folder)?,
        None => 0,
    };
    Ok(Held {
        threads: field(20),
        resident: field(24) * page_size() as u64,
        handles: fs::read_dir(format!("/proc/{process}/fd"))?.count() as u64,
        disk,
    })
}

/// The command of a process, and its fields from the third on.
fn stat(process: u32) -> io::Result<(String, Vec<String>)> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The command may hold blanks and parentheses; the last one ends it.
    let (command, rest) = text.rsplit_once(')').unwrap_or(("", &text));
    let fields = rest.split_whitespace().map(str::to_owned).collect();
    Ok((command.to_owned(), fields))
}

fn size_of(folder: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut size = 0;
    for entry in fs::read_dir(folder)? {
        // What is removed meanwhile takes no room.
        if let Ok(metadata) = entry?.metadata() {
            size += metadata.blocks() * 512;
        }
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_measured() {
        let process = std::process::id();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), vec![1; 10_000]).unwrap();
        let held = held(process, Some(folder.path())).unwrap();
        assert!(held.resident > 1 << 20 && held.handles >= 3 && held.threads >= 1);
        assert!(held.disk >= 10_000);
        assert!(processor_time(process).unwrap() >= 0.0);
    }
}
