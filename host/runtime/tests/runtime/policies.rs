use proplet_component::Policy;
use proplet_runtime::{Grants, TaskSpec};

use crate::fakes::{compile, error, run, task, value};
use crate::guests::{count, text};

#[tokio::test]
async fn a_policy_that_does_not_count_changes_nothing() {
    for policy in ["version = 7", "version = 1\nexports = []"] {
        let wasm = text(&format!(
            r#"(component (@custom "propeller:policy" {policy:?})
              (core module $m (func (export "run")))
              (core instance $i (instantiate $m))
              (func (export "run") (canon lift (core func $i "run"))))"#,
        ));
        assert!(run(&wasm, task("run", &[])).await.value.is_ok(), "{policy}");
    }
}

#[tokio::test]
async fn exports_that_are_not_named_are_not_invoked() {
    let wasm = text(
        r#"(component
          (core module $m (func (export "f") (result i32) i32.const 7))
          (core instance $i (instantiate $m))
          (func (export "run") (result u32) (canon lift (core func $i "f")))
          (func (export "debug") (result u32) (canon lift (core func $i "f"))))"#,
    );
    let with = |name: &str, policy: &str| TaskSpec {
        grants: Grants::from_policy(Policy::parse(policy.as_bytes()).unwrap()),
        ..TaskSpec::new("id", name)
    };
    assert_eq!(value(&run(&wasm, with("job-7", "version = 1")).await), "7");
    let outcome = run(&wasm, with("debug", "version = 1")).await;
    assert_eq!(
        error(&outcome),
        ("export-not-allowed", "`debug`".to_owned())
    );
    assert_eq!(
        value(&run(&wasm, with("debug", "version = 1\nexports = ['debug']")).await),
        "7"
    );
}

#[tokio::test]
async fn the_export_is_known_before_the_task_runs() {
    let compiled = compile(&count()).await.unwrap();
    assert_eq!(
        compiled
            .invoked_export(&TaskSpec::new("id", "job"))
            .unwrap(),
        "run"
    );
    let error = compiled.invoked_export(&task("walk", &[])).unwrap_err();
    assert_eq!(error.code(), "export-not-found");
    let core = compile(&wat::parse_str(r#"(module (func (export "main")))"#).unwrap())
        .await
        .unwrap();
    assert_eq!(
        core.invoked_export(&TaskSpec::new("id", "job")).unwrap(),
        "main"
    );
}
