//! The guests by name.

use std::fmt;

/// A guest that can be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum GuestName {
    /// `run(challenge)` gives evidence about itself.
    HelloAttest,
    /// `run(samples)` classifies samples with weights from the key broker.
    ConfidentialInference,
    /// A program that greets its inputs on standard output.
    GreetCommand,
    /// Greets whoever the path of a request names.
    GreetServer,
    /// A core module with `add`, `fib`, `half`, `trap` and `spin`.
    AddCore,
    /// `run(word …)` misbehaves on request. It asks for no secrets, so it also runs as a plain component.
    Hostile,
    /// `run(word address)` reaches for the network, of which every call is denied.
    Dialler,
    /// `run(word uri)` asks for any secret and reads it.
    SecretProbe,
    /// `run(uri)` gets a secret and cannot read it.
    SecretHolder,
    /// `run-attestation`, `run-hal-test` and `run-refusals` ask `elastic:hal` for everything.
    HalProbe,
    /// A program that does with files what its arguments say.
    Files,
    /// `run(word address)` makes requests.
    WebClient,
    /// A plugin: allows tasks, denies them and misbehaves by their names.
    PolicyPlugin,
    /// Answers requests by `wasi:http/incoming-handler`.
    WebServer,
}

impl GuestName {
    /// Every guest.
    pub const ALL: [Self; 14] = [
        Self::HelloAttest,
        Self::ConfidentialInference,
        Self::GreetCommand,
        Self::GreetServer,
        Self::AddCore,
        Self::Hostile,
        Self::Dialler,
        Self::SecretProbe,
        Self::SecretHolder,
        Self::HalProbe,
        Self::Files,
        Self::WebClient,
        Self::WebServer,
        Self::PolicyPlugin,
    ];

    /// Its name, `hello-attest`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HelloAttest => "hello-attest",
            Self::ConfidentialInference => "confidential-inference",
            Self::GreetCommand => "greet-command",
            Self::GreetServer => "greet-server",
            Self::AddCore => "add-core",
            Self::Hostile => "hostile",
            Self::Dialler => "dialler",
            Self::SecretProbe => "secret-probe",
            Self::SecretHolder => "secret-holder",
            Self::HalProbe => "hal-probe",
            Self::Files => "files",
            Self::WebClient => "web-client",
            Self::WebServer => "web-server",
            Self::PolicyPlugin => "policy-plugin",
        }
    }

    /// The cargo package, unless it is WebAssembly text.
    pub(super) fn package(self) -> Option<&'static str> {
        (self != Self::AddCore).then(|| self.as_str())
    }
}

impl fmt::Display for GuestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
