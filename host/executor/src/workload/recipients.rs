//! Who may read the result of an encrypted task.
//!
//! First found, never a union: the component's policy, then a resource that the policy names, then the
//! settings. A union would let whoever controls the weakest of the three add a reader. The start message
//! has no say at all.

use std::collections::BTreeSet;

use proplet_component::policy::{Policy, Recipients};
use proplet_jose::{json, jwe::MAX_RECIPIENTS, jwk::PublicKey};
use proplet_settings::Settings;
use proplet_types::{Code, ResourceUri};

use crate::{
    host_text,
    process::{OutOfReach, Reach},
    refusal::Refusal,
    text::HostText,
};

/// The recipients of a component's results; never empty.
pub(super) async fn of(
    policy: Option<&Policy>,
    settings: &Settings,
    reach: &Reach,
) -> Result<Vec<PublicKey>, Refusal> {
    let named = policy.map_or(&Recipients::Unnamed, |policy| &policy.recipients);
    let recipients = match named {
        Recipients::Keys(keys) => keys
            .iter()
            .map(PublicKey::from_jwk)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| unusable("the component's policy"))?,
        Recipients::Resource(uri) => from_resource(uri, reach).await?,
        Recipients::Unnamed => settings.confidential.recipients.clone(),
    };
    sealable(recipients)
}

/// Sealing would refuse these after the task has run, when its result is lost.
fn sealable(recipients: Vec<PublicKey>) -> Result<Vec<PublicKey>, Refusal> {
    if recipients.is_empty() {
        return Err(Refusal::new(
            Code::NoRecipients,
            "nobody is named who may read the result: put recipients into the component's policy, or \
             under [confidential] in the settings document",
        ));
    }
    let distinct: BTreeSet<String> = recipients.iter().map(PublicKey::thumbprint).collect();
    if distinct.len() != recipients.len() || recipients.len() > MAX_RECIPIENTS {
        return Err(Refusal::new(
            Code::RecipientsInvalid,
            host_text!(
                "{} recipients are named, {} of them different; name at most {}, each once",
                recipients.len(),
                distinct.len(),
                MAX_RECIPIENTS
            ),
        ));
    }
    Ok(recipients)
}

/// The address comes from an encrypted policy, so nothing of it is in the words of a refusal.
async fn from_resource(uri: &ResourceUri, reach: &Reach) -> Result<Vec<PublicKey>, Refusal> {
    let invalid = |words: HostText| Refusal::new(Code::RecipientsInvalid, words);
    let bytes = reach.resource(uri).await.map_err(|why| match why {
        OutOfReach::Repository => invalid(
            "recipients_resource in the policy is not in the repository of the key that decrypted the \
             component, and a component reaches no other"
                .into(),
        ),
        OutOfReach::NotItsOwn => invalid(
            "recipients_resource in the policy is in another repository than the key that decrypted the \
             component, and the key broker releases it to whatever runs in this VM; have its policy \
             grant it to this component's digest"
                .into(),
        ),
        OutOfReach::OtherReason => invalid(
            "recipients_resource in the policy is in another repository than the key that decrypted the \
             component, and the key broker denied it to this VM for what may be another reason than the \
             component: both must attest alike, over TLS; start the task again in a moment"
                .into(),
        ),
        OutOfReach::HostCredential => invalid(
            "recipients_resource in the policy is of the type of hosts' credentials, which are read for no \
             component; put the JWK set under another type"
                .into(),
        ),
        OutOfReach::ImageKeyType => invalid(host_text!(
            "recipients_resource in the policy is of a type that decrypts images ({}); put the JWK set \
             under another type",
            reach.key_types
        )),
        OutOfReach::KeyBroker(error) => Refusal::new(
            error.code(),
            "the key broker did not give the recipients that recipients_resource in the policy names; \
             check that they are there and that its policy releases them to this host",
        ),
    })?;
    let unusable = || unusable("the resource that the policy names");
    let set = json::value(&bytes).map_err(|_| unusable())?;
    PublicKey::from_jwk_set(&set).map_err(|_| unusable())
}

/// The parser's words would quote the owner's policy, or a resource of the key broker, in clear.
fn unusable(what: &'static str) -> Refusal {
    Refusal::new(
        Code::RecipientsInvalid,
        host_text!(
            "the recipients in {} cannot be used: each must be a public JWK on P-256 or X25519, in a \
             resource as members of a JWK set",
            HostText::from(what)
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
        assert_eq!(sealable(vec![key(), key()]).unwrap().len(), 2);
        assert_eq!(sealable(Vec::new()).unwrap_err().code(), "no-recipients");
        let one = key();
        let twice = sealable(vec![one.clone(), one]).unwrap_err();
        assert_eq!(twice.code(), "recipients-invalid");
        let many: Vec<_> = (0..=MAX_RECIPIENTS).map(|_| key()).collect();
        assert_eq!(sealable(many).unwrap_err().code(), "recipients-invalid");
    }
}
