use std::sync::LazyLock;

use proplet_runtime::{Content, Input, TaskSpec};
use proptest::prelude::*;

use crate::fakes::{RUNTIME, compile, error, run, services, task, value};
use crate::guests::{MEMORY, component, text};

/// Gives back what it gets, for many types.
static ECHO: LazyLock<Vec<u8>> = LazyLock::new(|| {
    component(
        "record point { x: s32, y: s32 }
         flags access { read, write }
         enum colour { red, green }
         variant shape { dot, circle(u32) }
         export u8-of: func(a: u8) -> u8;
         export s64-of: func(a: s64) -> s64;
         export bool-of: func(a: bool) -> bool;
         export char-of: func(a: char) -> char;
         export f32-of: func(a: f32) -> f32;
         export f64-of: func(a: f64) -> f64;
         export string-of: func(a: string) -> string;
         export bytes-of: func(a: list<u8>) -> list<u8>;
         export words-of: func(a: list<u16>) -> list<u16>;
         export strings-of: func(a: list<string>) -> list<string>;
         export access-of: func(a: access) -> access;
         export colour-of: func(a: colour) -> colour;
         export point-of: func(a: point) -> point;
         export add: func(a: u32, b: u32) -> u32;
         export ok-text: func(a: string) -> result<string, string>;
         export ok-bytes: func(a: list<u8>) -> result<list<u8>, string>;
         export err-text: func(a: string) -> result<u32, string>;
         export err-shape: func() -> result<u32, shape>;
         export err-nothing: func() -> result;
         export nothing: func();
         export task-ok: func(input: list<u8>) -> result<list<u8>, failure>;
         export task-err: func(input: list<u8>) -> result<list<u8>, failure>;
         variant failure { invalid-input(string), host(string), other(string) }",
        &format!(
            r#"{MEMORY}
            ;; A string or list, as the result or as the payload of a result.
            (func $list (param i32 i32) (result i32)
              (i32.store (i32.const 1024) (local.get 0))
              (i32.store (i32.const 1028) (local.get 1)) (i32.const 1024))
            (func $result (param $case i32) (param i32 i32) (result i32)
              (i32.store (i32.const 1024) (local.get $case))
              (i32.store (i32.const 1028) (local.get 1))
              (i32.store (i32.const 1032) (local.get 2)) (i32.const 1024))
            (func (export "u8-of") (param i32) (result i32) (local.get 0))
            (func (export "s64-of") (param i64) (result i64) (local.get 0))
            (func (export "bool-of") (param i32) (result i32) (local.get 0))
            (func (export "char-of") (param i32) (result i32) (local.get 0))
            (func (export "f32-of") (param f32) (result f32) (local.get 0))
            (func (export "f64-of") (param f64) (result f64) (local.get 0))
            (func (export "string-of") (param i32 i32) (result i32) (call $list (local.get 0) (local.get 1)))
            (func (export "bytes-of") (param i32 i32) (result i32) (call $list (local.get 0) (local.get 1)))
            (func (export "words-of") (param i32 i32) (result i32) (call $list (local.get 0) (local.get 1)))
            (func (export "strings-of") (param i32 i32) (result i32) (call $list (local.get 0) (local.get 1)))
            (func (export "access-of") (param i32) (result i32) (local.get 0))
            (func (export "colour-of") (param i32) (result i32) (local.get 0))
            (func (export "point-of") (param i32 i32) (result i32) (call $list (local.get 0) (local.get 1)))
            (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
            (func (export "ok-text") (param i32 i32) (result i32)
              (call $result (i32.const 0) (local.get 0) (local.get 1)))
            (func (export "ok-bytes") (param i32 i32) (result i32)
              (call $result (i32.const 0) (local.get 0) (local.get 1)))
            (func (export "err-text") (param i32 i32) (result i32)
              (call $result (i32.const 1) (local.get 0) (local.get 1)))
            (func (export "err-shape") (result i32)
              (call $result (i32.const 1) (i32.const 1) (i32.const 7)))
            (func (export "err-nothing") (result i32) (i32.const 1))
            (func (export "nothing"))
            (func (export "task-ok") (param i32 i32) (result i32)
              (call $result (i32.const 0) (local.get 0) (local.get 1)))
            (func (export "task-err") (param i32 i32) (result i32)
              (drop (call $result (i32.const 1) (i32.const 0) (local.get 0)))
              (i32.store (i32.const 1036) (local.get 1)) (i32.const 1024))
            "#
        ),
    )
});

#[tokio::test]
async fn values_go_there_and_back() {
    for (export, input, expected) in [
        ("u8-of", "255", "255"),
        ("s64-of", "-9223372036854775808", "-9223372036854775808"),
        ("bool-of", "true", "true"),
        ("char-of", "'ü'", "'ü'"),
        ("f32-of", "1.5", "1.5"),
        ("f64-of", "-inf", "-inf"),
        ("string-of", "bare words", "\"bare words\""),
        ("string-of", "\"in quotes\"", "\"in quotes\""),
        ("string-of", "\"half", "\"\\\"half\""),
        ("string-of", "", "\"\""),
        ("string-of", "5", "\"5\""),
        ("bytes-of", "abc", "[97, 98, 99]"),
        ("bytes-of", "[1]", "[91, 49, 93]"),
        ("bytes-of", "", "[]"),
        ("words-of", "[1, 65535]", "[1, 65535]"),
        ("words-of", "[]", "[]"),
        ("strings-of", "[\"a\", \"b\"]", "[\"a\", \"b\"]"),
        ("access-of", "{write}", "{write}"),
        ("colour-of", "green", "green"),
        ("point-of", "{x: -1, y: 2}", "{x: -1, y: 2}"),
        ("ok-text", "hi", "ok(\"hi\")"),
        ("ok-bytes", "a", "ok([97])"),
        ("task-ok", "ab", "ok([97, 98])"),
    ] {
        let outcome = run(&ECHO, task(export, &[input])).await;
        assert_eq!(value(&outcome), expected, "{export} {input}");
        assert_eq!(outcome.export, export);
    }
    assert_eq!(value(&run(&ECHO, task("add", &["1", "41"])).await), "42");
    assert_eq!(value(&run(&ECHO, task("nothing", &[])).await), "");
}

#[tokio::test]
async fn a_failure_is_the_guests_and_in_its_words() {
    for (export, inputs, expected) in [
        ("err-text", &["no \"luck\""][..], r#""no \"luck\"""#),
        ("err-shape", &[], "circle(7)"),
        ("err-nothing", &[], "err"),
        ("task-err", &["bad"], "invalid-input(\"bad\")"),
    ] {
        let outcome = run(&ECHO, task(export, inputs)).await;
        assert_eq!(error(&outcome), ("guest-failed", expected.to_owned()));
        let clear = outcome.value.unwrap_err().to_string();
        assert!(!clear.contains(expected), "{clear}");
    }
}

#[tokio::test]
async fn wrong_arguments_show_the_signature() {
    for (export, inputs, word) in [
        (
            "add",
            &["1"][..],
            "1 input for 2 parameters; the export is `add: func(a: u32, b: u32) -> u32`",
        ),
        ("add", &["1", "2", "3"], "3 inputs for 2 parameters"),
        ("add", &["1", "-1"], "input 1 for parameter `b`"),
        ("u8-of", &["256"], "u8"),
        ("bool-of", &["yes"], "bool"),
        ("point-of", &["{x: 1}"], "record { x: s32, y: s32 }"),
        ("words-of", &["[1"], "list<u16>"),
        (
            "bytes-of",
            &[],
            "0 inputs for 1 parameter; the export is `bytes-of: func(a: list<u8>) -> list<u8>`",
        ),
        ("bytes-of", &["a", "b"], "2 inputs for 1 parameter"),
        (
            "nothing",
            &["a"],
            "1 input for 0 parameters; the export is `nothing: func()`",
        ),
    ] {
        let (code, detail) = error(&run(&ECHO, task(export, inputs)).await);
        assert_eq!(code, "arguments-invalid");
        assert!(detail.contains(word), "{detail}");
    }
}

#[tokio::test]
async fn the_world_task_takes_its_first_input() {
    for (inputs, expected) in [
        (&[][..], "ok([])"),
        (&["a"], "ok([97])"),
        (&["a", "b"], "ok([97])"),
    ] {
        assert_eq!(value(&run(&ECHO, task("task-ok", inputs)).await), expected);
    }
}

#[tokio::test]
async fn bytes_are_any_bytes_and_many() {
    let large: Vec<u8> = (0..900_000_u32).map(|n| (n % 251) as u8).collect();
    for export in ["bytes-of", "task-ok", "ok-bytes"] {
        let mut task = task(export, &[]);
        task.inputs = vec![Input {
            bytes: large.clone().into(),
            media_type: None,
        }];
        let outcome = run(&ECHO, task).await;
        let (content, media_type) = outcome.content().unwrap();
        assert!(*content == large);
        assert_eq!(media_type, proplet_runtime::OCTETS);
    }
    let mut task = task("string-of", &[]);
    task.inputs = vec![Input {
        bytes: vec![0xff].into(),
        media_type: None,
    }];
    assert_eq!(error(&run(&ECHO, task).await).0, "arguments-invalid");
}

#[tokio::test]
async fn types_that_text_cannot_carry_are_refused() {
    let wasm = text(
        r#"(component
          (type $r' (resource (rep i32)))
          (export $r "r" (type $r'))
          (core module $m (func (export "f") (param i32)) (func (export "g") (result i32) i32.const 0))
          (core instance $i (instantiate $m))
          (func (export "take") (param "r" (own $r)) (canon lift (core func $i "f"))))"#,
    );
    let (code, detail) = error(&run(&wasm, task("take", &["1"])).await);
    assert_eq!(code, "export-unsupported");
    assert!(detail.starts_with("take: func(r: "), "{detail}");
}

#[tokio::test]
async fn a_missing_export_is_answered_with_those_there_are() {
    let (code, detail) = error(&run(&ECHO, task("substract", &[])).await);
    assert_eq!(code, "export-not-found");
    assert!(
        detail.contains("no export `substract`") && detail.contains("string-of"),
        "{detail}"
    );
}

#[tokio::test]
async fn a_huge_type_is_not_written_out() {
    // Each level doubles the text of the one before.
    let levels: String = (1..16)
        .map(|level| format!("(type $t{level} (tuple $t{0} $t{0}))", level - 1))
        .collect();
    let wasm = text(&format!(
        r#"(component (type $t0 (tuple u32)) {levels}
          (core module $m (memory (export "m") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 0)
            (func (export "f") (param i32)))
          (core instance $i (instantiate $m))
          (func (export "run") (param "a" $t15) (canon lift (core func $i "f")
            (memory (core memory $i "m")) (realloc (core func $i "realloc")))))"#
    ));
    let (code, detail) = error(&run(&wasm, task("run", &[])).await);
    assert_eq!(code, "arguments-invalid");
    assert!(detail.len() < 1200, "{}", detail.len());
}

#[tokio::test]
async fn debug_output_holds_no_values() {
    let outcome = run(&ECHO, task("string-of", &["patient 4711"])).await;
    assert!(matches!(
        &outcome.value.as_ref().unwrap().content,
        Content::Text(_)
    ));
    assert!(!format!("{outcome:?}").contains("4711"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever text comes in, the answer is a value or an error of the arguments.
    #[test]
    fn no_input_panics(
        export in proptest::sample::select(vec![
            "u8-of", "char-of", "f32-of", "string-of", "words-of", "strings-of", "access-of", "colour-of",
            "point-of", "add",
        ]),
        inputs in proptest::collection::vec("[\\[\\]{}(),:\"'a-z0-9\\\\ü%-]{0,24}", 0..3),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let compiled = compile(&ECHO).await.unwrap();
            let task = TaskSpec {
                inputs: inputs.iter().map(|input| Input::text(input.as_str())).collect(),
                ..task(export, &[])
            };
            let fake = std::sync::Arc::default();
            if let Err(error) = RUNTIME.run(&compiled, task, services(&fake)).await.value {
                assert_eq!(error.code(), "arguments-invalid");
            }
        });
    }

    #[test]
    fn strings_arrive_as_they_were_quoted(text in "\\PC{0,40}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let quoted = value(&run(&ECHO, task("string-of", &[&format!("x{text}")])).await);
            let again = run(&ECHO, task("string-of", &[&quoted])).await;
            let (content, _) = again.content().unwrap();
            assert_eq!(String::from_utf8_lossy(&content), format!("x{text}"));
        });
    }
}
