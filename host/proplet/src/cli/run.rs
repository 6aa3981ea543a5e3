//! `proplet run`: one task on this machine, without a broker.
//!
//! It takes the road that a start message takes, through the same checks and the same executor, so what
//! works here works there and what is refused there is refused here in the same words.

use std::path::Path;

use proplet_runtime::CancelToken;
use serde_json::json;
use uuid::Uuid;

use super::{
    Context,
    arguments::Run,
    blocking,
    console::{Console, printable},
    daemon,
    error::CliError,
    files,
};
use crate::{
    message::{Decoded, Source, Start},
    settings::Settings,
    task::{Executor, Host, TaskOutcome},
    tee,
};

/// Runs the component to its end, or until Ctrl-C.
pub(super) async fn run(
    arguments: Run,
    config: Option<&Path>,
    context: &Context,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let settings = Settings::load(config, &context.environment)?;
    daemon::log("warn", console)?;
    let start = start(&arguments)?;
    let found = tee::find();
    let mut host = Host::new(settings.into(), found.provider);
    host.detected = found.detection.tee();
    host.clock = context.clock.clone();

    console.status("Running...");
    let executor = blocking(move || Ok(Executor::new(host)?)).await?;
    let cancel = CancelToken::new();
    let task = executor.execute(start, cancel.clone());
    tokio::pin!(task);
    let outcome = tokio::select! {
        outcome = &mut task => outcome,
        _ = tokio::signal::ctrl_c() => {
            cancel.cancel();
            task.await
        }
    };
    show(outcome, console)
}

/// The start message that the Manager would have sent.
fn start(arguments: &Run) -> Result<Start, CliError> {
    let path = Path::new(&arguments.component);
    let is_file = path.is_file();
    if is_file && arguments.encrypted {
        return Err(CliError::usage(format!(
            "{} is a file, and an encrypted component runs from a registry: push it with `proplet \
             image push` and name the image",
            path.display()
        )));
    }
    if !is_file && looks_like_a_file(&arguments.component) {
        return Err(CliError::usage(format!(
            "there is no file {}",
            arguments.component
        )));
    }
    let cli_args = match &arguments.invoke {
        Some(name) => vec!["--invoke", name],
        None => Vec::new(),
    };
    let environment: serde_json::Map<_, _> = arguments
        .environment
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().into()))
        .collect();
    let message = json!({
        "id": Uuid::new_v4().to_string(),
        "name": "run",
        // For a file the bytes come in below: base64 of a large one would be made to be undone.
        "image_url": arguments.component,
        "inputs": arguments.inputs,
        "cli_args": cli_args,
        "env": environment,
        "encrypted": arguments.encrypted,
        "kbs_resource_path": arguments.kbs_resource_path,
        "broadcast": true,
    });
    let mut start = match Decoded::from_bytes(message.to_string().as_bytes(), "") {
        Decoded::Task(start) => *start,
        Decoded::Bad(bad) => return Err(bad.refusal.into()),
        Decoded::NotForUs => return Err(CliError::failed("internal", "the task has no host")),
    };
    if is_file {
        let mut bytes = files::read("component", path, files::MAX_COMPONENT_BYTES)?;
        start.source = Source::File(std::mem::take(&mut *bytes));
    }
    Ok(start)
}

/// A misspelt file is not a reason to ask a registry for it.
fn looks_like_a_file(component: &str) -> bool {
    let is_address = component.contains("://");
    let is_path = ["/", "./", "../"]
        .iter()
        .any(|start| component.starts_with(start));
    !is_address && (is_path || component.ends_with(".wasm"))
}

fn show(outcome: TaskOutcome, console: &mut Console<'_>) -> Result<(), CliError> {
    let TaskOutcome {
        results,
        error,
        usage,
    } = outcome;
    if console.json {
        let usage = usage.map(|usage| {
            json!({
                "memory_peak_bytes": usage.memory_peak_bytes,
                "cpu_ms": usage.cpu_ms,
                "wall_ms": usage.wall_ms,
                "output_bytes": usage.output_bytes,
            })
        });
        let error = error
            .as_ref()
            .map(|refusal| json!({"code": refusal.code(), "message": refusal.words()}));
        console.value(&json!({"results": results, "error": error, "usage": usage}))?;
    } else if !results.is_empty() {
        if console.stdout_is_terminal {
            console.text(&printable(&results))?;
        } else {
            console.text(&results)?;
        }
    }
    error.map_or(Ok(()), |refusal| Err(refusal.into()))
}
