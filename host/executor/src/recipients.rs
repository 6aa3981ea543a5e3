//! Who may read the result of an encrypted task.
//!
//! First found, never a union: the component's policy, then a resource that the policy names, then the
//! settings. A union would let whoever controls the weakest of the three add a reader. The start message
//! has no say at all.

use std::collections::BTreeSet;

use proplet_jose::{json, jwe::MAX_RECIPIENTS, jwk::PublicKey};
use proplet_kbs::ResourceUri;
use proplet_runtime::policy::{Policy, Recipients};
use proplet_settings::Settings;

use super::{kbs_refusal, vault::Vault};
use crate::refusal::Refusal;

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
            .map_err(|_| invalid("the component's policy"))?,
        Recipients::Resource(uri) => from_resource(uri, repository, settings, vault).await?,
        Recipients::Unnamed => settings.confidential.recipients.clone(),
    };
    usable(recipients)
}

/// Sealing would refuse these after the task has run, when its result is lost.
fn usable(recipients: Vec<PublicKey>) -> Result<Vec<PublicKey>, Refusal> {
    if recipients.is_empty() {
        return Err(Refusal::new(
            "no-recipients",
            "nobody is named who may read the result: put recipients into the component's policy, or \
             under [confidential] in the settings document",
        ));
    }
    let distinct: BTreeSet<String> = recipients.iter().map(PublicKey::thumbprint).collect();
    if distinct.len() != recipients.len() || recipients.len() > MAX_RECIPIENTS {
        return Err(Refusal::new(
            "recipients-invalid",
            format!(
                "{} recipients are named, {} of them different; name at most {MAX_RECIPIENTS}, each \
                 once",
                recipients.len(),
                distinct.len()
            ),
        ));
    }
    Ok(recipients)
}

async fn from_resource(
    uri: &str,
    repository: &str,
    settings: &Settings,
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
    let types = &settings.confidential.image_key_types;
    if !types.may_be_given(&uri) {
        return Err(Refusal::new(
            "recipients-invalid",
            format!(
                "recipients_resource in the policy is of a type that decrypts images ({types}); put \
                 the JWK set under another type"
            ),
        ));
    }
    let resource = vault
        .resource(&uri)
        .await
        .map_err(|error| kbs_refusal(&error))?;
    let what = uri.to_string();
    let set = json::value(&resource.bytes).map_err(|_| invalid(&what))?;
    PublicKey::from_jwk_set(&set).map_err(|_| invalid(&what))
}

/// The parser's words would quote the owner's policy, or a resource of the key broker, in clear.
fn invalid(what: &str) -> Refusal {
    Refusal::new(
        "recipients-invalid",
        format!(
            "the recipients in {what} cannot be used: each must be a public JWK on P-256 or X25519, in \
             a resource as members of a JWK set"
        ),
    )
}

#[cfg(test)]
mod tests {
    use proplet_jose::jwk::PrivateKey;

    use super::*;

    #[test]
    fn what_could_not_be_sealed_to_is_refused_before_the_run() {
        let key = || PrivateKey::generate_x25519().unwrap().public().clone();
        assert_eq!(usable(vec![key(), key()]).unwrap().len(), 2);
        assert_eq!(usable(Vec::new()).unwrap_err().code(), "no-recipients");
        let one = key();
        let twice = usable(vec![one.clone(), one]).unwrap_err();
        assert_eq!(twice.code(), "recipients-invalid");
        let many: Vec<_> = (0..=MAX_RECIPIENTS).map(|_| key()).collect();
        assert_eq!(usable(many).unwrap_err().code(), "recipients-invalid");
    }
}
