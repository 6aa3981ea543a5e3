//! `proplet open`: verification first, then the content.
//!
//! Anybody can seal something to a public key, so a result that does not verify is not opened, and there
//! is no option to do it anyway.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proplet_jose::{jwk::PrivateKey, keyfile};
use proplet_results::{
    OpenError, Opened, ResultDocument,
    failure::{self, Failure},
};
use proplet_types::{
    Code,
    text::{is_printable, line},
};
use serde_json::json;

use super::{
    arguments::Open,
    blocking::blocking,
    console::Console,
    context::Context,
    document::Document,
    error::CliError,
    files,
    relying::{self, Required},
    report, verify,
};

/// The content goes to standard output or to a new file, the report to standard error.
pub(super) async fn run(
    arguments: Open,
    context: &Context,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let required = Required::parse(&arguments.expectations.require)?;
    let values = relying::reference_values(&arguments.trust)?;
    let trust = relying::trust(&arguments.trust, values.as_ref())?;
    let expectations =
        relying::expectations(&arguments.expectations, &arguments.trust, values.as_ref())?;
    let key = read_key(&arguments.key)?;
    let document = match Document::read(&arguments.document, console.stdin)? {
        Document::Result(document) => document,
        Document::Evidence(_) => {
            return Err(CliError::input(
                "document",
                &arguments.document,
                "it is evidence without a result: use `proplet verify`",
            ));
        }
    };
    let now = relying::moment(&arguments.trust, context);
    let mut opened = blocking(move || {
        proplet_results::open(&document, &key, &trust, &expectations, now)
            .map_err(|error| not_opened(error, &document, &key))
    })
    .await?;
    relying::note_moment(&arguments.trust, &mut opened.report);
    if !console.json {
        let report = report::to_text(&opened.report);
        console.note(report.trim_end());
    }
    required.enforce(&opened.report)?;
    if opened.media_type == failure::MEDIA_TYPE {
        let failure = Failure::from_json(&opened.content)
            .map_err(|error| CliError::new(Code::NotOpened, error.to_string()))?;
        return show_failure(&failure, &opened, console);
    }
    match &arguments.out {
        Some(path) => to_file(path, &opened, console),
        None => to_stdout(&opened, console),
    }
}

/// A private key, in any form that is recognised.
fn read_key(path: &Path) -> Result<PrivateKey, CliError> {
    let file = files::read("key", path, files::MAX_KEY_BYTES)?;
    keyfile::private_key(&file).map_err(|error| CliError::input("key", path, error))
}

fn not_opened(error: OpenError, document: &ResultDocument, key: &PrivateKey) -> CliError {
    match error {
        OpenError::Verify(error) => verify::failed(&error)
            .and("it is not opened, because anybody can seal something to a public key"),
        OpenError::Decrypt(error) => {
            let readers: Vec<&str> = document.jwe.recipients().into_iter().flatten().collect();
            CliError::new(
                Code::NotOpened,
                format!(
                    "the result cannot be opened: {error}; it is sealed to {}, and this key is {}",
                    readers.join(" and "),
                    key.public().thumbprint()
                ),
            )
        }
        error => CliError::new(Code::NotOpened, error.to_string()),
    }
}

/// The run failed, which the component's owner may know all about.
fn show_failure(
    failure: &Failure,
    opened: &Opened,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    if console.json {
        console.value(&json!({
            "failure": {"error": failure.error, "stderr": failure.stderr},
            "report": report::to_json(&opened.report),
        }))?;
    } else if !failure.stderr.is_empty() {
        console.note("standard error of the component:");
        // Set off, so that none of its lines passes for one of the report.
        for line in failure.stderr.trim_end().lines() {
            console.note(&format!("  {line}"));
        }
    }
    let error = line(&failure.error);
    Err(CliError::new(
        Code::ComponentFailed,
        format!("the component failed: {error}"),
    ))
}

fn to_file(path: &Path, opened: &Opened, console: &mut Console<'_>) -> Result<(), CliError> {
    files::write_secret(path, &opened.content)?;
    let bytes = opened.content.len();
    if console.json {
        console.value(&json!({
            "media_type": opened.media_type,
            "bytes": bytes,
            "out": path,
            "report": report::to_json(&opened.report),
        }))?;
    } else {
        let media_type = line(&opened.media_type);
        console.note(&format!(
            "{}: {bytes} bytes of {media_type}",
            path.display()
        ));
    }
    Ok(())
}

fn to_stdout(opened: &Opened, console: &mut Console<'_>) -> Result<(), CliError> {
    let text = text(opened);
    if console.json {
        let (name, content) = match text {
            Some(text) => ("text", text.to_owned()),
            None => ("base64", STANDARD.encode(&*opened.content)),
        };
        console.value(&json!({
            "media_type": opened.media_type,
            name: content,
            "report": report::to_json(&opened.report),
        }))?;
        return Ok(());
    }
    if !console.stdout_is_terminal {
        // A pipe gets the bytes that the component gave, and not one more.
        console.bytes(&opened.content)?;
        return Ok(());
    }
    match text.filter(|text| is_printable(text)) {
        Some(text) => Ok(console.text(text)?),
        None => Err(CliError::new(
            Code::Binary,
            format!(
                "the result is {} bytes of {}, which do not go to a terminal: use --out FILE, or a \
                 pipe",
                opened.content.len(),
                line(&opened.media_type)
            ),
        )),
    }
}

/// The content, when its media type says that it is text and it is.
fn text(opened: &Opened) -> Option<&str> {
    let essence = opened
        .media_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    let essence = essence.to_ascii_lowercase();
    let is_text =
        essence.starts_with("text/") || essence == "application/json" || essence.ends_with("+json");
    is_text
        .then(|| std::str::from_utf8(&opened.content).ok())
        .flatten()
}
