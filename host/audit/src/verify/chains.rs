//! Chains as far as they were read.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proplet_types::Digest;

use super::report::{BootReport, Broken};
use crate::{audit::FORMAT, entry::Entry};

/// What was read of all chains.
#[derive(Debug, Default)]
pub(super) struct Chains {
    boots: Vec<Boot>,
    /// Places in `boots`.
    names: HashMap<String, usize>,
    /// Tasks' chains without an end so far.
    tasks: HashMap<String, Link>,
    pub(super) tasks_ended: u64,
    pub(super) lost: u64,
    /// How each file ends: hash of its last line, and whether something stands behind it.
    files: BTreeMap<String, (Option<Digest>, bool)>,
    /// Files that entries name.
    named: BTreeSet<String>,
    removed: BTreeSet<String>,
}

/// The end of a chain.
#[derive(Debug)]
struct Link {
    next: u64,
    head: Digest,
}

#[derive(Debug)]
struct Boot {
    name: String,
    begin: String,
    begins_elsewhere: bool,
    /// The first of its entries that was read.
    from: u64,
    link: Link,
    stopped: bool,
    /// Lines that may be missing, as the log itself says.
    lost: u64,
    /// Where some of this chain's are: the first, and the first after it that is there.
    gaps: Vec<(u64, u64)>,
}

impl Chains {
    /// Takes an entry, and gives what does not hold.
    pub(super) fn take(&mut self, entry: &Entry) -> Vec<Broken> {
        let mut broken = Vec::new();
        match entry.chain.split_once('/') {
            None => self.of_boot(entry, &mut broken),
            Some((boot, _)) => self.of_task(boot, entry, &mut broken),
        }
        broken
    }

    pub(super) fn end_of_file(&mut self, name: &str, end: (Option<Digest>, bool)) {
        self.files.insert(name.to_owned(), end);
    }

    pub(super) fn absent(&self) -> Vec<String> {
        let absent = self
            .named
            .iter()
            .filter(|file| !self.files.contains_key(*file) && !self.removed.contains(*file));
        absent.cloned().collect()
    }

    pub(super) fn boots(&self) -> Vec<BootReport> {
        let mut open: HashMap<&str, u64> = HashMap::new();
        for chain in self.tasks.keys() {
            if let Some((boot, _)) = chain.split_once('/') {
                let count = open.entry(boot).or_default();
                *count = count.saturating_add(1);
            }
        }
        let boots = self.boots.iter().map(|boot| BootReport {
            name: boot.name.clone(),
            untrusted_begin: boot.begin.clone(),
            begins_elsewhere: boot.begins_elsewhere,
            entries: boot.link.next,
            head: boot.link.head,
            stopped: boot.stopped,
            open_tasks: open.get(boot.name.as_str()).copied().unwrap_or_default(),
        });
        boots.collect()
    }

    fn of_boot(&mut self, entry: &Entry, broken: &mut Vec<Broken>) {
        let is_begin = matches!(entry.kind.as_str(), "boot" | "file");
        if is_begin && entry.text("format") != Some(FORMAT) {
            broken.push(Broken::Format);
        }
        let said = match entry.kind.as_str() {
            "file" => entry.number("lost").unwrap_or_default(),
            _ => 0,
        };
        self.lost = self.lost.saturating_add(said);
        match self.boot_mut(&entry.chain) {
            Some(boot) => {
                boot.lost = boot.lost.saturating_add(said);
                // A gap that is said is one before the line that says it.
                let mut allowed = if said > 0 { boot.lost } else { 0 };
                let (before, expected) = (allowed, boot.link.next);
                boot.link.follow(entry, &mut allowed, broken);
                if allowed < before {
                    boot.gaps.push((expected, entry.seq));
                    boot.lost = boot.lost.saturating_sub(before.saturating_sub(allowed));
                }
                boot.stopped = entry.kind == "stopped";
            }
            None => self.begin(entry, broken),
        }
        self.effects(entry, broken);
    }

    /// The first entry that is seen of a boot.
    fn begin(&mut self, entry: &Entry, broken: &mut Vec<Broken>) {
        let is_whole = entry.kind == "boot" && entry.seq == 0 && entry.prev.is_none();
        let begins_elsewhere = entry.kind == "file" && entry.seq > 0 && entry.prev.is_some();
        if !is_whole && !begins_elsewhere {
            broken.push(Broken::Begins {
                chain: entry.chain.clone(),
                seq: entry.seq,
            });
        }
        self.names.insert(entry.chain.clone(), self.boots.len());
        self.boots.push(Boot {
            name: entry.chain.clone(),
            begin: entry.untrusted_time.clone(),
            begins_elsewhere: !is_whole,
            from: entry.seq,
            link: Link::after(entry),
            stopped: false,
            lost: 0,
            gaps: Vec::new(),
        });
    }

    /// What an entry of a boot's chain says about other lines.
    fn effects(&mut self, entry: &Entry, broken: &mut Vec<Broken>) {
        match entry.kind.as_str() {
            "task-begun" => {
                let chain = format!("{}/{}", entry.chain, entry.seq);
                let begun = Link {
                    next: 0,
                    head: entry.hash,
                };
                self.tasks.insert(chain, begun);
            }
            "task-ended" => self.end_of_task(entry, broken),
            "earlier-log" => {
                let Some(file) = entry.text("file") else {
                    return;
                };
                self.named.insert(file.to_owned());
                let head = entry.text("head").and_then(|head| head.parse().ok());
                if let Some((end, _)) = self.files.get(file)
                    && *end != head
                {
                    broken.push(Broken::EarlierEnd {
                        file: file.to_owned(),
                    });
                }
            }
            "file-removed" => {
                self.removed.extend(entry.text("file").map(str::to_owned));
            }
            _ => {}
        }
    }

    fn end_of_task(&mut self, entry: &Entry, broken: &mut Vec<Broken>) {
        let chain = entry.text("chain").unwrap_or_default();
        let head = entry.text("head").and_then(|head| head.parse().ok());
        let entries = entry.number("entries").unwrap_or_default();
        let Some(link) = self.tasks.remove(chain) else {
            // Nothing of it was read.
            if !self.may_begin_unseen(&entry.chain, chain, entries) {
                broken.push(Broken::TaskEnd {
                    chain: chain.to_owned(),
                });
            }
            return;
        };
        let is_whole = Some(link.head) == head && link.next == entries;
        let lacks = entries.saturating_sub(link.next);
        if is_whole {
            self.tasks_ended = self.tasks_ended.saturating_add(1);
        } else if lacks == 0 || !self.may_lack(&entry.chain, lacks) {
            broken.push(Broken::TaskEnd {
                chain: chain.to_owned(),
            });
        }
    }

    fn of_task(&mut self, boot: &str, entry: &Entry, broken: &mut Vec<Broken>) {
        if let Some(link) = self.tasks.get_mut(&entry.chain) {
            let place = self.names.get(boot);
            let boot = place.and_then(|place| self.boots.get_mut(*place));
            let mut none = 0;
            let allowed = boot.map_or(&mut none, |boot| &mut boot.lost);
            link.follow(entry, allowed, broken);
            return;
        }
        if !self.may_begin_unseen(boot, &entry.chain, entry.seq) {
            broken.push(Broken::Begins {
                chain: entry.chain.clone(),
                seq: entry.seq,
            });
        }
        self.tasks.insert(entry.chain.clone(), Link::after(entry));
    }

    /// Whether a task may have begun on a line that is not here, and this many of its lines not be here either: because
    /// that was in a file that was not read, or because they are among those that the log says are lost.
    fn may_begin_unseen(&mut self, boot: &str, task: &str, lines: u64) -> bool {
        let begins = task.split_once('/').and_then(|(_, seq)| seq.parse().ok());
        let (Some(begins), Some(of)) = (begins, self.boot_mut(boot)) else {
            return false;
        };
        let is_elsewhere = begins < of.from;
        let is_lost = |gap: &(u64, u64)| (gap.0..gap.1).contains(&begins);
        is_elsewhere || (of.gaps.iter().any(is_lost) && self.may_lack(boot, lines))
    }

    /// Whether so many lines are among those that the log says are lost. Nobody else can say that of the same ones.
    fn may_lack(&mut self, boot: &str, lines: u64) -> bool {
        let Some(boot) = self.boot_mut(boot) else {
            return false;
        };
        let left = boot.lost.checked_sub(lines);
        boot.lost = left.unwrap_or(boot.lost);
        left.is_some()
    }

    fn boot_mut(&mut self, name: &str) -> Option<&mut Boot> {
        let place = self.names.get(name)?;
        self.boots.get_mut(*place)
    }
}

impl Link {
    fn after(entry: &Entry) -> Self {
        Self {
            next: entry.seq.saturating_add(1),
            head: entry.hash,
        }
    }

    /// Goes on with an entry. So many before it may be missing as are `allowed`; what is missing is taken off.
    fn follow(&mut self, entry: &Entry, allowed: &mut u64, broken: &mut Vec<Broken>) {
        let chain = || entry.chain.clone();
        let seq = entry.seq;
        if seq < self.next {
            // The chain goes on behind the entry that was last in its place.
            broken.push(Broken::Order {
                chain: chain(),
                seq,
            });
            return;
        }
        let gap = seq.saturating_sub(self.next);
        if gap > 0 && gap <= *allowed {
            *allowed = allowed.saturating_sub(gap);
        } else if gap > 0 {
            broken.push(Broken::Missing {
                chain: chain(),
                from: self.next,
                to: seq.saturating_sub(1),
            });
        } else if entry.prev != Some(self.head) {
            broken.push(Broken::Changed {
                chain: chain(),
                seq,
            });
        }
        *self = Self::after(entry);
    }
}
