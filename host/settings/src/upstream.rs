//! The file that upstream's programs share.
//!
//! Upstream's proplet reads four names of one table of it; other tables are the Manager's and the image proxy's. A
//! document of ours never looks like that: what has a table of ours besides `[proplet]`, or one that nobody knows, is
//! read as ours, with its mistakes named. That holds whatever the environment names: who writes only the environment of
//! a VM must not have tables of its document dropped.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    document::{Document, Proplet},
    environment::Environment,
    error::SettingsError,
    secret::Secret,
};

/// Upstream's name of the file.
pub(super) const FILE: &str = "config.toml";
/// The table that is read unless the environment names another.
const SECTION: &str = "proplet";
pub(super) const SECTION_VARIABLE: &str = "PROPLET_CONFIG_SECTION";
/// Tables of upstream's other programs.
const OTHERS: [&str; 2] = ["manager", "proxy"];

/// What is read of a table. The rest is ignored, as upstream does.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Section {
    #[serde(alias = "domain_id")]
    tenant_id: Option<String>,
    channel_id: Option<String>,
    #[serde(alias = "client_id")]
    entity_id: Option<String>,
    #[serde(alias = "client_key")]
    api_key: Option<Secret>,
}

impl Section {
    fn has_any(&self) -> bool {
        self.tenant_id.is_some()
            || self.channel_id.is_some()
            || self.entity_id.is_some()
            || self.api_key.is_some()
    }
}

/// The settings in a file of upstream's; none when it is not one.
///
/// # Errors
/// When it is one, and lacks the table that the environment names.
pub(super) fn read(
    text: &str,
    environment: &Environment,
) -> Result<Option<Document>, SettingsError> {
    let named = environment.text(&[SECTION_VARIABLE]);
    let wanted = named.as_deref().unwrap_or(SECTION);
    let Ok(mut tables) = toml::from_str::<BTreeMap<String, Section>>(text) else {
        return Ok(None);
    };
    let is_ours = tables.keys().all(|name| name == SECTION) && wanted == SECTION;
    if is_ours || tables.is_empty() || !tables.keys().all(|name| is_upstreams(name, wanted)) {
        return Ok(None);
    }
    let Some(section) = tables.remove(wanted) else {
        return Err(SettingsError::Variable {
            name: SECTION_VARIABLE,
            expected: "the name of a table in the file of settings (`proplet` when it is not set)",
        });
    };
    Ok(Some(Document {
        proplet: Proplet {
            tenant_id: section.tenant_id,
            channel_id: section.channel_id,
            entity_id: section.entity_id,
            api_key: section.api_key,
            ..Proplet::default()
        },
        ..Document::default()
    }))
}

/// Whether a `config.toml` that nobody named is upstream's, and not another program's: it has the table, with one of
/// the four names. Where the environment names a table that is not there, any other that upstream's programs have will
/// do, so that who misspelt the name is told.
pub(super) fn is_one(text: &str, environment: &Environment) -> bool {
    let named = environment.text(&[SECTION_VARIABLE]);
    let wanted = named.as_deref().unwrap_or(SECTION);
    let tables = toml::from_str::<BTreeMap<String, Section>>(text).unwrap_or_default();
    let is_misspelt = named.is_some() && has_no_other_tables(text, environment);
    tables.get(wanted).is_some_and(Section::has_any)
        || is_misspelt && tables.values().any(Section::has_any)
}

/// Whether a file has tables of upstream's and no others.
pub(super) fn has_no_other_tables(text: &str, environment: &Environment) -> bool {
    let named = environment.text(&[SECTION_VARIABLE]);
    let wanted = named.as_deref().unwrap_or(SECTION);
    let tables = toml::from_str::<BTreeMap<String, Section>>(text);
    tables.is_ok_and(|tables| {
        let mut names = tables.keys();
        names.all(|name| is_upstreams(name, wanted))
    })
}

fn is_upstreams(name: &str, wanted: &str) -> bool {
    let is_ours = name != SECTION && Document::tables().contains(&name);
    !is_ours && (OTHERS.contains(&name) || name == wanted || name.starts_with(SECTION))
}

/// Whether the environment has all four names, so that upstream would not open its file.
pub(super) fn is_complete(environment: &Environment) -> bool {
    [
        &["PROPLET_TENANT_ID", "PROPLET_DOMAIN_ID"][..],
        &["PROPLET_CHANNEL_ID"],
        &["PROPLET_ENTITY_ID", "PROPLET_CLIENT_ID"],
        &["PROPLET_API_KEY", "PROPLET_CLIENT_KEY"],
    ]
    .iter()
    .all(|names| environment.text(names).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ApiKey, PlainImages, Settings};

    const TODAY: &str = "[manager]\ntenant_id = \"t\"\nentity_id = \"m\"\napi_key = \"x\"\nchannel_id = \"c\"\n\
        [proplet]\ntenant_id = \"t\"\nentity_id = \"p\"\napi_key = \"k\"\nchannel_id = \"c\"\nextra = 1\n\
        [proxy]\ntenant_id = \"t\"\nentity_id = \"x\"\napi_key = \"y\"\nchannel_id = \"c\"\n";
    const EARLY: &str = "[manager]\ndomain_id = \"t\"\nclient_id = \"m\"\nclient_key = \"x\"\nchannel_id = \"c\"\n\
        [proplet]\ndomain_id = \"t\"\nclient_id = \"p\"\nclient_key = \"k\"\nchannel_id = \"c\"\n";

    fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let environment = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Settings::parse(Some(text), &environment)
    }

    #[test]
    fn the_file_of_a_running_deployment_starts_ours() {
        for text in [TODAY, EARLY] {
            let settings = parse(text, &[]).unwrap();
            let identity = settings.identity().unwrap();
            assert_eq!(
                (identity.tenant.as_str(), identity.entity.as_str()),
                ("t", "p")
            );
            assert_eq!(
                (identity.channel.as_str(), identity.api_key),
                ("c", ApiKey::Given(Secret::new("k")))
            );
            assert_eq!(settings.registry.plain_images, PlainImages::Proxy);
            assert!(settings.kbs.is_none());
        }
        let alone = "[proplet]\ntenant_id = \"t\"\nentity_id = \"p\"\napi_key = \"k\"\nchannel_id = \"c\"\n";
        parse(alone, &[]).unwrap().identity().unwrap();
    }

    #[test]
    fn another_table_is_read_when_it_is_named() {
        let two = "[proplet1]\nentity_id = \"one\"\n[proplet2]\nentity_id = \"two\"\n";
        let second = parse(two, &[("PROPLET_CONFIG_SECTION", "proplet2")]).unwrap();
        assert_eq!(second.identity.entity.as_deref(), Some("two"));
        let other = "[edge]\nentity_id = \"three\"\n";
        let third = parse(other, &[("PROPLET_CONFIG_SECTION", "edge")]).unwrap();
        assert_eq!(third.identity.entity.as_deref(), Some("three"));
        for variables in [&[][..], &[("PROPLET_CONFIG_SECTION", "proplet3")]] {
            let error = parse(two, variables).unwrap_err().to_string();
            assert!(error.contains("PROPLET_CONFIG_SECTION"), "{error}");
        }
    }

    #[test]
    fn a_file_that_nobody_named_is_upstreams_by_its_tables() {
        let is_one = |text: &str, section: Option<&str>| {
            let variables = section.map(|name| (SECTION_VARIABLE.to_owned(), name.to_owned()));
            super::is_one(text, &variables.into_iter().collect())
        };
        for text in [TODAY, EARLY] {
            assert!(is_one(text, None));
            assert!(is_one(text, Some("proxy")));
            // Reading it says then that there is no such table.
            assert!(is_one(text, Some("proplet2")));
        }
        let anothers = "[proplet]\ncolour = 1\n";
        let more = "[manager]\nentity_id = \"m\"\n[editor]\nentity_id = \"e\"\n";
        for (text, section) in [
            ("[manager]\nentity_id = \"m\"\n", None),
            (anothers, None),
            (anothers, Some("proplet2")),
            (more, Some("proplet2")),
            ("", Some("proplet2")),
        ] {
            assert!(!is_one(text, section), "{text}");
        }
    }

    #[test]
    fn a_document_of_ours_is_never_taken_for_one() {
        for text in [
            "[proplet]\nentity_id = \"p\"\n[kbss]\nurl = \"https://kbs\"",
            "[proplet]\nentitty_id = \"p\"",
            "[manager]\nentity_id = \"m\"\n[proplet]\nentity_id = \"p\"\n[kbs]\nurl = \"https://kbs\"",
            "[manager]\nentity_id = \"m\"\n[limits]\ntasks = 1",
        ] {
            parse(text, &[]).unwrap_err();
        }
        let ours = "[proplet]\nentity_id = \"p\"\n[kbs]\nurl = \"https://kbs.example\"";
        let settings = parse(ours, &[("PROPLET_CONFIG_SECTION", "proplet")]).unwrap();
        assert!(settings.kbs.is_some());
    }

    #[test]
    fn the_environment_has_no_table_of_ours_dropped() {
        let tables = Document::tables();
        for known in ["proplet", "mqtt", "registry", "kbs", "directories"] {
            assert!(tables.contains(&known), "{tables:?}");
        }
        let text = "[proplet]\nentity_id = \"p\"\n[registry]\nregistries = [\"ghcr.io\"]\n";
        let registry = parse(text, &[("PROPLET_CONFIG_SECTION", "registry")]).unwrap();
        assert_eq!(registry.identity.entity.as_deref(), Some("p"));
        assert!(!registry.registry.allowed.permits("docker.io", "a/b"));
        assert_eq!(registry.registry.plain_images, PlainImages::Registry);
        let notice = registry.notices.first().unwrap();
        assert!(notice.contains("PROPLET_CONFIG_SECTION"), "{notice}");
        for name in tables.iter().filter(|name| **name != SECTION) {
            let text = format!("[proplet]\nentity_id = \"p\"\n[{name}]\n");
            let environment = [(SECTION_VARIABLE.to_owned(), (*name).to_owned())];
            let environment = environment.into_iter().collect();
            assert!(read(&text, &environment).unwrap().is_none(), "{name}");
            assert!(!has_no_other_tables(&text, &environment), "{name}");
        }
    }
}
