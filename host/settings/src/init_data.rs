//! Settings inside the init-data document that a VM is started with.
//!
//! `proplet --config` takes the settings document itself, or an init-data document
//! ([`proplet_hal::init_data`]) that holds it as the file `proplet.toml`. Only the second can be bound to
//! a VM: its digest is what HOST_DATA or MRCONFIGID holds, and a stock key broker compares it.
//!
//! A bound init-data document is sent to the key broker and read by whoever verifies, so it is public. A
//! credential in it is refused at start: by then it has been published to the host already, and whoever
//! wrote it should hear so at once. Credentials stand in a document of their own (`credentials.rs`).

use proplet_hal::init_data::{DigestAlgorithm, InitData, InitDataError};

pub use crate::envelope::SETTINGS_FILE;
use crate::{environment::Environment, error::SettingsError, settings::Settings};

/// The init-data document to start a VM with, for these settings. The settings are checked first, as a
/// start would, for a wrong one is only seen when the VM is up.
///
/// # Errors
/// What is wrong with the settings; a credential in them; text that cannot stand in such a document.
pub fn init_data(settings: &str, algorithm: DigestAlgorithm) -> Result<InitData, SettingsError> {
    init_data_with(settings, &[], algorithm)
}

/// As [`init_data`], with further files that the settings name: a VM finds the file `NAME` as
/// `/run/proplet/measured/NAME`.
///
/// # Errors
/// As [`init_data`], and for a file's name or text that cannot stand in such a document.
pub fn init_data_with(
    settings: &str,
    files: &[(&str, &str)],
    algorithm: DigestAlgorithm,
) -> Result<InitData, SettingsError> {
    if let Some((name, _)) = files.iter().find(|(name, _)| !InitData::is_file_name(name)) {
        return Err(InitDataError::Name((*name).to_owned()).into());
    }
    let files = [&[(SETTINGS_FILE, settings)], files].concat();
    let init_data = InitData::holding_all(algorithm, &files)?;
    Settings::parse(Some(init_data.text()), &Environment::default())?;
    Ok(init_data)
}

#[cfg(test)]
mod tests {
    use proplet_types::Digest;

    use super::*;

    const SETTINGS: &str = "[kbs]\nurl = \"https://kbs.example\"\n";

    fn parse(text: &str) -> Result<Settings, SettingsError> {
        Settings::parse(Some(text), &Environment::default())
    }

    #[test]
    fn settings_inside_are_the_settings() {
        let init_data = init_data(SETTINGS, DigestAlgorithm::Sha384).unwrap();
        let inside = parse(init_data.text()).unwrap();
        assert_eq!(inside.kbs.unwrap().url.as_str(), "https://kbs.example/");
        assert_eq!(inside.digest, Digest::of(SETTINGS.as_bytes()));
        assert_eq!(inside.init_data, Some(init_data));
        let alone = parse(SETTINGS).unwrap();
        assert_eq!((alone.digest, alone.init_data), (inside.digest, None));
    }

    #[test]
    fn files_go_with_the_settings() {
        let with = |files: &[(&str, &str)]| {
            init_data_with(SETTINGS, files, DigestAlgorithm::Sha256).map_err(|e| e.to_string())
        };
        let made = with(&[("ca.pem", "PEM\n"), ("auth.json", "{}")]).unwrap();
        assert_eq!(made.file("ca.pem"), Some("PEM\n"));
        assert_eq!(made.file(SETTINGS_FILE), Some(SETTINGS));
        assert_eq!(made.names().count(), 3);
        for name in ["../ca.pem", "", ".ca", SETTINGS_FILE] {
            let error = with(&[(name, "")]).unwrap_err();
            assert!(error.contains(&format!("{name:?}")), "{error}");
        }
    }

    #[test]
    fn a_credential_is_refused_by_its_name_and_not_repeated() {
        for (settings, name) in [
            ("[proplet]\napi_key = \"hunter2\"\n", "[proplet] api_key"),
            ("[proplet]\nclient_key = \"hunter2\"\n", "[proplet] api_key"),
            (
                "[registry]\nproxy = \"http://me:hunter2@proxy\"\n",
                "[registry] proxy",
            ),
            (
                "[kbs]\nurl = \"https://kbs\"\nproxy = \"http://me:hunter2@proxy\"\n",
                "[kbs] proxy",
            ),
        ] {
            parse(settings).unwrap();
            let error = init_data(settings, DigestAlgorithm::Sha256).unwrap_err();
            let words = error.to_string();
            assert!(words.contains(name), "{words}");
            assert!(!words.contains("hunter2"), "{words}");
        }
    }

    #[test]
    fn what_is_no_settings_document_inside_is_refused() {
        let without = "version = \"0.1.0\"\nalgorithm = \"sha256\"\n[data]\n\"aa.toml\" = \"\"\n";
        let error = parse(without).unwrap_err();
        assert!(matches!(error, SettingsError::NoSettingsInside), "{error}");
        let wrong = "version = \"0.1.0\"\nalgorithm = \"md5\"\n[data]\n";
        let error = parse(wrong).unwrap_err();
        assert!(matches!(error, SettingsError::InitData(_)), "{error}");
        let error =
            init_data("[kbs]\nurl = \"http://kbs\"\n", DigestAlgorithm::Sha256).unwrap_err();
        assert!(error.to_string().contains("allow_http"), "{error}");
        let error = init_data("[kbz]\n", DigestAlgorithm::Sha256).unwrap_err();
        assert!(matches!(error, SettingsError::Syntax { .. }), "{error}");
    }
}
