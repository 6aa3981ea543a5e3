//! `proplet run`: one task on this machine, without a broker.
//!
//! It makes the request that a start message becomes, and takes its road through the same checks and the
//! same executor. So what works here works there, and what is refused there is refused here in the same
//! words.

use std::path::Path;

use proplet_executor::{
    Executor, Host, Request, Source, Task, TaskOutcome,
    request::{expected_key, invoked_export},
};
use proplet_runtime::CancelToken;
use proplet_settings::Settings;
use serde_json::json;
use uuid::Uuid;

use super::{
    arguments::{Run, SettingsFiles},
    blocking::blocking,
    console::Console,
    context::Context,
    daemon,
    error::CliError,
    files,
};
use crate::tee;

/// What the log shows: what is wrong, and where a component that answers requests is served. Its result says that too, but
/// only once it is stopped.
const LOG: &str = "warn,proplet_executor::run::serving=info";

/// Runs the component to its end, or until Ctrl-C.
pub(super) async fn run(
    arguments: Run,
    files: &SettingsFiles,
    context: &Context,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let settings = Settings::load(
        files.config.as_deref(),
        files.credentials.as_deref(),
        &context.environment,
    )?;
    let _log = daemon::start_log(LOG, console)?;
    let request = request(&arguments)?;
    let attestation = settings.attestation.clone();
    let found = blocking(move || Ok(tee::find(&attestation)?)).await?;
    let mut host = Host::new(settings.into(), found.provider());
    host.detected = found.detection.tee();
    host.clock = context.clock.clone();

    console.status("Running...");
    let executor = blocking(move || Ok(Executor::new(host)?)).await?;
    let cancel = CancelToken::new();
    let task = executor.execute(request, cancel.clone());
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

/// What is to be run, checked as a start message is.
fn request(arguments: &Run) -> Result<Request, CliError> {
    let path = Path::new(&arguments.component);
    let source = if path.is_file() {
        if arguments.encrypted {
            return Err(CliError::usage(format!(
                "{} is a file, and an encrypted component runs from a registry: push it with `proplet \
                 image push` and name the image",
                path.display()
            )));
        }
        let mut bytes = files::read("component", path, files::MAX_COMPONENT_BYTES)?;
        Source::File(std::mem::take(&mut *bytes))
    } else if looks_like_a_file(&arguments.component) {
        return Err(CliError::usage(format!(
            "there is no file {}",
            arguments.component
        )));
    } else if arguments.encrypted {
        Source::Encrypted {
            image: arguments.component.clone(),
            expected_key: arguments
                .kbs_resource_path
                .as_deref()
                .map(expected_key)
                .transpose()?,
        }
    } else {
        Source::Plain(arguments.component.clone())
    };
    let cli_args = match &arguments.invoke {
        Some(name) => vec!["--invoke".to_owned(), name.clone()],
        None => Vec::new(),
    };
    let request = Request {
        source,
        task: Task {
            id: Uuid::new_v4().to_string(),
            name: "run".to_owned(),
            inputs: arguments.inputs.clone(),
            invoke: invoked_export(&cli_args)?,
            arguments: cli_args,
            env: arguments.environment.iter().cloned().collect(),
            watch: Default::default(),
            record: None,
        },
    };
    request.check()?;
    Ok(request)
}

/// A misspelt file is not a reason to ask a registry for it. What begins with the name of a registry
/// is asked for there, `.wasm` at its end or not.
fn looks_like_a_file(component: &str) -> bool {
    let is_address = component.contains("://");
    let is_path = ["/", "./", "../", "~/"]
        .iter()
        .any(|start| component.starts_with(start));
    let names_a_registry = component.split_once('/').is_some_and(|(host, _)| {
        host == "localhost" || host.trim_matches('.').contains(['.', ':'])
    });
    !is_address && (is_path || (component.ends_with(".wasm") && !names_a_registry))
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
            .map(|error| json!({"code": error.code(), "message": error.full_words()}));
        console.value(&json!({"results": results, "error": error, "usage": usage}))?;
    } else if !results.is_empty() {
        console.given(&results)?;
    }
    error.map_or(Ok(()), |error| Err(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_references_are_told_apart() {
        for file in [
            "add.wasm",
            "target/add.wasm",
            "./docker.io/someone/add.wasm",
            "../add.wasm",
            "../a.b/add.wasm",
            "/srv/add",
            "~/add.wasm",
            "someone/add.wasm",
        ] {
            assert!(looks_like_a_file(file), "{file}");
        }
        for reference in [
            "docker.io/someone/add.wasm",
            "localhost/add.wasm",
            "localhost:5000/add.wasm",
            "127.0.0.1:5000/team/add.wasm",
            "oci://ghcr.io/org/add.wasm",
            "docker://docker.io/someone/add.wasm",
            "https://example.org/add.wasm",
            "add",
            "someone/add:v1",
            "docker.io/someone/add.wasm:latest",
        ] {
            assert!(!looks_like_a_file(reference), "{reference}");
        }
    }
}
