//! What the kernel knows of this process.
//!
//! Everything is read from the files of this process alone, which it may read however it is confined (`ProcSubset=pid`,
//! another root, no capability). What is not there is left out, and never made up.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::message::metrics::MemoryMetrics;

/// The kernel's files are smaller.
const MAX_BYTES: u64 = 64 * 1024;

/// Where the kernel tells.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// Of this process.
    process: PathBuf,
    /// Where control groups are.
    groups: PathBuf,
    ticks_per_second: u64,
}

/// What this process has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Used {
    pub user: Duration,
    pub system: Duration,
    pub memory: MemoryMetrics,
}

impl Machine {
    /// The one that this process runs on.
    pub(crate) fn own() -> Self {
        Self {
            process: PathBuf::from("/proc/self"),
            groups: PathBuf::from("/sys/fs/cgroup"),
            ticks_per_second: rustix::param::clock_ticks_per_second(),
        }
    }

    /// What this process has used until now; none when the kernel does not tell.
    pub(super) fn used(&self) -> Option<Used> {
        let (user, system) = self.processor_time()?;
        let status = read(&self.process.join("status"))?;
        let anonymous = kilobytes(&status, "RssAnon:")?;
        let (usage, limit) = self.group().map_or((None, None), |group| group.memory());
        Some(Used {
            user,
            system,
            memory: MemoryMetrics {
                rss_bytes: kilobytes(&status, "VmRSS:")?,
                heap_alloc_bytes: anonymous,
                heap_sys_bytes: kilobytes(&status, "VmData:")?,
                heap_inuse_bytes: anonymous,
                container_usage_bytes: usage,
                container_limit_bytes: limit,
            },
        })
    }

    /// In user and in kernel mode.
    fn processor_time(&self) -> Option<(Duration, Duration)> {
        let stat = read(&self.process.join("stat"))?;
        // The name of the program is in parentheses, and may have spaces and parentheses itself. What follows begins with
        // the third value; utime is the 14th and stime the 15th.
        let (_, rest) = stat.rsplit_once(')')?;
        let mut values = rest.split_ascii_whitespace().skip(11);
        let mut ticks = || -> Option<Duration> {
            let ticks: u64 = values.next()?.parse().ok()?;
            let nanoseconds = u128::from(ticks).checked_mul(1_000_000_000)?;
            let nanoseconds = nanoseconds.checked_div(self.ticks_per_second.into())?;
            Some(Duration::from_nanos(u64::try_from(nanoseconds).ok()?))
        };
        Some((ticks()?, ticks()?))
    }

    /// The control group that counts the memory of this process, in either version of them.
    fn group(&self) -> Option<Group> {
        let groups = read(&self.process.join("cgroup"))?;
        groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            let (base, names) = match controllers {
                "" => (self.groups.clone(), UNIFIED),
                _ if controllers.split(',').any(|name| name == "memory") => {
                    (self.groups.join("memory"), EARLY)
                }
                _ => return None,
            };
            let relative = path.trim_start_matches('/');
            // A container that sees the machine's names, and its own group alone, has it at the root.
            let candidates = [base.join(relative), base];
            let leads_out = relative.split('/').any(|part| part == "..");
            let folder = candidates
                .into_iter()
                .skip(usize::from(leads_out))
                .find(|folder| folder.join(names.usage).is_file())?;
            Some(Group { folder, names })
        })
    }
}

/// The files of a version of control groups.
#[derive(Debug, Clone, Copy)]
struct Names {
    usage: &'static str,
    limit: &'static str,
}

const UNIFIED: Names = Names {
    usage: "memory.current",
    limit: "memory.max",
};
const EARLY: Names = Names {
    usage: "memory.usage_in_bytes",
    limit: "memory.limit_in_bytes",
};
/// The first version has a number where the second says `max`: the largest that is a multiple of the size of a page,
/// whatever that size is.
const NO_LIMIT: u64 = 1 << 62;

struct Group {
    folder: PathBuf,
    names: Names,
}

impl Group {
    /// What it uses, and what it may use.
    fn memory(&self) -> (Option<u64>, Option<u64>) {
        let number = |name| -> Option<u64> { read(&self.folder.join(name))?.trim().parse().ok() };
        let limit = number(self.names.limit).filter(|limit| *limit < NO_LIMIT);
        (number(self.names.usage), limit)
    }
}

/// A value of `status`, in bytes.
fn kilobytes(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1024)
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    let mut file = File::open(path).ok()?.take(MAX_BYTES);
    file.read_to_string(&mut text).ok()?;
    Some(text)
}

/// A machine for tests.
#[cfg(test)]
pub(super) mod fake {
    use super::*;

    /// One of files in this folder.
    pub(in super::super) fn machine(folder: &Path) -> Machine {
        Machine {
            process: folder.join("self"),
            groups: folder.join("cgroup"),
            ticks_per_second: 100,
        }
    }

    pub(in super::super) fn write(folder: &Path, name: &str, text: &str) {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// A process that has used this much processor time, in hundredths of a second.
    pub(in super::super) fn process(folder: &Path, user: u64, system: u64) {
        let stat =
            format!("7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 {user} {system} 5 6 20 0 9 0 1\n");
        write(folder, "self/stat", &stat);
        write(
            folder,
            "self/status",
            "Name:\tproplet\nVmData:\t 4096 kB\nVmRSS:\t  300 kB\nRssAnon:\t  200 kB\nThreads:\t9\n",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::{fake::*, *};

    fn used(folder: &Path) -> Option<Used> {
        machine(folder).used()
    }

    #[test]
    fn processor_time_and_memory_are_the_kernels() {
        let folder = tempfile::tempdir().unwrap();
        process(folder.path(), 150, 25);
        let used = used(folder.path()).unwrap();
        assert_eq!(used.user, Duration::from_millis(1500));
        assert_eq!(used.system, Duration::from_millis(250));
        let memory = MemoryMetrics {
            rss_bytes: 300 * 1024,
            heap_alloc_bytes: 200 * 1024,
            heap_sys_bytes: 4096 * 1024,
            heap_inuse_bytes: 200 * 1024,
            container_usage_bytes: None,
            container_limit_bytes: None,
        };
        assert_eq!(used.memory, memory);
    }

    #[test]
    fn what_is_not_told_is_not_made_up() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(used(folder.path()), None);
        process(folder.path(), 1, 1);
        for (name, text) in [
            ("self/stat", "7 (a) S 1 2"),
            ("self/stat", "nothing"),
            (
                "self/stat",
                "7 (a) S 1 7 7 0 -1 4194560 1 2 3 4 x y 5 6 20 0 9 0 1",
            ),
            ("self/status", "VmRSS:\t 1 kB\n"),
            (
                "self/status",
                "VmRSS:\t1 MB\nRssAnon:\t1 kB\nVmData:\t1 kB\n",
            ),
        ] {
            process(folder.path(), 1, 1);
            assert!(used(folder.path()).is_some());
            write(folder.path(), name, text);
            assert_eq!(used(folder.path()), None, "{text}");
        }
    }

    #[test]
    fn the_control_group_is_the_own_one_of_either_version() {
        for (groups, folder_of_group, names, no_limit) in [
            ("0::/service\n", "cgroup/service", UNIFIED, "max"),
            // A container that sees the machine's names.
            ("0::/docker/a1\n", "cgroup", UNIFIED, "max"),
            ("0::/../other\n", "cgroup", UNIFIED, "max"),
            (
                "5:cpu,cpuacct:/x\n4:memory:/service\n0::/\n",
                "cgroup/memory/service",
                EARLY,
                "9223372036854771712",
            ),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path();
            process(path, 1, 1);
            write(path, "self/cgroup", groups);
            let of = |name| format!("{folder_of_group}/{name}");
            let memory = || {
                let memory = used(path).unwrap().memory;
                (memory.container_usage_bytes, memory.container_limit_bytes)
            };
            assert_eq!(memory(), (None, None), "{groups}");
            write(path, &of(names.usage), "5000\n");
            write(path, &of(names.limit), "8000\n");
            assert_eq!(memory(), (Some(5000), Some(8000)), "{groups}");
            write(path, &of(names.limit), no_limit);
            assert_eq!(memory(), (Some(5000), None), "{groups}");
        }
    }

    #[test]
    fn no_group_of_another_process_is_read() {
        let folder = tempfile::tempdir().unwrap();
        process(folder.path(), 1, 1);
        write(folder.path(), "self/cgroup", "0::/../other\n");
        write(folder.path(), "other/memory.current", "1\n");
        let memory = used(folder.path()).unwrap().memory;
        assert_eq!(memory.container_usage_bytes, None);
    }

    #[test]
    fn this_process_is_told_about() {
        let used = Machine::own().used().unwrap();
        assert!(used.memory.rss_bytes > 0);
        assert!(used.memory.rss_bytes >= used.memory.heap_alloc_bytes);
        assert!(used.memory.heap_sys_bytes > 0);
    }
}
