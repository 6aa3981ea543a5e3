//! The boot's chain, and what decides in which file a line stands.

use std::sync::Arc;

use proplet_types::{Clock, Digest};
use serde_json::Value;

use crate::{chain::Chain, event::Parts, export::Queue, writer::Order};

/// The name of the format, in each file.
pub(crate) const FORMAT: &str = "proplet-audit-1";

/// The chain and the file. Lines go to the thread that writes while this is locked, so they are in the files in the order in
/// which they were made.
pub(crate) struct Core {
    pub(crate) boot: Chain,
    /// The file's place among those of this boot.
    part: u64,
    /// Bytes that were sent for this file.
    bytes: u64,
    max_file_bytes: u64,
    /// Lines since the last one that was sent.
    lost: u64,
    pub(crate) lost_in_all: u64,
    /// Gets a copy of each line, in this order.
    export: Option<Arc<Queue>>,
}

impl Core {
    pub(crate) fn new(name: String, max_file_bytes: u64, export: Option<Arc<Queue>>) -> Self {
        Self {
            boot: Chain::of_boot(name),
            part: 0,
            bytes: 0,
            max_file_bytes,
            lost: 0,
            lost_in_all: 0,
            export,
        }
    }

    pub(crate) fn head(&self) -> Digest {
        // A boot's chain begins when it is made.
        self.boot.head().unwrap_or(Digest::from_bytes([0; 32]))
    }

    /// How many lines were left out of the export.
    pub(crate) fn missed(&self) -> u64 {
        self.export.as_ref().map_or(0, |export| export.missed())
    }

    /// Adds an entry to the boot's chain; gives the chain's name, the entry's number and its hash.
    pub(crate) fn record(
        &mut self,
        parts: &Parts,
        sealed: Option<&Value>,
        clock: &dyn Clock,
        room: bool,
        send: &mut dyn FnMut(Order),
    ) -> (String, u64, Digest) {
        self.turn(clock, room, send);
        let seq = self.boot.len();
        let line = self.boot.extend(parts, sealed, clock.now());
        self.put(line, room, send);
        (self.boot.name().to_owned(), seq, self.head())
    }

    /// Takes the line of a task's chain.
    pub(crate) fn pass(
        &mut self,
        line: String,
        clock: &dyn Clock,
        room: bool,
        send: &mut dyn FnMut(Order),
    ) {
        self.turn(clock, room, send);
        self.put(line, room, send);
    }

    /// Begins another file where this one is full, or where lines are missing before what comes now.
    fn turn(&mut self, clock: &dyn Clock, room: bool, send: &mut dyn FnMut(Order)) {
        if !room || (self.lost == 0 && self.bytes < self.max_file_bytes) {
            return;
        }
        self.part = self.part.saturating_add(1);
        let begins = Parts::new("file")
            .about("format", FORMAT)
            .about("part", self.part)
            .about("lost", self.lost);
        let line = self.boot.extend(&begins, None, clock.now());
        self.lost = 0;
        self.bytes = with_end(&line);
        self.copy(&line);
        send(Order::NewFile(line));
    }

    fn put(&mut self, line: String, room: bool, send: &mut dyn FnMut(Order)) {
        self.copy(&line);
        if !room {
            self.lost = self.lost.saturating_add(1);
            self.lost_in_all = self.lost_in_all.saturating_add(1);
            return;
        }
        self.bytes = self.bytes.saturating_add(with_end(&line));
        send(Order::Line(line));
    }

    /// Has a line exported, also one that finds no room here: the receiver may be better off than the disk.
    fn copy(&self, line: &str) {
        if let Some(export) = &self.export {
            export.put(line);
        }
    }
}

/// What a line takes in a file.
fn with_end(line: &str) -> u64 {
    (line.len() as u64).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use proplet_types::SystemClock;

    use super::*;

    /// A million short lines would be a million bytes over else.
    #[test]
    fn the_ends_of_lines_count() {
        let mut core = Core::new("boot".to_owned(), 1000, None);
        let mut files = vec![0];
        for _ in 0..500 {
            core.pass(
                "x".repeat(9),
                &SystemClock,
                true,
                &mut |order| match order {
                    Order::NewFile(line) => files.push(line.len() + 1),
                    Order::Line(line) => *files.last_mut().unwrap() += line.len() + 1,
                    _ => {}
                },
            );
        }
        assert!(files.len() > 4);
        for bytes in &files[..files.len() - 1] {
            assert!((1000..1010).contains(bytes), "{files:?}");
        }
    }
}
