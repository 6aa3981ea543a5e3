//! Stable codes: why a task or a command did not end well, in a word that programs compare.
//!
//! A code never changes its meaning and is never used for something else; the words beside it may change
//! with every version. `docs/codes.md` lists every code with its cause and what to do about it, and a test
//! holds that page against [`Code::ALL`]. A new code is one line here and one there.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How a command ends: the exit code of its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExitCode {
    /// 0: done; verified; the task succeeded.
    Done = 0,
    /// 1: refused, failed or not verified.
    Failed = 1,
    /// 2: wrong usage or bad input.
    Usage = 2,
    /// 3: something that is needed is unavailable: the network, the key broker, a registry.
    Unavailable = 3,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

/// A text that is no code of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a code of this version; docs/codes.md lists them")]
pub struct UnknownCode;

/// The codes: variant, text, and the end of a command that fails with it.
macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $exit:ident;)*) => {
        /// Why a task or a command did not end well.
        ///
        /// ```
        /// use proplet_types::Code;
        /// assert_eq!(Code::KbsDenied.as_str(), "kbs-denied");
        /// assert_eq!("kbs-denied".parse(), Ok(Code::KbsDenied));
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "&'static str")]
        pub enum Code {
            $($(#[$doc])* $variant,)*
        }

        impl Code {
            /// Every code, in the order of `docs/codes.md`.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The code as it is written: lower case with hyphens.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }

            /// How a command ends that fails with this code.
            #[must_use]
            pub const fn exit_code(self) -> ExitCode {
                match self {
                    $(Self::$variant => ExitCode::$exit,)*
                }
            }
        }
    };
}

codes! {
    // Images and where they come from.

    /// The reference of an image, or the address of a component, is malformed.
    ImageReference = "image-reference", Usage;
    /// The settings do not allow images from this registry, or components from this host.
    ImageNotAllowed = "image-not-allowed", Failed;
    /// The registry or host knows no such image.
    ImageNotFound = "image-not-found", Failed;
    /// The registry refuses the credentials, or wants some.
    ImageUnauthorized = "image-unauthorized", Failed;
    /// A manifest, config or layer is not the one that its digest names.
    ImageDigestMismatch = "image-digest-mismatch", Failed;
    /// The encrypted layer was changed after it was encrypted.
    ImageHmacMismatch = "image-hmac-mismatch", Failed;
    /// What was decrypted is not what was encrypted.
    ImagePlainDigestMismatch = "image-plain-digest-mismatch", Failed;
    /// The task says that the image is encrypted, and it is not.
    ImageNotEncrypted = "image-not-encrypted", Failed;
    /// The image is encrypted, and the task does not say so.
    ImageEncrypted = "image-encrypted", Failed;
    /// The key does not open the image, or is not the one that the task expects.
    ImageKeyMismatch = "image-key-mismatch", Failed;
    /// The settings do not let keys of this resource type decrypt images.
    ImageKeyType = "image-key-type", Failed;
    /// The key was wrapped in a way that the settings do not allow.
    ImageWrapRefused = "image-wrap-refused", Failed;
    /// The image, or what it unpacks to, is larger than the settings allow.
    ImageTooLarge = "image-too-large", Failed;
    /// The image is not one Wasm component or module.
    ImageLayout = "image-layout", Usage;
    /// The registry's part of the settings cannot be used.
    ImageSettings = "image-settings", Usage;
    /// The folder holds no such image, or cannot be read or written.
    ImageFolder = "image-folder", Usage;
    /// A defect of the host while it handled an image.
    ImageInternal = "image-internal", Failed;
    /// The registry or host does not answer, or not as it should.
    RegistryUnavailable = "registry-unavailable", Unavailable;

    // Plugins.

    /// A plugin of the operator does not allow the task.
    PluginDenied = "plugin-denied", Failed;
    /// A plugin of the operator failed, which counts as no.
    PluginFailed = "plugin-failed", Failed;

    // The key broker.

    /// The key broker's part of the settings cannot be used.
    KbsConfig = "kbs-config", Usage;
    /// The settings name no key broker.
    KbsNotConfigured = "kbs-not-configured", Failed;
    /// An address names another key broker than the settings.
    KbsForeignHost = "kbs-foreign-host", Failed;
    /// The key broker's policy does not release the resource to this machine.
    KbsDenied = "kbs-denied", Failed;
    /// The key broker has no such resource.
    KbsNotFound = "kbs-not-found", Failed;
    /// The key broker does not accept this machine's evidence.
    KbsEvidenceRejected = "kbs-evidence-rejected", Failed;
    /// The key broker speaks another version of the protocol.
    KbsVersionMismatch = "kbs-version-mismatch", Failed;
    /// The key broker does not take the token that it just gave.
    KbsTokenRefused = "kbs-token-refused", Failed;
    /// The TEE gave no evidence for the key broker.
    KbsNoEvidence = "kbs-no-evidence", Failed;
    /// The key broker does not answer.
    KbsUnavailable = "kbs-unavailable", Unavailable;
    /// Too many components that are new here had this machine attest in a short time.
    KbsLimited = "kbs-limited", Unavailable;
    /// The key broker's answer breaks the protocol.
    KbsProtocol = "kbs-protocol", Failed;
    /// The key broker's answer is larger than is accepted.
    KbsTooLarge = "kbs-too-large", Failed;
    /// The resource that a setting names as a credential is none.
    CredentialInvalid = "credential-invalid", Failed;
    /// A token about this machine is larger than servers take.
    KbsTokenTooLarge = "kbs-token-too-large", Failed;
    /// The key broker does not let this administrator do that.
    KbsAdminRefused = "kbs-admin-refused", Failed;
    /// The attestation service cannot be reached.
    AttestationServiceUnavailable = "attestation-service-unavailable", Unavailable;
    /// The attestation service gives no token.
    AttestationServiceRefused = "attestation-service-refused", Failed;

    // Whether this machine runs an encrypted task.

    /// The settings take no encrypted tasks.
    EncryptedTasksOff = "encrypted-tasks-off", Failed;
    /// This machine has no TEE, and the task is encrypted.
    NoTee = "no-tee", Failed;
    /// There is no settings document, and the task is encrypted.
    SettingsMissing = "settings-missing", Failed;
    /// The TEE does not vouch for the settings document.
    SettingsNotMeasured = "settings-not-measured", Failed;
    /// The VM image is of the debug flavour, and the settings do not allow that.
    DebugImage = "debug-image", Failed;
    /// This machine swaps memory to a disk.
    SwapPresent = "swap-present", Failed;
    /// The TEE gave no evidence for the key that signs receipts.
    EvidenceUnavailable = "evidence-unavailable", Failed;

    // What is wrong with the TEE's evidence, as `proplet detect` and the log say it.

    /// The TEE's device, interface or service is not there.
    TeeUnreachable = "tee-unreachable", Failed;
    /// This process may not use the TEE's device or interface.
    TeePermission = "tee-permission", Failed;
    /// The TEE serves somebody else, is throttled, or takes too long.
    TeeBusy = "tee-busy", Failed;
    /// The TEE's firmware, driver or quoting service answered with an error.
    TeeFailed = "tee-failed", Failed;
    /// What the TEE gave is no evidence.
    TeeMalformed = "tee-malformed", Failed;
    /// The evidence is of a VM or a request that this host does not stand for.
    TeeNotTrusted = "tee-not-trusted", Failed;

    // Why the machine of a confidential VM image switched itself off.

    /// The image, its kernel and the machine do not belong together.
    VmSetup = "vm-setup", Failed;
    /// The kernel was started with another command line than the image's.
    VmCommandLine = "vm-command-line", Failed;
    /// The init-data or the operator's document is missing or cannot be used.
    VmDocuments = "vm-documents", Failed;
    /// The VM was started with another init-data digest than that of its document.
    VmInitDataMismatch = "vm-init-data-mismatch", Failed;
    /// This is a confidential guest that has nothing to attest with.
    VmNoDevice = "vm-no-device", Failed;
    /// The network cannot be brought up.
    VmNetwork = "vm-network", Failed;
    /// The daemon ended by itself.
    VmDaemonEnded = "vm-daemon-ended", Failed;

    // The component and its policy.

    /// The bytes are no component or module that the engine takes.
    ComponentInvalid = "component-invalid", Usage;
    /// The component is larger than the host compiles.
    ComponentTooLarge = "component-too-large", Failed;
    /// The policy inside the component cannot be used.
    PolicyInvalid = "policy-invalid", Failed;
    /// The component imports what it is not granted.
    ImportNotGranted = "import-not-granted", Failed;
    /// The component has no export of this name.
    ExportNotFound = "export-not-found", Usage;
    /// The component answers HTTP requests, and this host serves none.
    HttpNotServed = "http-not-served", Failed;
    /// The component answers HTTP requests and came encrypted.
    HttpEncrypted = "http-encrypted", Failed;
    /// The component's policy does not let tasks invoke this export.
    ExportNotAllowed = "export-not-allowed", Failed;
    /// The export takes or gives values that a task cannot pass.
    ExportUnsupported = "export-unsupported", Failed;
    /// The inputs are not the arguments of the export.
    ArgumentsInvalid = "arguments-invalid", Usage;

    // Who may read the result.

    /// Nobody is named who may read the result.
    NoRecipients = "no-recipients", Failed;
    /// The recipients that are named cannot be used.
    RecipientsInvalid = "recipients-invalid", Failed;

    // The start message.

    /// The start or invoke message is malformed.
    TaskInvalid = "task-invalid", Usage;
    /// The start message asks for what this host does not do.
    TaskUnsupported = "task-unsupported", Failed;
    /// `cli_args` holds what a task may not choose.
    TaskArguments = "task-arguments", Usage;
    /// As many tasks as the settings allow run and wait already, or the host is busy compiling other components.
    QueueFull = "queue-full", Failed;
    /// The proplet is shutting down.
    PropletStopping = "proplet-stopping", Failed;
    /// The outbox cannot be written, so nothing could be promised about the task.
    OutboxUnavailable = "outbox-unavailable", Failed;
    /// The audit log cannot be written, and the settings let nothing run that is not on record.
    AuditUnavailable = "audit-unavailable", Failed;
    /// A task of this id ran before, and the settings let none run twice.
    AlreadyRun = "already-run", Failed;
    /// As many daemons as the settings allow run already.
    DaemonTasksFull = "daemon-tasks-full", Failed;
    /// No latent task of this id is prepared here.
    NotPrecompiled = "not-precompiled", Failed;
    /// The invocation could not be done in time.
    InvocationTimeout = "invocation-timeout", Failed;

    // The run.

    /// The component trapped.
    GuestTrapped = "guest-trapped", Failed;
    /// The component ended with an error or another exit status than 0.
    GuestFailed = "guest-failed", Failed;
    /// The component takes longer to compile than it may.
    LimitCompile = "limit-compile", Failed;
    /// The task needs more memory than it may have.
    LimitMemory = "limit-memory", Failed;
    /// The task took longer than it may.
    LimitWallClock = "limit-wall-clock", Failed;
    /// The task took more processor time than it may.
    LimitCpu = "limit-cpu", Failed;
    /// The task produced more output than it may.
    LimitOutput = "limit-output", Failed;
    /// The task holds more handles than it may.
    LimitHandles = "limit-handles", Failed;
    /// The task was stopped.
    Stopped = "stopped", Failed;
    /// The key broker session that released the component has ended.
    SessionEnded = "session-ended", Failed;
    /// The proplet restarted while the task waited or ran.
    Interrupted = "interrupted", Failed;
    /// The host could not do its part.
    HostFailed = "host-failed", Failed;

    // The result on its way out.

    /// The result could not be sealed or written.
    ResultFailed = "result-failed", Failed;
    /// The result is larger than the settings let out.
    ResultTooLarge = "result-too-large", Failed;
    /// The task ended well, and the proplet restarted before it handed the result to the broker.
    ResultLost = "result-lost", Failed;
    /// The task ended well, and the proplet restarted after it handed the result to the broker and before that was
    /// acknowledged.
    ResultUnconfirmed = "result-unconfirmed", Failed;
    /// The broker does not take the result.
    ResultUndeliverable = "result-undeliverable", Failed;
    /// The receipt could not be made or signed.
    ReceiptFailed = "receipt-failed", Failed;

    // Commands.

    /// The command line is wrong.
    Usage = "usage", Usage;
    /// An input file cannot be used.
    Input = "input", Usage;
    /// An output file cannot be written, or is there already.
    Output = "output", Usage;
    /// The result could not be written to standard output.
    OutputFailed = "output-failed", Failed;
    /// The settings document, or a file that it names, cannot be used.
    Settings = "settings", Usage;
    /// The task has no result.
    NoResult = "no-result", Failed;
    /// The result is not sealed, so there is nothing to verify.
    NotSealed = "not-sealed", Failed;
    /// The task failed, and the host said why in clear.
    TaskFailed = "task-failed", Failed;
    /// The evidence, the receipt or an expectation does not hold.
    NotVerified = "not-verified", Failed;
    /// The result does not open with this key.
    NotOpened = "not-opened", Failed;
    /// The result verified and opened: it says that the component failed.
    ComponentFailed = "component-failed", Failed;
    /// The result is not text and would go to a terminal.
    Binary = "binary", Failed;
    /// No key was made.
    Keygen = "keygen", Failed;
    /// The service or mirror that collateral is fetched from gives none, or cannot be reached.
    CollateralUnavailable = "collateral-unavailable", Unavailable;
    /// What was fetched as collateral is none.
    CollateralInvalid = "collateral-invalid", Failed;
    /// A defect of the command line.
    Internal = "internal", Failed;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Code {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.as_str() == text)
            .ok_or(UnknownCode)
    }
}

impl TryFrom<String> for Code {
    type Error = UnknownCode;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Code> for &'static str {
    fn from(code: Code) -> Self {
        code.as_str()
    }
}

impl PartialEq<str> for Code {
    fn eq(&self, text: &str) -> bool {
        self.as_str() == text
    }
}

impl PartialEq<&str> for Code {
    fn eq(&self, text: &&str) -> bool {
        self.as_str() == *text
    }
}

#[cfg(test)]
mod tests;
