//! `proplet import`: from the environment file of a deployment to settings.

use proplet_settings::{
    MAX_DOCUMENT_BYTES,
    environment::Environment,
    import::{Import, import},
};
use serde_json::json;

use super::{arguments, console::Console, error::CliError, files};

/// Writes both documents, and says what is in neither.
pub(super) fn run(
    arguments: &arguments::Import,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let file = &arguments.environment;
    let text = files::read_text("environment file", file, MAX_DOCUMENT_BYTES)?;
    let wrong = |error| CliError::input("environment file", file, error);
    let environment = Environment::from_file(&text).map_err(wrong)?;
    let config = arguments.config_file.as_deref();
    let config = config
        .map(|path| files::read_text("settings", path, MAX_DOCUMENT_BYTES))
        .transpose()?;
    let Import {
        settings,
        credentials,
        left_out,
    } = import(&environment, config.as_ref().map(|text| text.as_str())).map_err(wrong)?;

    files::write_public(&arguments.out, settings.as_bytes())?;
    console.status(&format!("Wrote {}", arguments.out.display()));
    if let Some(credentials) = &credentials {
        files::write_secret(&arguments.credentials_out, credentials.as_bytes())?;
        console.status(&format!("Wrote {}", arguments.credentials_out.display()));
    }
    if console.json {
        let credentials = credentials.map(|_| arguments.credentials_out.display().to_string());
        console.value(&json!({
            "settings": arguments.out.display().to_string(),
            "credentials": credentials,
            "left_out": left_out,
        }))?;
        return Ok(());
    }
    for line in left_out {
        console.text(&format!("left out: {line}\n"))?;
    }
    Ok(())
}
