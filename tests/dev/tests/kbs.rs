//! `proplet-dev kbs`, as a process, against a development key broker, which other threads serve.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::process::{Command, Output};

use proplet_testkit::kbs::{DevKeyBroker, Policy};
use proplet_testkit::ports::free_address;

fn get(broker: &DevKeyBroker, arguments: &[&str]) -> Output {
    let url = broker.url();
    let mut command = Command::new(env!("CARGO_BIN_EXE_proplet-dev"));
    command.args(["kbs", "get-resource", "--kbs-url", &url]);
    command.args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_is_fetched_where_the_policy_lets_it() {
    let builder = DevKeyBroker::builder().accept_sample();
    let broker = builder.start().await.unwrap();
    broker.set_resource(&"kbs:///default/key/one".parse().unwrap(), b"the secret");

    let denied = get(&broker, &["default/key/one", "--tee", "sample"]);
    assert_eq!(denied.status.code(), Some(1), "{denied:?}");
    assert!(text(&denied.stderr).contains("denies"), "{denied:?}");
    let fake = get(&broker, &["default/key/one", "--tee", "fake-snp"]);
    assert_eq!(fake.status.code(), Some(0), "{fake:?}");

    broker.set_policy(Policy::AllowAll);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let file = out.to_str().unwrap();
    let got = get(
        &broker,
        &["kbs:///default/key/one", "--json", "--out", file],
    );
    assert_eq!(got.status.code(), Some(0), "{got:?}");
    let said: serde_json::Value = serde_json::from_slice(&got.stdout).unwrap();
    assert_eq!(said["bytes"], 10);
    assert!(!text(&got.stdout).contains("the secret"), "{got:?}");
    assert_eq!(std::fs::read(&out).unwrap(), b"the secret");
    let twice = get(&broker, &["default/key/one", "--out", file]);
    assert_eq!(twice.status.code(), Some(2), "{twice:?}");

    let absent = get(&broker, &["default/key/two"]);
    assert_eq!(absent.status.code(), Some(1), "{absent:?}");
    let misspelt = get(&broker, &["default/key"]);
    assert_eq!(misspelt.status.code(), Some(2), "{misspelt:?}");
    broker.shutdown().await;
}

#[test]
fn a_key_broker_that_is_away_is_unavailable() {
    let url = format!("http://{}", free_address().unwrap());
    let output = Command::new(env!("CARGO_BIN_EXE_proplet-dev"))
        .args([
            "kbs",
            "get-resource",
            "a/b/c",
            "--kbs-url",
            &url,
            "--kbs-timeout",
            "1",
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(output.stdout.is_empty());
}
