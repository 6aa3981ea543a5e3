//! What a run shows: the result on standard output, everything else on standard error.

use std::error::Error;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use base64::Engine as _;
use proplet_executor::TaskOutcome;
use proplet_results::Opened;
use proplet_types::text::{escaped_json, printable};
use serde_json::{Map, Value, json};

use super::arguments::Arguments;

/// Says that nothing here is confidential.
pub fn fake(attester: &str) {
    note(&format!(
        "{attester} is a fake TEE: nothing that runs here is confidential"
    ));
}

/// A line for the author.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "note: {text}");
}

/// Shows what came of the task. The exit code says whether it ended well.
pub fn outcome(
    outcome: &TaskOutcome,
    opened: Option<&Opened>,
    arguments: &Arguments,
) -> Result<ExitCode, Box<dyn Error>> {
    let failure = opened.and_then(Opened::failure);
    let result = opened.filter(|_| failure.is_none());
    if let (Some(opened), Some(path)) = (result, &arguments.out) {
        std::fs::write(path, &*opened.content)
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    if arguments.json {
        print(&escaped_json(&format!("{:#}", as_json(outcome, opened))))?;
    } else {
        if let Some(opened) = opened {
            let report = printable(&opened.report.to_string());
            let _ = writeln!(std::io::stderr().lock(), "{report}");
        }
        if let Some(failure) = &failure
            && !failure.stderr.is_empty()
        {
            note("standard error of the component:");
            let _ = writeln!(std::io::stderr().lock(), "{}", printable(&failure.stderr));
        }
        if let Some(opened) = result
            && arguments.out.is_none()
        {
            show_content(opened)?;
        }
        if let Some(error) = &outcome.error {
            let mut error = error.to_string();
            if let Some(failure) = &failure {
                error = format!("{error}: {}", printable(&failure.error));
            }
            let _ = writeln!(std::io::stderr().lock(), "error: {error}");
        }
    }
    Ok(match &outcome.error {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::from(1),
    })
}

/// A pipe gets the component's bytes and not one more; a terminal gets text only.
fn show_content(opened: &Opened) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    if !stdout.is_terminal() {
        stdout.write_all(&opened.content)?;
        return stdout.flush();
    }
    match std::str::from_utf8(&opened.content) {
        Ok(text) => writeln!(stdout, "{}", printable(text)),
        Err(_) => {
            note(&format!(
                "the result is {} bytes of {}: give --out FILE, or a pipe",
                opened.content.len(),
                printable(&opened.media_type)
            ));
            Ok(())
        }
    }
}

fn as_json(outcome: &TaskOutcome, opened: Option<&Opened>) -> Value {
    let error = outcome
        .error
        .as_ref()
        .map(|error| json!({"code": error.code(), "message": error.full_words()}));
    let mut value = Map::from_iter([("error".to_owned(), json!(error))]);
    if let Some(usage) = outcome.usage {
        value.insert(
            "usage".to_owned(),
            json!({
                "memory_peak_bytes": usage.memory_peak_bytes,
                "cpu_ms": usage.cpu_ms,
                "wall_ms": usage.wall_ms,
                "output_bytes": usage.output_bytes,
            }),
        );
    }
    let Some(opened) = opened else {
        return Value::Object(value);
    };
    value.insert("report".to_owned(), json!(opened.report.to_string()));
    if let Some(failure) = opened.failure() {
        value.insert(
            "failure".to_owned(),
            json!({"error": failure.error, "stderr": failure.stderr}),
        );
        return Value::Object(value);
    }
    value.insert("media_type".to_owned(), json!(opened.media_type));
    match std::str::from_utf8(&opened.content) {
        Ok(text) => value.insert("text".to_owned(), json!(text)),
        Err(_) => {
            let engine = base64::engine::general_purpose::STANDARD;
            value.insert("base64".to_owned(), json!(engine.encode(&*opened.content)))
        }
    };
    Value::Object(value)
}

fn print(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()
}
