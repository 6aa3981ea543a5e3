//! Lines for systemd's journal.
//!
//! The journal reads what a service writes to standard error line by line, and takes `<N>` at a line's beginning for
//! its priority, as syslog numbers them. So `journalctl -p warning` finds warnings. An event of several lines has it
//! before each: a text from elsewhere in an event must not choose the priority of what follows it.

use std::fmt;

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
    let told = std::env::var("JOURNAL_STREAM");
    let stream = rustix::fs::fstat(std::io::stderr());
    match (told, stream) {
        (Ok(told), Ok(stream)) => told == format!("{}:{}", stream.st_dev, stream.st_ino),
        _ => false,
    }
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
