//! Evidence of itself: input is a challenge of the relying party, at most 64 bytes; the result is the
//! evidence bundle, JSON, which `proplet verify` takes. Its claims name this component.
#![deny(missing_docs)]

use std::io::{self, Write};

use proplet_sdk::{Failure, attestation, results};

#[proplet_sdk::main]
fn run(challenge: Vec<u8>) -> Result<Vec<u8>, Failure> {
    introduce(&mut io::stderr())?;
    let bundle = attestation::evidence(&challenge)?.to_json();
    // Published, it has a media type and a plain task's result reads as JSON; returned, it is also there
    // for whoever calls the export.
    results::publish(&bundle, "application/json")?;
    Ok(bundle)
}

/// Says who this is and where. Nobody has to believe it: that is what the evidence is for.
fn introduce(log: &mut impl Write) -> io::Result<()> {
    let identity = attestation::identity();
    let platform = attestation::platform();
    let none = || "none".to_owned();
    writeln!(log, "component {}", identity.component_digest)?;
    writeln!(
        log,
        "image     {}",
        identity.image_digest.unwrap_or_else(none)
    )?;
    writeln!(
        log,
        "policy    {}",
        identity.policy_digest.unwrap_or_else(none)
    )?;
    writeln!(log, "settings  {}", identity.settings_digest)?;
    writeln!(log, "task      {}", identity.task_id)?;
    let kind = if platform.is_hardware {
        "hardware"
    } else {
        "not hardware"
    };
    writeln!(
        log,
        "TEE       {} ({kind})",
        platform.tee.unwrap_or_else(none)
    )
}

#[cfg(test)]
mod tests {
    use proplet_sdk::testing::{Evidence, Host};

    use super::*;

    #[test]
    fn the_bundle_is_published_and_returned() {
        let host = Host::new().with_evidence(Evidence::default());
        let bundle = host.run(|| run(b"challenge".to_vec())).unwrap();
        let published = host.published().unwrap();
        assert_eq!(published.content, bundle);
        assert_eq!(published.media_type, "application/json");
    }

    #[test]
    fn without_a_tee_it_fails_and_publishes_nothing() {
        let host = Host::new();
        let failure = host.run(|| run(b"challenge".to_vec())).unwrap_err();
        assert!(matches!(failure, Failure::Host(text) if text.contains("no TEE")));
        assert_eq!(host.published(), None);
    }

    #[test]
    fn it_says_that_a_fake_is_not_hardware() {
        let mut log = Vec::new();
        Host::new()
            .with_evidence(Evidence::default())
            .run(|| introduce(&mut log))
            .unwrap();
        assert!(
            String::from_utf8(log)
                .unwrap()
                .ends_with("TEE       sample (not hardware)\n")
        );
    }
}
