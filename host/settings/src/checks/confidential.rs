//! `[confidential]`: what is in force for encrypted tasks.

use proplet_jose::jwk::PublicKey;
use proplet_types::ImageKeyTypes;

use crate::{document, error::SettingsError, sections::Confidential};

pub(crate) fn checked_confidential(
    document: document::Confidential,
) -> Result<Confidential, SettingsError> {
    let recipients = document
        .recipients
        .iter()
        .map(|jwk| {
            PublicKey::from_jwk(jwk).map_err(|error| {
                SettingsError::value("confidential", "recipients", error.to_string())
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let image_key_types = match document.image_key_types {
        None => ImageKeyTypes::default(),
        Some(types) => ImageKeyTypes::new(types).map_err(|error| {
            SettingsError::value("confidential", "image_key_types", error.to_string())
        })?,
    };
    Ok(Confidential {
        tasks: document.tasks.unwrap_or(true),
        image_key_types,
        recipients,
        allow_unmeasured_settings: document.allow_unmeasured_settings,
        allow_debug_image: document.allow_debug_image,
        allow_a256ctr: document.allow_a256ctr,
    })
}
