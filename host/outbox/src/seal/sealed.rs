//! A sealed store: its keys, what its head says, which entry has which ticket, and which ids must not run again.

use std::collections::{BTreeMap, BTreeSet};

use zeroize::Zeroizing;

use super::{
    breach::{Breach, SealError},
    head::Head,
    keys::{Keys, Kind, Pen},
    known::Moment,
    root::SealingRoot,
};
use crate::database::TaskDigest;

/// The head's number. It is behind those of all entries, so that it is in one leaf with the newest of them.
const HEAD: u64 = u64::MAX;
const TICKET_BYTES: usize = 16;

/// The name of an id that must not run again, cut short. It is a MAC, so nobody can look for two that begin alike.
type ShortName = [u8; 16];

/// What is known of a sealed store that is open.
pub(crate) struct Sealed {
    keys: Keys,
    head: Head,
    /// Tickets of the entries on the disk.
    tickets: BTreeMap<u64, u128>,
    /// Ids that must not run again. The disk is never asked for one: a search there ends where its owner wants.
    done: BTreeSet<ShortName>,
}

impl Sealed {
    /// The head's number.
    pub(crate) const HEAD: u64 = HEAD;

    /// A new store.
    pub(crate) fn begin(root: &SealingRoot) -> Result<Self, SealError> {
        Keys::new(root).map(Self::of)
    }

    /// The store with this header. Everything in it is to be read next, and checked.
    pub(crate) fn resume(root: &SealingRoot, header: &[u8]) -> Result<Self, Breach> {
        Keys::of_header(root, header).map(Self::of)
    }

    fn of(keys: Keys) -> Self {
        Self {
            keys,
            head: Head::default(),
            tickets: BTreeMap::new(),
            done: BTreeSet::new(),
        }
    }

    /// What a new store has in clear.
    pub(crate) fn header(&self) -> Result<Vec<u8>, SealError> {
        self.keys.header()
    }

    /// Which store it is, and in which state.
    pub(crate) fn moment(&self) -> Moment {
        Moment {
            store: self.keys.id(),
            head: self.head,
        }
    }

    /// Reads an entry: what was sealed.
    pub(crate) fn read(
        &mut self,
        number: u64,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Breach> {
        let text = self.keys.open((Kind::Entry, number), sealed)?;
        let (ticket, entry) = text.split_at_checked(TICKET_BYTES).ok_or(Breach::Altered)?;
        let ticket = ticket.try_into().map_err(|_| Breach::Altered)?;
        let entry = Zeroizing::new(entry.to_vec());
        self.put(number, u128::from_le_bytes(ticket));
        Ok(entry)
    }

    /// Reads the name of an id that must not run again.
    pub(crate) fn read_done(&mut self, name: &TaskDigest) {
        self.head.done.add(self.keys.ticket_of(name));
        self.done.insert(short(name));
    }

    /// Passes when everything that was read is what the head says.
    pub(crate) fn check(&mut self, head: Option<&[u8]>) -> Result<(), Breach> {
        let sealed = head.ok_or(Breach::Incomplete)?;
        let text = self.keys.open((Kind::Head, HEAD), sealed)?;
        let head = Head::decode(&text).ok_or(Breach::Altered)?;
        let found = Head {
            generation: head.generation,
            ..self.head
        };
        if found != head {
            return Err(Breach::Incomplete);
        }
        self.head = head;
        Ok(())
    }

    /// Whether an id must not run again.
    pub(crate) fn is_done(&self, task: &TaskDigest) -> bool {
        self.done.contains(&short(&self.keys.name(task)))
    }

    /// How many ids must not run again.
    pub(crate) fn done(&self) -> u64 {
        self.done.len() as u64
    }

    /// Begins a commit. What is written with it is known here at once: if it fails, this is of no use any more.
    pub(crate) fn writing(&mut self) -> Result<Writing<'_>, SealError> {
        let pen = self.keys.pen()?;
        Ok(Writing { sealed: self, pen })
    }

    /// Whether there was one of this number.
    fn put(&mut self, number: u64, ticket: u128) -> bool {
        let was_there = self.forget(number);
        self.head.entries.add(ticket);
        self.tickets.insert(number, ticket);
        was_there
    }

    /// The same.
    fn forget(&mut self, number: u64) -> bool {
        let ticket = self.tickets.remove(&number);
        if let Some(ticket) = ticket {
            self.head.entries.remove(ticket);
        }
        ticket.is_some()
    }
}

/// One commit. Whatever is written tells whether it was there before, which the disk has to say too.
pub(crate) struct Writing<'a> {
    sealed: &'a mut Sealed,
    pen: Pen,
}

impl Writing<'_> {
    /// Writes an entry: what goes to the disk, and whether there was one of this number.
    pub(crate) fn entry(
        &mut self,
        number: u64,
        entry: &[u8],
    ) -> Result<(Vec<u8>, bool), SealError> {
        let keys = &self.sealed.keys;
        let ticket = keys.ticket()?;
        let place = (Kind::Entry, number);
        let sealed = keys.seal(&self.pen, place, &[&ticket.to_le_bytes(), entry])?;
        let was_there = self.sealed.put(number, ticket);
        Ok((sealed, was_there))
    }

    /// Removes one: whether it was there.
    pub(crate) fn forget(&mut self, number: u64) -> bool {
        self.sealed.forget(number)
    }

    /// Under which name an id that must not run again is there.
    pub(crate) fn name(&self, task: &TaskDigest) -> TaskDigest {
        self.sealed.keys.name(task)
    }

    /// Adds such a name, or removes it: whether it was there.
    pub(crate) fn done(&mut self, name: &TaskDigest, is_done: bool) -> bool {
        let Sealed {
            keys, head, done, ..
        } = &mut *self.sealed;
        let was_done = if is_done {
            !done.insert(short(name))
        } else {
            done.remove(&short(name))
        };
        match (was_done, is_done) {
            (false, true) => head.done.add(keys.ticket_of(name)),
            (true, false) => head.done.remove(keys.ticket_of(name)),
            _ => {}
        }
        was_done
    }

    /// The head, after everything else.
    pub(crate) fn head(self) -> Result<Vec<u8>, SealError> {
        let head = &mut self.sealed.head;
        head.generation = head.generation.saturating_add(1);
        let text = head.encode();
        let place = (Kind::Head, HEAD);
        self.sealed.keys.seal(&self.pen, place, &[&text])
    }
}

fn short(name: &TaskDigest) -> ShortName {
    let mut short = ShortName::default();
    for (to, from) in short.iter_mut().zip(name) {
        *to = *from;
    }
    short
}
