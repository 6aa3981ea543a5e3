//! What guests of Propeller use: `elastic:hal`, files, outgoing requests, and requests that they answer. Guests of
//! the same shapes run through the real host, and hostile ones against its rules.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod files;
mod hal;
mod requests;
mod server;
mod silence;
mod tls;

use std::sync::Arc;

use proplet_executor::{Executor, Host, Request, Source, Task, TaskOutcome, harden::Swap};
use proplet_hal::TeeProvider;
use proplet_runtime::CancelToken;
use proplet_settings::{Settings, environment::Environment};
use proplet_testkit::guests::{GuestName, build};

/// A host with these settings.
fn host(settings: &str, provider: Option<Arc<dyn TeeProvider>>) -> Executor {
    let settings = Settings::parse(Some(settings), &Environment::default()).unwrap();
    on(settings, provider)
}

fn on(settings: Settings, provider: Option<Arc<dyn TeeProvider>>) -> Executor {
    let mut host = Host::new(Arc::new(settings), provider);
    host.swap = Swap::None;
    Executor::new(host).unwrap()
}

/// A guest, built apart from the threads of the scheduler.
async fn guest(name: GuestName) -> Vec<u8> {
    let built = tokio::task::spawn_blocking(move || build(name).unwrap());
    built.await.unwrap().bytes.clone()
}

fn task(export: &str, inputs: &[&str]) -> Task {
    Task {
        id: "task-1".into(),
        name: "test".into(),
        inputs: inputs.iter().map(|input| (*input).to_owned()).collect(),
        arguments: Vec::new(),
        invoke: (!export.is_empty()).then(|| export.to_owned()),
        env: [].into(),
        watch: Default::default(),
        record: None,
    }
}

/// Runs a guest as a plain task.
async fn run(executor: &Executor, name: GuestName, export: &str, inputs: &[&str]) -> TaskOutcome {
    let request = Request {
        source: Source::File(guest(name).await),
        task: task(export, inputs),
    };
    executor.execute(request, CancelToken::new()).await
}

/// The text of a plain task that ended well, out of its quotes, or of the numbers that bytes are shown as.
fn text(outcome: &TaskOutcome) -> String {
    let error = outcome.error.as_ref().map(|error| error.full_words());
    assert_eq!(error, None);
    let inside = |rest: &'_ str| rest.strip_suffix(')').unwrap().to_owned();
    let text = outcome.results.strip_prefix("ok(").map(inside);
    let text = text.unwrap_or_else(|| outcome.results.clone());
    if let Ok(bytes) = serde_json::from_str::<Vec<u8>>(&text) {
        return String::from_utf8(bytes).unwrap();
    }
    // WAVE has one escape that JSON does not know.
    serde_json::from_str(&text.replace("\\'", "'")).unwrap_or(text)
}

fn code(outcome: &TaskOutcome) -> &'static str {
    outcome
        .error
        .as_ref()
        .map_or("", |error| error.code().as_str())
}
