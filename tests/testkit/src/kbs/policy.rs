//! What is released to whom.

use std::fmt;
use std::sync::Arc;

use super::{grants::Grants, request::ResourceRequest};

type Predicate = dyn Fn(&ResourceRequest<'_>) -> bool + Send + Sync;

/// A resource policy.
#[derive(Clone)]
pub enum Policy {
    /// Trustee's default: everything to every TEE but `sample`, whatever its status.
    Default,
    /// Everything to whoever has a token.
    AllowAll,
    /// Nothing to anybody.
    DenyAll,
    /// What a function says.
    Predicate(Arc<Predicate>),
    /// What a policy of `docs/trustee` says.
    Grants(Arc<Grants>),
}

/// The policies that can be set with [`proplet_kbs::admin::AdminClient::set_resource_policy`], since
/// nothing here evaluates Rego: these texts, whatever their white space, and [`Grants`].
const ALLOW_ALL: [&str; 2] = [
    "package policy default allow = true",
    "package policy default allow = false plugin = data.plugin allow if { plugin == \"resource\" }",
];
const DENY_ALL: &str = "package policy default allow = false";

impl Policy {
    /// A policy that asks a function.
    pub fn predicate(allow: impl Fn(&ResourceRequest<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self::Predicate(Arc::new(allow))
    }

    /// The policy that a known text stands for.
    pub fn from_rego(text: &str) -> Option<Self> {
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if ALLOW_ALL.contains(&words.as_str()) {
            Some(Self::AllowAll)
        } else if words == DENY_ALL {
            Some(Self::DenyAll)
        } else {
            Grants::from_rego(text).map(|grants| Self::Grants(Arc::new(grants)))
        }
    }

    /// Whether a request is allowed.
    pub fn allows(&self, request: &ResourceRequest<'_>) -> bool {
        match self {
            Self::Grants(grants) => grants.allow(request),
            Self::Default => request.tee().is_some_and(|tee| tee != "sample"),
            Self::AllowAll => true,
            Self::DenyAll => false,
            Self::Predicate(allow) => allow(request),
        }
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "Policy::Default",
            Self::AllowAll => "Policy::AllowAll",
            Self::DenyAll => "Policy::DenyAll",
            Self::Predicate(_) => "Policy::Predicate",
            Self::Grants(_) => "Policy::Grants",
        })
    }
}
