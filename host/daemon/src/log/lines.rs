//! Lines on their way to whoever reads them.
//!
//! A pipe that nobody empties holds up who writes to it. The threads that obey messages log too, so a collector that is
//! slow, or stopped, would stop the proplet with it: heartbeats, acknowledgements and other owners' tasks. So a thread of
//! its own writes, and what waits for it is bounded. Lines that find no room are left out, and a line says how many.

use std::{
    io::{self, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;

/// So many lines may wait to be written.
const WAITING_LINES: usize = 16 * 1024;

/// Writes lines, from any thread, without waiting for their reader.
#[derive(Clone)]
pub(super) struct Lines {
    lines: NonBlocking,
    counter: ErrorCounter,
    /// What the counter said when it was last looked at.
    seen: Arc<AtomicUsize>,
    /// Lines that were left out, and not spoken of.
    unsaid: Arc<Mutex<usize>>,
    notice: fn(usize) -> String,
}

impl Lines {
    /// Writes to `writer` for as long as the guard lives, which waits for what is left at its end. `notice` is the line
    /// that says how many were left out.
    pub(super) fn new<W>(writer: W, notice: fn(usize) -> String) -> (Self, WorkerGuard)
    where
        W: Write + Send + 'static,
    {
        Self::bounded(writer, notice, WAITING_LINES)
    }

    fn bounded<W>(writer: W, notice: fn(usize) -> String, most: usize) -> (Self, WorkerGuard)
    where
        W: Write + Send + 'static,
    {
        let (lines, guard) = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(most)
            .thread_name("log")
            .finish(writer);
        let lines = Self {
            counter: lines.error_counter(),
            lines,
            seen: Arc::default(),
            unsaid: Arc::default(),
            notice,
        };
        (lines, guard)
    }

    /// Says how many lines were left out, if any were and there is room again.
    fn speak_of_gaps(&mut self) -> io::Result<()> {
        let counted = self.counter.dropped_lines();
        if counted == self.seen.load(Ordering::Relaxed) {
            return Ok(());
        }
        let unsaid = Arc::clone(&self.unsaid);
        let mut unsaid = unsaid.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = self.counter.dropped_lines();
        let seen = self.seen.swap(counted, Ordering::Relaxed);
        *unsaid = unsaid.saturating_add(counted.saturating_sub(seen));
        if *unsaid == 0 {
            return Ok(());
        }
        self.lines.write_all((self.notice)(*unsaid).as_bytes())?;
        if self.counter.dropped_lines() == counted {
            *unsaid = 0;
        } else {
            // The notice found no room either, and is not one of the lines that are missed.
            self.seen.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.speak_of_gaps()?;
        self.lines.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lines.flush()
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};

    use super::*;

    /// A reader who takes a line when he is told to.
    struct Slow {
        took: Sender<String>,
        may: Receiver<()>,
    }

    impl Write for Slow {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            // Whoever ends the test lets everything through.
            let _ = self.may.recv();
            let _ = self.took.send(String::from_utf8(line.to_vec()).unwrap());
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn notice(lines: usize) -> String {
        format!("{lines} were left out\n")
    }

    #[test]
    fn a_reader_who_stands_still_holds_nobody_up() {
        let ((took, taken), (go, may)) = (mpsc::channel(), mpsc::channel());
        let (mut lines, guard) = Lines::bounded(Slow { took, may }, notice, 4);
        // The writing thread has one at most, the queue four; the rest would wait for ever.
        for number in 0..100 {
            lines.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        let mut passed = Vec::new();
        while passed.len() < 4 {
            go.send(()).unwrap();
            passed.push(taken.recv().unwrap());
        }
        assert_eq!(passed, ["0\n", "1\n", "2\n", "3\n"]);
        drop(go);
        let mut written = 100;
        while !passed.iter().any(|line| line.contains("left out")) {
            lines.write_all(b"later\n").unwrap();
            written += 1;
            passed.extend(taken.try_iter());
            std::thread::yield_now();
        }
        drop(guard);
        passed.extend(taken.try_iter());
        // Each line is there, or among those that are spoken of; some may have been left out after the last such line.
        let left_out =
            |line: &String| Some(line.strip_suffix(" were left out\n")?.parse().unwrap());
        let numbers: Vec<usize> = passed.iter().filter_map(left_out).collect();
        let there = passed.len() - numbers.len();
        let unsaid = *lines.unsaid.lock().unwrap() + lines.counter.dropped_lines()
            - lines.seen.load(Ordering::Relaxed);
        assert_eq!(
            there + numbers.iter().sum::<usize>() + unsaid,
            written,
            "{passed:?}"
        );
    }

    #[test]
    fn everything_is_written_before_the_end() {
        let (took, taken) = mpsc::channel();
        let (go, may) = mpsc::channel();
        drop(go);
        let (mut lines, guard) = Lines::new(Slow { took, may }, notice);
        for number in 0..1000 {
            lines.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        drop(guard);
        let numbers: Vec<_> = taken.try_iter().collect();
        assert_eq!(numbers.len(), 1000);
        assert_eq!(numbers[999], "999\n");
    }
}
