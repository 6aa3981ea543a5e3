//! `[registry]`: where images may come from.

use proplet_types::ResourceUri;

use super::values::{proxy, seconds};
use crate::{
    document,
    error::SettingsError,
    sections::{AllowList, ImageSources, PlainImages},
};

/// Who fetches plain images unless the settings document says it. A document that says nothing of where images come
/// from or who releases keys, or none at all, is what upstream's proplet is started with: there, the image proxy does.
pub(crate) fn usual_plain_images(document: &document::Document) -> PlainImages {
    match (&document.registry, &document.kbs) {
        (None, None) => PlainImages::Proxy,
        _ => PlainImages::Registry,
    }
}

pub(crate) fn checked_registry(
    document: Option<document::Registry>,
    auth_resource: Option<ResourceUri>,
    usual: PlainImages,
) -> Result<ImageSources, SettingsError> {
    let document = document.unwrap_or_default();
    let plain_images = match document.plain_images.as_deref() {
        None => usual,
        Some("registry") => PlainImages::Registry,
        Some("proxy") => PlainImages::Proxy,
        Some(_) => {
            return Err(SettingsError::value(
                "registry",
                "plain_images",
                "must be \"registry\" or \"proxy\"",
            ));
        }
    };
    let folders = |entry: &String| !entry.trim_end_matches("/*").contains('*');
    if !document.repositories.iter().all(folders) {
        return Err(SettingsError::value(
            "registry",
            "repositories",
            "`*` may only stand at the end, as `/*`",
        ));
    }
    let proxy = proxy("registry", document.proxy.as_ref(), &document.no_proxy)?;
    if proxy.is_none() && !document.no_proxy.is_empty() {
        return Err(SettingsError::value(
            "registry",
            "no_proxy",
            "it says what goes around the proxy, and there is none: set proxy too",
        ));
    }
    Ok(ImageSources {
        plain_images,
        proxy,
        auth_file: document.auth_file,
        auth_resource,
        http_hosts: document.http_hosts,
        private_hosts: document.private_hosts,
        ca: document.ca,
        max_layer_bytes: document.max_layer_bytes.unwrap_or(128 * 1024 * 1024),
        timeout: seconds("registry", document.timeout_seconds, 120)?,
        allowed: AllowList {
            registries: document.registries.into_iter().collect(),
            repositories: document.repositories.into_iter().collect(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Settings, environment::Environment};

    fn parsed(text: Option<&str>) -> Result<PlainImages, SettingsError> {
        let settings = Settings::parse(text, &Environment::default())?;
        Ok(settings.registry.plain_images)
    }

    #[test]
    fn what_upstream_is_started_with_leaves_images_to_its_proxy() {
        let identity = "[proplet]\ntenant_id = \"t\"";
        for upstreams in [None, Some(""), Some(identity)] {
            assert_eq!(parsed(upstreams).unwrap(), PlainImages::Proxy);
        }
        for ours in [
            "[registry]",
            "[registry]\nregistries = [\"ghcr.io\"]",
            "[kbs]\nurl = \"https://kbs.example\"",
        ] {
            assert_eq!(parsed(Some(ours)).unwrap(), PlainImages::Registry, "{ours}");
        }
    }

    /// They are on a disk of the host's, and decide nothing about whom this proplet trusts.
    #[test]
    fn credentials_do_not_decide_who_fetches_images() {
        let auth = Some("[registry]\nauth_file = \"/a\"");
        for (text, wanted) in [
            (None, PlainImages::Proxy),
            (Some("[proplet]\ntenant_id = \"t\""), PlainImages::Proxy),
            (Some("[registry]"), PlainImages::Registry),
            (
                Some("[kbs]\nurl = \"https://kbs.example\""),
                PlainImages::Registry,
            ),
        ] {
            let settings =
                Settings::parse_with_credentials(text, auth, &Environment::default()).unwrap();
            assert_eq!(settings.registry.plain_images, wanted, "{text:?}");
            assert_eq!(settings.registry.auth_file, Some("/a".into()));
        }
    }

    #[test]
    fn a_document_that_says_who_is_obeyed() {
        for (text, wanted) in [
            (
                "[registry]\nplain_images = \"registry\"",
                PlainImages::Registry,
            ),
            (
                "[kbs]\nurl = \"https://kbs.example\"\n[registry]\nplain_images = \"proxy\"",
                PlainImages::Proxy,
            ),
        ] {
            assert_eq!(parsed(Some(text)).unwrap(), wanted, "{text}");
        }
        let error = parsed(Some("[registry]\nplain_images = \"Proxy\"")).unwrap_err();
        assert!(
            error.to_string().contains("[registry] plain_images"),
            "{error}"
        );
    }
}
