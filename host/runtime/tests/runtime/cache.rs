use std::sync::Arc;

use proplet_component::Component;
use proplet_runtime::{Owner, Runtime, RuntimeConfig, RuntimeError};

use crate::fakes::component;
use crate::guests::body;

fn runtime(config: RuntimeConfig) -> Runtime {
    Runtime::new(RuntimeConfig {
        concurrent_tasks: 1,
        ..config
    })
    .unwrap()
}

/// A component of its own for each number.
fn numbered(number: u32) -> Arc<Component> {
    component(&body("", &format!("(drop (i32.const {number}))")))
}

#[tokio::test]
async fn compiled_code_is_kept_until_it_is_forgotten() {
    let runtime = runtime(RuntimeConfig::default());
    let component = numbered(1);
    let digest = component.digest();
    assert!(!runtime.forget(&digest));
    runtime
        .compile(Arc::clone(&component), &Owner::Anybody)
        .await
        .unwrap();
    assert!(runtime.forget(&digest));
    assert!(!runtime.forget(&digest));
    runtime.compile(component, &Owner::Anybody).await.unwrap();
}

#[tokio::test]
async fn several_at_once_compile_once() {
    let runtime = runtime(RuntimeConfig::default());
    let component = numbered(2);
    let (a, b, c) = tokio::join!(
        runtime.compile(Arc::clone(&component), &Owner::Anybody),
        runtime.compile(Arc::clone(&component), &Owner::Anybody),
        runtime.compile(Arc::clone(&component), &Owner::Anybody)
    );
    for compiled in [a, b, c] {
        compiled.unwrap();
    }
    // Each compilation would hold the bytes; the one that did has let go of them.
    assert_eq!(Arc::strong_count(&component), 1);
}

#[tokio::test]
async fn the_one_used_longest_ago_goes_first() {
    let runtime = runtime(RuntimeConfig {
        cached_components: 2,
        ..RuntimeConfig::default()
    });
    let all = [numbered(1), numbered(2), numbered(3)];
    for component in [&all[0], &all[1], &all[0], &all[2]] {
        runtime
            .compile(Arc::clone(component), &Owner::Anybody)
            .await
            .unwrap();
    }
    let cached = all.map(|component| runtime.forget(&component.digest()));
    assert_eq!(cached, [true, false, true]);
}

#[tokio::test]
async fn what_is_no_component_is_refused_and_not_kept() {
    let runtime = runtime(RuntimeConfig::default());
    let valid = body("", "");
    for bytes in [
        &b""[..],
        b"\0asm",
        b"(component)",
        b"\0asm\x0d\0\x01\0garbage",
        b"\0asm\x0a\0\x01\0",
        b"\x7fELF\x02\x01\x01\0",
        &valid[..valid.len() - 3],
    ] {
        let component = component(bytes);
        let digest = component.digest();
        let error = runtime
            .compile(component, &Owner::Anybody)
            .await
            .unwrap_err();
        assert_eq!(error.code(), "component-invalid");
        assert!(!runtime.forget(&digest));
    }
}

#[tokio::test]
async fn a_component_that_is_too_large_is_not_looked_at() {
    let runtime = runtime(RuntimeConfig {
        max_component_bytes: 100,
        ..RuntimeConfig::default()
    });
    let error = runtime
        .compile(component(&[0; 101]), &Owner::Anybody)
        .await
        .unwrap_err();
    assert_eq!(
        error,
        RuntimeError::ComponentTooLarge {
            size: 101,
            limit: 100
        }
    );
}

/// A module that takes long to compile: one function of a hundred thousand additions.
fn slow() -> Arc<Component> {
    let additions = "(local.set 0 (i32.add (local.get 0) (i32.const 1)))".repeat(100_000);
    let wasm = wat::parse_str(format!(
        "(module (func (export \"run\") (param i32) (result i32) {additions} (local.get 0)))"
    ))
    .unwrap();
    component(&wasm)
}

#[tokio::test]
async fn compilation_has_a_time_limit() {
    let runtime = runtime(RuntimeConfig {
        compile_ms: 20,
        ..RuntimeConfig::default()
    });
    let component = slow();
    let begun = std::time::Instant::now();
    let error = runtime
        .compile(component, &Owner::Anybody)
        .await
        .unwrap_err();
    assert_eq!(error, RuntimeError::LimitCompile(20));
    assert!(begun.elapsed() < std::time::Duration::from_secs(5));
}

#[tokio::test]
async fn code_is_bounded_in_bytes() {
    let runtime = runtime(RuntimeConfig {
        cached_bytes: 1,
        ..RuntimeConfig::default()
    });
    let component = numbered(1);
    let digest = component.digest();
    runtime.compile(component, &Owner::Anybody).await.unwrap();
    assert!(!runtime.forget(&digest));
}
