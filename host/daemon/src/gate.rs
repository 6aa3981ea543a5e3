//! What plugins decide about tasks, and what they are told of them.

use proplet_executor::{Refusal, Request, Source, TaskOutcome, host_text, text::Known};
use proplet_plugin::{Ended, NotAuthorized, PluginError, Plugins, TaskInfo};
use proplet_settings::Settings;
use proplet_types::Code;
use tokio::sync::Semaphore;

/// Tasks that plugins are asked about at once. Others wait their turn, so that plugins which take long keep no
/// more than these threads and their memory.
const AT_ONCE: usize = 4;

/// The plugins, and how many may work at once.
pub(super) struct Gate {
    plugins: Plugins,
    places: Semaphore,
}

/// A task that may run, as plugins know it.
pub(super) struct Admitted(Option<TaskInfo>);

impl Gate {
    /// Reads the plugins of the settings.
    ///
    /// # Errors
    /// As [`Plugins::load`].
    pub(super) fn of(settings: &Settings) -> Result<Self, PluginError> {
        let plugins = settings.plugins.iter();
        let named = plugins.map(|plugin| (plugin.path.as_path(), plugin.digest));
        Ok(Self {
            plugins: Plugins::load(named)?,
            places: Semaphore::new(AT_ONCE),
        })
    }

    /// Asks whether a task may run, and adds to the environment of a plain one.
    ///
    /// # Errors
    /// `plugin-denied` and `plugin-failed`, and `task-invalid` for an environment that no task may have.
    pub(super) async fn admit(
        &self,
        request: &mut Request,
        is_daemon: bool,
    ) -> Result<Admitted, Refusal> {
        if self.plugins.is_empty() {
            return Ok(Admitted(None));
        }
        // It is never closed.
        let _place = self.places.acquire().await;
        let mut info = described(request, is_daemon);
        self.plugins.authorize(&info).await.map_err(refusal)?;
        if !info.encrypted {
            self.plugins.enrich(&mut info).await;
            // Of a name that is there twice, the last counts: that of the plugin.
            request.task.env = info.env.iter().cloned().collect();
            request.check()?;
        }
        Ok(Admitted(Some(info)))
    }

    /// Says that it begins. Apart from the question, which a stop may cut short, so that a plugin that hears of the
    /// beginning hears of the end too.
    pub(super) async fn started(&self, task: &Admitted) {
        let Admitted(Some(task)) = task else {
            return;
        };
        let _place = self.places.acquire().await;
        self.plugins.started(task).await;
    }

    /// Says how it ended.
    pub(super) async fn ended(&self, task: Admitted, outcome: &TaskOutcome) {
        let Admitted(Some(task)) = task else {
            return;
        };
        let _place = self.places.acquire().await;
        let error = outcome.error.as_ref();
        let is_plain = !task.encrypted;
        self.plugins
            .completed(&Ended {
                task_id: task.id,
                success: error.is_none(),
                output: (is_plain && error.is_none()).then(|| outcome.results.clone()),
                error: error.map(|error| match is_plain {
                    true => error.full_text(),
                    false => error.code().to_string(),
                }),
            })
            .await;
    }
}

fn described(request: &Request, is_daemon: bool) -> TaskInfo {
    let task = &request.task;
    let image = match &request.source {
        Source::Encrypted { image, .. } => {
            return TaskInfo::encrypted(&task.id, image, is_daemon);
        }
        Source::Plain(image) => image.clone(),
        Source::File(_) => String::new(),
    };
    TaskInfo {
        id: task.id.clone(),
        name: task.name.clone(),
        image_url: image,
        cli_args: task.arguments.clone(),
        env: task.env.clone().into_iter().collect(),
        daemon: is_daemon,
        encrypted: false,
    }
}

/// A plugin is the operator's, so what it says may go to whoever sent the task.
fn refusal(error: NotAuthorized) -> Refusal {
    let code = match &error {
        NotAuthorized::Denied { .. } => Code::PluginDenied,
        NotAuthorized::Failed { .. } => Code::PluginFailed,
    };
    Refusal::new(code, host_text!("{}", Known::of_machine(&error)))
}
