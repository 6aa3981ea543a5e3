//! What the log of a process holds when its filter asks for everything.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::{
    io,
    sync::{Arc, Mutex},
};

use proplet_daemon::log::{Format, Reader, subscriber};
use proplet_executor::{Executor, Host, Request, Source, Task};
use proplet_runtime::CancelToken;
use proplet_settings::{Settings, environment::Environment};

/// Asks for a random number, makes it odd-looking, and gives it back.
const LUCKY: &str = r#"(component
    (import "wasi:random/random@0.2.0" (instance $random
        (export "get-random-u64" (func (result u64)))))
    (core func $get (canon lower (func $random "get-random-u64")))
    (core module $code
        (import "random" "get" (func $get (result i64)))
        (func (export "lucky") (param i64) (result i64) (call $get)))
    (core instance $code (instantiate $code
        (with "random" (instance (export "get" (func $get))))))
    (func (export "lucky") (param "seed" u64) (result u64)
        (canon lift (core func $code "lucky"))))"#;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The only test of this program, because the subscriber is the process's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guests_numbers_are_in_no_log() {
    let captured = Captured::default();
    let writer = captured.clone();
    let log = subscriber(
        "trace,wasmtime_wasi=trace,wasmtime=trace",
        Format::Text,
        Reader::Other,
        move || writer.clone(),
    );
    tracing::subscriber::set_global_default(log.unwrap()).unwrap();
    tracing::trace!(target: "proplet::test", "the log is on");

    let settings = Settings::parse(None, &Environment::default()).unwrap();
    let executor = Executor::new(Host::new(Arc::new(settings), None)).unwrap();
    let request = Request {
        source: Source::File(wat::parse_str(LUCKY).unwrap()),
        task: Task {
            id: "task-1".into(),
            name: "lucky".into(),
            inputs: vec!["8217364550912837465".into()],
            arguments: Vec::new(),
            invoke: Some("lucky".into()),
            env: [("NAME".to_owned(), "canary-in-env".to_owned())].into(),
            watch: Default::default(),
            record: None,
        },
    };
    let outcome = executor.execute(request, CancelToken::new()).await;
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    let number: u64 = outcome.results.parse().unwrap();

    let log = String::from_utf8_lossy(&captured.0.lock().unwrap()).into_owned();
    assert!(log.contains("the log is on"), "{log}");
    for secret in [
        number.to_string(),
        format!("{number:x}"),
        number.cast_signed().to_string(),
        "8217364550912837465".to_owned(),
        "canary-in-env".to_owned(),
    ] {
        assert!(!log.contains(&secret), "{secret} is in {log}");
    }
}
