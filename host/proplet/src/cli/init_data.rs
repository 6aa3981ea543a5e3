//! Init-data documents: made of settings, and read.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proplet_hal::InitData;
use proplet_settings::{
    MAX_DOCUMENT_BYTES,
    init_data::{SETTINGS_FILE, init_data_with},
};
use proplet_types::{Digest, text::line};
use serde_json::json;

use super::{
    arguments::{InitDataMake, InitDataShow},
    console::Console,
    error::CliError,
    files,
};

/// `proplet init-data make`: checks the settings as a start would, and writes the document.
pub(super) fn make(arguments: &InitDataMake, console: &mut Console<'_>) -> Result<(), CliError> {
    let text = files::read_text("settings", &arguments.settings, MAX_DOCUMENT_BYTES)?;
    let mut files = Vec::new();
    for (name, path) in &arguments.files {
        files.push((name, files::read_text("file", path, MAX_DOCUMENT_BYTES)?));
    }
    let files: Vec<_> = files
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let document = init_data_with(&text, &files, arguments.algorithm)
        .map_err(|error| CliError::input("settings", &arguments.settings, error))?;
    files::write_public(&arguments.out, document.text().as_bytes())?;
    console.status(&format!("Wrote {}", arguments.out.display()));
    describe(&document, console)
}

/// `proplet init-data show`: what a document binds.
pub(super) fn show(arguments: &InitDataShow, console: &mut Console<'_>) -> Result<(), CliError> {
    let text = files::read_text("init-data", &arguments.document, MAX_DOCUMENT_BYTES)?;
    let document = InitData::parse(&text)
        .map_err(|error| CliError::input("init-data", &arguments.document, error))?;
    describe(&document, console)
}

fn describe(document: &InitData, console: &mut Console<'_>) -> Result<(), CliError> {
    let host_data = STANDARD.encode(document.host_data());
    let mrconfigid = STANDARD.encode(document.mrconfigid());
    let settings = document
        .file(SETTINGS_FILE)
        .map(|settings| Digest::of(settings.as_bytes()));
    if console.json {
        console.value(&json!({
            "algorithm": document.algorithm().to_string(),
            "digest": hex::encode(document.digest()),
            "files": document.names().collect::<Vec<_>>(),
            "host_data": host_data,
            "mrconfigid": mrconfigid,
            "settings_digest": settings,
        }))?;
        return Ok(());
    }
    let files = document.names().map(line).map(|name| name.to_string());
    let settings = settings.map_or_else(|| "none in it".to_owned(), |digest| digest.to_string());
    console.text(&format!(
        "digest      {} {}\nfiles       {}\nsettings    {settings}\nSEV-SNP     -object sev-snp-guest,…,host-data={host_data}\nTDX         -object tdx-guest,…,mrconfigid={mrconfigid}\n",
        document.algorithm(),
        hex::encode(document.digest()),
        files.collect::<Vec<_>>().join(", "),
    ))?;
    Ok(())
}
