//! `[[plugins]]`: components of the operator that are asked about tasks.

use crate::{document, error::SettingsError, sections::Plugin};

/// Plugins, at most: each is asked about every task.
const MAX_PLUGINS: usize = 16;

pub(crate) fn checked_plugins(
    document: Vec<document::Plugin>,
) -> Result<Vec<Plugin>, SettingsError> {
    let wrong = |name, why: String| SettingsError::value("plugins", name, why);
    if document.len() > MAX_PLUGINS {
        let why = format!("{} plugins; at most {MAX_PLUGINS}", document.len());
        return Err(wrong("path", why));
    }
    let plugins = document
        .into_iter()
        .map(|document::Plugin { path, digest }| {
            if !path.is_absolute() {
                let why = format!("{}: write an absolute path", path.display());
                return Err(wrong("path", why));
            }
            let digest = digest.parse().map_err(|_| {
                let why = format!(
                    "{}: write sha256:… over the file, as sha256sum gives it",
                    path.display()
                );
                wrong("digest", why)
            })?;
            Ok(Plugin { path, digest })
        });
    plugins.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Settings, environment::Environment};

    fn parsed(text: &str) -> Result<Vec<Plugin>, SettingsError> {
        let settings = Settings::parse(Some(text), &Environment::default())?;
        Ok(settings.plugins)
    }

    fn entry(path: &str) -> String {
        format!(
            "[[plugins]]\npath = {path:?}\ndigest = \"sha256:{}\"\n",
            "ab".repeat(32)
        )
    }

    #[test]
    fn plugins_are_asked_in_the_order_of_the_document() {
        assert!(parsed("").unwrap().is_empty());
        let both = parsed(&format!("{}{}", entry("/p/b.wasm"), entry("/p/a.wasm"))).unwrap();
        let paths: Vec<_> = both
            .iter()
            .map(|plugin| plugin.path.display().to_string())
            .collect();
        assert_eq!(paths, ["/p/b.wasm", "/p/a.wasm"]);
    }

    #[test]
    fn a_plugin_without_its_digest_is_none() {
        for text in [
            "[[plugins]]\npath = \"/p/a.wasm\"".to_owned(),
            "[[plugins]]\npath = \"/p/a.wasm\"\ndigest = \"latest\"".to_owned(),
            "[[plugins]]\npath = \"/p/a.wasm\"\ndigest = \"sha256:ab\"".to_owned(),
            entry("a.wasm"),
            format!("{}failing = \"open\"", entry("/p/a.wasm")),
            entry("/p/a.wasm").repeat(17),
        ] {
            parsed(&text).unwrap_err();
        }
    }
}
