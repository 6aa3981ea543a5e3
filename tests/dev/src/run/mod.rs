//! `proplet-dev run`: one component, down the encrypted road, on a fake TEE.
//!
//! What a guest author uses all day. The component is encrypted under a fresh key, pushed to a registry
//! and its key given to a development key broker, all in this process. Then the production executor does
//! what it does for a start message: attest, fetch the key, pull, decrypt, check the imports against the
//! policy, run, seal. At last the result is verified and opened with a recipient key of this run. So a
//! component sees here what it sees on hardware, and a refusal comes in the same words.
//!
//! It knows no MQTT: the task is given to the executor directly.

mod arguments;
mod policy;
mod show;

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use proplet_daemon::log::{self, Format};
use proplet_executor::harden::SwapRule;
use proplet_executor::{Executor, Host, Request, Source, Task, TaskOutcome};
use proplet_hal::TeeProvider;
use proplet_image::ImageReference;
use proplet_jose::jwk::PrivateKey;
use proplet_lab::Sources;
use proplet_lab::workload::EncryptedComponent;
use proplet_results::digest::{of_arguments, of_environment, of_inputs};
use proplet_results::verify::{Expectations, ExpectedInvocation};
use proplet_results::{Opened, ResultDocument, open};
use proplet_runtime::CancelToken;
use proplet_settings::Settings;
use proplet_types::{Digest, ResourceUri};

pub use self::arguments::Arguments;
use crate::tee::Fake;

/// Largest component or secret that is read. The host's own limits are lower.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// Repository of the key broker where nothing names another one.
const DEFAULT_REPOSITORY: &str = "default";

/// Runs the component. Exit code 0: it ended well; 1: it failed or was refused; 2: bad input.
pub async fn run(arguments: Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let _log = arguments
        .log
        .then(|| log::start("info", Format::Text))
        .transpose()?;
    let (component, secrets) = match read(&arguments) {
        Ok(read) => read,
        Err(error) => {
            crate::terminal::complain(error.as_ref());
            return Ok(ExitCode::from(2));
        }
    };
    let reader = PrivateKey::generate_p256()?;
    let uris: Vec<&ResourceUri> = secrets.iter().map(|(uri, _)| uri).collect();
    let asked = policy::Asked {
        secrets: &uris,
        invoke: arguments.invoke.as_deref(),
        reader: reader.public(),
    };
    let policy = match policy::compose(arguments.policy.as_deref(), &asked) {
        Ok(policy) => policy,
        Err(error) => {
            crate::terminal::complain(&error);
            return Ok(ExitCode::from(2));
        }
    };
    let repository = policy.repository.as_deref().unwrap_or(DEFAULT_REPOSITORY);
    let key_id: ResourceUri = format!("kbs:///{repository}/key/proplet-dev-run").parse()?;
    let workload = match EncryptedComponent::encrypt(&component, Some(&policy.text), key_id) {
        Ok(workload) => workload,
        Err(error) => {
            crate::terminal::complain(&error);
            return Ok(ExitCode::from(2));
        }
    };
    for note in &policy.notes {
        show::note(note);
    }

    let world = World::start(&workload, &secrets, arguments.tee).await?;
    let request = request(&arguments, &world.image);
    let expected = Expectations {
        component: Some(workload.component_digest()),
        image: Some(workload.image_digest()),
        policy: Some(Digest::of(policy.text.as_bytes())),
        settings: Some(world.settings.digest),
        task_id: Some(request.task.id.clone()),
        invocation: Some(ExpectedInvocation::Absent),
        inputs: Some(of_inputs(&request.task.inputs)?),
        arguments: Some(of_arguments(&request.task.arguments)?),
        environment: Some(of_environment(&request.task.env)?),
        recipients: Some(vec![reader.public().thumbprint()]),
        ..arguments.tee.expected(world.settings.init_data.as_ref())
    };
    let outcome = world.execute(request).await?;
    let opened = if outcome.results.is_empty() {
        None
    } else {
        Some(opened(&outcome, &reader, arguments.tee, &expected)?)
    };
    show::outcome(&outcome, opened.as_ref(), &arguments)
}

/// Everything around the component.
struct World {
    // They stop when they are dropped.
    _sources: Sources,
    settings: Arc<Settings>,
    executor: Executor,
    /// The pushed image, by digest.
    image: ImageReference,
}

impl World {
    async fn start(
        workload: &EncryptedComponent,
        secrets: &[(ResourceUri, Vec<u8>)],
        tee: Fake,
    ) -> Result<Self, Box<dyn Error>> {
        let sources = Sources::with(tee.key_broker().await?).await?;
        for (uri, bytes) in secrets {
            sources.key_broker.set_resource(uri, bytes);
        }
        let image = sources.push("component", workload).await?;
        let settings = Arc::new(sources.settings("")?);
        let provider: Arc<dyn TeeProvider> = tee.provider(settings.init_data.as_ref());
        show::fake(provider.attester());
        let mut host = Host::new(Arc::clone(&settings), Some(provider));
        host.swap_rule = SwapRule::Warn;
        Ok(Self {
            executor: Executor::new(host)?,
            _sources: sources,
            settings,
            image,
        })
    }

    /// Runs the task to its end, or until Ctrl-C.
    async fn execute(&self, request: Request) -> Result<TaskOutcome, Box<dyn Error>> {
        let cancel = CancelToken::new();
        let task = self.executor.execute(request, cancel.clone());
        tokio::pin!(task);
        tokio::select! {
            outcome = &mut task => Ok(outcome),
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                cancel.cancel();
                Ok(task.await)
            }
        }
    }
}

/// The task, as a start message of the Manager would describe it.
fn request(arguments: &Arguments, image: &ImageReference) -> Request {
    let environment: BTreeMap<_, _> = arguments.environment.iter().cloned().collect();
    Request {
        source: Source::Encrypted {
            image: image.to_string(),
            expected_key: None,
        },
        task: Task {
            id: uuid::Uuid::new_v4().to_string(),
            name: "run".to_owned(),
            inputs: arguments.inputs.clone(),
            arguments: match &arguments.invoke {
                Some(export) => vec!["--invoke".to_owned(), export.clone()],
                None => Vec::new(),
            },
            invoke: arguments.invoke.clone(),
            env: environment,
            watch: Default::default(),
            record: None,
        },
    }
}

/// Verifies down to the test root, then opens.
fn opened(
    outcome: &TaskOutcome,
    reader: &PrivateKey,
    tee: Fake,
    expected: &Expectations,
) -> Result<Opened, Box<dyn Error>> {
    let document = ResultDocument::from_text(&outcome.results)?;
    Ok(open(
        &document,
        reader,
        &tee.trust(),
        expected,
        SystemTime::now(),
    )?)
}

/// The component and the resources.
type Files = (Vec<u8>, Vec<(ResourceUri, Vec<u8>)>);

fn read(arguments: &Arguments) -> Result<Files, Box<dyn Error>> {
    let component = read_file("component", &arguments.component)?;
    let secrets = arguments
        .secrets
        .iter()
        .map(|(uri, path)| Ok((uri.clone(), read_file("secret", path)?)))
        .collect::<Result<_, Box<dyn Error>>>()?;
    Ok((component, secrets))
}

fn read_file(what: &str, path: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let failed = |error: std::io::Error| format!("cannot read {what} {}: {error}", path.display());
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let path = path.display();
        return Err(format!(
            "{what} {path} is larger than {MAX_FILE_BYTES} bytes; give a smaller file"
        )
        .into());
    }
    Ok(bytes)
}
