//! Chains as far as they were read.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proplet_types::Digest;

use super::{
    file_number,
    form::Form,
    losses::Losses,
    report::{BootReport, Broken, Linked},
};
use crate::{core::FORMAT, entry::Entry};

/// What was read of all chains.
#[derive(Debug, Default)]
pub(super) struct Chains {
    /// Entries so far: the place of the last one.
    read: u64,
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
    /// Of folders that were read before, the files that entries name and that are not there.
    absent_before: Vec<String>,
    /// How many boots those have.
    boots_before: usize,
}

/// The end of a chain.
#[derive(Debug)]
struct Link {
    next: u64,
    head: Digest,
    /// Where its last entry was read.
    place: u64,
    /// Whether all that led there was read.
    linked: Linked,
}

/// Entries of a boot's chain that are missing, as the log itself says.
#[derive(Debug)]
struct Gap {
    from: u64,
    /// The first after it that is there.
    to: u64,
    /// Where that was read.
    place: u64,
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
    losses: Losses,
    /// Where some of this chain's are, in order.
    gaps: Vec<Gap>,
}

impl Chains {
    /// Takes an entry, and gives what does not hold.
    pub(super) fn take(&mut self, entry: &Entry, form: Form) -> Vec<Broken> {
        let mut broken = Vec::new();
        self.read = self.read.saturating_add(1);
        if form == Form::File {
            self.alone(entry, &mut broken);
        }
        match entry.chain.split_once('/') {
            None => self.of_boot(entry, &mut broken),
            Some((boot, _)) => self.of_task(boot, entry, &mut broken),
        }
        broken
    }

    /// Whether an entry of this boot's own chain was read.
    pub(super) fn has_boot(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// Whether all that led to the last entry of a chain was read.
    pub(super) fn linked(&self, chain: &str) -> Linked {
        let link = match self.names.get(chain) {
            Some(place) => self.boots.get(*place).map(|boot| &boot.link),
            None => self.tasks.get(chain),
        };
        link.map_or(Linked::Not, |link| link.linked)
    }

    pub(super) fn end_of_file(&mut self, name: &str, end: (Option<Digest>, bool)) {
        self.files.insert(name.to_owned(), end);
    }

    /// What is read next are files of another folder, which may have the same names.
    pub(super) fn another_folder(&mut self) {
        self.absent_before = self.absent();
        self.boots_before = self.boots.len();
        self.files.clear();
        self.named.clear();
        self.removed.clear();
    }

    pub(super) fn absent(&self) -> Vec<String> {
        let absent = self
            .named
            .iter()
            .filter(|file| !self.files.contains_key(*file) && !self.removed.contains(*file));
        let before = self.absent_before.iter();
        before.chain(absent).cloned().collect()
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

    /// What holds of the files of one host, and not of a receiver's, which may have those of several: boots come one after
    /// the other, and only the first of them may begin in a file that is not here.
    fn alone(&self, entry: &Entry, broken: &mut Vec<Broken>) {
        let Some(last) = self.boots.get(self.boots_before..).and_then(<[Boot]>::last) else {
            return;
        };
        match self.names.get(entry.boot()) {
            Some(place) if place.saturating_add(1) < self.boots.len() => {
                broken.push(Broken::Behind {
                    chain: entry.chain.clone(),
                    seq: entry.seq,
                    boot: last.name.clone(),
                });
            }
            // Its first lines may be among those that found no room.
            None if entry.kind == "file" && entry.number("lost") < Some(entry.seq) => {
                broken.push(Broken::Begins {
                    chain: entry.chain.clone(),
                    seq: entry.seq,
                });
            }
            _ => {}
        }
        if entry.kind == "earlier-log"
            && let Some(file) = entry.text("file")
            && !self.files.contains_key(file)
            && !self.removed.contains(file)
            && self.first_file() < file_number(file)
        {
            // The oldest files are taken away first.
            let file = file.to_owned();
            broken.push(Broken::Absent { file });
        }
    }

    /// The smallest number in the name of a file that was read.
    fn first_file(&self) -> Option<u64> {
        let numbers = self.files.keys().filter_map(|name| file_number(name));
        numbers.min().or(Some(u64::MAX))
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
        let place = self.read;
        match self.boot_mut(&entry.chain) {
            Some(boot) => {
                // What is missing of a boot's own chain is so before the line that says it, and before no other.
                boot.losses.say(place, said);
                let from = boot.link.next;
                let losses = &mut boot.losses;
                if boot.link.follow(entry, (place, place), losses, broken) {
                    let to = entry.seq;
                    boot.gaps.push(Gap { from, to, place });
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
        let linked = match (is_whole, begins_elsewhere) {
            (true, _) => Linked::Whole,
            (_, true) => Linked::Elsewhere,
            _ => Linked::Not,
        };
        self.names.insert(entry.chain.clone(), self.boots.len());
        self.boots.push(Boot {
            name: entry.chain.clone(),
            begin: entry.untrusted_time.clone(),
            begins_elsewhere: !is_whole,
            from: entry.seq,
            link: Link::after(entry, self.read, linked),
            stopped: false,
            losses: Losses::default(),
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
                    ..Link::after(entry, self.read, Linked::Whole)
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
            if self.begins_unseen(&entry.chain, chain, entries).is_none() {
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
        } else if lacks == 0 || !self.may_lack(&entry.chain, link.place, lacks) {
            broken.push(Broken::TaskEnd {
                chain: chain.to_owned(),
            });
        }
    }

    fn of_task(&mut self, boot: &str, entry: &Entry, broken: &mut Vec<Broken>) {
        let place = self.read;
        if let Some(link) = self.tasks.get_mut(&entry.chain) {
            let boot = self.names.get(boot);
            let boot = boot.and_then(|boot| self.boots.get_mut(*boot));
            let mut none = Losses::default();
            let losses = boot.map_or(&mut none, |boot| &mut boot.losses);
            link.follow(entry, (link.place, place), losses, broken);
            return;
        }
        let begins = self.begins_unseen(boot, &entry.chain, entry.seq);
        if begins.is_none() {
            broken.push(Broken::Begins {
                chain: entry.chain.clone(),
                seq: entry.seq,
            });
        }
        let link = Link::after(entry, place, begins.unwrap_or(Linked::Not));
        self.tasks.insert(entry.chain.clone(), link);
    }

    /// How a task began on a line that is not here, with this many of its lines not here either: in a file that was not
    /// read, or among what the log says is lost. None where neither may be.
    fn begins_unseen(&mut self, boot: &str, task: &str, lines: u64) -> Option<Linked> {
        let begins: u64 = task.split_once('/')?.1.parse().ok()?;
        let of = self.boot_mut(boot)?;
        if begins < of.from {
            return Some(Linked::Elsewhere);
        }
        let at = of.gaps.partition_point(|gap| gap.to <= begins);
        let gap = of.gaps.get(at).filter(|gap| gap.from <= begins)?;
        of.losses.take(gap.place, lines).then_some(Linked::Not)
    }

    /// Whether so many lines are among those that the log says, behind this place, are lost.
    fn may_lack(&mut self, boot: &str, since: u64, lines: u64) -> bool {
        let boot = self.boot_mut(boot);
        boot.is_some_and(|boot| boot.losses.take(since, lines))
    }

    fn boot_mut(&mut self, name: &str) -> Option<&mut Boot> {
        let place = self.names.get(name)?;
        self.boots.get_mut(*place)
    }
}

impl Link {
    fn after(entry: &Entry, place: u64, linked: Linked) -> Self {
        Self {
            next: entry.seq.saturating_add(1),
            head: entry.hash,
            place,
            linked,
        }
    }

    /// Goes on with an entry, which was read at the second place. What is missing before it may be lost, as a line from
    /// the first place on says; whether that is so.
    fn follow(
        &mut self,
        entry: &Entry,
        (since, place): (u64, u64),
        losses: &mut Losses,
        broken: &mut Vec<Broken>,
    ) -> bool {
        let (chain, seq) = (|| entry.chain.clone(), entry.seq);
        if seq < self.next {
            // The chain goes on behind the entry that was last in its place.
            let chain = chain();
            broken.push(Broken::Order { chain, seq });
            self.linked = Linked::Not;
            return false;
        }
        let gap = seq.saturating_sub(self.next);
        let is_next = gap == 0 && entry.prev == Some(self.head);
        let is_lost = gap > 0 && losses.take(since, gap);
        if gap > 0 && !is_lost {
            broken.push(Broken::Missing {
                chain: chain(),
                from: self.next,
                to: seq.saturating_sub(1),
            });
        } else if gap == 0 && !is_next {
            let chain = chain();
            broken.push(Broken::Changed { chain, seq });
        }
        // What is lost is excused, but nothing after it vouches for what was before.
        let linked = if is_next { self.linked } else { Linked::Not };
        *self = Self::after(entry, place, linked);
        is_lost
    }
}
