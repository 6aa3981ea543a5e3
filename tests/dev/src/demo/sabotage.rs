//! What can be broken on purpose, one thing at a time.

use clap::ValueEnum;

/// One thing that is broken in the run. Each must end in a refusal that names the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sabotage {
    /// The key broker holds another key than the one that encrypted the image.
    Key,
    /// The registry flips one bit of the encrypted layer.
    Image,
    /// The evidence of the TEE has a bad signature.
    Evidence,
    /// The key broker's policy denies the key to this host.
    Policy,
    /// The key broker is down.
    KbsDown,
    /// Nobody is named who may read the result.
    Recipient,
}

impl Sabotage {
    /// What is done, for the reader of the demo.
    pub fn what(self) -> &'static str {
        match self {
            Self::Key => "the key broker holds another key than the one that encrypted the image",
            Self::Image => "the registry flips one bit of the encrypted layer",
            Self::Evidence => "the TEE's evidence carries a bad signature",
            Self::Policy => "the key broker's policy denies every resource",
            Self::KbsDown => "the key broker is down",
            Self::Recipient => "neither the policy nor the settings name a recipient",
        }
    }

    /// Codes of the refusal that this must lead to: the first word of the error.
    pub fn expected_codes(self) -> &'static [&'static str] {
        match self {
            Self::Key => &["image-key-mismatch", "image-hmac-mismatch"],
            Self::Image => &["image-digest-mismatch"],
            Self::Evidence => &["kbs-evidence-rejected"],
            Self::Policy => &["kbs-denied"],
            Self::KbsDown => &["kbs-unavailable"],
            Self::Recipient => &["no-recipients"],
        }
    }
}
