use crate::fakes::{Fake, RUNTIME, compile, error, grants, run, services, task};
use crate::guests::text;
use proplet_runtime::TaskSpec;
use std::sync::Arc;

#[tokio::test]
async fn every_missing_grant_is_named_at_once() {
    let wasm = text(
        r#"(component
          (import "wasi:cli/environment@0.2.6" (instance (export "f" (func))))
          (import "wasi:keyvalue/store@0.2.0" (instance (export "f" (func))))
          (import "propeller:confidential/reveal@0.1.0" (instance (export "f" (func))))
          (import "wasi:http/incoming-handler@0.2.0" (instance (export "f" (func))))
          (import "acme:patients/index" (instance (export "f" (func))))
          (import "propeller:confidential/attestation@0.1.0" (instance (export "f" (func))))
          (import "bare" (func)))"#,
    );
    let outcome = run(&wasm, task("run", &[])).await;
    let (code, all) = error(&outcome);
    assert_eq!(code, "import-not-granted");
    assert_eq!(
        all,
        "wasi:keyvalue/store@0.2.0, propeller:confidential/reveal@0.1.0, \
         wasi:http/incoming-handler@0.2.0, acme:patients/index, bare"
    );
    let clear = outcome.value.unwrap_err().to_string();
    assert!(
        clear.contains("wasi:keyvalue/store@0.2.0") && clear.contains("and 2 others"),
        "{clear}"
    );
    assert!(
        !clear.contains("acme") && !clear.contains("bare"),
        "{clear}"
    );
}

#[tokio::test]
async fn names_of_types_need_no_grant() {
    let wasm = text(
        r#"(component
          (import "acme:patients/types" (instance
            (type $r (record (field "age" u8)))
            (export "patient" (type (eq $r)))))
          (import "wasi:sockets/network@0.2.6" (instance))
          (core module $m (func (export "run")))
          (core instance $c (instantiate $m))
          (func (export "run") (canon lift (core func $c "run"))))"#,
    );
    assert!(run(&wasm, task("run", &[])).await.value.is_ok());
    let wasm = text(
        r#"(component
          (import "acme:patients/types" (instance (export "patient" (type (sub resource)))))
          (core module $m (func (export "run")))
          (core instance $c (instantiate $m))
          (func (export "run") (canon lift (core func $c "run"))))"#,
    );
    let (code, detail) = error(&run(&wasm, task("run", &[])).await);
    assert_eq!(
        (code, detail.as_str()),
        ("import-not-granted", "acme:patients/types")
    );
}

#[tokio::test]
async fn an_allowed_package_may_still_lack_an_interface() {
    let wasm = text(
        r#"(component
          (import "wasi:cli/nonsense@0.2.0" (instance (export "f" (func)))))"#,
    );
    let (code, detail) = error(&run(&wasm, TaskSpec::new("id", "run")).await);
    assert_eq!(code, "export-not-found", "{detail}");
    let wasm = text(
        r#"(component
          (import "wasi:cli/nonsense@0.2.0" (instance $i (export "f" (func))))
          (core func $f (canon lower (func $i "f")))
          (core module $m (import "" "f" (func)) (func (export "run")))
          (core instance $c (instantiate $m (with "" (instance (export "f" (func $f))))))
          (func (export "run") (canon lift (core func $c "run"))))"#,
    );
    let (code, detail) = error(&run(&wasm, task("run", &[])).await);
    assert_eq!(code, "component-invalid");
    assert!(detail.contains("wasi:cli/nonsense"), "{detail}");
}

#[tokio::test]
async fn a_function_of_another_type_is_refused_before_it_is_called() {
    let wasm = text(
        r#"(component
          (import "propeller:confidential/inputs@0.1.0" (instance $i (export "count" (func (result u64)))))
          (core func $f (canon lower (func $i "count")))
          (core module $m (import "" "f" (func (result i64))) (func (export "run")))
          (core instance $c (instantiate $m (with "" (instance (export "f" (func $f))))))
          (func (export "run") (canon lift (core func $c "run"))))"#,
    );
    assert_eq!(
        error(&run(&wasm, task("run", &[])).await).0,
        "component-invalid"
    );
}

#[tokio::test]
async fn one_compiled_component_serves_tasks_with_different_grants() {
    let wasm = crate::secrets::REVEALS.clone();
    let compiled = compile(&wasm).await.unwrap();
    let fake = Arc::new(Fake {
        secrets: [("kbs:///a/b/c", Ok(vec![1]))].into(),
        ..Fake::default()
    });
    let mut granted = task("reveal", &["kbs:///a/b/c"]);
    granted.grants =
        grants("exports = ['reveal']\n[[secrets]]\nuri = 'kbs:///a/b/c'\nreveal = true");
    let plain = task("reveal", &["kbs:///a/b/c"]);
    for _ in 0..2 {
        assert!(
            RUNTIME
                .run(&compiled, granted.clone(), services(&fake))
                .await
                .value
                .is_ok()
        );
        let outcome = RUNTIME.run(&compiled, plain.clone(), services(&fake)).await;
        assert_eq!(error(&outcome).0, "import-not-granted");
    }
}
