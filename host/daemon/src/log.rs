//! The log of a program, on standard error.
//!
//! Nobody measured the filter: `PROPLET_LOG_LEVEL` comes from whoever starts the process. So it may say
//! how much of *our* events is shown, since this project's crates log ids, references, digests and codes
//! and never content. Other crates do otherwise when asked for detail: `wasmtime_wasi` logs arguments and
//! results of host calls, so the random numbers that a guest makes its keys from; HTTP and TLS libraries
//! log addresses with signatures in them, and headers; MQTT and registry clients log packets and answers.
//! What they say at `warn` and above was read and has no content in it, so that is what passes, whatever
//! the filter says (`is_allowed`).
//!
//! Where systemd's journal reads the lines, each has its priority before it (`journal`).

mod journal;

use std::io::IsTerminal as _;

use thiserror::Error;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt as _, FilterFn},
    fmt::{self, MakeWriter},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// The filter cannot be read.
#[derive(Debug, Error)]
#[error("log level {filter:?}: {why}; write error, warn, info, debug or trace")]
pub struct InvalidFilter {
    filter: String,
    why: String,
}

/// What the lines look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Text, with colours where a person looks at it.
    Text,
    /// One JSON object per line.
    Json,
}

/// Who reads the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// A person at a terminal, who sees colours.
    Terminal,
    /// systemd's journal, which takes each line's priority from its beginning and puts the time itself.
    Journal,
    /// A file or a pipe.
    Other,
}

impl Reader {
    fn of_standard_error() -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if journal::reads_standard_error() {
            Self::Journal
        } else if std::io::stderr().is_terminal() && !no_color {
            Self::Terminal
        } else {
            Self::Other
        }
    }
}

/// Starts the log of this process, on standard error, unless one was started before.
///
/// `filter` is in the syntax of `tracing-subscriber`'s `EnvFilter`, for instance `info,proplet=debug`.
///
/// # Errors
/// [`InvalidFilter`].
pub fn start(filter: &str, format: Format) -> Result<(), InvalidFilter> {
    // Whoever started a log before wanted that one.
    let reader = Reader::of_standard_error();
    let _ = subscriber(filter, format, reader, std::io::stderr)?.try_init();
    Ok(())
}

/// The log, on any writer.
///
/// # Errors
/// [`InvalidFilter`].
pub fn subscriber<W>(
    filter: &str,
    format: Format,
    reader: Reader,
    writer: W,
) -> Result<impl Subscriber + Send + Sync + 'static, InvalidFilter>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let asked = EnvFilter::try_new(filter).map_err(|error| InvalidFilter {
        filter: filter.to_owned(),
        why: error.to_string(),
    })?;
    let lines = fmt::layer()
        .with_ansi(reader == Reader::Terminal)
        .with_writer(writer);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match (format, reader) {
        (Format::Text, Reader::Journal) => lines
            .without_time()
            .map_event_format(journal::Prioritised)
            .boxed(),
        (Format::Json, Reader::Journal) => {
            lines.json().map_event_format(journal::Prioritised).boxed()
        }
        (Format::Text, _) => lines.boxed(),
        (Format::Json, _) => lines.json().boxed(),
    };
    let shown = asked.and(FilterFn::new(is_allowed));
    Ok(tracing_subscriber::registry().with(lines.with_filter(shown)))
}

/// Whether an event or span may be shown at all: those of this project's crates, and warnings and errors
/// of others.
fn is_allowed(metadata: &Metadata<'_>) -> bool {
    let root = metadata.target().split("::").next().unwrap_or_default();
    let is_ours = root == "proplet" || root.starts_with("proplet_");
    is_ours || *metadata.level() <= Level::WARN
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log(filter: &str, format: Format, reader: Reader, events: fn()) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = subscriber(filter, format, reader, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, events);
        let bytes = captured.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn events() {
        tracing::trace!(target: "wasmtime_wasi::p2::host", "secret-number");
        tracing::debug!(target: "hyper::proto", "secret-number");
        tracing::info!(target: "propletlike", "secret-number");
        let span = tracing::info_span!(target: "wasmtime_wasi", "call", argument = "secret-number");
        let _entered = span.enter();
        tracing::warn!(target: "rumqttc::state", "of a library");
        tracing::trace!(target: "proplet_kbs::http", "of ours");
        tracing::trace!(target: "proplet", "of ours as well");
    }

    #[test]
    fn no_filter_shows_the_detail_of_other_crates() {
        for filter in [
            "trace",
            "wasmtime_wasi=trace,hyper=trace,propletlike=trace,rumqttc=trace,proplet=trace",
            "wasmtime_wasi::p2::host=trace,trace",
            "[call{argument}]=trace,trace",
            "[call]=trace,trace",
        ] {
            for (format, reader) in [
                (Format::Text, Reader::Other),
                (Format::Text, Reader::Journal),
                (Format::Json, Reader::Other),
                (Format::Json, Reader::Journal),
            ] {
                let lines = log(filter, format, reader, events);
                assert!(!lines.contains("secret-number"), "{filter}: {lines}");
                assert!(lines.contains("of a library"), "{filter}: {lines}");
                assert!(lines.contains("of ours as well"), "{filter}: {lines}");
            }
        }
    }

    #[test]
    fn the_filter_still_decides_about_the_rest() {
        assert_eq!(log("error", Format::Text, Reader::Other, events), "");
        let lines = log(
            "warn,proplet_kbs=trace",
            Format::Text,
            Reader::Other,
            events,
        );
        assert_eq!(lines.lines().count(), 2, "{lines}");
        assert!(subscriber("=x=", Format::Text, Reader::Other, io::stderr).is_err());
    }

    #[test]
    fn colours_are_where_they_are_asked_for() {
        assert!(log("info", Format::Text, Reader::Terminal, events).contains('\x1b'));
        for format in [Format::Text, Format::Json] {
            for reader in [Reader::Journal, Reader::Other] {
                assert!(!log("info", format, reader, events).contains('\x1b'));
            }
        }
    }

    fn two_lines() {
        tracing::error!(target: "proplet", code = 7, "first\n<0>second");
        tracing::info!(target: "proplet", "third");
    }

    #[test]
    fn each_line_of_the_journal_has_the_priority_of_its_event() {
        let lines = log("info", Format::Text, Reader::Journal, two_lines);
        assert_eq!(
            lines,
            "<3>ERROR proplet: first\n<3><0>second code=7\n<6> INFO proplet: third\n"
        );
        let lines = log("info", Format::Json, Reader::Journal, two_lines);
        for (line, priority) in lines.lines().zip(["<3>", "<6>"]) {
            let rest = line.strip_prefix(priority).unwrap();
            serde_json::from_str::<serde_json::Value>(rest).unwrap();
        }
        assert_eq!(lines.lines().count(), 2, "{lines}");
    }
}
