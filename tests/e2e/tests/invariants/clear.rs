//! Invariant 1: nothing in clear outside memory.

use std::{
    io,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proplet_executor::{Host, harden::Swap};
use proplet_lab::{RunningProplet, Services};
use proplet_settings::{Settings, environment::Environment};
use proplet_testkit::{broker::Task, guests::GuestName, tee::FakeSnp};

use crate::support::*;

/// Set for the child process that runs a proplet alone; holds the path of the component to run.
const CHILD: &str = "PROPLET_TEST_COMPONENT";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_component_says_is_sealed_and_never_in_the_clear_error() {
    let scene = Scene::new().await;
    let probe = guest(GuestName::SecretProbe).await;
    let (_, image) = scene.publish(&probe, &revealing(&[SECRET])).await;
    // The secret comes from the key broker, so it is in nobody's messages unless the proplet puts it there.
    for (word, code) in [
        ("fail", "guest-failed"),
        ("panic", "guest-trapped"),
        ("print", ""),
        ("publish", ""),
        ("reveal", ""),
    ] {
        let outcome = scene
            .run(&task(&image, &[&format!("{word} {SECRET}")]))
            .await;
        match &outcome.error {
            None => assert_eq!(code, "", "{word}"),
            Some(_) => {
                assert_code(&outcome, code);
                let failure = scene.open(&outcome).failure().unwrap();
                let said = format!("{} {}", failure.error, failure.stderr);
                assert!(said.contains(CANARY), "{word}: {said}");
            }
        }
    }
    for form in [
        CANARY.to_owned(),
        STANDARD.encode(CANARY),
        hex::encode(CANARY),
    ] {
        assert!(!scene.was_told(&form), "{form}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_inside_a_component_are_not_in_the_clear_error() {
    let scene = Scene::new().await;
    let (_, image) = scene.publish(&guest(GuestName::Hostile).await, "").await;
    for name in ["canary-export", "run"] {
        let task = Task {
            cli_args: Some(vec![format!("--invoke={name}")]),
            name: "canary-name".into(),
            ..task(&image, &["fail canary-failure"])
        };
        let error = scene.run(&task).await.error.unwrap();
        assert!(!error.contains("canary"), "{error}");
    }
    let (_, image) = scene
        .publish(&guest(GuestName::Hostile).await, "exports = [\"canary\"]\n")
        .await;
    let outcome = scene.run(&task(&image, &["fail x"])).await;
    assert_code(&outcome, "export-not-allowed");
    assert!(!outcome.error.unwrap().contains("canary"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_with_swap_refuses_and_asks_nobody() {
    for swap in [
        Swap::Present(vec!["/swapfile".into()]),
        Swap::Unknown("permission denied".into()),
    ] {
        let services = Services::start().await.unwrap();
        let settings = Settings::parse(Some(&services.settings("")), &Environment::default());
        let tee = Arc::new(FakeSnp::new());
        let mut host = Host::new(settings.unwrap().into(), Some(tee.clone()));
        host.swap = swap;
        let proplet = RunningProplet::on(host).unwrap();
        let scene = Scene::of(services, proplet, tee).await;
        let component = guest(GuestName::Hostile).await;
        let (_, image) = scene.publish(&component, "").await;
        assert_refused(&scene.run(&task(&image, &["echo x"])).await, "swap-present");
        assert_eq!(scene.services.key_broker.counts().auth, 0);
        // Nothing of a plain task is confidential.
        assert_eq!(
            scene.run(&plain_task(&component, "echo x")).await.error,
            None
        );
    }
}

/// A process of its own, because log, limits, directory and temporary folder are of the whole process.
#[tokio::test]
async fn no_file_and_no_log_line_holds_anything_of_an_encrypted_task() {
    let outside = tempfile::tempdir().unwrap();
    let component = outside.path().join("component.wasm");
    std::fs::write(&component, guest(GuestName::SecretProbe).await).unwrap();
    let home = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    let mut child = Command::new(program);
    child
        .args(["clear::alone", "--exact", "--ignored", "--nocapture"])
        .current_dir(home.path())
        .env_clear()
        .env(CHILD, &component);
    for variable in [
        "HOME",
        "TMPDIR",
        "XDG_CACHE_HOME",
        "XDG_DATA_HOME",
        "XDG_RUNTIME_DIR",
    ] {
        child.env(variable, home.path());
    }
    let ended = tokio::task::spawn_blocking(move || child.output());
    let output = ended.await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("1 passed"), "{text}");
    assert_eq!(files(home.path()), Vec::<String>::new());
}

fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().path().display().to_string())
        .collect()
}

/// A log that is kept in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run in a process of its own by no_file_and_no_log_line_holds_anything_of_an_encrypted_task"]
async fn alone() {
    let Some(component) = std::env::var_os(CHILD) else {
        return;
    };
    let component = std::fs::read(component).unwrap();
    let log = Log::default();
    let writer = log.clone();
    // Everything, but for the servers that a deployment has elsewhere and the Manager's own client.
    tracing_subscriber::fmt()
        .with_env_filter("trace,mqtt5=off,proplet_testkit=off")
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let scene = Scene::new().await;
    let (workload, image) = scene.publish(&component, &revealing(&[SECRET])).await;
    for word in ["reveal", "print", "publish", "fail", "panic"] {
        let task = Task {
            env: [("CANARY_NAME".to_owned(), "CANARY-in-env".to_owned())].into(),
            ..task(&image, &[&format!("{word} {SECRET}"), "CANARY-in-input"])
        };
        scene.run(&task).await;
    }
    let log = log.0.lock().unwrap().clone();
    let text = String::from_utf8_lossy(&log);
    assert!(
        text.contains("Opened encrypted image") && text.contains("fake-snp"),
        "{text}"
    );
    for canary in [
        CANARY.as_bytes(),
        b"CANARY",
        &STANDARD.encode(CANARY).into_bytes(),
    ] {
        let line = text.lines().find(|line| contains(line.as_bytes(), canary));
        assert_eq!(line, None);
    }
    let key = workload.key.as_slice();
    for form in [
        key.to_vec(),
        hex::encode(key).into_bytes(),
        STANDARD.encode(key).into_bytes(),
    ] {
        assert!(!contains(&log, &form), "the key is in the log");
    }
    let somewhere = &workload.component[workload.component.len() / 2..][..32];
    assert!(!contains(&log, somewhere), "the component is in the log");
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    let values: Vec<&str> = core.split_whitespace().collect();
    assert_eq!(values[4..6], ["0", "0"], "{core}");
}
