//! The emulated folder of reports.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::attribute::{self, Attribute};
use super::device::{Blobs, TsmDevice};
use super::fault::{Faults, TsmFault, TsmStep};

/// Longest `inblob`.
const INBLOB_MAX: usize = 64;

/// Longest `outblob` or `auxblob` that the kernel hands out.
const OUTBLOB_MAX: usize = 32 * 1024;

/// What the tree was asked for so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TsmCounts {
    /// Folders made.
    pub created: u64,
    /// Folders removed.
    pub removed: u64,
    /// Reports that the device was asked for, failures included.
    pub reports: u64,
}

/// The emulated folder of reports.
#[derive(Debug)]
pub struct TsmTree {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    device: TsmDevice,
    entries: BTreeMap<u64, Entry>,
    handles: BTreeMap<u64, Handle>,
    /// Numbers of entries and handles are never given twice.
    last: u64,
    faults: Faults,
    counts: TsmCounts,
}

/// A folder of one report.
#[derive(Debug)]
struct Entry {
    name: String,
    inblob: Vec<u8>,
    write_generation: u64,
    read_generation: u64,
    blobs: Option<Blobs>,
}

/// An open attribute.
#[derive(Debug)]
struct Handle {
    entry: u64,
    attribute: Attribute,
    /// What reads give, from the first one on.
    read: Option<Vec<u8>>,
    /// What was written and has not taken effect.
    written: Option<Vec<u8>>,
}

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Reports,
    Entry(u64),
    Attribute(u64, Attribute),
}

impl TsmTree {
    /// An empty folder of reports with this device behind it.
    #[must_use]
    pub fn new(device: TsmDevice) -> Self {
        Self {
            state: Mutex::new(State {
                device,
                entries: BTreeMap::new(),
                handles: BTreeMap::new(),
                last: 0,
                faults: Faults::default(),
                counts: TsmCounts::default(),
            }),
        }
    }

    /// Misbehaves in this way from now on, until [`TsmTree::heal`].
    pub fn inject(&self, fault: TsmFault) {
        self.state().faults.add(fault, None);
    }

    /// Misbehaves in this way the next `times` times that it could.
    pub fn inject_times(&self, fault: TsmFault, times: u32) {
        self.state().faults.add(fault, Some(times));
    }

    /// Behaves again.
    pub fn heal(&self) {
        self.state().faults = Faults::default();
    }

    /// What it was asked for so far.
    #[must_use]
    pub fn counts(&self) -> TsmCounts {
        self.state().counts
    }

    /// How many folders there are now. A program that cleaned up behind itself leaves none.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.state().entries.len()
    }

    /// As with the kernel's semaphore, all wait while a report is made.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lookup(&self, parent: Node, name: &str) -> Result<Node, Errno> {
        let state = self.state();
        match parent {
            Node::Reports => {
                let mut entries = state.entries.iter();
                let found = entries.find(|(_, entry)| entry.name == name);
                let (number, _) = found.ok_or(Errno::NOENT)?;
                Ok(Node::Entry(*number))
            }
            Node::Entry(number) if state.entries.contains_key(&number) => {
                let attributes = state.device.attributes();
                let found = attributes.iter().find(|found| found.name() == name);
                Ok(Node::Attribute(number, *found.ok_or(Errno::NOENT)?))
            }
            Node::Entry(_) => Err(Errno::NOENT),
            Node::Attribute(..) => Err(Errno::NOTDIR),
        }
    }

    /// Whether what a path led to is still there.
    pub(super) fn exists(&self, node: Node) -> bool {
        match node {
            Node::Reports => true,
            Node::Entry(entry) | Node::Attribute(entry, _) => {
                self.state().entries.contains_key(&entry)
            }
        }
    }

    pub(super) fn children(&self, node: Node) -> Result<Vec<(String, Node)>, Errno> {
        let state = self.state();
        match node {
            Node::Reports => {
                let entries = state.entries.iter();
                Ok(entries
                    .map(|(number, entry)| (entry.name.clone(), Node::Entry(*number)))
                    .collect())
            }
            Node::Entry(number) => {
                let attributes = state.device.attributes().iter();
                Ok(attributes
                    .map(|attribute| {
                        (
                            attribute.name().to_owned(),
                            Node::Attribute(number, *attribute),
                        )
                    })
                    .collect())
            }
            Node::Attribute(..) => Err(Errno::NOTDIR),
        }
    }

    pub(super) fn mkdir(&self, parent: Node, name: &str) -> Result<Node, Errno> {
        // A report has attributes and no groups below it.
        if parent != Node::Reports {
            return Err(Errno::PERM);
        }
        let mut state = self.state();
        state.faults.check(TsmStep::Create)?;
        state.present()?;
        if state.entries.values().any(|entry| entry.name == name) {
            return Err(Errno::EXIST);
        }
        state.last += 1;
        let number = state.last;
        let entry = Entry {
            name: name.to_owned(),
            inblob: Vec::new(),
            write_generation: 0,
            read_generation: 0,
            blobs: None,
        };
        state.entries.insert(number, entry);
        state.counts.created += 1;
        Ok(Node::Entry(number))
    }

    pub(super) fn rmdir(&self, parent: Node, name: &str) -> Result<(), Errno> {
        let Node::Entry(number) = self.lookup(parent, name)? else {
            return Err(Errno::NOTDIR);
        };
        let mut state = self.state();
        state.faults.check(TsmStep::Remove)?;
        state.entries.remove(&number).ok_or(Errno::NOENT)?;
        state.counts.removed += 1;
        Ok(())
    }

    /// Opens an attribute. Even root may not read what only takes, or write what only gives.
    pub(super) fn open(&self, node: Node, reads: bool, writes: bool) -> Result<u64, Errno> {
        let Node::Attribute(entry, attribute) = node else {
            return Err(Errno::ISDIR);
        };
        let mut state = self.state();
        if !state.entries.contains_key(&entry) {
            return Err(Errno::NOENT);
        }
        let writable = attribute.is_written();
        if (reads && writable) || (writes && !writable) {
            return Err(Errno::ACCESS);
        }
        state.last += 1;
        let number = state.last;
        let handle = Handle {
            entry,
            attribute,
            read: None,
            written: None,
        };
        state.handles.insert(number, handle);
        Ok(number)
    }

    pub(super) fn read(&self, handle: u64, offset: u64, size: usize) -> Result<Vec<u8>, Errno> {
        let mut state = self.state();
        let open = state.handles.get(&handle).ok_or(Errno::BADF)?;
        let (entry, attribute) = (open.entry, open.attribute);
        let content = match open.read.clone() {
            Some(content) => content,
            None => state.show(entry, attribute)?,
        };
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let part = content.iter().skip(from).take(size).copied().collect();
        if let Some(open) = state.handles.get_mut(&handle) {
            open.read = Some(content);
        }
        Ok(part)
    }

    pub(super) fn write(&self, handle: u64, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
        let mut state = self.state();
        let open = state.handles.get_mut(&handle).ok_or(Errno::BADF)?;
        let (entry, attribute) = (open.entry, open.attribute);
        if attribute != Attribute::Inblob {
            state.store(entry, attribute, bytes)?;
            return Ok(bytes.len());
        }
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = from.saturating_add(bytes.len());
        if end > INBLOB_MAX {
            return Err(Errno::FBIG);
        }
        let written = open.written.get_or_insert_default();
        written.resize(written.len().max(end), 0);
        for (to, byte) in written.iter_mut().skip(from).zip(bytes) {
            *to = *byte;
        }
        state.faults.check(TsmStep::WriteInblob)?;
        Ok(bytes.len())
    }

    /// What was written to a binary attribute takes effect; nobody hears whether it could.
    pub(super) fn flush(&self, handle: u64) {
        let mut state = self.state();
        let Some(open) = state.handles.get_mut(&handle) else {
            return;
        };
        let entry = open.entry;
        let Some(inblob) = open.written.take() else {
            return;
        };
        if let Some(entry) = state.entries.get_mut(&entry) {
            entry.write_generation = entry.write_generation.wrapping_add(1);
            entry.inblob = inblob;
        }
    }

    pub(super) fn release(&self, handle: u64) {
        self.flush(handle);
        self.state().handles.remove(&handle);
    }
}

impl State {
    /// Whether a driver stands behind the interface.
    fn present(&self) -> Result<(), Errno> {
        if self.faults.vanished() {
            return Err(Errno::NXIO);
        }
        Ok(())
    }

    /// The content of an attribute for somebody who begins to read it.
    fn show(&mut self, entry: u64, attribute: Attribute) -> Result<Vec<u8>, Errno> {
        if !self.entries.contains_key(&entry) {
            return Err(Errno::NOENT);
        }
        let line = |text: &str| format!("{text}\n").into_bytes();
        match attribute {
            Attribute::Provider => {
                self.faults.check(TsmStep::ReadProvider)?;
                self.present()?;
                let other = self.faults.other_provider();
                Ok(line(
                    &other.unwrap_or_else(|| self.device.provider().to_owned()),
                ))
            }
            Attribute::Generation => {
                self.faults.check(TsmStep::ReadGeneration)?;
                let entry = self.entries.get(&entry).ok_or(Errno::NOENT)?;
                Ok(line(&entry.write_generation.to_string()))
            }
            Attribute::PrivlevelFloor => {
                self.present()?;
                Ok(line(&self.device.privlevel_floor().to_string()))
            }
            Attribute::Outblob => {
                self.faults.check(TsmStep::ReadOutblob)?;
                let blobs = self.report(entry)?;
                bounded(blobs.outblob)
            }
            Attribute::Auxblob => {
                self.faults.check(TsmStep::ReadAuxblob)?;
                let blobs = self.report(entry)?;
                bounded(blobs.auxblob)
            }
            Attribute::Manifestblob => bounded(self.report(entry)?.manifestblob),
            Attribute::Inblob
            | Attribute::Privlevel
            | Attribute::ServiceProvider
            | Attribute::ServiceGuid
            | Attribute::ServiceManifestVersion => Err(Errno::ACCESS),
        }
    }

    /// A value for a text attribute.
    fn store(&mut self, entry: u64, attribute: Attribute, bytes: &[u8]) -> Result<(), Errno> {
        if attribute == Attribute::Privlevel {
            self.faults.check(TsmStep::WritePrivlevel)?;
            let level = attribute::number(bytes)?;
            self.present()?;
            if level < self.device.privlevel_floor() || level > 3 {
                return Err(Errno::INVAL);
            }
        }
        let entry = self.entries.get_mut(&entry).ok_or(Errno::NOENT)?;
        entry.write_generation = entry.write_generation.wrapping_add(1);
        Ok(())
    }

    /// The report of an entry: the one that is there while nothing was written since, else a new one.
    fn report(&mut self, number: u64) -> Result<Blobs, Errno> {
        let entry = self.entries.get(&number).ok_or(Errno::NOENT)?;
        if entry.inblob.is_empty() {
            return Err(Errno::INVAL);
        }
        if let Some(blobs) = &entry.blobs
            && entry.read_generation == entry.write_generation
        {
            return Ok(blobs.clone());
        }
        let inblob = entry.inblob.clone();
        self.present()?;
        self.counts.reports += 1;
        if let Some(delay) = self.faults.delay() {
            // The latency of a device is what is emulated; everybody waits for it, as in the kernel.
            std::thread::sleep(delay);
        }
        let blobs = self.device.report(&inblob, &mut self.faults)?;
        let conflict = self.faults.conflict();
        let entry = self.entries.get_mut(&number).ok_or(Errno::NOENT)?;
        if conflict {
            // Somebody else wrote into this folder before the report was made.
            entry.write_generation = entry.write_generation.wrapping_add(1);
        }
        entry.read_generation = entry.write_generation;
        entry.blobs = Some(blobs.clone());
        Ok(blobs)
    }
}

fn bounded(blob: Vec<u8>) -> Result<Vec<u8>, Errno> {
    if blob.len() > OUTBLOB_MAX {
        return Err(Errno::FBIG);
    }
    Ok(blob)
}
