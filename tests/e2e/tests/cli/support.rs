//! Running the command line, and documents to run it on.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use proplet::cli::{Console, Context, main_with};
use proplet_hal::{Flavour, TeeProvider};
use proplet_jose::jwe::encrypt;
use proplet_jose::jwk::PublicKey;
use proplet_results::claims::{Claims, WorkloadClaims};
use proplet_results::digest::{of_arguments, of_environment, of_inputs};
use proplet_results::failure::{self, Failure};
use proplet_results::receipt::RunOutcome;
use proplet_results::{EvidenceBundle, ReceiptClaims, ReceiptKey, ResultDocument, Sealed, seal};
use proplet_settings::environment::Environment;
use proplet_types::{Digest, ExitCode, SystemClock};
use serde_json::Value;
use tempfile::TempDir;

/// A folder for one test.
pub struct Desk(TempDir);

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub exit: ExitCode,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

/// What a command sees besides its arguments.
#[derive(Default)]
pub struct Seen<'a> {
    pub stdin: &'a [u8],
    pub terminal: bool,
}

impl Desk {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Runs a command line. `@name` is the file of that name on the desk.
    pub async fn run(&self, line: &str) -> Ended {
        self.run_seeing(line, Seen::default()).await
    }

    pub async fn run_seeing(&self, line: &str, seen: Seen<'_>) -> Ended {
        let arguments =
            std::iter::once("proplet".to_owned()).chain(line.split_whitespace().map(|word| {
                match word.strip_prefix('@') {
                    Some(name) => self.path(name).to_str().unwrap().to_owned(),
                    None => word.to_owned(),
                }
            }));
        let (mut stdin, mut stdout, mut stderr) = (seen.stdin, Vec::new(), Vec::new());
        let context = Context {
            clock: std::sync::Arc::new(SystemClock),
            environment: Environment::default(),
            program_path: Some(self.path("bin").into()),
        };
        let mut console = Console {
            stdin: &mut stdin,
            stdout: &mut stdout,
            stderr: &mut stderr,
            stdout_is_terminal: seen.terminal,
            stderr_is_terminal: seen.terminal,
            json: false,
        };
        let exit = main_with(arguments, &context, &mut console).await;
        Ended {
            exit,
            stdout,
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }

    /// The credential helper `test`, which answers with these lines: `registry name secret`.
    pub fn helper(&self, answers: &str) {
        let folder = self.path("bin");
        std::fs::create_dir(&folder).unwrap();
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/cli/helper/docker-credential-test"
        );
        std::os::unix::fs::symlink(script, folder.join("docker-credential-test")).unwrap();
        std::fs::write(folder.join("answers"), answers).unwrap();
    }

    /// A recipient's key pair, in `<name>` and `<name>.pub`.
    pub async fn keygen(&self, name: &str) -> PublicKey {
        let ended = self.run(&format!("keygen --out @{name}")).await.done();
        PublicKey::from_jwk(&serde_json::from_slice(&ended.stdout).unwrap()).unwrap()
    }
}

impl Ended {
    /// Expects success.
    pub fn done(self) -> Self {
        assert_eq!(self.exit, ExitCode::Done, "{self:?}");
        self
    }

    /// Expects another end, said in one line that has these words.
    pub fn refused(self, exit: ExitCode, words: &str) -> Self {
        assert_eq!(self.exit, exit, "{self:?}");
        let last = self.stderr.lines().last().unwrap_or_default();
        assert!(last.starts_with("error: "), "{self:?}");
        assert!(last.contains(words), "no {words:?} in {last:?}");
        self
    }

    /// Expects a usage error of the command line itself.
    pub fn misused(self, words: &str) -> Self {
        assert_eq!(self.exit, ExitCode::Usage, "{self:?}");
        assert!(self.stderr.contains(words), "{self:?}");
        assert!(self.stdout.is_empty(), "{self:?}");
        self
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap()
    }

    /// The error object of a command with `--json`.
    pub fn error(&self) -> Value {
        let last = self.stderr.lines().last().unwrap();
        serde_json::from_str::<Value>(last).unwrap()["error"].clone()
    }
}

pub fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A host that ran a task: its TEE, and what it signs with.
pub struct Ran<'a> {
    pub tee: &'a dyn TeeProvider,
    pub key: ReceiptKey,
    pub task_id: String,
    /// Of a latent task.
    pub invocation_id: Option<String>,
    pub export: String,
    /// Of the VM image.
    pub flavour: Flavour,
}

impl<'a> Ran<'a> {
    pub fn on(tee: &'a dyn TeeProvider) -> Self {
        Self {
            tee,
            key: ReceiptKey::generate().unwrap(),
            task_id: "task-1".to_owned(),
            invocation_id: None,
            export: "run".to_owned(),
            flavour: Flavour::Sealed,
        }
    }

    /// A result of this media type.
    pub async fn gave(
        &self,
        content: &[u8],
        media_type: &str,
        reader: &PublicKey,
    ) -> ResultDocument {
        let sealed = seal(content, media_type, std::slice::from_ref(reader)).unwrap();
        self.document(sealed, RunOutcome::Completed, reader).await
    }

    /// A failure.
    pub async fn failed(&self, error: &str, stderr: &str, reader: &PublicKey) -> ResultDocument {
        let failure = Failure {
            error: error.to_owned(),
            stderr: stderr.to_owned(),
        };
        let sealed = failure.seal(std::slice::from_ref(reader)).unwrap();
        self.document(sealed, RunOutcome::Failed, reader).await
    }

    /// A failure whose sealed content is another thing. A host cannot seal that by accident.
    pub async fn failed_strangely(&self, reader: &PublicKey) -> ResultDocument {
        let typ = [("typ".to_owned(), "proplet-result+jwe".into())]
            .into_iter()
            .collect();
        let readers = std::slice::from_ref(reader);
        let media_type = failure::MEDIA_TYPE.as_bytes();
        let length = [u8::try_from(media_type.len()).unwrap()];
        let jwe = encrypt(&[&length, media_type, b"{}"], readers, &typ).unwrap();
        let digest = proplet_results::digest::of_json(&jwe).unwrap();
        self.document(Sealed { jwe, digest }, RunOutcome::Failed, reader)
            .await
    }

    /// Evidence about a component.
    pub async fn evidence(&self, challenge: &[u8]) -> EvidenceBundle {
        let workload = WorkloadClaims {
            component_digest: Digest::of(b"component"),
            image_digest: None,
            policy_digest: None,
            task_id: "task-1".to_owned(),
        };
        let settings = Digest::of(b"settings");
        let claims = Claims::workload(
            challenge,
            &self.key,
            settings,
            self.tee.attester(),
            workload,
        );
        let claims = claims.unwrap().with_flavour(self.flavour);
        EvidenceBundle::gather(self.tee, &claims).await.unwrap()
    }

    async fn document(
        &self,
        sealed: Sealed,
        outcome: RunOutcome,
        reader: &PublicKey,
    ) -> ResultDocument {
        let settings_digest = Digest::of(b"settings");
        let attester = self.tee.attester().to_owned();
        let claims = Claims::instance(&self.key, settings_digest, &attester).unwrap();
        let claims = claims.with_flavour(self.flavour);
        let evidence = EvidenceBundle::gather(self.tee, &claims).await.unwrap();
        let receipt = ReceiptClaims {
            task_id: self.task_id.clone(),
            sequence: self.key.next_sequence(),
            outcome,
            component_digest: Digest::of(b"component"),
            image_digest: Some(Digest::of(b"image")),
            policy_digest: Some(Digest::of(b"policy")),
            settings_digest,
            attester,
            export: self.export.clone(),
            arguments_digest: of_arguments::<&str>(&[]).unwrap(),
            environment_digest: of_environment(&BTreeMap::new()).unwrap(),
            inputs_digest: of_inputs(&["10", "twenty"]).unwrap(),
            result_digest: sealed.digest,
            recipients: vec![reader.thumbprint()],
            flavour: self.flavour,
            limits: BTreeMap::new(),
            untrusted_start: std::time::SystemTime::now().into(),
            untrusted_finish: std::time::SystemTime::now().into(),
            audit_head: None,
            invocation_id: self.invocation_id.clone(),
            evidence_digest: evidence.digest().unwrap(),
        };
        let receipt = self.key.sign(&receipt).unwrap();
        ResultDocument {
            jwe: sealed.jwe,
            receipt,
            evidence,
        }
    }
}

/// What a receipt of a task `task-1` says, without a head of an audit log.
pub fn receipt_claims(key: &ReceiptKey, evidence: &EvidenceBundle) -> ReceiptClaims {
    ReceiptClaims {
        task_id: "task-1".to_owned(),
        sequence: key.next_sequence(),
        invocation_id: None,
        outcome: RunOutcome::Completed,
        component_digest: Digest::of(b"component"),
        image_digest: None,
        policy_digest: None,
        settings_digest: Digest::of(b"settings"),
        attester: "fake-snp".to_owned(),
        export: "run".to_owned(),
        arguments_digest: of_arguments::<&str>(&[]).unwrap(),
        environment_digest: of_environment(&BTreeMap::new()).unwrap(),
        inputs_digest: of_inputs(&["10"]).unwrap(),
        result_digest: Digest::of(b"result"),
        recipients: Vec::new(),
        flavour: Flavour::Sealed,
        limits: BTreeMap::new(),
        untrusted_start: std::time::SystemTime::now().into(),
        untrusted_finish: std::time::SystemTime::now().into(),
        audit_head: None,
        evidence_digest: evidence.digest().unwrap(),
    }
}
