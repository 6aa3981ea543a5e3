//! The log of a program, on standard error.
//!
//! Nobody measured the filter: `PROPLET_LOG_LEVEL` comes from whoever starts the process. So it may say
//! how much of *our* events is shown, since this project's crates log ids, references, digests and codes
//! and never content. Other crates do otherwise when asked for detail: `wasmtime_wasi` logs arguments and
//! results of host calls, so the random numbers that a guest makes its keys from; HTTP and TLS libraries
//! log addresses with signatures in them, and headers; MQTT and registry clients log packets and answers.
//! What they say at `warn` and above was read and has no content in it, so that is what passes, whatever
//! the filter says (`is_allowed`).

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

/// Starts the log of this process, on standard error, unless one was started before.
///
/// `filter` is in the syntax of `tracing-subscriber`'s `EnvFilter`, for instance `info,proplet=debug`.
///
/// # Errors
/// [`InvalidFilter`].
pub fn start(filter: &str, format: Format) -> Result<(), InvalidFilter> {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colours = std::io::stderr().is_terminal() && !no_color;
    // Whoever started a log before wanted that one.
    let _ = subscriber(filter, format, colours, std::io::stderr)?.try_init();
    Ok(())
}

/// The log, on any writer.
///
/// # Errors
/// [`InvalidFilter`].
pub fn subscriber<W>(
    filter: &str,
    format: Format,
    colours: bool,
    writer: W,
) -> Result<impl Subscriber + Send + Sync + 'static, InvalidFilter>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let asked = EnvFilter::try_new(filter).map_err(|error| InvalidFilter {
        filter: filter.to_owned(),
        why: error.to_string(),
    })?;
    let lines = fmt::layer().with_ansi(colours).with_writer(writer);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().boxed(),
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

    fn log(filter: &str, format: Format, colours: bool, events: fn()) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = subscriber(filter, format, colours, move || writer.clone()).unwrap();
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
            for format in [Format::Text, Format::Json] {
                let lines = log(filter, format, false, events);
                assert!(!lines.contains("secret-number"), "{filter}: {lines}");
                assert!(lines.contains("of a library"), "{filter}: {lines}");
                assert!(lines.contains("of ours as well"), "{filter}: {lines}");
            }
        }
    }

    #[test]
    fn the_filter_still_decides_about_the_rest() {
        assert_eq!(log("error", Format::Text, false, events), "");
        let lines = log("warn,proplet_kbs=trace", Format::Text, false, events);
        assert_eq!(lines.lines().count(), 2, "{lines}");
        assert!(subscriber("=x=", Format::Text, false, io::stderr).is_err());
    }

    #[test]
    fn colours_are_where_they_are_asked_for() {
        assert!(log("info", Format::Text, true, events).contains('\x1b'));
        for format in [Format::Text, Format::Json] {
            assert!(!log("info", format, false, events).contains('\x1b'));
        }
    }
}
