//! Who may read the result of an encrypted task.
//!
//! First found, never a union: the component's policy, then a resource that the policy names, then the
//! settings. A union would let whoever controls the weakest of the three add a reader. The start message
//! has no say at all.

use proplet_jose::{json, jwk::PublicKey};
use proplet_kbs::ResourceUri;
use proplet_runtime::policy::{Policy, Recipients};

use super::{kbs_refusal, vault::Vault};
use crate::{refusal::Refusal, settings::Settings};

/// The recipients of a component's results; never empty.
pub(super) async fn of(
    policy: Option<&Policy>,
    repository: &str,
    settings: &Settings,
    vault: &Vault,
) -> Result<Vec<PublicKey>, Refusal> {
    let named = policy.map_or(&Recipients::Unnamed, |policy| &policy.recipients);
    let recipients = match named {
        Recipients::Keys(keys) => keys
            .iter()
            .map(PublicKey::from_jwk)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| invalid("the component's policy", &error))?,
        Recipients::Resource(uri) => from_resource(uri, repository, vault).await?,
        Recipients::Unnamed => settings.confidential.recipients.clone(),
    };
    if recipients.is_empty() {
        return Err(Refusal::new(
            "no-recipients",
            "nobody is named who may read the result: put recipients into the component's policy, or \
             under [confidential] in the settings document",
        ));
    }
    Ok(recipients)
}

async fn from_resource(
    uri: &str,
    repository: &str,
    vault: &Vault,
) -> Result<Vec<PublicKey>, Refusal> {
    let uri: ResourceUri = uri.parse().map_err(|error| {
        Refusal::new(
            "recipients-invalid",
            format!("recipients_resource in the policy: {error}"),
        )
    })?;
    if uri.repository() != repository {
        return Err(Refusal::new(
            "recipients-invalid",
            format!(
                "{uri} is not in the repository {repository:?} of the key that decrypted the \
                 component, and a component reaches no other"
            ),
        ));
    }
    let resource = vault
        .resource(&uri)
        .await
        .map_err(|error| kbs_refusal(&error))?;
    let what = uri.to_string();
    let set = json::value(&resource.bytes).map_err(|error| invalid(&what, &error))?;
    PublicKey::from_jwk_set(&set).map_err(|error| invalid(&what, &error))
}

fn invalid(what: &str, error: &proplet_jose::Error) -> Refusal {
    Refusal::new(
        "recipients-invalid",
        format!("the recipients in {what} cannot be used: {error}"),
    )
}
