//! What other programs were given by the Attestation Agent, in the boot's chain.
//!
//! Whatever the TEE or the attestation service was asked for has an entry, and the quota of the settings bounds these.
//! Requests that are refused before cost a program nothing, so of those a few in each minute have one, and the others are
//! counted.

use proplet_agent::attestation::{End, Wanted, Witness};
use proplet_audit::{Event, Refused};

use super::Record;

impl Witness for Record {
    fn asked(&self, wanted: Wanted, end: End) {
        let refused = match end {
            End::Given => None,
            End::Failed(word) => Some(word),
            End::Refused(word) => {
                let (is_listed, unlisted) = self.agent_refusals.count();
                self.unlisted(unlisted, |count| Event::AgentRefused { count });
                if !is_listed {
                    return;
                }
                Some(word)
            }
        };
        self.audit.record(event(wanted, refused));
    }
}

fn event(wanted: Wanted, refused: Refused) -> Event {
    match wanted {
        Wanted::Evidence { challenge, outside } => Event::AgentEvidence {
            challenge,
            outside,
            refused,
        },
        Wanted::Token => Event::AgentToken { refused },
    }
}
