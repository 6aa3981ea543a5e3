//! What a component may be given of the key broker.
//!
//! A component reaches only the repository of the key that decrypted it, so that the owner of one key cannot
//! write a policy that asks for another owner's secrets. Where the key broker is told which component asks
//! ([`Vault::is_component_bound`]), its policy can grant more to a component's digest, and what it grants so
//! is in reach too. But a key broker whose policy does not look at digests would grant everything to
//! everybody, as Trustee's own does. So it is asked first without a word about a component: what it releases
//! then is no grant to this one, and stays out of reach. Nor is what it denied for another reason than the component:
//! the hypervisor, or the network where there is no TLS, can bring about a denial.
//!
//! And whatever its policy says: a key that decrypts images is no component's, and neither is what lets this host
//! in elsewhere.

use std::sync::Arc;

use proplet_audit::Event;
use proplet_kbs::{KbsError, protocol::Requester};
use proplet_types::{Digest, ImageKeyTypes, ResourceUri, is_host_credential};
use zeroize::Zeroizing;

use super::{
    given::Given,
    vault::{Memory, Vault},
};
use crate::ledger::Ledger;

/// The reach of one component.
pub(crate) struct Reach {
    pub vault: Arc<Vault>,
    /// That of the key that decrypted it.
    pub repository: String,
    /// What the key broker is told of it.
    pub component: Requester,
    /// Types of keys that decrypt images.
    pub key_types: ImageKeyTypes,
    /// Where it is put on record what was asked for.
    pub ledger: Ledger,
    /// What it was given so far.
    pub given: Given,
}

/// Why a component is not given a resource.
#[derive(Debug)]
pub(crate) enum OutOfReach {
    /// It is in another repository.
    Repository,
    /// It is in another repository, and the key broker releases it to whatever runs in this VM.
    NotItsOwn,
    /// It is in another repository, and that this VM was denied it may have another reason than the component.
    OtherReason,
    /// It is a credential of a host.
    HostCredential,
    /// It is of a type that decrypts images.
    ImageKeyType,
    /// The key broker did not give it.
    KeyBroker(KbsError),
}

impl OutOfReach {
    /// One word for the record.
    fn word(&self) -> &'static str {
        match self {
            Self::Repository => "other-repository",
            Self::NotItsOwn => "not-its-own",
            Self::OtherReason => "other-reason",
            Self::HostCredential => "host-credential",
            Self::ImageKeyType => "image-key-type",
            Self::KeyBroker(error) => error.code().as_str(),
        }
    }
}

impl Reach {
    /// The bytes of a resource.
    pub(crate) async fn resource(
        &self,
        uri: &ResourceUri,
    ) -> Result<Zeroizing<Vec<u8>>, OutOfReach> {
        let given = self.asked(uri, Memory::Used).await?;
        self.given.note(uri, &given);
        Ok(given)
    }

    /// Which bytes the key broker has there now: it is asked, whatever is remembered of it.
    pub(crate) async fn resource_again(&self, uri: &ResourceUri) -> Result<Digest, OutOfReach> {
        let given = self.asked(uri, Memory::PassedOver).await?;
        Ok(Digest::of(&given))
    }

    async fn asked(
        &self,
        uri: &ResourceUri,
        memory: Memory,
    ) -> Result<Zeroizing<Vec<u8>>, OutOfReach> {
        let event = |refused| Event::Secret {
            uri: uri.clone(),
            refused,
        };
        let given = self.given(uri, memory);
        self.ledger.asked(event, OutOfReach::word, given).await
    }

    async fn given(
        &self,
        uri: &ResourceUri,
        memory: Memory,
    ) -> Result<Zeroizing<Vec<u8>>, OutOfReach> {
        let (vault, owner) = (&self.vault, self.repository.as_str());
        let is_elsewhere = uri.repository() != owner;
        if is_elsewhere && !vault.is_component_bound() {
            return Err(OutOfReach::Repository);
        }
        if is_host_credential(uri) {
            return Err(OutOfReach::HostCredential);
        }
        if !self.key_types.may_be_given(uri) {
            return Err(OutOfReach::ImageKeyType);
        }
        if !is_elsewhere {
            let resource = vault.resource(uri, &self.component, owner, memory).await;
            return resource.map_err(OutOfReach::KeyBroker);
        }
        let any = vault.is_released_to_any(uri, owner).await;
        if any.map_err(OutOfReach::KeyBroker)? {
            return Err(OutOfReach::NotItsOwn);
        }
        let denied_in = vault.own_session();
        let resource = vault.resource(uri, &self.component, owner, memory).await;
        let resource = resource.map_err(OutOfReach::KeyBroker)?;
        match vault.is_told_apart(&self.component, denied_in) {
            true => Ok(resource),
            false => Err(OutOfReach::OtherReason),
        }
    }
}
