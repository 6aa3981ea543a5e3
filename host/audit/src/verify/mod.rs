//! Whether a log is whole: no key, no TEE and no network.
//!
//! A [`Verifier`] reads files in their order, line by line, and keeps of each chain its length and its head. So what it
//! needs of memory grows with the tasks that run at once and not with the log. It goes on after a break, so that an
//! operator sees all of them.
//!
//! What a whole log does not show is that its end is there: who has a head from elsewhere, of a receipt or of evidence,
//! has it looked for ([`Verifier::look_for`]). The line with that head vouches for what led to it only where every line in
//! between is here, which is said apart ([`Linked`]): what comes after a head can be written by whoever has the disk, and so
//! can a line that says that others were lost.

mod chains;
mod form;
mod losses;
mod report;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufRead, Read as _},
};

use proplet_types::Digest;

pub use self::report::{BootReport, Break, Broken, Found, Linked, Place, Report};
use self::{chains::Chains, form::Form};
use crate::entry::{Entry, EntryError};

/// So many breaks are told one by one.
const MAX_BREAKS: usize = 100;

/// The number in the name of a log's file, by which files are in order. None for other names.
#[must_use]
pub fn file_number(name: &str) -> Option<u64> {
    crate::disk::number(name)
}

/// Checks files, one after the other.
#[derive(Debug, Default)]
pub struct Verifier {
    chains: Chains,
    only: BTreeSet<String>,
    sought: BTreeSet<Digest>,
    found: BTreeMap<Digest, Found>,
    torn: Vec<Place>,
    breaks: Vec<Break>,
    more_breaks: u64,
    files: u64,
    lines: u64,
    others: u64,
}

impl Verifier {
    /// Nothing was read yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks for the line with this hash as well: a head from a receipt or from evidence.
    pub fn look_for(&mut self, head: Digest) {
        self.sought.insert(head);
    }

    /// Of what a receiver wrote, only the lines of this boot, and of others that are named like this, are the log.
    pub fn only(&mut self, boot: String) {
        self.only.insert(boot);
    }

    /// What is read next lies in another folder, whose files are numbered anew: that of another host, or of one that lost
    /// its folder in between. Files of one folder are read in the order of their numbers, and miss each other.
    pub fn another_folder(&mut self) {
        self.chains.another_folder();
    }

    /// Reads the next file. `each` is given every entry that can be read, in its order, whether or not its chain holds.
    ///
    /// # Errors
    /// What the reader says.
    pub fn file(
        &mut self,
        name: &str,
        reader: impl BufRead,
        each: impl FnMut(&Entry),
    ) -> io::Result<()> {
        self.read(name, reader, Form::File, each)
    }

    /// As [`Verifier::file`], of a file that a receiver of an export wrote: something may stand before each line of the log,
    /// such as a time and a name, white space behind it, or journald's JSON around it, and lines of other programs are passed
    /// over and counted. So is what looks like a line of the log, is none, and has no word of a boot whose lines were read: it may be anybody's. What is passed over vouches
    /// for nothing, and what it stands for is missing: of a line that was changed beyond recognition the next one of its
    /// chain tells. A line that can be read is never passed over, unless boots are named ([`Verifier::only`]) and it is of
    /// none of them: without a name nobody can tell another host's log from one whose beginning was taken away.
    ///
    /// # Errors
    /// What the reader says.
    pub fn exported(
        &mut self,
        name: &str,
        reader: impl BufRead,
        each: impl FnMut(&Entry),
    ) -> io::Result<()> {
        self.read(name, reader, Form::Export, each)
    }

    fn read(
        &mut self,
        name: &str,
        mut reader: impl BufRead,
        form: Form,
        mut each: impl FnMut(&Entry),
    ) -> io::Result<()> {
        self.files = self.files.saturating_add(1);
        let (mut line, mut number) = (Vec::new(), 0_u64);
        let mut last = (None, false);
        let most_bytes = form.most_bytes();
        loop {
            line.clear();
            let most = most_bytes as u64 + 1;
            let read = (&mut reader).take(most).read_until(b'\n', &mut line)?;
            if read == 0 {
                break;
            }
            number = number.saturating_add(1);
            let place = Place {
                file: name.to_owned(),
                line: number,
            };
            if line.pop_if(|byte| *byte == b'\n').is_none() {
                if line.len() > most_bytes {
                    reader.skip_until(b'\n')?;
                } else if !form.is_whole(&line) {
                    // Where the writing of a file stopped.
                    last.1 = true;
                    self.torn.push(place);
                    break;
                }
            }
            let read = form.line(&line).map(|line| (Entry::parse(&line), line));
            let Some((read, _)) = read.filter(|(read, line)| self.is_ours(form, line, read)) else {
                self.others = self.others.saturating_add(1);
                continue;
            };
            self.lines = self.lines.saturating_add(1);
            match read {
                Err(error) => self.broken(place, Broken::Entry(error)),
                Ok(entry) => {
                    last.0 = Some(entry.hash);
                    self.entry(place, &entry, form);
                    each(&entry);
                }
            }
        }
        self.chains.end_of_file(name, last);
        Ok(())
    }

    /// What there is to say about all files.
    #[must_use]
    pub fn finish(self) -> Report {
        let chains = self.chains;
        Report {
            files: self.files,
            lines: self.lines,
            others: self.others,
            tasks: chains.tasks_ended,
            lost: chains.lost,
            absent: chains.absent(),
            boots: chains.boots(),
            torn: self.torn,
            breaks: self.breaks,
            more_breaks: self.more_breaks,
            missing: self
                .sought
                .into_iter()
                .filter(|head| !self.found.contains_key(head))
                .collect(),
            found: self.found,
        }
    }

    /// Whether a line counts as one of the log.
    fn is_ours(&self, form: Form, line: &[u8], read: &Result<Entry, EntryError>) -> bool {
        let is_named = |boot: &str| match self.only.is_empty() {
            true => self.chains.has_boot(boot),
            false => self.only.contains(boot),
        };
        match (form, read) {
            (Form::File, _) => true,
            (Form::Export, Ok(entry)) => self.only.is_empty() || is_named(entry.boot()),
            (Form::Export, Err(_)) => form::claimed_boots(line).any(is_named),
        }
    }

    fn entry(&mut self, place: Place, entry: &Entry, form: Form) {
        for broken in self.chains.take(entry, form) {
            self.broken(place.clone(), broken);
        }
        if self.sought.contains(&entry.hash) {
            let found = Found {
                place: place.clone(),
                entry: entry.clone(),
                linked: self.chains.linked(&entry.chain),
            };
            self.found.entry(entry.hash).or_insert(found);
        }
    }

    fn broken(&mut self, place: Place, broken: Broken) {
        if self.breaks.len() < MAX_BREAKS {
            self.breaks.push(Break { place, broken });
        } else {
            self.more_breaks = self.more_breaks.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests;
