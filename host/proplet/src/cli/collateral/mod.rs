//! `proplet collateral fetch`: what TDX evidence is verified with, from a PCCS or from Intel, into files.
//!
//! Everything fetched is signed by Intel, and `proplet verify` checks that whenever it uses the files. So the
//! service need not be trusted: the worst that it can do is to give none, or old ones, whose dates show.

mod service;

use std::{
    fs, io,
    path::Path,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proplet_hal::tdx::{self, Collateral, Quote};
use proplet_types::{Code, text::line};
use serde_json::{Value, json};

use self::service::{Fetched, Service};
use super::{
    arguments::{CollateralFetch, FetchedPlatform, Fmspc},
    blocking::blocking,
    console::Console,
    context::Context,
    document::Document,
    error::CliError,
    files,
};

/// Fetches, looks whether it is what was asked for, and writes.
pub(super) async fn fetch(
    arguments: CollateralFetch,
    context: &Context,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let platforms = platforms(&arguments.platform)?;
    let service = Service::new(&arguments)?;
    let deadline = Duration::from_secs(arguments.timeout);
    console.status("Fetching...");
    let fetching = service.fetch(&platforms, context.clock.now());
    let fetched = tokio::time::timeout(deadline, fetching)
        .await
        .map_err(|_| {
            let trouble = service.last_trouble();
            let last = trouble.map_or_else(String::new, |words| format!("; last of all, {words}"));
            let words = format!(
                "{} took longer than --timeout allows, {} s{last}",
                service.name(),
                arguments.timeout
            );
            CliError::new(Code::CollateralUnavailable, words)
        })??;
    let collateral = looked_at(&fetched, &platforms, &service)?;
    let folder = arguments.out.clone();
    let written = blocking(move || write(&folder, fetched)).await?;
    show(
        &arguments.out,
        &written,
        &collateral,
        context.clock.now(),
        console,
    )
}

/// The kinds of platforms that are asked for.
fn platforms(arguments: &FetchedPlatform) -> Result<Vec<Fmspc>, CliError> {
    let Some(path) = &arguments.quote else {
        return Ok(arguments.fmspc.clone());
    };
    let bad = |error: &dyn std::fmt::Display| CliError::input("quote", path, error);
    let bytes = files::read("quote", path, files::MAX_DOCUMENT_BYTES)?;
    let quote = if bytes.first().is_some_and(|byte| *byte == b'{') {
        let document = Document::read(path, &mut io::empty())?;
        let bundle = match &document {
            Document::Result(result) => &result.evidence,
            Document::Evidence(bundle) => bundle,
        };
        let evidence = bundle.to_evidence().evidence;
        let text = evidence.get("quote").and_then(Value::as_str);
        let text = text.ok_or_else(|| bad(&"its evidence holds no TDX quote"))?;
        STANDARD.decode(text).map_err(|error| bad(&error))?
    } else {
        bytes.to_vec()
    };
    let quote = Quote::parse(&quote).map_err(|error| bad(&error))?;
    let fmspc = quote.fmspc().map_err(|error| bad(&error))?;
    Ok(vec![Fmspc(fmspc)])
}

/// Refuses what is no collateral, or not of these platforms, before anything is written.
fn looked_at(
    fetched: &[Fetched],
    platforms: &[Fmspc],
    service: &Service,
) -> Result<Collateral, CliError> {
    let invalid = |words: String| CliError::new(Code::CollateralInvalid, words);
    let name = service.name();
    let parts = fetched
        .iter()
        .map(|file| (file.name.as_str(), file.bytes.as_slice()));
    let collateral = Collateral::from_files(parts)
        .map_err(|error| invalid(format!("{name} gave no collateral: {error}")))?;
    for Fmspc(fmspc) in platforms {
        if !collateral.covers(fmspc) {
            let fmspc = hex::encode(fmspc);
            return Err(invalid(format!(
                "{name} gave TCB info of another kind of platform than FMSPC {fmspc}"
            )));
        }
    }
    Ok(collateral)
}

/// Each file appears whole or not at all, in place of one that was there.
fn write(folder: &Path, fetched: Vec<Fetched>) -> Result<Vec<String>, CliError> {
    let bad = |error: &io::Error| CliError::output(folder, error);
    fs::create_dir_all(folder).map_err(|error| bad(&error))?;
    let mut written = Vec::new();
    for file in fetched {
        let temporary = folder.join(format!(".{}.new", file.name));
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(bad(&error)),
            _ => {}
        }
        files::write_public(&temporary, &file.bytes)?;
        let path = folder.join(&file.name);
        fs::rename(&temporary, &path).map_err(|error| CliError::output(&path, &error))?;
        written.push(file.name);
    }
    Ok(written)
}

fn show(
    folder: &Path,
    written: &[String],
    collateral: &Collateral,
    now: SystemTime,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let parts = collateral.parts();
    if console.json {
        let shown: Vec<Value> = parts
            .iter()
            .map(|part| {
                let (from, until) = (tdx::time::shown(part.from), tdx::time::shown(part.until));
                json!({"what": part.what, "from": from, "until": until, "expired": part.until < now})
            })
            .collect();
        console.value(&json!({"out": folder, "files": written, "collateral": shown}))?;
        return Ok(());
    }
    let mut text = String::new();
    for part in &parts {
        let (from, until) = (tdx::time::shown(part.from), tdx::time::shown(part.until));
        let what = line(&part.what);
        text.push_str(&format!("{what}: from {from} to {until}\n"));
        if part.until < now {
            console.note(&format!(
                "WARNING: {what} has EXPIRED: this service gives old collateral"
            ));
        }
    }
    text.push_str(&format!(
        "{} files in {}\n",
        written.len(),
        folder.display()
    ));
    console.text(&text)?;
    Ok(())
}
