//! Lines for systemd's journal.
//!
//! The journal reads what a service writes to standard error line by line, and takes `<N>` at a line's beginning for
//! its priority, as syslog numbers them. So `journalctl -p warning` finds warnings. An event of several lines has it
//! before each: a text from elsewhere in an event must not choose the priority of what follows it.

use std::{fmt, os::fd::AsFd};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext,
        format::{FormatEvent, FormatFields, Writer},
    },
    registry::LookupSpan,
};

/// Whether standard error is what the journal reads, and not where somebody led it instead: systemd tells device and
/// inode of the stream.
pub(super) fn reads_standard_error() -> bool {
    std::env::var("JOURNAL_STREAM").is_ok_and(|told| is_stream(&told, std::io::stderr()))
}

fn is_stream(told: &str, file: impl AsFd) -> bool {
    rustix::fs::fstat(file).is_ok_and(|stream| {
        let (device, inode) = (stream.st_dev, stream.st_ino);
        told == format!("{device}:{inode}")
    })
}

/// Another format's events, with the priority before each line.
pub(super) struct Prioritised<F>(pub F);

impl<S, N, F> FormatEvent<S, N> for Prioritised<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        self.0
            .format_event(context, Writer::new(&mut text), event)?;
        let priority = priority(*event.metadata().level());
        for line in text.lines() {
            writeln!(writer, "<{priority}>{line}")?;
        }
        Ok(())
    }
}

/// syslog's number.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn only_the_very_stream_is_the_journals() {
        let file = tempfile::tempfile().unwrap();
        let there = file.metadata().unwrap();
        let (device, inode) = (there.dev(), there.ino());
        assert!(is_stream(&format!("{device}:{inode}"), &file));
        for told in [
            format!("{device}:{}", inode + 1),
            format!("{}:{inode}", device + 1),
            format!("{device}:{inode}:0"),
            inode.to_string(),
            String::new(),
        ] {
            assert!(!is_stream(&told, &file), "{told}");
        }
        let other = tempfile::tempfile().unwrap();
        assert!(!is_stream(&format!("{device}:{inode}"), &other));
    }
}
