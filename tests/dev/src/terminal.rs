//! What the demo shows: numbered steps with timings, for people by default and one JSON object a line
//! with `--json`.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

/// Prints the steps of one run to standard output.
///
/// Write errors are ignored: a closed pipe must not turn a finished demo into a failed one.
pub struct Reporter {
    json: bool,
    total: usize,
    begun: usize,
    started: Instant,
}

impl Reporter {
    /// A reporter for a run of `total` steps; `json` chooses machine-readable lines.
    pub fn new(json: bool, total: usize) -> Self {
        Self {
            json,
            total,
            begun: 0,
            started: Instant::now(),
        }
    }

    /// Begins the next step. Long steps at a terminal get a spinner until [`Step::done`].
    pub fn step(&mut self, title: &str) -> Step {
        self.begun += 1;
        let spinner = (!self.json && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("      {spinner} {msg} ({elapsed})") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        let step = Step {
            json: self.json,
            number: self.begun,
            title: title.to_owned(),
            started: Instant::now(),
            spinner,
            details: Vec::new(),
            facts: Map::new(),
        };
        if !self.json {
            step.line(&format!("[{}/{}] {title}", self.begun, self.total));
        }
        step
    }

    /// The closing line of the run.
    pub fn finish(&self, ok: bool, text: &str) {
        let elapsed = self.started.elapsed();
        if self.json {
            print_line(&json!({"ok": ok, "message": text, "ms": millis(elapsed)}).to_string());
        } else {
            print_line("");
            print_line(&format!("{text} ({:.1} s in all)", elapsed.as_secs_f64()));
        }
    }
}

/// One step under way.
pub struct Step {
    json: bool,
    number: usize,
    title: String,
    started: Instant,
    spinner: Option<ProgressBar>,
    details: Vec<String>,
    facts: Map<String, Value>,
}

impl Step {
    /// Says what is going on right now; replaced by the next call, and not part of the record.
    pub fn progress(&self, text: &str) {
        if let Some(spinner) = &self.spinner {
            spinner.set_message(text.to_owned());
        }
    }

    /// A line, or several, that stay.
    pub fn detail(&mut self, text: impl AsRef<str>) {
        for line in text.as_ref().lines() {
            if self.json {
                self.details.push(line.to_owned());
            } else {
                self.line(&format!("      {line}"));
            }
        }
    }

    /// A named value: one line for people, a member of the step's object in JSON.
    pub fn fact(&mut self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        if self.json {
            self.facts.insert(name.replace(' ', "_"), value);
        } else {
            let text = match &value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            self.line(&format!("      {name}: {text}"));
        }
    }

    /// Ends the step and prints how long it took.
    pub fn done(self) {
        let elapsed = self.started.elapsed();
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
        if self.json {
            print_line(
                &json!({
                    "step": self.number,
                    "title": self.title,
                    "details": self.details,
                    "facts": self.facts,
                    "ms": millis(elapsed),
                })
                .to_string(),
            );
        } else {
            print_line(&format!("      done in {}", human(elapsed)));
        }
    }

    fn line(&self, text: &str) {
        match &self.spinner {
            Some(spinner) => spinner.suspend(|| print_line(text)),
            None => print_line(text),
        }
    }
}

/// Says on standard error what went wrong, with its causes.
pub fn complain(error: &dyn std::error::Error) {
    let mut text = format!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        // Many errors repeat their cause in their own words.
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// A line on standard output. A closed pipe is nobody's error.
pub fn print_line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

fn human(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_readable() {
        assert_eq!(human(Duration::from_micros(1500)), "1.5 ms");
        assert_eq!(human(Duration::from_millis(2500)), "2.5 s");
        assert_eq!(millis(Duration::from_micros(1500)), 1.5);
    }
}
