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
//! Where systemd's journal reads the lines, each has its priority before it (`journal`). A thread of its own writes them,
//! so that nothing waits for whoever reads (`lines`).

mod journal;
mod lines;

use std::io::IsTerminal as _;

use thiserror::Error;
use tracing::{Level, Metadata, Subscriber};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt as _, FilterFn, LevelFilter},
    fmt::{self, MakeWriter, format::Writer, time::FormatTime as _},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use self::lines::Lines;

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

/// The log of this process. Lines are written while it lives, and at its end those that wait, for a second at most.
#[derive(Debug)]
#[must_use = "lines are written while it lives"]
pub struct Log {
    _writing: WorkerGuard,
}

/// Starts the log of this process, on standard error, unless one was started before.
///
/// `filter` is in the syntax of `tracing-subscriber`'s `EnvFilter`, for instance `info,proplet=debug`. Up to 16384 lines
/// wait for a reader who is slow; more are left out, and a line says how many.
///
/// # Errors
/// [`InvalidFilter`].
pub fn start(filter: &str, format: Format) -> Result<Log, InvalidFilter> {
    let reader = Reader::of_standard_error();
    let (lines, writing) = Lines::new(std::io::stderr(), notice(format, reader));
    // Whoever started a log before wanted that one.
    let _ = subscriber(filter, format, reader, lines)?.try_init();
    Ok(Log { _writing: writing })
}

/// The line that says how many are missing, which looks like the others.
fn notice(format: Format, reader: Reader) -> fn(usize) -> String {
    match (format, reader) {
        (Format::Text, Reader::Journal) => |lines| format!("<4> WARN {LOG}: {}\n", missing(lines)),
        (Format::Text, _) => |lines| format!("{}  WARN {LOG}: {}\n", now(), missing(lines)),
        (Format::Json, Reader::Journal) => |lines| format!("<4>{}\n", as_json(None, lines)),
        (Format::Json, _) => |lines| format!("{}\n", as_json(Some(now()), lines)),
    }
}

const LOG: &str = module_path!();

fn missing(lines: usize) -> String {
    format!("{lines} lines of the log were left out, because whoever reads it was slow")
}

fn now() -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = fmt::time::SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

fn as_json(timestamp: Option<String>, lines: usize) -> serde_json::Value {
    let mut line = serde_json::json!({
        "level": "WARN",
        "fields": {"message": missing(lines)},
        "target": LOG,
    });
    if let (Some(line), Some(timestamp)) = (line.as_object_mut(), timestamp) {
        line.insert("timestamp".to_owned(), timestamp.into());
    }
    line
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
    let invalid = |why| InvalidFilter {
        filter: filter.to_owned(),
        why,
    };
    let asked = EnvFilter::try_new(filter).map_err(|error| invalid(error.to_string()))?;
    if let Some(word) = filter.split(',').find(|word| is_no_level(word.trim())) {
        return Err(invalid(format!("there is no level {:?}", word.trim())));
    }
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

/// Whether a part of a filter was meant as a level, and is none, as in `warning`. It would be taken for the name of a
/// crate, and with nothing else in the filter the log would stay empty, errors included.
fn is_no_level(part: &str) -> bool {
    let is_word = !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_word && !is_ours(part) && part.parse::<LevelFilter>().is_err()
}

fn is_ours(root: &str) -> bool {
    root == "proplet" || root.starts_with("proplet_")
}

/// Whether an event or span may be shown at all: those of this project's crates, and warnings and errors
/// of others.
fn is_allowed(metadata: &Metadata<'_>) -> bool {
    let root = metadata.target().split("::").next().unwrap_or_default();
    is_ours(root) || *metadata.level() <= Level::WARN
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
    fn a_word_that_is_no_level_is_refused_and_no_silence() {
        for filter in ["warning", "verbose", "proplet=debug,fatal", "4x"] {
            let refused = subscriber(filter, Format::Text, Reader::Other, io::stderr).err();
            let words = refused.unwrap_or_else(|| panic!("{filter}")).to_string();
            assert!(words.contains("there is no level"), "{words}");
        }
        for filter in [
            "",
            "INFO",
            "off",
            "5",
            "proplet",
            "proplet_kbs",
            "hyper=off,Warn",
            "[call]=trace,trace",
        ] {
            let taken = subscriber(filter, Format::Text, Reader::Other, io::stderr);
            assert!(taken.is_ok(), "{filter}");
        }
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

    #[test]
    fn the_line_about_missing_ones_looks_like_the_others() {
        let of = |format, reader| super::notice(format, reader)(7);
        let message = "7 lines of the log were left out, because whoever reads it was slow";
        assert_eq!(
            of(Format::Text, Reader::Journal),
            format!("<4> WARN proplet_daemon::log: {message}\n")
        );
        let text = of(Format::Text, Reader::Other);
        assert!(
            text.ends_with(&format!("Z  WARN proplet_daemon::log: {message}\n")),
            "{text}"
        );
        for (reader, prefix) in [(Reader::Journal, "<4>"), (Reader::Other, "")] {
            let text = of(Format::Json, reader);
            let json: serde_json::Value =
                serde_json::from_str(text.strip_prefix(prefix).unwrap()).unwrap();
            assert_eq!(json["fields"]["message"], message);
            assert_eq!(json.get("timestamp").is_some(), reader == Reader::Other);
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
