//! The way to a key broker, and how its administrator proves to be one.

use std::{sync::Arc, time::Duration};

use proplet_kbs::{
    KbsConfig,
    admin::{AdminAuth, AdminClient, AdminKey},
};
use url::Url;

use super::{
    arguments::{Administrator, KeyBrokerWay},
    context::Context,
    error::CliError,
    files,
};

/// A client of the key broker at `url`. Nothing is sent yet.
pub(super) fn client(
    url: &Url,
    way: &KeyBrokerWay,
    administrator: &Administrator,
    context: &Context,
) -> Result<AdminClient, CliError> {
    let mut config = KbsConfig::new(url.clone());
    config.proxy = way.kbs_proxy.clone();
    config.allow_http = way.kbs_http;
    config.timeout = Duration::from_secs(way.kbs_timeout);
    if let Some(path) = &way.kbs_ca {
        let pem = files::read("certificates", path, files::MAX_KEY_BYTES)?;
        config.ca_pem = Some(pem.to_vec());
    }
    let client = AdminClient::new(config, auth(administrator)?)?;
    Ok(client.with_clock(Arc::clone(&context.clock)))
}

fn auth(administrator: &Administrator) -> Result<AdminAuth, CliError> {
    let credential = &administrator.credential;
    if let Some(path) = &credential.admin_key {
        let pem = files::read_text("administrator's key", path, files::MAX_KEY_BYTES)?;
        let mut key = AdminKey::from_pem(&pem)?;
        let choose = |claim: &mut String, given: &Option<String>| {
            if let Some(given) = given {
                claim.clone_from(given);
            }
        };
        choose(&mut key.issuer, &administrator.admin_issuer);
        choose(&mut key.audience, &administrator.admin_audience);
        choose(&mut key.role, &administrator.admin_role);
        return Ok(AdminAuth::Key(key));
    }
    if let Some(path) = &credential.admin_token_file {
        let token = files::read_text("administrator's token", path, files::MAX_KEY_BYTES)?;
        return AdminAuth::token(&token)
            .map_err(|error| CliError::input("administrator's token", path, error));
    }
    if credential.no_admin_token {
        return Ok(AdminAuth::None);
    }
    Err(CliError::usage(
        "give --admin-key, --admin-token-file, or --no-admin-token for a key broker that takes \
         everybody for its administrator",
    ))
}
