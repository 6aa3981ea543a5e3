//! The ways out of this host that tasks have: hosts that they may make requests to, and directories.
//!
//! What plain tasks have stands in the settings. An encrypted one has the hosts that its owner listed in the policy,
//! over TLS only, and no directory.

use std::sync::{Arc, OnceLock};

use proplet_component::Policy;
use proplet_net::{
    names::{Asker, Names, Resolver},
    reach::{
        Endpoints, InvalidEndpoint, SetupError,
        outgoing::{Bounds, Hosts, Network},
    },
};
use proplet_runtime::{Directory, Outside};
use proplet_settings::{Http, Settings};
use proplet_types::Code;

use crate::{error::ExecutorError, refusal::Refusal};

/// The ways out.
pub(crate) struct Ways {
    http: Http,
    /// Hosts for plain tasks.
    listed: Hosts,
    directories: Arc<[Directory]>,
    /// Apart from those of registries, which tasks wait for before they run.
    names: Names,
    /// Set up when the first task needs it: most hosts never do.
    network: OnceLock<Arc<Network>>,
}

impl Ways {
    pub(super) fn new(settings: &Settings, resolver: Resolver) -> Result<Self, ExecutorError> {
        let http = settings.http.clone();
        let all = http.hosts.iter().chain(&http.http_hosts);
        let listed = Hosts::new(all.map(String::as_str), true);
        let setup = |error: InvalidEndpoint| ExecutorError::Setup(error.to_string());
        Ok(Self {
            listed: listed.map_err(setup)?,
            directories: settings.directories.clone().into(),
            names: Names::new(resolver),
            network: OnceLock::new(),
            http,
        })
    }

    /// Of a plain task.
    ///
    /// # Errors
    /// `host-failed` when there is no trust to be had for TLS.
    pub(crate) fn plain(&self) -> Result<Outside, Refusal> {
        Ok(Outside {
            directories: Arc::clone(&self.directories),
            ..self.to(&self.listed, Asker::Anybody)?
        })
    }

    /// Of an encrypted task with this policy, whose key is in this repository.
    ///
    /// # Errors
    /// As [`Ways::plain`].
    pub(crate) fn encrypted(
        &self,
        policy: Option<&Policy>,
        repository: &str,
    ) -> Result<Outside, Refusal> {
        let hosts = policy.map_or(&[][..], |policy| &policy.hosts);
        if hosts.is_empty() {
            return Ok(Outside::default());
        }
        let hosts = Hosts::new(hosts.iter().map(String::as_str), false);
        let hosts = hosts.map_err(|_| no_host())?;
        self.to(&hosts, Asker::Named(repository.into()))
    }

    fn to(&self, hosts: &Hosts, asker: Asker) -> Result<Outside, Refusal> {
        if hosts.is_empty() {
            return Ok(Outside::default());
        }
        Ok(Outside {
            http: Some(self.network()?.outgoing(hosts, asker)),
            ..Outside::default()
        })
    }

    fn network(&self) -> Result<&Arc<Network>, Refusal> {
        if let Some(network) = self.network.get() {
            return Ok(network);
        }
        let network = self.set_up().map_err(|error| {
            tracing::error!("Requests of components cannot be made: {error}");
            Refusal::new(
                Code::HostFailed,
                "requests of components cannot be made: TLS cannot be set up as [http] in the settings says; the \
                 log says why",
            )
        })?;
        Ok(self.network.get_or_init(|| Arc::new(network)))
    }

    fn set_up(&self) -> Result<Network, SetupError> {
        let texts = |hosts: &'_ [String]| hosts.to_vec();
        let (plain, private) = (
            texts(&self.http.http_hosts),
            texts(&self.http.private_hosts),
        );
        let endpoints = Endpoints::new(
            plain.iter().map(String::as_str),
            private.iter().map(String::as_str),
        )?;
        let ca_pem = self.http.ca_pem.as_deref().map(str::as_bytes);
        Network::new(endpoints, ca_pem, Bounds::default(), self.names.clone())
    }
}

/// The reader of policies took the host, so this does not happen.
fn no_host() -> Refusal {
    Refusal::new(Code::PolicyInvalid, "a host in the policy cannot be read")
}

#[cfg(test)]
mod tests {
    use proplet_settings::environment::Environment;
    use proptest::prelude::*;

    use super::*;

    fn ways(text: &str) -> Ways {
        let settings = Settings::parse(Some(text), &Environment::default()).unwrap();
        Ways::new(&settings, Resolver::default()).unwrap()
    }

    fn policy(hosts: &str) -> Policy {
        Policy::parse(format!("version = 1\nhosts = {hosts}").as_bytes()).unwrap()
    }

    #[test]
    fn nobody_has_a_way_out_that_nobody_wrote_down() {
        let ways = ways("");
        assert!(ways.plain().unwrap().http.is_none());
        assert!(ways.plain().unwrap().directories.is_empty());
        assert!(ways.encrypted(None, "mine").unwrap().http.is_none());
        let none = ways.encrypted(Some(&policy("[]")), "mine").unwrap();
        assert!(none.http.is_none());
    }

    #[test]
    fn what_plain_tasks_have_is_not_for_encrypted_ones() {
        let ways = ways("[http]\nhosts = [\"a.example\"]\n[[directories]]\npath = \"/srv/a\"");
        let plain = ways.plain().unwrap();
        assert!(plain.http.is_some() && plain.directories.len() == 1);
        for policy in [None, Some(policy("[]")), Some(policy("[\"b.example\"]"))] {
            let outside = ways.encrypted(policy.as_ref(), "mine").unwrap();
            assert!(outside.directories.is_empty());
            let listed = policy.is_some_and(|policy| !policy.hosts.is_empty());
            assert_eq!(outside.http.is_some(), listed);
        }
    }

    proptest! {
        #[test]
        fn every_host_that_a_policy_can_have_is_one(
            text in "[a-zA-Z0-9_.-]{1,30}(:[0-9]{1,5})?|\\[[0-9a-f:]{2,20}\\](:[0-9]{1,5})?"
        ) {
            let read = Policy::parse(format!("version = 1\nhosts = [{text:?}]").as_bytes());
            if let Ok(policy) = read {
                let hosts = policy.hosts.iter().map(String::as_str);
                prop_assert!(Hosts::new(hosts, false).is_ok(), "{}", text);
            }
        }
    }
}
