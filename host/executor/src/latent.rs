//! Components that are prepared once and invoked again and again.
//!
//! Of a plain one the compiled code is kept. Of an encrypted one nothing is kept that a key broker released: only which
//! image it is, by the digest of its manifest, which key opened it, and which component came out. Its code stays where
//! the code of all encrypted components is, for as long as the session lives in which it was released. The first
//! invocation after that prepares it anew from the image: this host attests, the key broker decides, and the component
//! runs only if it is the same one under the same key. So nothing of an ended session is used, and a key broker that
//! changed its mind is obeyed.

use std::sync::Arc;

use proplet_image::ImageReference;
use proplet_runtime::CancelToken;
use proplet_types::{Code, Digest, ResourceUri};

use crate::{
    executor::Executor,
    ledger::Ledger,
    manner::Manner,
    outcome::TaskOutcome,
    refusal::Refusal,
    request::{Request, Source, Task},
    run::component,
    workload::{Road, Workload},
};

/// A component that can be invoked.
pub struct Latent {
    kept: Kept,
    code_bytes: u64,
}

enum Kept {
    Plain(Arc<Workload>),
    Encrypted {
        /// The reference, pinned to the manifest that was opened.
        image: String,
        kid: ResourceUri,
        component: Digest,
    },
}

/// What became of an invocation, or of one run of a daemon.
#[derive(Debug)]
pub enum Invoked {
    /// The component ran, well or badly, or began to.
    Ran(TaskOutcome),
    /// The component could not be made ready again.
    Refused(Refusal),
}

impl Latent {
    /// Bytes of its compiled code.
    #[must_use]
    pub fn code_bytes(&self) -> u64 {
        self.code_bytes
    }

    /// Whose it is: the repository of the key that opened it. None for a plain one.
    #[must_use]
    pub fn repository(&self) -> Option<&str> {
        match &self.kept {
            Kept::Plain(_) => None,
            Kept::Encrypted { kid, .. } => Some(kid.repository()),
        }
    }
}

impl Executor {
    /// Gets a component ready to be invoked. Of the task, what a failure is told with is used.
    ///
    /// # Errors
    /// The outcome of a task that cannot be prepared: refused, or with the failure sealed where the recipients are
    /// known.
    pub async fn prepare_latent(
        &self,
        request: Request,
        cancel: &CancelToken,
    ) -> Result<Latent, Box<TaskOutcome>> {
        // Any invocation is like any other.
        let manner = Manner::Invocation(String::new());
        self.prepare_for(request, manner, cancel).await
    }

    /// Gets a component ready for runs in this manner.
    pub(crate) async fn prepare_for(
        &self,
        request: Request,
        manner: Manner,
        cancel: &CancelToken,
    ) -> Result<Latent, Box<TaskOutcome>> {
        let process = self.process();
        let started = process.clock.now();
        let image = match &request.source {
            Source::Encrypted { image, .. } => Some(image.clone()),
            Source::Plain(_) | Source::File(_) => None,
        };
        let failed = |refusal: Refusal| Box::new(TaskOutcome::failed(refusal));
        let ledger = self.ledger(&request.task);
        let prepared = self.prepare_to_run(request.source, cancel, &ledger).await;
        let workload = prepared.map_err(failed)?;
        let Ok(code) = &workload.code else {
            // Nothing runs: this says why, to whom it may be said.
            let told = process.run(
                &workload,
                request.task,
                Manner::Task,
                started,
                cancel.clone(),
            );
            return Err(Box::new(told.await));
        };
        // Whatever becomes of it: it may be stopped before anything of it runs.
        if let Some(record) = &request.task.record {
            record.record(component(&workload));
        }
        let code_bytes = code.size();
        let kept = match (&workload.road, image) {
            (Road::Encrypted(release), Some(image)) => {
                let reference = image.parse::<ImageReference>();
                let reference = reference.map_err(|error| failed(error.into()))?;
                let manifest = workload.image_digest.ok_or_else(|| failed(no_manifest()))?;
                let image = reference.with_digest(manifest).to_string();
                if let Ok(confidential) = &process.confidential {
                    let repository = release.kid.repository();
                    confidential.owners.remember(&image, repository);
                }
                Kept::Encrypted {
                    image,
                    kid: release.kid.clone(),
                    component: workload.component_digest,
                }
            }
            _ => {
                process
                    .check_runs(code, &workload, &manner, &request.task)
                    .map_err(|error| Box::new(TaskOutcome::failed(error)))?;
                Kept::Plain(workload)
            }
        };
        Ok(Latent { kept, code_bytes })
    }

    /// Runs it once. Any number of times, several at once; each has its own instance, limits and receipt.
    pub async fn invoke(
        &self,
        latent: &Latent,
        invocation: &str,
        task: Task,
        cancel: CancelToken,
    ) -> Invoked {
        let process = self.process();
        let started = process.clock.now();
        let manner = Manner::Invocation(invocation.to_owned());
        let ledger = self.ledger(&task);
        match self.ready(latent, &cancel, &ledger).await {
            Ok(workload) => {
                Invoked::Ran(process.run(&workload, task, manner, started, cancel).await)
            }
            Err(refusal) => Invoked::Refused(refusal),
        }
    }

    /// The component, ready to run now.
    pub(crate) async fn ready(
        &self,
        latent: &Latent,
        cancel: &CancelToken,
        ledger: &Ledger,
    ) -> Result<Arc<Workload>, Refusal> {
        match &latent.kept {
            Kept::Plain(workload) => Ok(Arc::clone(workload)),
            Kept::Encrypted {
                image,
                kid,
                component,
            } => self.again((image, kid, component), cancel, ledger).await,
        }
    }

    /// The encrypted component once more: from memory while its session lives, or released anew.
    async fn again(
        &self,
        (image, kid, component): (&str, &ResourceUri, &Digest),
        cancel: &CancelToken,
        ledger: &Ledger,
    ) -> Result<Arc<Workload>, Refusal> {
        let source = Source::Encrypted {
            image: image.to_owned(),
            expected_key: Some(kid.clone()),
        };
        let workload = self.prepare_to_run(source, cancel, ledger).await?;
        let is_same = matches!(&workload.road, Road::Encrypted(release) if release.kid == *kid)
            && workload.component_digest == *component;
        if is_same {
            return Ok(workload);
        }
        Err(Refusal::new(
            Code::ImageKeyMismatch,
            "the image opens to another component than the one that was prepared, or under another key; start the \
             latent task again",
        ))
    }
}

fn no_manifest() -> Refusal {
    Refusal::new(
        Code::ImageInternal,
        "the image was opened without a manifest; report it with the proplet's log",
    )
}
