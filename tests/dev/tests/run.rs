//! `proplet-dev run` as a guest author types it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use proplet_testkit::guests::{GuestName, build};
use serde_json::Value;
use tempfile::TempDir;

const ADD: &str = r#"(module
    (func (export "add") (param i32 i32) (result i32)
        (i32.add (local.get 0) (local.get 1)))
    (func (export "trap") unreachable))"#;

/// A folder with a guest author's files.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn run(&self, component: &Path, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_proplet-dev"))
            .current_dir(self.0.path())
            .arg("run")
            .arg(component)
            .args(arguments)
            .output()
            .unwrap()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(output)))
}

#[test]
fn a_pipe_gets_the_opened_result_and_nothing_else() {
    let desk = Desk::new();
    let add = desk.write("add.wasm", wat::parse_str(ADD).unwrap());
    for tee in ["fake-snp", "fake-tdx", "sample"] {
        let output = desk.run(&add, &["--tee", tee, "--invoke", "add", "--", "40", "-2"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(output.stdout, b"38");
        let said = stderr(&output);
        assert!(
            said.contains("fake TEE") && said.contains("receipt"),
            "{said}"
        );
        assert!(!said.contains('\u{1b}'), "{said}");
    }
}

#[test]
fn a_failure_is_opened_for_its_author() {
    let desk = Desk::new();
    let add = desk.write("add.wasm", wat::parse_str(ADD).unwrap());
    let output = desk.run(&add, &["--json", "--invoke", "trap"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let value = json(&output);
    assert_eq!(value["error"]["code"], "guest-trapped");
    let failure = value["failure"]["error"].as_str().unwrap();
    assert!(failure.contains("unreachable"), "{failure}");
}

#[test]
fn a_component_gets_the_secrets_that_its_policy_grants() {
    let desk = Desk::new();
    let probe = build(GuestName::SecretProbe).unwrap();
    desk.write("secret", "4711");
    let secret = ["--json", "--secret", "kbs:///alice/data/x=secret"];
    let ask = ["--", "reveal kbs:///alice/data/x"];

    let output = desk.run(&probe.path, &[&secret[..], &ask].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(json(&output)["text"], "4711");

    let held = "version = 1\n[[secrets]]\nuri = \"kbs:///alice/data/x\"\n";
    desk.write("policy.toml", held);
    let policy = ["--policy", "policy.toml"];
    let output = desk.run(&probe.path, &[&secret[..], &policy, &ask].concat());
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert_eq!(json(&output)["error"]["code"], "import-not-granted");
}

#[test]
fn bad_input_is_told_before_anything_runs() {
    let desk = Desk::new();
    let add = desk.write("add.wasm", wat::parse_str(ADD).unwrap());
    let absent = PathBuf::from("absent.wasm");
    desk.write("text.wasm", "no WebAssembly");
    desk.write("bad.toml", "version = 1\nsecret = 1\n");
    for (component, arguments, words) in [
        (&absent, &[][..], "absent.wasm"),
        (&PathBuf::from("text.wasm"), &[], "not a WebAssembly"),
        (&add, &["--policy", "bad.toml"], "bad.toml"),
        (&add, &["--policy", "absent.toml"], "absent.toml"),
        (&add, &["--secret", "kbs:///a/b/c=absent"], "absent"),
        (
            &add,
            &["--secret", "kbs:///a/b"],
            "kbs:///repository/type/tag=FILE",
        ),
        (&add, &["--env", "=x"], "NAME=VALUE"),
    ] {
        let output = desk.run(component, arguments);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
        assert!(output.stdout.is_empty());
    }
}
