//! Services with a running proplet.

use std::sync::Arc;

use proplet_daemon::{Daemon, DaemonError};
use proplet_executor::Host;
use proplet_executor::harden::SwapRule;
use proplet_hal::TeeProvider;
use proplet_jose::jwk::PrivateKey;
use proplet_settings::Settings;
use proplet_settings::environment::Environment;
use proplet_testkit::broker::{BrokerError, Outcome, Task};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::error::LabError;
use crate::services::Services;

/// A daemon in this process.
pub struct RunningProplet {
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<Result<(), DaemonError>>,
}

impl RunningProplet {
    /// Starts the daemon with these settings. A fake provider makes encrypted tasks possible; swap is
    /// reported only, because nothing is confidential here.
    ///
    /// # Errors
    /// [`LabError`] for settings that are not valid.
    pub fn start(settings: &str, provider: Option<Arc<dyn TeeProvider>>) -> Result<Self, LabError> {
        let settings = Settings::parse(Some(settings), &Environment::default())?;
        let mut host = Host::new(Arc::new(settings), provider);
        host.swap_rule = SwapRule::Warn;
        Self::on(host)
    }

    /// Starts the daemon on this host.
    ///
    /// # Errors
    /// [`LabError`] when the daemon does not start.
    pub fn on(host: Host) -> Result<Self, LabError> {
        let daemon = Daemon::new(host)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(daemon.run(async {
            // Also when the handle is dropped.
            let _ = stopped.await;
        }));
        Ok(Self {
            stop: Some(stop),
            running,
        })
    }

    /// Stops the daemon as a signal would, and waits for it.
    ///
    /// # Errors
    /// What the daemon ended with.
    pub async fn stop(mut self) -> Result<(), LabError> {
        drop(self.stop.take());
        match self.running.await {
            Ok(ended) => Ok(ended?),
            Err(error) => {
                Err(BrokerError::Broker(format!("the daemon broke down: {error}")).into())
            }
        }
    }
}

/// Services with one running proplet.
pub struct Lab {
    /// The outside world.
    pub services: Services,
    /// The daemon.
    pub proplet: RunningProplet,
    /// Somebody who may read results.
    pub recipient: PrivateKey,
}

impl Lab {
    /// Starts a lab whose proplet has this provider, with more text after its settings. The settings
    /// name no recipients unless `more` does.
    ///
    /// # Errors
    /// [`LabError`].
    pub async fn start(
        provider: Option<Arc<dyn TeeProvider>>,
        more: &str,
    ) -> Result<Self, LabError> {
        let services = Services::start().await?;
        let proplet = RunningProplet::start(&services.settings(more), provider)?;
        services
            .manager
            .messages("control/proplet/alive", 1)
            .await?;
        let recipient = PrivateKey::generate_p256()
            .map_err(|error| BrokerError::Client(format!("no recipient key: {error}")))?;
        Ok(Self {
            services,
            proplet,
            recipient,
        })
    }

    /// Sends a start message and waits for the results message.
    ///
    /// # Errors
    /// [`LabError`] when none comes.
    pub async fn run(&self, task: &Task) -> Result<Outcome, LabError> {
        self.services.manager.start(task).await?;
        Ok(self.services.manager.result(&task.id).await?)
    }
}
