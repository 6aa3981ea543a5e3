//! What the kernel says about a process, while it runs and at its end.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Between two looks. Not a wait for anything: a look takes about as long.
const PACE: Duration = Duration::from_millis(2);

/// Everything that was seen of a process.
#[derive(Debug, Default)]
pub struct Seen {
    /// How often somebody looked.
    pub looks: usize,
    /// Ids of its children.
    pub children: BTreeSet<String>,
    /// Files that it had open for writing, or mapped shared and writable.
    pub writable: BTreeSet<PathBuf>,
    /// What could not be read, and why: as another user than root, a process that is not dumpable shows
    /// little.
    pub hidden: BTreeSet<String>,
}

/// Looks at a process until it is told to stop.
pub struct Watch {
    stop: mpsc::Sender<()>,
    looking: JoinHandle<Seen>,
}

impl Watch {
    pub fn start(pid: u32) -> Self {
        let (stop, stopped) = mpsc::channel();
        let looking = thread::spawn(move || {
            let mut seen = Seen::default();
            loop {
                seen.look(pid);
                if stopped.recv_timeout(PACE) != Err(RecvTimeoutError::Timeout) {
                    seen.look(pid);
                    return seen;
                }
            }
        });
        Self { stop, looking }
    }

    pub fn stop(self) -> Seen {
        self.stop.send(()).unwrap();
        self.looking.join().unwrap()
    }
}

impl Seen {
    fn look(&mut self, pid: u32) {
        self.looks += 1;
        let process = PathBuf::from(format!("/proc/{pid}"));
        for thread in self.list(&process.join("task")) {
            let children = self.read(&thread.join("children"));
            self.children
                .extend(children.split_whitespace().map(str::to_owned));
        }
        for open in self.list(&process.join("fd")) {
            let flags = self.read(&process.join("fdinfo").join(open.file_name().unwrap()));
            if is_writable(&flags)
                && let Ok(target) = fs::read_link(&open)
                && is_a_file(&target)
            {
                self.writable.insert(target);
            }
        }
        for mapping in self.read(&process.join("maps")).lines() {
            let words: Vec<_> = mapping.split_whitespace().collect();
            if let [_, "rw-s" | "rwxs", _, _, _, path] = words[..]
                && is_a_file(Path::new(path))
            {
                self.writable.insert(path.into());
            }
        }
    }

    fn list(&mut self, folder: &Path) -> Vec<PathBuf> {
        match fs::read_dir(folder) {
            Ok(entries) => entries
                .filter_map(|entry| Some(entry.ok()?.path()))
                .collect(),
            Err(error) => self.missed(folder, &error, Vec::new()),
        }
    }

    fn read(&mut self, file: &Path) -> String {
        match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) => self.missed(file, &error, String::new()),
        }
    }

    /// A thread or descriptor that is gone by now was seen or will be; anything else is told.
    fn missed<T>(&mut self, path: &Path, error: &io::Error, nothing: T) -> T {
        let gone = error.kind() == io::ErrorKind::NotFound
            || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error());
        if !gone {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            self.hidden.insert(format!("{name}: {error}"));
        }
        nothing
    }
}

/// From `fdinfo`: access mode 1 or 2.
fn is_writable(fdinfo: &str) -> bool {
    let flags = fdinfo.lines().find_map(|line| line.strip_prefix("flags:"));
    flags
        .and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok())
        .is_some_and(|flags| flags & 0o3 != 0)
}

/// True for what keeps what is written to it: no socket, pipe, device or memory.
fn is_a_file(target: &Path) -> bool {
    target.is_absolute()
        && !target.starts_with("/dev/")
        && !target.to_string_lossy().starts_with("/memfd:")
}

/// The last words of `/proc` about a process that is about to end.
#[derive(Debug)]
pub struct Account {
    /// Soft and hard limit of core dumps.
    pub core_limits: (String, String),
    /// Page faults of children that were waited for: not zero if there was one.
    pub faults_of_children: u64,
    /// Environment and command line; none when they cannot be read.
    pub environment: Option<Vec<u8>>,
}

impl Account {
    pub fn of(pid: u32) -> Self {
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}"));
        let limits = read("limits").unwrap();
        let core: Vec<_> = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max core file size"))
            .unwrap()
            .split_whitespace()
            .collect();
        // The name of the program may hold spaces, so count from its end.
        let stat = read("stat").unwrap();
        let fields: Vec<_> = stat
            .rsplit_once(')')
            .unwrap()
            .1
            .split_whitespace()
            .collect();
        let environment = ["environ", "cmdline"]
            .iter()
            .map(|name| fs::read(format!("/proc/{pid}/{name}")).ok())
            .collect::<Option<Vec<_>>>();
        Self {
            core_limits: (core[0].to_owned(), core[1].to_owned()),
            faults_of_children: fields[8].parse::<u64>().unwrap()
                + fields[10].parse::<u64>().unwrap(),
            environment: environment.map(|parts| parts.concat()),
        }
    }
}

/// Every file under a folder with its bytes.
pub fn files_under(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(files_under(&path));
        } else {
            let bytes = fs::read(&path).unwrap_or_default();
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}
