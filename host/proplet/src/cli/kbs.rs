//! `proplet kbs`: the key broker's administration, as a data owner or an operator needs it.

use std::{io::Read, path::Path};

use proplet_kbs::MAX_RESOURCE_BYTES;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{
    arguments::{
        DeleteResource, Kbs, KeyBroker, RegisterReferenceValues, SetAttestationPolicy, SetResource,
        SetResourcePolicy,
    },
    console::Console,
    context::Context,
    error::CliError,
    files, key_broker,
    reference_values::{self, Registered},
};

/// Largest policy, and largest file of reference values, in bytes.
const MAX_TEXT_BYTES: u64 = 1024 * 1024;

/// Why nothing is sent: a command that failed leaves such a file where a shell sends its output, and the key broker
/// would hold it instead of what it had.
const EMPTY: &str = "it is empty: look whether the command that was to write it failed";

pub(super) async fn run(
    command: Kbs,
    context: &Context,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    match command {
        Kbs::SetResource(arguments) => set_resource(arguments, context, console).await,
        Kbs::DeleteResource(arguments) => delete_resource(arguments, context, console).await,
        Kbs::SetResourcePolicy(arguments) => set_policy(arguments, context, console).await,
        Kbs::GetResourcePolicy(arguments) => policy(&arguments.broker, context, console).await,
        Kbs::SetAttestationPolicy(arguments) => {
            set_attestation_policy(arguments, context, console).await
        }
        Kbs::RegisterReferenceValues(arguments) => register(arguments, context, console).await,
    }
}

async fn set_resource(
    arguments: SetResource,
    context: &Context,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let client = client(&arguments.broker, context)?;
    let limit = MAX_RESOURCE_BYTES as u64;
    let path = &arguments.file;
    let bytes = files::read_or_stdin("resource", path, limit, console.stdin)?;
    if bytes.is_empty() {
        return Err(CliError::input("resource", path, EMPTY));
    }
    console.status("Storing the resource...");
    client.set_resource(&arguments.resource, &bytes).await?;
    let resource = arguments.resource.to_string();
    if console.json {
        console.value(&json!({ "resource": resource, "bytes": bytes.len() }))?;
    } else {
        console.text(&format!("set {resource}: {} bytes", bytes.len()))?;
    }
    Ok(())
}

async fn delete_resource(
    arguments: DeleteResource,
    context: &Context,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let client = client(&arguments.broker, context)?;
    console.status("Deleting the resource...");
    client.delete_resource(&arguments.resource).await?;
    let resource = arguments.resource.to_string();
    if console.json {
        console.value(&json!({ "resource": resource, "deleted": true }))?;
    } else {
        console.text(&format!("deleted {resource}"))?;
    }
    Ok(())
}

async fn set_policy(
    arguments: SetResourcePolicy,
    context: &Context,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let client = client(&arguments.broker, context)?;
    let rego = read_text("policy", &arguments.file, console.stdin)?;
    console.status("Setting the resource policy...");
    client.set_resource_policy(&rego).await?;
    if console.json {
        console.value(&json!({ "resource_policy": "set", "bytes": rego.len() }))?;
    } else {
        console
            .text("set the resource policy; it decides about every resource of this key broker")?;
    }
    Ok(())
}

async fn policy(
    broker: &KeyBroker,
    context: &Context,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let client = client(broker, context)?;
    console.status("Asking for the resource policy...");
    let text = client.resource_policy().await?;
    if console.json {
        let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        console.value(&json!({ "resource_policy": value }))?;
    } else {
        console.text(&text)?;
    }
    Ok(())
}

async fn set_attestation_policy(
    arguments: SetAttestationPolicy,
    context: &Context,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let client = client(&arguments.broker, context)?;
    let rego = read_text("policy", &arguments.file, console.stdin)?;
    let id = arguments.id;
    console.status("Setting the attestation policy...");
    client.set_attestation_policy(&id, &rego).await?;
    if console.json {
        console.value(&json!({ "attestation_policy": id, "bytes": rego.len() }))?;
    } else {
        console.text(&format!("set the attestation policy {id}"))?;
    }
    Ok(())
}

async fn register(
    arguments: RegisterReferenceValues,
    context: &Context,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let client = client(&arguments.broker, context)?;
    let path = &arguments.file;
    let text = read_text("reference values", path, console.stdin)?;
    let Registered { values, rest } = reference_values::read(&text)
        .map_err(|why| CliError::input("reference values", path, why))?;
    console.status("Registering reference values...");
    client.register_reference_values(&values).await?;
    let names: Vec<&str> = values.keys().map(String::as_str).collect();
    if console.json {
        console.value(&json!({ "reference_values": names, "complete": !rest }))?;
    } else {
        console.text(&format!("registered {}", names.join(", ")))?;
        if rest {
            console.note(
                "note: a key broker compares with single values, so what the file demands besides was \
                 not registered; register firmware versions under the names of its policy",
            );
        }
    }
    Ok(())
}

fn client(
    broker: &KeyBroker,
    context: &Context,
) -> Result<proplet_kbs::admin::AdminClient, CliError> {
    key_broker::client(&broker.kbs_url, &broker.way, &broker.administrator, context)
}

fn read_text(
    what: &str,
    path: &Path,
    stdin: &mut (dyn Read + Send),
) -> Result<Zeroizing<String>, CliError> {
    let bytes = files::read_or_stdin(what, path, MAX_TEXT_BYTES, stdin)?;
    let text = files::text(what, path, &bytes)?;
    if text.trim().is_empty() {
        return Err(CliError::input(what, path, EMPTY));
    }
    Ok(text)
}
